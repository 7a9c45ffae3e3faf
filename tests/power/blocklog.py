"""A file whose writes and flushes are recorded: a FUSE file system with one file, spoken straight to the kernel.

A loop device on that file makes it a disk whose every write is known, in order, with the flushes between them: what
`dm-log-writes` is, where the kernel has none. One process serves, one request after the other, so the order of the log is
the order of the answers.
"""

import errno
import os
import pickle
import select
import struct
import time
import traceback

import system

# Operations of the protocol that this file system knows.
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 1, 2, 3, 4, 14, 15, 16, 17, 18, 20
FLUSH, INIT, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 34, 36, 38, 42
SILENT = {FORGET, INTERRUPT, BATCH_FORGET}
ROOT_NODE, DISK_NODE, DISK = 1, 2, b"disk"
MOST = 1 << 17
HEADER = struct.Struct("=IIQQIIII")
# How a flush stands in the log; a write stands as (offset, bytes).
FLUSHED = None


def need():
    if not os.path.exists("/dev/fuse"):
        raise system.Skip("there is no /dev/fuse here")


class Log:
    """The base image and what was done to it; lives in the serving process and is asked through a pipe."""

    def __init__(self, image):
        self.image = os.open(image, os.O_RDWR)
        self.length = os.fstat(self.image).st_size
        self.events = []

    def write(self, offset, data):
        self.events.append((offset, data))
        return os.pwrite(self.image, data, offset)


def attributes(node, length):
    mode, links = (0o40755, 2) if node == ROOT_NODE else (0o100644, 1)
    return struct.pack("=6Q10I", node, length, length // 512, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def answer(log, operation, node, body):
    """What the kernel is told: bytes, or the number of an error."""
    length = log.length if node == DISK_NODE else 4096
    if operation == INIT:
        major, minor, ahead, _ = struct.unpack_from("=IIII", body)
        # Version, readahead, no features, requests in the background, largest write, time in nanoseconds, and room.
        return struct.pack("=IIIIHHIIHHI28x", 7, min(minor, 31), ahead, 0, 12, 9, MOST, 1, 0, 0, 0)
    if operation == LOOKUP:
        if node != ROOT_NODE or body.rstrip(b"\0") != DISK:
            return errno.ENOENT
        return struct.pack("=QQQQII", DISK_NODE, 0, 3600, 3600, 0, 0) + attributes(DISK_NODE, log.length)
    if operation in (GETATTR, SETATTR):
        return struct.pack("=QII", 3600, 0, 0) + attributes(node, length)
    if operation == OPEN:
        return struct.pack("=QII", 1, 0, 0)
    if operation == READ:
        _, offset, size = struct.unpack_from("=QQI", body)
        return os.pread(log.image, size, offset)
    if operation == WRITE:
        _, offset, size = struct.unpack_from("=QQI", body)
        return struct.pack("=II", log.write(offset, body[40 : 40 + size]), 0)
    if operation == FSYNC:
        log.events.append(FLUSHED)
        return b""
    if operation == STATFS:
        return struct.pack("=5Q4I24x", 1 << 20, 1 << 20, 1 << 20, 8, 8, 4096, 255, 4096, 0)
    return b"" if operation in (FLUSH, RELEASE, ACCESS, DESTROY) else errno.ENOSYS


def serve(device, image, asked, told):
    """Answers the kernel until it hangs up, and the test whenever it asks for the log."""
    log, poll = Log(image), select.poll()
    poll.register(device, select.POLLIN)
    poll.register(asked, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if device in ready:
            try:
                request = os.read(device, MOST + 4096)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return
            _, operation, unique, node, *_ = HEADER.unpack_from(request)
            reply = answer(log, operation, node, request[HEADER.size :])
            if operation not in SILENT:
                data, error = (b"", -reply) if isinstance(reply, int) else (reply, 0)
                os.write(device, struct.pack("=IiQ", 16 + len(data), error, unique) + data)
        elif asked in ready:
            # `n`: how much was logged; `a`: all of it, and the log begins anew.
            wish = os.read(asked, 1)
            if not wish:
                return
            text = pickle.dumps(len(log.events) if wish == b"n" else log.events)
            if wish == b"a":
                log.events = []
            view = memoryview(struct.pack("=Q", len(text)) + text)
            while view:
                view = view[os.write(told, view) :]


class RecordedFile:
    """The file at `path` stands for `image`; what happens to it is recorded."""

    def __init__(self, image, mountpoint):
        self.mountpoint = mountpoint
        os.makedirs(mountpoint, exist_ok=True)
        device = os.open("/dev/fuse", os.O_RDWR)
        asked, self._ask = os.pipe()
        self._hear, told = os.pipe()
        system.mount("log", mountpoint, "fuse", f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other")
        self.pid = os.fork()
        if self.pid == 0:
            # Without this end the server sees when the test is gone.
            os.close(self._ask)
            try:
                serve(device, image, asked, told)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        for end in (device, asked, told):
            os.close(end)
        self.path = os.path.join(mountpoint, DISK.decode())

    def _answer(self, wish):
        os.write(self._ask, wish)
        with open(os.dup(self._hear), "rb") as pipe:
            (length,) = struct.unpack("=Q", pipe.read(8))
            return pickle.loads(pipe.read(length))

    def count(self):
        """How many writes and flushes were answered."""
        return self._answer(b"n")

    def take(self):
        """All writes and flushes since the last time."""
        return self._answer(b"a")

    def close(self):
        for _ in range(200):
            try:
                system.unmount(self.mountpoint)
                break
            except OSError:
                time.sleep(0.01)
        os.close(self._ask)
        os.waitpid(self.pid, 0)
        os.close(self._hear)
