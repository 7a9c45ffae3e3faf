"""Copies a planned Cairn file with one bit flipped: `flip.py IN OUT header|index|middle`."""

import sys

source, target, place = sys.argv[1:]
with open(source, "rb") as file:
    data = bytearray(file.read())
data[{"header": 20, "index": 70, "middle": len(data) // 2}[place]] ^= 1
with open(target, "wb") as file:
    file.write(data)
