"""The rows that were promised, each with its target and what the machine's own limit was when the target was set.

Absolute figures belong to one kind of machine. A row is met if it is within its absolute target, or as close to the limit
measured in the same turns as the target was to the limit then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable


@dataclass
class Row:
    """`side` is "rust" or "python"; `row` the row or the operation; `cairn` the contestant; milliseconds.

    `raw` is the contestant that ratios are to; behind "rust:" it is of the same row in Rust.
    """

    title: str
    side: str
    workload: str
    row: str
    cairn: str
    target: float | None
    limit: float | None
    # How far from the limit of the same turn, where that is the target.
    ratio: float | None = None
    raw: str = "raw"
    # A thousand at a time, where a clock cannot tell one.
    per: int = 1


ROWS = [
    Row("W1 save 498 MB", "rust", "W1", "save", "cairn", 85, 77, 1 / 0.9),
    Row("W1 save, durable", "rust", "W1", "save, durable", "cairn", 200, 165),
    Row("W1 load, verified", "rust", "W1", "load", "cairn", 65, 49),
    Row("W1 load, verified, numpy", "python", "W1", "load", "cairnfile", 75, 49, raw="rust:raw"),
    Row("W1 load, verified, torch", "python", "W1", "load", "cairnfile.torch", 75, 49, raw="rust:raw"),
    Row("W1 cold load", "rust", "W1", "load, cold", "cairn", 250, 217),
    Row("W1 map and touch, verified", "rust", "W1", "map and touch every byte", "cairn, verified", None, None, 1.3),
    Row("W1 map and touch, not verified", "rust", "W1", "map and touch every byte", "cairn, unverified", None, None, 1.05),
    Row("W1 open", "rust", "W1", "open", "cairn", 0.08, 0.04),
    Row("W1 open and list, Python", "python", "W1", "open", "cairnfile", 0.15, 0.04, raw="raw bytes"),
    Row("W1 one tensor of 7 MB", "rust", "W1", "one tensor of an open file", "cairn", None, None, 1.05),
    Row("W1 100 rows", "rust", "W1", "100 rows", "cairn", 0.2, 0.15),
    Row("W2 save 2.47 GB", "rust", "W2", "save", "cairn", 450, 382),
    Row("W2 load", "rust", "W2", "load", "cairn", 350, 241),
    Row("W3 save 100,000 tensors", "rust", "W3", "save", "cairn", 25, 10),
    Row("W3 save, numpy", "python", "W3", "save", "cairnfile", 100, 30, raw="raw bytes"),
    Row("W3 load", "rust", "W3", "load", "cairn", 15, 4),
    Row("W3 load, numpy", "python", "W3", "load", "cairnfile", 100, None),
    Row("W3 load, torch", "python", "W3", "load", "cairnfile.torch", 350, None),
    Row("W3 open, fully validated", "rust", "W3", "open", "cairn", 8, None),
    Row("W3 open and list all", "rust", "W3", "open", "cairn, all listed", 8, None),
    Row("10^6 tensors, open", "rust", "10^6", "open, by count", "cairn", 150, None),
    Row("W3 find and read one, from a cold start", "rust", "W3", "find and read one, from a cold start", "cairn", 8, None),
    Row("W3 one lookup after that", "rust", "W3", "a thousand lookups", "cairn", 0.001, None, per=1000),
    Row("W4 nested save 1.49 GB", "rust", "W4", "save", "cairn", 280, 232),
    Row("W4 nested load", "rust", "W4", "load", "cairn", 200, 146),
    Row("W5 save 4.3 GB", "rust", "W5", "save", "cairn", 900, 650),
    Row("W5 load", "rust", "W5", "load", "cairn", 600, 420),
    Row("Python over Rust, W1 save", "python", "W1", "save", "cairnfile", None, None, 1.05, raw="rust:cairn"),
    Row("Python over Rust, W1 load", "python", "W1", "load", "cairnfile", None, None, 1.05, raw="rust:cairn"),
    Row("Python over Rust, W4 save", "python", "W4", "save", "cairnfile", None, None, 1.2, raw="rust:cairn"),
    Row("Python over Rust, W4 load", "python", "W4", "load", "cairnfile", None, None, 1.2, raw="rust:cairn"),
    Row("compute into the file, 1 GB", "rust", "1 GB", "compute and save", "computed into the file", None, None, 1.0, raw="computed, then saved"),
    Row("convert 2.5 GB, as cp", "rust", "2.5 GB", "convert", "cairn convert --no-sync", None, None, 1 / 0.9, raw="cp"),
]


@dataclass
class Figure:
    """A row of bytes: what the figures of `row` say of one contestant, and the most that it may be."""

    title: str
    workload: str
    row: str
    value: Callable[[dict, str], float]
    target: Callable[[dict], float]


BEYOND, MEMORY = "bytes beyond the data, a tensor", "memory beyond the payload, bytes"


def _memory(workload: str, operation: str, target: Callable[[dict], float]) -> Figure:
    return Figure(f"{workload} memory beyond the payload, {operation}", workload, MEMORY, lambda f, name: f[name][operation], target)


FIGURES = [
    # The index is in the file twice: 64 bytes and its copy.
    Figure("W3 bytes a tensor beyond the data", "W3", BEYOND, lambda f, name: f[name], lambda f: 64 + f["index"] / 100_000),
    # 8 MiB a thread, of two.
    *(_memory(workload, operation, lambda f: 16 << 20) for workload in ("W1", "W3") for operation in ("save", "load")),
    *(_memory(workload, "open", lambda f: 2 * f["index"] + (64 << 10)) for workload in ("W1", "W3")),
]
