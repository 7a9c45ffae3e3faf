"""Exits 0 if two safetensors files have the same metadata and, name by name, the same dtype, shape and bytes."""

import json
import mmap
import sys


def read(path):
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    metadata = header.pop("__metadata__", {})
    return metadata, header, data[8 + length :]


def main(a, b):
    (meta_a, header_a, data_a), (meta_b, header_b, data_b) = read(a), read(b)
    if meta_a != meta_b:
        sys.exit(f"metadata differs: {meta_a} and {meta_b}")
    if header_a.keys() != header_b.keys():
        sys.exit(f"names differ: {sorted(header_a.keys() ^ header_b.keys())}")
    for name, entry in header_a.items():
        other = header_b[name]
        if (entry["dtype"], entry["shape"]) != (other["dtype"], other["shape"]):
            sys.exit(f"{name}: {entry} and {other}")
        (start, end), (other_start, other_end) = entry["data_offsets"], other["data_offsets"]
        if data_a[start:end] != data_b[other_start:other_end]:
            sys.exit(f"{name}: the bytes differ")
    print(f"same: {len(header_a)} tensors, {len(meta_a)} metadata entries")


main(*sys.argv[1:])
