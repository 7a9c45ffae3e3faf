"""python3 parity.py DAMAGED HEALED: computes damaged tensor data from a file's parity (SPEC.md §14.1).

Written from the text alone, for exactness and not for speed: some hundred kilobytes a second. Header, index and trailer must be intact.
Exit status: 0 healed or nothing to do, 1 more is damaged than parity can compute or there is none, 2 for anything else.
"""
from __future__ import annotations

import struct
import sys
import zlib
from typing import Iterator, Optional

import cairn_reader

TAG, POLYNOMIAL = 2, 0x1002D
SMALLEST, MOST = 512, 32768


class NoParity(Exception):
    """The file has no parity, or none of use, or not enough of it."""


def _field() -> tuple[list[int], list[int]]:
    """Powers of x, twice around, and logarithms to that base."""
    exp, log, power = [0] * 131070, [0] * 65536, 1
    for i in range(65535):
        exp[i] = exp[i + 65535] = power
        log[power] = i
        power <<= 1
        if power >> 16:
            power ^= POLYNOMIAL
    return exp, log


EXP, LOG = _field()


def mul(a: int, b: int) -> int:
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def div(a: int, b: int) -> int:
    return EXP[LOG[a] + 65535 - LOG[b]] if a else 0


def _basis() -> list[int]:
    basis = [1]
    while len(basis) < 16:
        basis.append(next(b for b in range(0, 65536, 2) if mul(b, b) ^ b == basis[-1]))
    return basis


def _elements() -> list[int]:
    """The element that each symbol stands for."""
    elements = [0]
    for beta in _basis():
        elements += [beta ^ e for e in elements]
    return elements


ELEMENT = _elements()
SYMBOL = [0] * 65536
for _symbol, _element in enumerate(ELEMENT):
    SYMBOL[_element] = _symbol


def coefficient(m: int, i: int, j: int) -> int:
    """What shard i is multiplied with in parity shard j of m."""
    r = (m - 1).bit_length()
    return div(ELEMENT[((1 << r) + i) >> r], ELEMENT[((1 << r) + i) ^ j])


def symbols(shard: bytes) -> list[int]:
    return [shard[at + j] | shard[at + j + 32] << 8 for at in range(0, len(shard), 64) for j in range(32)]


def shard_of(symbols: list[int]) -> bytes:
    out = bytearray()
    for at in range(0, len(symbols), 32):
        piece = symbols[at:at + 32]
        out += bytes(s & 255 for s in piece) + bytes(s >> 8 for s in piece)
    return bytes(out)


def inverse(matrix: list[list[int]]) -> list[list[int]]:
    """By elimination; every square part of the code's matrix has one."""
    n = len(matrix)
    rows = [row + [int(i == j) for j in range(n)] for i, row in enumerate(matrix)]
    for i in range(n):
        pivot = next(r for r in range(i, n) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [div(x, rows[i][i]) for x in rows[i]]
        for r in range(n):
            if r != i and rows[r][i]:
                factor = rows[r][i]
                rows[r] = [x ^ mul(factor, y) for x, y in zip(rows[r], rows[i])]
    return [row[n:] for row in rows]


class Parity:
    """The shards of a file in memory. `damaged` and `damaged_parity` list those that have not their checksum."""

    def __init__(self, data: bytes) -> None:
        file = cairn_reader.loads(bytes(data))
        head, buffers = file._head, file._buffers
        own = [b for b in buffers if b.kind == 1 and b.owner == TAG]
        payload = self._payload(data[head.index_offset:head.index_offset + head.index_length])
        if payload is None:
            raise NoParity("the file has no parity")
        self._ranges = [(b.start, b.end) for b in buffers if b.kind != 1]
        length = sum(end - start for start, end in self._ranges)
        self.size = SMALLEST
        while -(-length // self.size) > MOST:
            self.size *= 2
        self.k = -(-length // self.size)
        if len(own) != 1:
            raise NoParity("parity has not one buffer")
        self._at, total = own[0].start, own[0].end - own[0].start
        self.m = total // self.size
        if total % self.size or not 1 <= self.m <= self.k or len(payload) != 4 * (self.k + self.m):
            raise NoParity("parity does not fit the data")
        crcs = struct.unpack(f"<{self.k + self.m}I", payload)
        protected = b"".join(data[start:end] for start, end in self._ranges).ljust(self.k * self.size, b"\0")
        self.shards = [protected[i * self.size:(i + 1) * self.size] for i in range(self.k)]
        self.parity = [bytes(data[self._at + j * self.size:self._at + (j + 1) * self.size]) for j in range(self.m)]
        self._crcs, self._length = crcs, length
        self.damaged = [i for i, s in enumerate(self.shards) if zlib.crc32(s) != crcs[i]]
        self.damaged_parity = [j for j, s in enumerate(self.parity) if zlib.crc32(s) != crcs[self.k + j]]

    @staticmethod
    def _payload(index: bytes) -> Optional[bytes]:
        (count,), at = struct.unpack_from("<I", index), 4
        for _ in range(count):
            tag, n = struct.unpack_from("<II", index, at)
            if tag == TAG:
                return index[at + 8:at + 8 + n]
            at += 8 + n + -n % 8
        return None

    def _row(self, j: int, without: list[int]) -> list[int]:
        """The elements of parity shard j, less what the shards that are not in `without` give."""
        row = [ELEMENT[s] for s in symbols(self.parity[j])] if without else [0] * (self.size // 2)
        for i in range(self.k):
            if i not in without:
                factor = coefficient(self.m, i, j)
                row = [x ^ mul(factor, ELEMENT[s]) for x, s in zip(row, symbols(self.shards[i]))]
        return row

    def heal(self) -> None:
        """Computes all damaged shards; NoParity if there are too many."""
        lost = self.damaged
        good = [j for j in range(self.m) if j not in self.damaged_parity][:len(lost)]
        if len(lost) + len(self.damaged_parity) > self.m:
            raise NoParity(f"{len(lost) + len(self.damaged_parity)} shards are damaged, parity can compute {self.m}")
        if lost:
            matrix = inverse([[coefficient(self.m, i, j) for i in lost] for j in good])
            rows = [self._row(j, lost) for j in good]
            for i, factors in zip(lost, matrix):
                total = [0] * (self.size // 2)
                for factor, row in zip(factors, rows):
                    total = [x ^ mul(factor, y) for x, y in zip(total, row)]
                self._put(self.shards, i, total, self._crcs[i])
        for j in self.damaged_parity:
            self._put(self.parity, j, self._row(j, []), self._crcs[self.k + j])
        self.damaged, self.damaged_parity = [], []

    def _put(self, shards: list[bytes], number: int, elements: list[int], crc: int) -> None:
        shard = shard_of([SYMBOL[e] for e in elements])
        if zlib.crc32(shard) != crc:
            raise NoParity("a computed shard has not its checksum: parity is not of this data")
        shards[number] = shard

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """The bytes of all buffers, as (offset in the file, bytes)."""
        protected, at = b"".join(self.shards)[:self._length], 0
        for start, end in self._ranges:
            yield start, protected[at:at + end - start]
            at += end - start
        yield self._at, b"".join(self.parity)


def healed(data: bytes) -> bytes:
    """The file `data` with its damaged shards computed, verified."""
    parity, out = Parity(data), bytearray(data)
    parity.heal()
    for at, piece in parity.pieces():
        out[at:at + len(piece)] = piece
    cairn_reader.loads(bytes(out)).verify()
    return bytes(out)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(arguments[0], "rb") as file:
            out = healed(file.read())
        with open(arguments[1], "wb") as file:
            file.write(out)
    except NoParity as why:
        print(f"{arguments[0]}: {why}", file=sys.stderr)
        return 1
    except (OSError, cairn_reader.CairnError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
