"""System calls that Python has no function for, on Linux."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18


class Skip(Exception):
    """What the tests need is not here."""


def checked(result, what):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def private_mounts():
    """From here on nobody else sees what is mounted, and it is gone when this process is."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Skip("only root may mount file systems")
    try:
        checked(libc.unshare(CLONE_NEWNS), "unshare")
        checked(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    except OSError as error:
        raise Skip(f"no mounts of our own: {error}") from error


def mount(source, target, kind, options="", flags=0):
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode() or None)
    checked(libc.mount(*arguments), f"mount {source}")


def unmount(target):
    checked(libc.umount2(os.fsencode(target), 0), f"unmount {target}")
