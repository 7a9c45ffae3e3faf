"""File systems on loop devices."""

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

import system
from system import Skip

KINDS = {
    "ext4": (64, ["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^metadata_csum_seed", "-E", "lazy_itable_init=0,nodiscard"]),
    "xfs": (300, ["mkfs.xfs", "-q", "-f", "-K"]),
}
FLUSH_BUFFERS = 0x1261


def need():
    for tool in ("losetup", *(command[0] for _, command in KINDS.values())):
        if not shutil.which(tool):
            raise Skip(f"there is no {tool} here")
    if not os.path.exists("/dev/loop-control"):
        raise Skip("there are no loop devices here")


def make_image(kind, path):
    """An empty file system in a file with holes."""
    mebibytes, command = KINDS[kind]
    with open(path, "wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run([*command, path], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["fallocate", "--dig-holes", path], check=True)


def extents(path):
    """The parts of a file that are not zero, as (offset, bytes)."""
    piece = 1 << 16
    with open(path, "rb") as file:
        at, end = 0, os.fstat(file.fileno()).st_size
        while at < end:
            data = os.pread(file.fileno(), min(piece, end - at), at)
            if data.count(0) != len(data):
                yield at, data
            at += len(data)


class Volume:
    """An image on a loop device."""

    def __init__(self, kind, image, mountpoint):
        self.kind, self.mountpoint = kind, Path(mountpoint)
        self.mountpoint.mkdir(exist_ok=True)
        attached = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
        if attached.returncode != 0:
            raise Skip(f"no loop device to be had: {attached.stderr.strip()}")
        self.device = attached.stdout.strip()
        self.mounted = False

    @property
    def path(self):
        return self.mountpoint / "model.cairn"

    def mount(self):
        system.mount(self.device, self.mountpoint, self.kind)
        self.mounted = True

    def unmount(self):
        for attempt in range(200):
            try:
                system.unmount(self.mountpoint)
                break
            except OSError:
                if attempt == 199:
                    raise
                time.sleep(0.005)
        self.mounted = False

    def forget(self):
        """Drops what the kernel remembers of the device, after its image was changed behind its back."""
        device = os.open(self.device, os.O_RDONLY)
        try:
            fcntl.ioctl(device, FLUSH_BUFFERS)
        finally:
            os.close(device)

    def close(self):
        if self.mounted:
            self.unmount()
        subprocess.run(["losetup", "--detach", self.device], check=False)

    def names(self):
        """What is in the directory beside the checkpoint."""
        return sorted(set(os.listdir(self.mountpoint)) - {"lost+found", self.path.name})
