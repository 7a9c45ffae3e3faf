#!/usr/bin/env python3
"""benches/results.json → benches/RESULTS.md and docs/plots/*.png. `benches/run --render` runs it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import plots
from targets import FIGURES, MEMORY, ROWS, Row

ROOT = Path(__file__).resolve().parent.parent
NOTES = ROOT / "benches" / "notes.md"


class Results:
    """What was measured, by workload and row."""

    def __init__(self, results: dict):
        self.machine, self.parts = results["machine"], results["parts"]
        self.dates = sorted({part["date"] for part in self.parts.values()})
        self.rust: dict[tuple[str, str], dict] = {}
        for name, part in self.parts.items():
            if not name.startswith("python:"):
                for line in part["found"]:
                    self.rust[line["workload"], line["row"]] = line
        self.python: dict[str, dict] = {name.partition(":")[2]: part["found"] for name, part in self.parts.items() if name.startswith("python:")}
        for environment, found in self.python.pop("count", {}).items():
            versions = found.pop("versions")
            for workload, one in found.items():
                self.python.setdefault(workload, {})[environment] = {**one, "versions": versions}

    def times(self, side: str, workload: str, row: str) -> dict[str, list[float]]:
        """Seconds of each contestant."""
        if side == "rust":
            return self.rust.get((workload, row), {}).get("seconds", {})
        found = {}
        for environment in self.python.get(workload, {}).values():
            for name, operations in environment["seconds"].items():
                if row in operations:
                    found.setdefault(name, operations[row])
        return found

    def figures(self, workload: str, row: str) -> dict:
        return self.rust.get((workload, row), {}).get("figures", {})

    def versions(self) -> dict[str, str]:
        found = {}
        for workload in self.python.values():
            for environment in workload.values():
                found = {**environment["versions"], **found}
        return found


def milliseconds(seconds: float) -> str:
    ms = seconds * 1000
    if ms < 0.01:
        return f"{ms * 1e6:.0f} ns"
    return f"{ms / 1000:.2f} s" if ms >= 10_000 else f"{ms:.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def cell(seconds: list[float] | None, raw: list[float] | None = None) -> str:
    if not seconds:
        return "–"
    text = milliseconds(median(seconds))
    if len(seconds) > 1:
        text += f" ({milliseconds(min(seconds)).removesuffix(' ms').removesuffix(' s')}..{milliseconds(max(seconds))})"
    else:
        text += " (1)"
    return text + (f" ×{ratio(seconds, raw):.2f}" if raw else "")


def ratio(seconds: list[float], raw: list[float]) -> float:
    """The median over the turns; of the medians where the turns were not the same."""
    if len(seconds) == len(raw):
        return median(a / b for a, b in zip(seconds, raw))
    return median(seconds) / median(raw)


def is_peer(name: str) -> bool:
    return not name.startswith(("raw", "cairn", "O_DIRECT", "cp", "computed"))


def best_peer(results: Results, row: Row) -> tuple[str, float] | None:
    """The fastest format beside Cairn, in the same language."""
    times = results.times(row.side, row.workload, row.row)
    peers = [(median(seconds), name) for name, seconds in times.items() if is_peer(name) and "mmap" not in name]
    return (min(peers)[1], min(peers)[0]) if peers else None


def verdict(row: Row, took: float, against: float | None) -> tuple[str, bool]:
    """What the target was, and whether it is met."""
    parts = [f"≤ {milliseconds(row.target / 1000)}"] if row.target else []
    allowed = row.ratio or (row.target / row.limit if row.target and row.limit else None)
    if allowed:
        parts.append(f"× {allowed:.2f}")
    met = bool(row.target and took * 1000 <= row.target) or bool(allowed and against and against <= allowed)
    return " or ".join(parts), met


def targets(results: Results, reasons: dict[str, str]) -> str:
    lines = ["| row | limit | best peer | Cairn | ÷ limit | ÷ best peer | target | |", "|---|--:|--:|--:|--:|--:|--:|---|"]
    notes = []
    for row in ROWS:
        times = results.times(row.side, row.workload, row.row)
        if row.cairn not in times:
            lines.append(f"| {row.title} | – | – | not measured | – | – | – | |")
            continue
        took = [seconds / row.per for seconds in times[row.cairn]]
        side, name = ("rust", row.raw[5:]) if row.raw.startswith("rust:") else (row.side, row.raw)
        raw = results.times(side, row.workload, row.row).get(name)
        against = ratio(took, raw) if raw and raw is not times[row.cairn] else None
        peer = best_peer(results, row)
        text, met = verdict(row, median(took), against)
        mark = marked(row.title, met, reasons, notes)
        lines.append(
            f"| {row.title} | {cell(raw)} | {f'{milliseconds(peer[1])} {peer[0]}' if peer else '–'} | {cell(took)} "
            f"| {f'{against:.2f}' if against else '–'} | {f'{median(took) / peer[1]:.2f}' if peer else '–'} | {text} | {mark} |"
        )
    lines += figures(results, reasons, notes)
    return "\n".join(lines) + ("\n\nWhat was not met, and why:\n\n" + "\n".join(notes) if notes else "")


def marked(title: str, met: bool, reasons: dict[str, str], notes: list[str]) -> str:
    """Whether a row is met; if not, with the number of its reason, which is added to the notes."""
    if met:
        return "met"
    if title not in reasons:
        return "**not met**"
    notes.append(f"{len(notes) + 1}. **{title}**: {reasons[title]}")
    return f"**not met** ({len(notes)})"


def figures(results: Results, reasons: dict[str, str], notes: list[str]) -> list[str]:
    """The rows that are bytes."""
    lines = []
    for row in FIGURES:
        found = {**results.figures(row.workload, MEMORY), **results.figures(row.workload, row.row)}
        if len(found) < 3:
            lines.append(f"| {row.title} | – | – | not measured | – | – | – | |")
            continue
        cairn, peer, target = row.value(found, "cairn"), row.value(found, "safetensors"), row.target(found)
        cells = [row.title, "0", f"{figure(peer)} safetensors", figure(cairn), "–", f"{cairn / peer:.2f}" if peer > 0 else "–", f"≤ {target:,.0f}"]
        lines.append(f"| {' | '.join(cells)} | {marked(row.title, cairn <= target, reasons, notes)} |")
    return lines


def rust_tables(results: Results) -> str:
    out = []
    for (workload, row), line in results.rust.items():
        if "seconds" in line:
            raw = line["seconds"][line["reference"]]
            cells = [f"{name}: {cell(seconds, raw if name != line['reference'] else None)}" for name, seconds in line["seconds"].items()]
            out.append(f"| {workload} | {row} | " + "; ".join(cells) + " |")
        else:
            out.append(f"| {workload} | {row} | " + "; ".join(f"{name}: {figure(value)}" for name, value in line["figures"].items()) + " |")
    return "\n".join(["| workload | row | median (range) × of the first |", "|---|---|---|", *out])


def figure(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {figure(inner)}" for name, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"


OPERATIONS = ("save", "durable", "load", "cold", "touch", "open", "one", "rows")


def python_tables(results: Results) -> str:
    out = []
    for workload, environments in results.python.items():
        if workload.startswith("10^"):
            continue
        out.append(f"\n### {workload}, {next(iter(environments.values()))['payload'] / 1e6:,.0f} MB\n")
        shown = [op for op in OPERATIONS if any(op in ops for env in environments.values() for ops in env["seconds"].values())]
        out.append("| | " + " | ".join(shown) + " | MB beyond the payload: save / load |\n|---|" + "--:|" * (len(shown) + 1))
        for environment, found in environments.items():
            raw = found["seconds"]["raw bytes"]
            for name, operations in found["seconds"].items():
                if environment != "python" and name.startswith("raw"):
                    continue
                why = found.get("left_out", {}).get(name, {})
                cells = [why[op] if op in why else cell(operations.get(op), raw.get(op) if name != "raw bytes" else None) for op in shown]
                peak = found["memory"].get(name)
                beyond = f"{peak['save'] / 1e6:.0f} / {(peak['load'] - found['payload']) / 1e6:.0f}" if peak else "–"
                out.append(f"| {name} | " + " | ".join(cells) + f" | {beyond} |")
            out += [f"| {name} | left out: {why[op]} |" for name, why in found.get("left_out", {}).items() for op in ("all", "save") if op in why]
    return "\n".join(out) + counts(results)


def counts(results: Results) -> str:
    """Opening by the number of tensors: a line a format."""
    sizes = [workload for workload in results.python if workload.startswith("10^")]
    times = {workload: results.times("python", workload, "open") for workload in sizes}
    names = dict.fromkeys(name for found in times.values() for name in found)
    lines = [f"| {name} | " + " | ".join(cell(times[workload].get(name)) for workload in sizes) + " |" for name in names]
    heading = "\n\n### open until all names, dtypes and shapes are known, by the number of tensors\n\n"
    return heading + "\n".join(["| | " + " | ".join(sizes) + " |", "|---|" + "--:|" * len(sizes), *lines]) if sizes else ""


def reasons() -> tuple[str, dict[str, str]]:
    """The hand-written text, and why rows are not met: lines `- row: why` behind the heading `## Reasons`."""
    text, _, tail = NOTES.read_text().partition("## Reasons\n")
    found = dict(line[2:].split(": ", 1) for line in tail.splitlines() if line.startswith("- "))
    return text, found


def main() -> None:
    results = Results(json.loads((ROOT / "benches" / "results.json").read_text()))
    text, why = reasons()
    machine, versions = results.machine, results.versions()
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    page = f"""# Results

Measured by `benches/run` ({", ".join(results.dates)}) on {machine["processors"]}, {machine["memory"]}, {machine["system"]}, ext4; Rust {machine["rust"]}, {listed}.

Times are medians with their range and compare within a row: contestants took turns, and memory was touched and freed before
each turn. Ratios (×) are medians over the turns, to the bare system calls that move the same bytes. Cairn checks a CRC-32 of
every byte that it saves and loads; of the others only `np.savez` and TensorBundle check any. (1): one turn only, since it took long.

## What was promised, and what is

"Not measured" means that `benches/run` has not run that part on an idle machine yet. W1 is GPT-2's 148 tensors in f32; W2 a model of a billion parameters in 2 bytes; W3 100,000 tensors of 64 f32; W4 a training state (W1 and
its two moments); W5 one tensor. The limit is the bare calls: fallocate and write (save), two threads reading into huge pages (load), a plain
mapping (map), open and a read of 64 KiB (open), pread (one, rows). The best peer is the fastest in the same language.

{targets(results, why)}

{text}
## Rust: every row

{rust_tables(results)}

## Python: every contestant

`save` ends in the page cache, `durable` on the disk; a load has every tensor in memory of its own, but for those called mmap; `cold` is a load
of a file that the page cache was told to forget; `touch` maps and reads every byte; `one` and `rows` open the file, and read one tensor or
100 rows of one. What took longer than its limit was ended.
{python_tables(results)}
"""
    (ROOT / "benches" / "RESULTS.md").write_text(page)
    plots.draw(results, ROOT / "docs" / "plots")


if __name__ == "__main__":
    main()
