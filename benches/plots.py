"""The plots of the README, from what `benches/run` measured."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

CAIRN, PEER, LIMIT = "#c2410c", "#64748b", "#0f766e"


def _figure(width: float = 7.2, height: float = 3.6, columns: int = 1):
    figure, axes = plt.subplots(1, columns, figsize=(width, height), dpi=110, layout="constrained")
    for axis in [axes] if columns == 1 else axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, which="major", color="#e2e8f0", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # White behind: legible on a dark page too.
    figure.savefig(path, facecolor="white", metadata={"Software": None})
    plt.close(figure)


def peers(results, folder: Path) -> None:
    """Bars of W1 beside the bare calls."""
    figure, axes = _figure(9.6, 4.6, 2)
    for axis, operation in zip(axes, ("save", "load")):
        times = {n: 1000 * median(s) for n, s in results.times("python", "W1", operation).items() if "fsync" not in n and "durable" not in n}
        times = {name: ms for name, ms in times.items() if operation == "load" or "mmap" not in name}
        limit = 1000 * median(results.times("rust", "W1", operation)["raw"])
        if not times:
            raise KeyError("python:W1")
        names = sorted((name for name in times if not name.startswith("raw")), key=times.__getitem__, reverse=True)
        values = [times[name] for name in names]
        bars = axis.barh(names, values, color=[CAIRN if name.startswith("cairn") else PEER for name in names], height=0.7)
        axis.bar_label(bars, [f"{ms:.0f}" for ms in values], padding=3, fontsize=8)
        axis.axvline(limit, color=LIMIT, linewidth=1.5)
        axis.set_title(f"{operation}: 498 MB, ms; line: the machine's limit, {limit:.0f}", fontsize=10)
        axis.tick_params(labelsize=8)
        axis.set_xlim(0, max(values) * 1.12)
    _save(figure, folder / "peers.png")


def _lines(axis, xs, series, styles) -> None:
    for (name, ys), (color, marker) in zip(series.items(), styles):
        axis.plot(xs, ys, color=color, marker=marker, markersize=4, linewidth=1.6, label=name)
    axis.legend(frameon=False, fontsize=8)


def count(results, folder: Path) -> None:
    """Opening against the number of tensors."""
    figure, axis = _figure()
    found = {10**n: results.times("rust", f"10^{n}", "open, by count") for n in range(2, 7)}
    xs = [n for n, times in found.items() if times]
    names = {"cairn": "Cairn, every rule checked", "safetensors": "safetensors (Rust)"}
    _lines(axis, xs, {label: [1000 * median(found[n][name]) for n in xs] for name, label in names.items()}, [(CAIRN, "o"), (PEER, "s")])
    axis.set(xscale="log", yscale="log", xlabel="tensors in the file", ylabel="open, ms")
    _save(figure, folder / "count.png")


def size(results, folder: Path) -> None:
    """Saving and loading against bytes."""
    figure, axes = _figure(9.6, 3.6, 2)
    for axis, operation in zip(axes, ("save", "load")):
        sizes = [1, 4, 16, 64, 256, 1000, 4000, 8000]
        found = {mb: results.times("rust", f"{mb} MB", f"{operation}, by size") for mb in sizes}
        xs = [mb for mb, times in found.items() if times]
        if not xs:
            raise KeyError("rust:bytes")
        names = {"cairn": "Cairn", "raw": "bare system calls"}
        rates = {label: [mb / 1000 / median(found[mb][name]) for mb in xs] for name, label in names.items()}
        _lines(axis, xs, rates, [(CAIRN, "o"), (LIMIT, "^")])
        axis.set(xscale="log", xlabel="size, MB", ylabel="GB/s", title=operation)
        axis.set_ylim(0)
    _save(figure, folder / "bytes.png")


def threads(results, folder: Path) -> None:
    """Saving and loading with one thread and with two."""
    figure, axes = _figure(7.2, 3.2, 2)
    for axis, operation in zip(axes, ("save", "load")):
        labels = ["1 thread", "2 threads"]
        found = [results.times("rust", label, f"{operation}, by threads") for label in labels]
        for offset, (name, label, color) in zip((-0.2, 0.2), (("cairn", "Cairn", CAIRN), ("raw", "bare system calls", LIMIT))):
            bars = axis.bar([i + offset for i in range(2)], [1000 * median(times[name]) for times in found], 0.38, color=color, label=label)
            axis.bar_label(bars, fmt="%.0f", fontsize=8)
        axis.set_xticks(range(2), labels)
        axis.set(ylabel="ms", title=f"{operation}, 498 MB")
        axis.legend(frameon=False, fontsize=8)
        axis.set_ylim(0, axis.get_ylim()[1] * 1.25)
    _save(figure, folder / "threads.png")


def draw(results, folder: Path) -> None:
    """Draws what was measured."""
    for plot in (peers, count, size, threads):
        try:
            plot(results, folder)
        except KeyError as missing:
            print(f"left out: the plot of {plot.__name__}: {missing} was not measured")
