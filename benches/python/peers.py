#!/usr/bin/env python3
"""Times cairnfile beside its peers and beside the bare system calls, on the same values in one run.

    benches/python/peers.py [W1 … W6] [--repetitions 5] [--only NAME …] [--cap SECONDS] [--json] [--folder DIR]

Contestants take turns; memory is touched and freed before each turn, since memory that the host took back is slow to
get. `save` ends in the page cache (`durable` on the disk), `load` has every tensor in memory of its own, `cold` loads a
file that the page cache was told to forget, `open` knows all names, dtypes and shapes, `one` and `rows` read one tensor
of a closed file and 100 rows of it. Medians with the range; ratios are to the raw bytes of the same turn. A contestant
whose first turn takes longer than the cap has that turn alone, marked with (1). Memory is the growth of the peak of a
process of its own beyond the payload.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any, Callable

import numpy as np
from contestants import CONTESTANTS, Contestant
from workloads import ONE, ROWS, WORKLOADS, flat

OPERATIONS = ("save", "load", "cold", "open", "one", "rows")
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


def forget(path: str) -> None:
    """Has the system write the files of `path` and forget their pages."""
    for found in files(path):
        with open(found, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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
    """What is timed, in its order."""
    out = {"save": lambda: c.save(prepared, path), "load": lambda: c.load(path)}
    if "mmap" not in c.name:
        out["cold"] = lambda: c.load(path)
    if c.open:
        out["open"] = lambda: c.open(path)
    if c.one and workload in ONE:
        out["one"] = lambda: c.one(path, ONE[workload])
    if c.rows and workload in ROWS:
        out["rows"] = lambda: c.rows(path, ROWS[workload])
    return out


def run(workload: str, repetitions: int, wanted: list[str], folder: str, cap: float) -> dict:
    """Seconds of each operation of each contestant, by turn."""
    value = WORKLOADS[workload]()
    payload = sum(array.nbytes for array in flat(value).values())
    here = [c for c in CONTESTANTS if not c.missing() and (not wanted or c.name in wanted or c.name == RAW)]
    seconds: dict[str, dict[str, list[float]]] = {c.name: {} for c in here}
    slow: set[str] = set()
    for turn in range(repetitions + 1):
        for c in here:
            if c.name in slow:
                continue
            path = os.path.join(folder, f"{workload}-{c.name.replace(' ', '-')}")
            try:
                prepared = c.prepare(value)
                found = dict(turn_of(c, prepared, path, workload, payload, value if turn == 0 else None))
            except Exception as error:  # noqa: BLE001 what a format cannot hold its library says in its own way
                print(f"left out: {c.name} for {workload}: {type(error).__name__}: {error}", file=sys.stderr)
                slow.add(c.name)
                del seconds[c.name]
                continue
            finally:
                remove(path)
            if turn == 0 and sum(found.values()) > cap and c.name != RAW:
                slow.add(c.name)
            # The first turn warms up.
            if turn or c.name in slow:
                for operation, took in found.items():
                    seconds[c.name].setdefault(operation, []).append(took)
            del prepared
    return {"payload": payload, "seconds": seconds}


def turn_of(c: Contestant, prepared: Any, path: str, workload: str, payload: int, value: Any):
    for operation, work in works(c, prepared, path, workload).items():
        if operation == "cold":
            forget(path)
        if operation in ("save", "load", "cold"):
            prime(payload)
        took, result = timed(work)
        if operation == "load" and value is not None:
            check(c, result, value)
        del result
        yield operation, took


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
            found = run(workload, options.repetitions, options.only, folder, options.cap)
            measured = [name for name in found["seconds"] if not name.startswith("raw")] if sys.platform == "linux" and not options.no_memory else []
            peaks = {name: memory(workload, name, folder) for name in measured}
            out[workload] = {**found, "memory": peaks}
            if not options.json:
                show(workload, found, peaks)
    print(json.dumps({"versions": versions(), **out}) if options.json else f"\n{versions()}")


if __name__ == "__main__":
    main()
