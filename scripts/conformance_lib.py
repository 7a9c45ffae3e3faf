"""What scripts/conformance and scripts/differential share: readers, their answers, and how two answers compare."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "vectors"
REFERENCE = "reference"
CLASSES = ("truncated", "malformed", "corrupt", "invalid", "unsupported", "limit")
ANSWER = ("open", "metadata", "root", "tensors", "verify")
TENSOR = ("dtype", "shape", "strides", "buffer", "offset", "read")
# Values nest up to 128 deep, two arrays each.
sys.setrecursionlimit(10_000)


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def build_example(name):
    """Builds an example with optimisation; returns its path."""
    manifest = str(ROOT / "Cargo.toml")
    subprocess.run(["cargo", "build", "--quiet", "--release", "--manifest-path", manifest, "--example", name], check=True)
    return target() / "release" / "examples" / name


def find_readers(commands):
    """Name and command of each reader: the given commands, or the reference codec and all under readers/."""
    if commands:
        return [(name_of(command), command.split()) for command in commands]
    runners = sorted(ROOT.glob("readers/*/runner"))
    return [(REFERENCE, [str(build_example("conformance_reader"))])] + [(runner.parent.name, [str(runner)]) for runner in runners]


def name_of(command):
    path = Path(command.split()[0])
    if command == REFERENCE or path.name == "conformance_reader":
        return REFERENCE
    return path.parent.name if path.name == "runner" else path.name


def resolve(readers):
    """The word `reference` stands for the reference codec's runner."""
    return [(name, [str(build_example("conformance_reader"))] if command == [REFERENCE] else command) for name, command in readers]


def ask(command, paths, chunk=400, timeout=900):
    """The reader's answer to each path, several paths a call. A string stands for a failure of the reader."""
    answers = []
    for start in range(0, len(paths), chunk):
        answers += ask_together(command, [str(path) for path in paths[start : start + chunk]], timeout)
    return answers


def ask_together(command, paths, timeout):
    if len(paths) == 1:
        return [ask_one(command, paths[0], timeout)[0]]
    try:
        done = subprocess.run([*command, *paths], capture_output=True, timeout=timeout)
        lines = done.stdout.decode("utf-8").splitlines()
        if done.returncode == 0 and len(lines) == len(paths):
            return [json.loads(line) for line in lines]
    except OSError as error:
        return [f"cannot be started: {error}"] * len(paths)
    except (subprocess.TimeoutExpired, ValueError):
        pass
    # It failed somewhere in the batch: narrow it down.
    middle = len(paths) // 2
    return ask_together(command, paths[:middle], timeout) + ask_together(command, paths[middle:], timeout)


def ask_one(command, path, timeout=120):
    """The reader's answer to one path, and its exit status."""
    try:
        done = subprocess.run([*command, str(path)], capture_output=True, timeout=timeout)
    except OSError as error:
        return f"cannot be started: {error}", None
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout} s", None
    if done.returncode not in (0, 1, 3):
        return f"exit status {done.returncode}: {done.stderr.decode('utf-8', 'replace')[-300:].strip()}", done.returncode
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    if len(lines) != 1:
        return f"{len(lines)} lines on standard output instead of one", done.returncode
    try:
        return json.loads(lines[0]), done.returncode
    except ValueError as error:
        return f"no JSON: {error}", done.returncode


def ask_all(readers, paths, **options):
    """The answers of all readers, by name; side by side."""
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        jobs = {name: pool.submit(ask, command, paths, **options) for name, command in readers}
        return {name: job.result() for name, job in jobs.items()}


def class_of(outcome):
    """`accept`, or the class."""
    return outcome["class"] if isinstance(outcome, dict) else outcome


def verdict(outcome):
    found = class_of(outcome)
    return found if found in ("accept", "unsupported") else "reject"


def last(answer):
    """The outcome for the whole file."""
    return answer["open"] if answer["open"] != "accept" else answer["verify"]


def status_of(answer):
    return {"accept": 0, "reject": 1, "unsupported": 3}[verdict(last(answer))]


def bad_outcome(outcome):
    if outcome == "accept":
        return None
    if not isinstance(outcome, dict) or set(outcome) != {"class", "code"}:
        return f"{outcome!r} is no outcome"
    if outcome["class"] not in CLASSES or not isinstance(outcome["code"], str):
        return f"{outcome!r} has no class of SPEC.md §15"
    return None


def bad_form(answer):
    """Why the answer does not have the form of vectors/README.md; None if it does."""
    if isinstance(answer, str):
        return answer
    if not isinstance(answer, dict) or "open" not in answer:
        return "the answer is no object with `open`"
    expected = set(ANSWER) if answer["open"] == "accept" else {"open"}
    if set(answer) != expected:
        return f"the answer has the keys {sorted(answer)} instead of {sorted(expected)}"
    outcomes = [answer["open"]]
    if answer["open"] == "accept":
        outcomes.append(answer["verify"])
        if not isinstance(answer["tensors"], list):
            return "`tensors` is no array"
        for tensor in answer["tensors"]:
            keys = set(TENSOR) | ({"sha256"} if tensor.get("read") == "accept" else set())
            if set(tensor) != keys:
                return f"a tensor has the keys {sorted(tensor)} instead of {sorted(keys)}"
            outcomes.append(tensor["read"])
    return next(filter(None, map(bad_outcome, outcomes)), None)


def plain(answer):
    """The answer without codes, which are each reader's own."""
    if not isinstance(answer, dict):
        return answer
    out = {**answer, "open": class_of(answer["open"])}
    if "verify" in out:
        out["verify"] = class_of(out["verify"])
        out["tensors"] = [{**tensor, "read": class_of(tensor["read"])} for tensor in out["tensors"]]
    return out


def allow_gaps(mine, other):
    """`mine` with what SPEC.md §8.2 leaves open: whether a strided tensor is refused for a bad block in its gaps."""
    tensors, there = mine.get("tensors", []), other.get("tensors", [])
    if len(tensors) != len(there):
        return mine
    outcome = ("read", "sha256")
    tensors = [
        {**{key: a[key] for key in a if key not in outcome}, **{key: b[key] for key in b if key in outcome}}
        if a["strides"] and {a["read"], b["read"]} == {"accept", "corrupt"}
        else a
        for a, b in zip(tensors, there)
    ]
    return {**mine, "tensors": tensors} if tensors else mine


def differs(mine, other):
    """The first thing in which two well-formed answers without codes differ."""
    mine = allow_gaps(mine, other)
    for key in ANSWER:
        # As text, since to Python 1, 1.0 and true are equal.
        if json.dumps(mine.get(key), sort_keys=True) != json.dumps(other.get(key), sort_keys=True):
            if key == "tensors" and len(mine.get(key) or []) == len(other.get(key) or []):
                for number, (a, b) in enumerate(zip(mine[key], other[key])):
                    for field in (*TENSOR, "sha256"):
                        if a.get(field) != b.get(field):
                            return f"tensor {number}: {field} is {short(a.get(field))} instead of {short(b.get(field))}"
            return f"{key} is {short(mine.get(key))} instead of {short(other.get(key))}"
    return None


def short(value):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 100 else text[:97] + "..."


def schema_faults(value, schema, root, where="manifest"):
    """The faults of a value against the part of JSON Schema that manifest.schema.json uses."""
    known = {"$schema", "title", "$defs", "$ref", "const", "enum", "anyOf", "type", "additionalProperties", "required", "properties",
             "minItems", "items", "minimum", "pattern"}
    if set(schema) - known:
        return [f"{where}: the schema uses {sorted(set(schema) - known)}, which this check does not know"]
    if "$ref" in schema:
        return schema_faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    if "anyOf" in schema:
        results = [schema_faults(value, option, root, where) for option in schema["anyOf"]]
        return [] if [] in results else results[-1]
    if ("const" in schema and value != schema["const"]) or ("enum" in schema and value not in schema["enum"]):
        return [f"{where}: {short(value)} is not allowed"]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    wanted = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if wanted and type(value) not in [kinds[kind] for kind in wanted]:
        return [f"{where}: {short(value)} is no {' or '.join(wanted)}"]
    faults = []
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        faults += [f"{where}: {key} is missing" for key in schema.get("required", []) if key not in value]
        if schema.get("additionalProperties") is False:
            faults += [f"{where}: {key} is unknown" for key in value if key not in properties]
        for key in value.keys() & properties.keys():
            faults += schema_faults(value[key], properties[key], root, f"{where}.{key}")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            faults.append(f"{where}: too few items")
        for number, item in enumerate(value):
            faults += schema_faults(item, schema.get("items", {}), root, f"{where}[{number}]")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        faults.append(f"{where}: {short(value)} does not match {schema['pattern']}")
    if isinstance(value, int) and value < schema.get("minimum", value):
        faults.append(f"{where}: {value} is below {schema['minimum']}")
    return faults
