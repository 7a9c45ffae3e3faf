"""What saving and loading cost beyond the data."""

from __future__ import annotations

import gc
import subprocess
import sys

import cairnfile
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MEASURE = """
import sys, numpy as np, cairnfile
def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":")) * 1024
path = sys.argv[1]
"""


def run(code, path):
    done = subprocess.run([sys.executable, "-c", MEASURE + code, path], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_a_mapped_load_is_not_resident_before_it_is_touched(path):
    added, after = run(
        """
value = {str(n): np.zeros(25_000_000, "f8") for n in range(10)}
cairnfile.save(value, path, durable=False)
del value
before = status("VmRSS")
loaded = cairnfile.load(path, mmap=True)
added = status("VmRSS") - before
sum(array.sum() for array in loaded.values())
print(added, status("VmRSS") - before)
""",
        path,
    )
    assert added < 50_000_000 < 1_500_000_000 < after


def test_saving_never_doubles_the_payload(path):
    added = run(
        """
value = {"plain": np.ones(40_000_000), "strided": np.ones((2, 40_000_000))[:, ::2], "turned": np.ones((4000, 5000)).T}
before = status("VmHWM")
cairnfile.save(value, path, durable=False)
print(status("VmHWM") - before)
""",
        path,
    )[0]
    assert added < 64_000_000


def test_loading_takes_the_payload_once(path):
    added = run(
        """
cairnfile.save({str(n): np.ones(10_000_000) for n in range(5)}, path, durable=False)
before = status("VmRSS")
loaded = cairnfile.load(path)
print(status("VmHWM") - before)
""",
        path,
    )[0]
    assert added < 400_000_000 + 64_000_000


def test_memory_goes_when_the_last_array_does(path):
    first, last = run(
        """
import gc
cairnfile.save({str(n): np.ones(10_000_000) for n in range(5)}, path, durable=False)
def kept():
    return cairnfile.load(path)["3"][5:7]
start = status("VmRSS")
part = kept(); gc.collect()
held = status("VmRSS") - start
assert part.tolist() == [1, 1]
del part; gc.collect()
print(held, status("VmRSS") - start)
""",
        path,
    )
    assert 70_000_000 < first < 110_000_000 and last < 20_000_000


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_it_was_after_a_load_of_many(tmp_path, enabled):
    path = tmp_path / "many.cairn"
    cairnfile.save({str(n): np.full(2, n % 256, "u1") for n in range(10_001)}, path, durable=False)
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        assert len(cairnfile.load(path)) == 10_001
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
