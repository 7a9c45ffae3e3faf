#!/usr/bin/env python3
"""Times cairnfile beside its peers and beside the bare system calls, on the same values in one run.

    benches/python/peers.py [W1 … W6] [--repetitions 5] [--only NAME …] [--operations save …] [--cap SECONDS] [--limit SECONDS]
                            [--json] [--folder DIR]

Contestants take turns; memory is touched and freed before each turn, since memory that the host took back is slow to
get. `save` ends in the page cache, `durable` on the disk (with fsync, where a format does not see to it), `load` has every
tensor in memory of its own, `cold` loads a file that the page cache was told to forget, `touch` maps and reads every byte,
`open` knows all names, dtypes and shapes, `one` and `rows` read one tensor of a closed file and 100 rows of one. Medians
with the range; ratios are to the raw bytes of the same turn. A contestant whose first turn takes longer than the cap has
that turn alone, marked with (1); an operation that takes longer than the limit is ended and left out. Memory is the growth
of the peak of a process of its own beyond the payload. `10^2` to `10^6` are so many small tensors, for `open`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from statistics import median
from typing import Any, Callable, Iterator

import numpy as np
from contestants import CONTESTANTS, Contestant
from workloads import ONE, ROWS, WORKLOADS, flat

OPERATIONS = ("save", "durable", "load", "cold", "touch", "open", "one", "rows")
RAW = "raw bytes"


def prime(nbytes: int) -> None:
    """Touches and frees as much memory as the next operation wants."""
    np.ones(max(nbytes, 1), np.uint8)


def files(path: str) -> list[str]:
    """All files that a contestant made of `path`."""
    if os.path.isdir(path):
        return [os.path.join(path, name) for name in os.listdir(path)]
    return [found for found in (path, path + ".npz") if os.path.exists(found)]


def remove(path: str) -> None:
    shutil.rmtree(path) if os.path.isdir(path) else [os.remove(found) for found in files(path)]


def forget(path: str, keep: bool = False) -> None:
    """Has the system write the files of `path` and, unless they are to be kept, forget their pages."""
    for found in files(path):
        with open(found, "rb") as file:
            os.fsync(file.fileno())
            if not keep:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Ends what takes longer, as soon as it comes back to the interpreter."""

    def end(*_: Any) -> None:
        raise TimeoutError(f"slower than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def check(contestant: Contestant, loaded: Any, value: Any) -> None:
    """Refuses a contestant that gives back something else."""
    if contestant.name.startswith("raw"):
        return
    as_array = lambda tensor: tensor if isinstance(tensor, np.ndarray) else tensor.asnumpy() if hasattr(tensor, "asnumpy") else tensor.numpy()  # noqa: E731
    expected, found = flat(value), {name: as_array(tensor) for name, tensor in _leaves(loaded).items()}
    # GGUF's own reader turns the axes of quantized types only, and Arrow keeps a tensor's elements in a row.
    same = found.keys() == expected.keys() and all(np.array_equal(found[name].reshape(-1), array.reshape(-1)) for name, array in expected.items())
    if not same:
        raise SystemExit(f"{contestant.name} gave back something else")


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if hasattr(value, "shape"):
        return {prefix[1:]: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return {name: leaf for key, item in items for name, leaf in _leaves(item, f"{prefix}.{key}").items()}


def works(c: Contestant, prepared: Any, path: str, workload: str) -> dict[str, Callable[[], Any]]:
    """What is timed, in its order. The cached save comes last of the two: some leave a durable file out of the cache."""

    def durable() -> None:
        c.save(prepared, path)
        forget(path, keep=True)

    out = {
        "durable": (lambda: c.durable(prepared, path)) if c.durable else durable,
        "save": lambda: c.save(prepared, path),
        "load": lambda: c.load(path),
    }
    flat_names = workload != "W4"
    for operation, work in (("touch", c.touch), ("open", c.open)):
        if work and flat_names:
            out[operation] = lambda work=work: work(path)
    for operation, work, names in (("one", c.one, ONE), ("rows", c.rows, ROWS)):
        if work and workload in names:
            out[operation] = lambda work=work, names=names: work(path, names[workload])
    # Last, since it empties the cache.
    if "mmap" not in c.name:
        out["cold"] = lambda: c.load(path)
    return out


class Run:
    """One workload: seconds of each operation of each contestant by turn, and what was left out."""

    def __init__(self, workload: str, options: argparse.Namespace, folder: str):
        self.workload, self.options, self.folder = workload, options, folder
        self.value = WORKLOADS[workload]()
        self.payload = sum(array.nbytes for array in flat(self.value).values())
        wanted = options.only
        here = [c for c in CONTESTANTS if not c.missing() and (not wanted or c.name in wanted or c.name == RAW)]
        self.seconds: dict[str, dict[str, list[float]]] = {c.name: {} for c in here}
        self.left_out: dict[str, dict[str, str]] = {c.name: {} for c in here}
        self.slow: set[str] = set()
        for turn in range(options.repetitions + 1):
            for c in here:
                if c.name not in self.slow:
                    self.contest(c, turn)

    def contest(self, c: Contestant, turn: int) -> None:
        path = os.path.join(self.folder, f"{self.workload}-{c.name.replace(' ', '-')}")
        found: dict[str, float] = {}
        try:
            self.turn(c, turn, path, found)
        # What a format cannot hold its library says in its own way.
        except Exception as error:  # noqa: BLE001
            self.leave_out(c.name, "all", f"{type(error).__name__}: {error}")
            self.slow.add(c.name)
        finally:
            remove(path)
        if turn == 0 and sum(found.values()) > self.options.cap and c.name != RAW:
            self.slow.add(c.name)
        # The first turn warms up.
        if turn or c.name in self.slow:
            for operation, took in found.items():
                self.seconds[c.name].setdefault(operation, []).append(took)

    def turn(self, c: Contestant, turn: int, path: str, found: dict[str, float]) -> None:
        prepared = c.prepare(self.value)
        for operation, work in works(c, prepared, path, self.workload).items():
            wanted = not self.options.operations or operation in self.options.operations
            if operation in self.left_out[c.name] or not (wanted or operation == "save"):
                continue
            if operation == "save":
                remove(path)
            if operation == "cold":
                forget(path)
            if operation in ("save", "durable", "load", "cold"):
                prime(self.payload)
            try:
                with limited(self.options.limit):
                    took, result = timed(work)
            except TimeoutError as error:
                self.leave_out(c.name, operation, str(error))
                if operation == "save":
                    self.slow.add(c.name)
                    return
                continue
            if operation == "load" and turn == 0:
                check(c, result, self.value)
            del result
            if wanted:
                found[operation] = took

    def leave_out(self, name: str, operation: str, why: str) -> None:
        print(f"left out: {name}, {operation}, for {self.workload}: {why}", file=sys.stderr)
        self.left_out[name][operation] = why

    def found(self) -> dict:
        seconds = {name: times for name, times in self.seconds.items() if times}
        return {"payload": self.payload, "seconds": seconds, "left_out": {name: why for name, why in self.left_out.items() if why}}


MEMORY = """
import sys, json
sys.path.insert(0, sys.argv[1])
from contestants import CONTESTANTS
from workloads import WORKLOADS
def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":")) * 1024
def start():
    # The peak begins anew at what is resident now.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return status("VmRSS")
_, _, workload, name, operation, path = sys.argv
c = next(c for c in CONTESTANTS if c.name == name)
if operation == "save":
    value = c.prepare(WORKLOADS[workload]())
    c.save(c.prepare({"warm": __import__("numpy").zeros(3, "f4")}), path + "-warm")
    before = start()
    c.save(value, path)
else:
    # Imports are not the load's.
    c.load(path + "-warm")
    before = start()
    value = c.load(path)
print(status("VmHWM") - before)
"""


def memory(workload: str, name: str, folder: str) -> dict[str, int]:
    """Growth of the peak of a process that saves, and of one that loads."""
    path, out = os.path.join(folder, "memory"), {}
    for operation in ("save", "load"):
        command = [sys.executable, "-c", MEMORY, os.path.dirname(os.path.abspath(__file__)), workload, name, operation, path]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name} cannot {operation}:\n{done.stderr}")
        out[operation] = int(done.stdout)
    for found in (path, path + "-warm"):
        remove(found)
    return out


def show(workload: str, found: dict, peaks: dict) -> None:
    raw = found["seconds"][RAW]
    print(f"\n{workload}: {found['payload'] / 1e6:,.1f} MB of tensors\n")
    shown = [operation for operation in OPERATIONS if any(operation in times for times in found["seconds"].values())]
    columns = [*(f"{operation} ms (÷ raw)" for operation in shown), "MB beyond the payload: save / load"]
    print("| | " + " | ".join(columns) + " |\n|---|" + "--:|" * len(columns))
    for name, operations in found["seconds"].items():
        cells = [cell(operations.get(operation), raw.get(operation)) for operation in shown]
        peak = peaks.get(name)
        cells.append("–" if peak is None else f"{peak['save'] / 1e6:.0f} / {(peak['load'] - found['payload']) / 1e6:.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def cell(seconds: list[float] | None, raw: list[float] | None) -> str:
    if not seconds:
        return "–"
    milliseconds = [1000 * s for s in seconds]
    digits = 0 if median(milliseconds) >= 100 else 2
    if len(seconds) == 1:
        return f"{milliseconds[0]:.{digits}f} (1)"
    text = f"{median(milliseconds):.{digits}f} ({min(milliseconds):.{digits}f}..{max(milliseconds):.{digits}f})"
    return text + (f" ×{median(s / r for s, r in zip(seconds, raw)):.2f}" if raw else "")


PACKAGES = ("cairnfile", "numpy", "safetensors", "torch", "gguf", "pyarrow", "h5py", "mxnet", "tensorflow")


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        for distribution in (name, f"{name}_cpu"):
            try:
                found.setdefault(name, version(distribution))
            except PackageNotFoundError:
                pass
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["W1"], metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; W1 if left out")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--cap", type=float, default=15, metavar="SECONDS", help="of a first turn, above which there is no other")
    parser.add_argument("--limit", type=int, default=60, metavar="SECONDS", help="of one operation, above which it is ended")
    parser.add_argument("--operations", nargs="+", default=[], choices=OPERATIONS, metavar="OPERATION", help=f"of {', '.join(OPERATIONS)}")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peaks of memory")
    parser.add_argument("--json", action="store_true", help="all figures as one JSON object")
    parser.add_argument("--folder", help="where files are made; beside the system's temporary ones if left out")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS) | set(options.only) - {c.name for c in CONTESTANTS}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    out = {}
    for c in CONTESTANTS:
        if c.missing():
            print(f"left out: {c.name} ({', '.join(c.missing())} is not installed)", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for workload in options.workloads:
            found = Run(workload, options, folder).found()
            measured = []
            if sys.platform == "linux" and not options.no_memory and not options.operations:
                measured = [name for name in found["seconds"] if name != RAW and name not in found["left_out"]]
            peaks = {name: memory(workload, name, folder) for name in measured}
            out[workload] = {**found, "memory": peaks}
            if not options.json:
                show(workload, found, peaks)
    print(json.dumps({"versions": versions(), **out}) if options.json else f"\n{versions()}")


if __name__ == "__main__":
    main()
