#!/usr/bin/env python3
"""Runs the parser that cairn.ksy compiles to over vectors/: accepted files must agree with their answers, refused ones must end, and the codes
that the layout alone refuses must be those of refused.txt. `--print` prints that list. Started by ./check."""
import collections
import hashlib
import itertools
import json
import pathlib
import re
import signal
import sys
from io import BytesIO

import cairn
from kaitaistruct import KaitaiStream, KaitaiStructError

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent.parent / "vectors"
SECONDS = 20
PARSE_ERRORS = (KaitaiStructError, EOFError, UnicodeDecodeError)
NONE, SOME, ALL = "none", "some", "all"

# 128 levels of a dict take 8 calls each.
sys.setrecursionlimit(3000)
if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)


class Stuck(Exception):
    pass


def stop(_signal, _frame):
    raise Stuck


def parse(data):
    """The whole file with everything that is read on demand."""
    file = cairn.Cairn(KaitaiStream(BytesIO(data)))
    file._fetch_instances()
    return file


def refused(data):
    """Whether the parser refuses; anything but a parse error or a parse is a crash and goes on up."""
    try:
        parse(data)
    except PARSE_ERRORS:
        return True
    return False


def value(v):
    tag, body = v.tag.name, getattr(v, "body", None)
    if tag in ("null", "false", "true"):
        return ["null"] if tag == "null" else ["bool", tag == "true"]
    if tag == "int":
        return ["int", str(body.number)]
    if tag == "big_int":
        return ["int", str(int.from_bytes(body.octets, "little", signed=True))]
    if tag == "float":
        return ["float", bits(body.value)]
    if tag == "complex":
        return ["complex", bits(body.real), bits(body.imaginary)]
    if tag == "str":
        return ["str", body.text]
    if tag == "bytes":
        return ["bytes", body.octets.hex()]
    if tag in ("list", "tuple"):
        return [tag, [value(item) for item in body.items.values]]
    if tag == "dict":
        return dictionary(body)
    if tag == "named":
        return ["named", body.name.text, value(body.value)]
    return ["tensor", body.number]


def bits(binary64):
    return f"{binary64.bits:016x}"


def dictionary(body):
    return ["dict", [[key(pair.key), value(pair.value)] for pair in body.items.pairs]]


def key(k):
    if k.tag.name == "int":
        return ["int", str(k.number)]
    return ["str", k.text] if k.tag.name == "str" else ["bytes", k.octets.hex()]


def row_major(t):
    """The elements' bytes in row-major order."""
    if t.is_empty:
        return b""
    if not t.has_strides:
        return t.data
    width = t.dtype.len_group
    steps = [range(0, axis.extent * max(s.stride, 1), max(s.stride, 1)) for axis, s in zip(t.axes, t.strides)]
    places = (sum(place) * width for place in itertools.product(*steps))
    return b"".join(t.data[at:at + width] for at in places)


def tensor(t):
    answer = {
        "dtype": t.dtype.name.text,
        "shape": [str(axis.extent) for axis in t.axes],
        "strides": [str(s.stride) for s in t.strides] if t.has_strides else None,
        "buffer": str(t.buffer_number) if t.has_buffer else None,
        "offset": str(t.offset),
    }
    if t.has_bytes or t.is_empty:
        answer["sha256"] = hashlib.sha256(row_major(t)).hexdigest()
    return answer


def decode(file):
    return {
        "metadata": dictionary(file.index.metadata.body),
        "root": value(file.index.root),
        "tensors": [tensor(t) for t in file.index.tensors],
    }


def expected(answer):
    tensors = [{k: v for k, v in t.items() if k != "read"} for t in answer["tensors"]]
    return {"metadata": answer["metadata"], "root": answer["root"], "tensors": tensors}


def places(file):
    """Where each buffer begins, by SPEC.md 5.2 and not by the derivation in cairn.ksy."""
    end = 64 if file.header.is_streamed else 64 + file.header.len_index
    for buffer in file.index.buffers:
        unit = 4096 if buffer.len >= 65536 else 64
        start = -(-end // unit) * unit
        yield start
        end = start + buffer.len


def explained(path):
    """Where each buffer begins by the vector's dump, if that lists all of them."""
    dump = path.with_suffix(".dump")
    text = dump.read_text() if dump.exists() else ""
    return [int(at) for at in re.findall(r"^.*  buffer \d+: \d+ bytes?, at byte (\d+)$", text, re.M)]


def place_faults(file, data, path):
    derived = [buffer.ofs for buffer in file.index.buffers]
    listed = explained(path)
    if derived != list(places(file)):
        yield "places of buffers"
    if len(listed) == len(derived) and listed != derived:
        yield "places of buffers by the dump"
    for region, buffer in zip(file.regions, file.index.buffers):
        if region.data != data[buffer.ofs:buffer.ofs + buffer.len]:
            yield "bytes of a buffer"


def faults(path, answer):
    """What is other than in the right answer of an accepted file; one without an answer must parse and have its parts in place."""
    data = path.read_bytes()
    try:
        file = parse(data)
    except PARSE_ERRORS as error:
        return [f"refused: {error}"]
    got, want = decode(file), expected(answer) if answer else {}
    return [name for name in want if got[name] != want[name]] + list(place_faults(file, data, path))


def right_answer(vector):
    decoded = vector.get("decoded")
    return json.loads((VECTORS / decoded).read_text()) if decoded else None


def check_accepted(vectors):
    agree = 0
    for vector in vectors:
        found = within_time(faults, VECTORS / vector["file"], right_answer(vector))
        agree += not found
        for fault in found:
            print(f"{vector['id']}: {fault}")
    return agree


def within_time(function, *arguments):
    signal.alarm(SECONDS)
    try:
        return function(*arguments)
    finally:
        signal.alarm(0)


def outcome(vector):
    return vector["open"] if vector["open"] != "accept" else vector["verify"]


def share(flags):
    return ALL if all(flags) else SOME if any(flags) else NONE


def by(kind, verdicts):
    groups = collections.defaultdict(list)
    for vector, verdict in verdicts:
        groups[outcome(vector)[kind]].append(verdict)
    return dict(sorted(groups.items()))


def check_codes(shares):
    """Compares what the layout refuses of each code with refused.txt."""
    lines = (line.split() for line in (HERE / "refused.txt").read_text().splitlines() if not line.startswith("#"))
    listed = dict(line for line in lines if line)
    differences = 0
    for code in sorted(shares.keys() | listed.keys()):
        want, got = listed.get(code, NONE), shares.get(code, "no vector")
        if want != got:
            differences += 1
            print(f"{code}: {got} of its vectors refused, refused.txt says {want}")
    return differences == 0


def main(arguments):
    signal.signal(signal.SIGALRM, stop)
    vectors = json.loads((VECTORS / "manifest.json").read_text())["vectors"]
    accepted = [v for v in vectors if "decoded" in v]
    others = [v for v in vectors if v["expect"] != "accept"]
    verdicts = [(v, within_time(refused, (VECTORS / v["file"]).read_bytes())) for v in others]
    shares = {code: share(flags) for code, flags in by("code", verdicts).items()}
    if arguments == ["--print"]:
        print("\n".join(f"{code} {part}" for code, part in shares.items() if part != NONE))
        return 0
    agree = check_accepted(accepted)
    total = sum(verdict for _, verdict in verdicts)
    print(f"{agree} of {len(accepted)} accepted files agree; of {len(others)} refused files the layout alone refuses {total}")
    for name, flags in by("class", verdicts).items():
        print(f"  {name}: {sum(flags)} of {len(flags)}")
    dumps = sum(bool(explained(VECTORS / v["file"])) for v in accepted)
    print(f"places of buffers also held against {dumps} dumps")
    return 0 if check_codes(shares) and agree == len(accepted) and dumps and others else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
