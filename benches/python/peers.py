#!/usr/bin/env python3
"""Times cairnfile beside its peers and beside the bare system calls, on the same values in one run.

    benches/python/peers.py [W1 W3 W4] [--repetitions 5] [--only NAME …] [--json] [--folder DIR]

Contestants take turns; memory is touched and freed before each turn, since memory that the host took back is slow to
get. `save` ends in the page cache (`durable` on the disk), `load` has every tensor in memory of its own, `open` knows
all names, dtypes and shapes. Medians with the range; ratios are to the raw bytes of the same turn. Memory is the growth
of the peak of a process of its own beyond the payload.
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

import numpy as np
from contestants import CONTESTANTS
from workloads import WORKLOADS, flat

OPERATIONS = ("save", "load", "open")


def prime(nbytes: int) -> None:
    """Touches and frees as much memory as the next operation wants."""
    np.ones(max(nbytes, 1), np.uint8)


def remove(path: str) -> None:
    for found in (path, path + ".npz"):
        shutil.rmtree(found) if os.path.isdir(found) else os.path.exists(found) and os.remove(found)


def timed(work) -> float:
    gc.collect()
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    del result
    return seconds


def run(workload: str, repetitions: int, wanted: list[str], folder: str) -> dict:
    """Seconds of each operation of each contestant, by turn."""
    value = WORKLOADS[workload]()
    payload = sum(array.nbytes for array in flat(value).values())
    here = [c for c in CONTESTANTS if not c.missing() and (not wanted or c.name in wanted or c.name == "raw bytes")]
    prepared = {c.name: c.prepare(value) for c in here}
    seconds: dict[str, dict[str, list[float]]] = {c.name: {} for c in here}
    for turn in range(repetitions + 1):
        for c in here:
            path = os.path.join(folder, f"{workload}-{c.name.replace(' ', '-')}")
            remove(path)
            works = {"save": lambda: c.save(prepared[c.name], path), "load": lambda: c.load(path), "open": lambda: c.open(path)}
            for operation, work in works.items():
                if operation != "open" or c.open:
                    prime(payload)
                    took = timed(work)
                    # The first turn warms up.
                    if turn:
                        seconds[c.name].setdefault(operation, []).append(took)
            remove(path)
    return {"payload": payload, "seconds": seconds}


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
    raw = found["seconds"]["raw bytes"]
    print(f"\n{workload}: {found['payload'] / 1e6:,.1f} MB of tensors\n")
    columns = [*(f"{operation} ms (÷ raw)" for operation in OPERATIONS), "MB beyond the payload: save / load"]
    print("| | " + " | ".join(columns) + " |\n|---|" + "--:|" * len(columns))
    for name, operations in found["seconds"].items():
        cells = [cell(operations.get(operation), raw.get(operation)) for operation in OPERATIONS]
        peak = peaks.get(name)
        cells.append("–" if peak is None else f"{peak['save'] / 1e6:.0f} / {(peak['load'] - found['payload']) / 1e6:.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def cell(seconds: list[float] | None, raw: list[float] | None) -> str:
    if not seconds:
        return "–"
    milliseconds = [1000 * s for s in seconds]
    digits = 0 if median(milliseconds) >= 100 else 2
    text = f"{median(milliseconds):.{digits}f} ({min(milliseconds):.{digits}f}..{max(milliseconds):.{digits}f})"
    return text + (f" ×{median(s / r for s, r in zip(seconds, raw)):.2f}" if raw else "")


def versions() -> str:
    names = ("cairnfile", "numpy", "safetensors", "torch")
    found = []
    for name in names:
        module = importlib.import_module(name) if importlib.util.find_spec(name) else None
        found.append(f"{name} {module.__version__}" if module else f"{name} not installed")
    return f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, Python {platform.python_version()}, " + ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["W1"], metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; W1 if left out")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
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
            found = run(workload, options.repetitions, options.only, folder)
            peaks = {name: memory(workload, name, folder) for name in found["seconds"] if name != "raw bytes"} if sys.platform == "linux" else {}
            out[workload] = {**found, "memory": peaks}
            if not options.json:
                show(workload, found, peaks)
    print(json.dumps({"versions": versions(), **out}) if options.json else f"\n{versions()}")


if __name__ == "__main__":
    main()
