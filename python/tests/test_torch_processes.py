"""Threads, forked workers, interruptions and mapped memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

import cairnfile.torch as ct  # noqa: E402
from torch_equal import assert_same  # noqa: E402


def test_threads_load_one_file(path):
    value = {f"layer.{n}": torch.rand(50, 50) for n in range(20)}
    value["tied"] = value["layer.0"]
    ct.save(value, path)
    with ThreadPoolExecutor(8) as pool:
        for back in pool.map(lambda n: ct.load(path, mmap=bool(n % 2)), range(32)):
            assert_same(value, back)
            assert back["tied"] is back["layer.0"]


def test_threads_share_an_open_file(path):
    weight = torch.rand(400, 300)
    ct.save({"w": weight}, path)
    with ct.open(path) as file, ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda n: file["/w"][n], range(400)))
    assert torch.equal(torch.stack(rows), weight)


class Rows(torch.utils.data.Dataset):
    """The rows of a tensor in an open file."""

    def __init__(self, file):
        self.file = file

    def __len__(self):
        return len(self.file["/x"])

    def __getitem__(self, n):
        return self.file["/x"][n], os.getpid()


@pytest.mark.parametrize("start, mmap", [("fork", False), ("fork", True), ("spawn", False)])
def test_workers_of_a_loader_read_from_an_open_file(path, start, mmap):
    x = torch.rand(64, 1000)
    ct.save({"x": x}, path)
    ct.load(path)
    with ct.open(path, mmap=mmap) as file:
        assert torch.equal(file["/x"].read(), x)
        loader = torch.utils.data.DataLoader(Rows(file), batch_size=8, num_workers=2, multiprocessing_context=start)
        rows, pids = zip(*loader)
        assert torch.equal(torch.cat(rows), x)
        assert torch.equal(file["/x"][5], x[5])
    pids = set(torch.cat(pids).tolist())
    assert len(pids) == 2 and os.getpid() not in pids


def test_a_forked_child_loads_and_saves(path):
    value = torch.rand(3 << 20)
    ct.save(value, path)
    assert torch.equal(ct.load(path), value)
    child = os.fork()
    if child == 0:
        done = 1
        # A child that hangs ends as a failure; torch's own threads do not survive a fork, so nothing is computed.
        signal.alarm(30)
        try:
            ct.save({"copy": ct.load(path)}, path)
            done = 0
        finally:
            os._exit(done)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(ct.load(path)["copy"], value)


SAVER = """
    import sys, torch, cairnfile.torch as ct
    value = {str(n): torch.ones(64 << 18) for n in range(16)}
    print("ready", flush=True)
    try:
        ct.save(value, sys.argv[1], progress=lambda done, total: print("saving", flush=True) if done else None)
    except KeyboardInterrupt:
        sys.exit(77)
"""


def interrupted_save(path) -> bool:
    """Interrupts a save of 1 GiB once it writes; False if it was over before."""
    command = [sys.executable, "-c", textwrap.dedent(SAVER), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as saver:
        assert saver.stdout.readline() == "ready\n"
        saver.stdout.readline()
        saver.send_signal(signal.SIGINT)
        saver.stdout.read()
    assert saver.returncode in (0, 77), saver.returncode
    return saver.returncode == 77


def test_an_interrupted_save_leaves_the_old_file(path):
    for _ in range(5):
        ct.save({"old": torch.arange(5)}, path)
        before = path.read_bytes()
        if interrupted_save(path):
            break
    else:
        pytest.skip("every save was over before the signal came")
    assert path.read_bytes() == before
    ct.save({"new": torch.arange(6)}, path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert_same(ct.load(path), {"new": torch.arange(6)})


def test_a_mapped_load_of_2_gib_is_not_resident(path):
    # Zeros from the system are not resident themselves before they are read.
    size = 2 << 30
    space = os.statvfs(path.parent)
    if space.f_bavail * space.f_frsize < 2 * size:
        pytest.skip("needs 4 GiB of disk")
    script = """
        import sys, torch, cairnfile.torch as ct

        def resident():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmRSS"))

        ct.load(sys.argv[2], mmap=True)
        before = resident()
        state = ct.load(sys.argv[1], mmap=True)
        loaded = resident() - before
        sum(tensor[0].item() for tensor in state.values())
        touched = resident() - before
        state["0"].add_(1)
        print(loaded, touched, resident() - before)
    """
    ct.save({str(n): torch.zeros(size >> 5, dtype=torch.uint8) for n in range(32)}, path, durable=False)
    small = path.with_name("small.cairn")
    ct.save(torch.zeros(10), small)
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), str(small)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    loaded, touched, written = map(int, output.split())
    assert loaded < 50 and touched < 60 and written >= 64, output
