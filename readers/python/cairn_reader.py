"""A reader and verifier of Cairn files, written from SPEC.md alone.

    import cairn_reader
    with cairn_reader.open("model.cairn") as f:
        f["/encoder/weight"].numpy()    # one tensor, its blocks checked first
        f.root, f.metadata              # the two trees as Python values
        f.verify()                      # every byte of the file

One file, standard library only, Python 3.9 or newer; NumPy is used where it is installed and a caller asks for an array.
The sections follow SPEC.md, and the numbers in comments (§) are its sections.

Contract about changing files: a file opened by path is mapped. The index is copied before it is checked, tensors are not: a
process that writes to the file can change what an array shows after its check, and one that shortens it can make the
access raise a fault (SIGBUS). Copy the file first where that matters, or read it with `loads`.
"""
from __future__ import annotations

import bisect
import io
import itertools
import math
import mmap
import os
import re
import struct
import zlib
from array import array
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable, Iterator, Optional, Union

__all__ = ["CairnError", "CairnFile", "DType", "Named", "Tensor", "loads", "open"]

# ---------------------------------------------------------------------------------------------------------------------
# §2 Conventions, §15 errors

MAX = 2**63 - 1

# code, class, level, section, meaning
_CODES_TEXT = """
    too-short truncated O §6.1 The file is shorter than its smallest possible header.
    magic malformed O §6.1 The file does not begin with the Cairn magic.
    header-crc corrupt O §6.2 The header's checksum does not match its bytes.
    version unsupported O §6.3 The version is not one this reader knows.
    flags unsupported O §6.4 A flag that this version does not define is set.
    reserved unsupported O §6.5 A reserved byte is not zero.
    role malformed O §6.4 The trailer flag is set in a header, or clear in a trailer.
    block-size malformed O §6.6 The block size is outside 2^12 to 2^22 bytes.
    streamed-fields malformed O §6.7 A streamed file's header states a length or an index.
    file-length malformed O §6.8 The stated file length is below 192 or above 2^63-1 bytes.
    truncated truncated O §6.8 The file is shorter than it states.
    trailing-bytes malformed O §6.8 The file is longer than it states.
    trailer-missing truncated O §6.9 A streamed file does not end with a trailer.
    trailer-magic corrupt V §6.9 A planned file's trailer does not begin with the magic.
    trailer-crc corrupt V §6.9 The trailer's checksum does not match its bytes.
    trailer-mismatch malformed V §6.9 Header and trailer disagree.
    index-limit limit O §6.10 The index is longer than 2^29-8 bytes.
    index-length malformed O §6.10 The index is shorter than 26 bytes or does not fit into the file.
    index-offset malformed O §6.11 The index does not begin where the layout puts it.
    index-crc corrupt O §11.2 The index's checksum does not match its bytes.
    index-copy malformed V §5.3 The second index differs from the first.
    file-layout malformed O §5.2 The stated file length is not what the buffers' lengths add up to.
    index-short malformed O §7.1 A field of the index runs past its end.
    index-long malformed O §7.1 Bytes follow the root value in the index.
    extension-order malformed O §7.2 Extension tags are not strictly ascending from 1.
    extension-padding malformed O §7.2 An extension's padding is not zero.
    extension-unknown unsupported O §7.2 An extension that must be understood is unknown to this reader.
    dtype-name malformed O §7.3 A dtype's name is empty or of neither the registered nor the private form.
    dtype-class malformed O §7.3 A dtype's class is not scalar, packed or block.
    dtype-geometry malformed O §7.3 A dtype's group does not fit its class.
    dtype-registered invalid O §7.3 A registered dtype does not have its registered geometry.
    dtype-duplicate invalid O §7.3 Two dtypes have the same name.
    dtype-order invalid O §7.3 Dtypes are not numbered by their first use, or one is unused.
    buffer-length malformed O §7.4 A buffer has no bytes, or the buffers together exceed 2^63-1.
    buffer-owner invalid O §7.4 A buffer's owner is not zero for tensor bytes, or not an extension of the file for the rest.
    buffer-order invalid O §7.4 Auxiliary buffers are not last, or a planned file's buffers are not numbered by their first use.
    buffer-unused invalid O §7.4 No tensor views a buffer that is not auxiliary.
    buffer-viewed invalid O §7.4 A tensor views an auxiliary buffer.
    buffer-kind unsupported V §7.4 The tensor's buffer is of a kind this reader does not know.
    tensor-dtype malformed O §7.6 A tensor's dtype number is not in the table.
    tensor-buffer malformed O §7.6 A tensor's buffer number is not in the table, or missing or present against its size.
    tensor-rank limit O §7.6 A tensor has more than 64 axes.
    tensor-flags malformed O §7.6 A tensor has a flag that is not defined.
    tensor-size limit O §7.6 A tensor's element count or byte length exceeds 2^63-1.
    tensor-groups invalid O §7.6 The last axis of a block-class tensor is not in whole groups.
    tensor-offset invalid O §7.6 A tensor's offset is not a multiple of its alignment, or not zero without a buffer.
    tensor-strides invalid O §7.7 A tensor's strides are not in their one legal spelling.
    tensor-extent invalid O §7.6 A tensor reaches past the end of its buffer.
    tensor-duplicate invalid O §7.6 Two entries of the tensor table are equal.
    tensor-order invalid O §7.6 Tensors are not numbered by their first appearance in the root, or one is unused.
    view-cover invalid O §7.8 The dense tensors of a buffer do not form one overlapping chain that covers it.
    view-partial invalid O §7.8 A tensor with a partial last group shares its buffer.
    value-tag malformed O §9.1 A value's tag is not defined.
    value-length malformed O §9.3 A container's items do not end where its byte length says.
    value-utf8 malformed O §9.2 A string is not UTF-8.
    value-bigint malformed O §9.2 A big int is not minimal or fits 64 bits.
    bigint-limit limit O §9.2 A big int is longer than 8192 bytes.
    bytes-limit limit O §9.2 A bytes value is longer than 65536 bytes.
    depth-limit limit O §9.3 Values nest deeper than 128.
    key-tag malformed O §9.4 A dict key is not an int, a str or bytes.
    key-duplicate invalid O §9.4 A dict has two equal keys.
    path-limit limit O §9.4 The keys along a path take more than 4096 bytes.
    named-name malformed O §9.5 A type name is empty, too long or of neither the registered nor the private form.
    named-bytes invalid O §9.5 A `bytes` value is not one u8 vector of its own of more than 65536 elements.
    tensor-reference malformed O §9.6 A value refers to a tensor that is not in the table.
    metadata invalid O §7.9 The metadata is not a dict with str keys and without tensors.
    padding corrupt V §5.2 A byte between the parts of the file is not zero.
    block-crc corrupt V §8.2 A block's checksum does not match its bytes.
    tail-bits invalid V §8.3 The unused bits of a last partial group are not zero.
    bool-value invalid V §8.3 A bool element is neither 0 nor 1.
    budget limit - §16 More than the caller allowed.
    host-size limit - §18 Larger than this machine can address.
    io io - - The operating system refused.
    durability-unknown io - §13.4 The new file is visible, but the directory could not be synced.
    file-changed io - §17 The file's length changed while it was open.
    address usage - §9.7 An address is not a JSON Pointer.
    not-found usage - §9.7 Nothing is at the address.
    wrong-type usage - - The value is of another type than asked for.
    out-of-range usage - - An index or a range lies outside the tensor.
    sharing-lost usage - §13.3 Writing the tensor row-major would cut its sharing with another.
    unrepresentable usage - §13 The value cannot be kept exactly.
"""
CODES = {line.split()[0]: tuple(line.split(None, 4)[1:]) for line in _CODES_TEXT.strip().splitlines()}


class CairnError(Exception):
    """A refusal: class and code of SPEC §15 and, where known, the file offset of the first byte concerned."""

    def __init__(self, class_: str, code: str, offset: Optional[int] = None, detail: str = "") -> None:
        super().__init__(class_, code, offset, detail)
        self.class_, self.code, self.offset, self.detail = class_, code, offset, detail

    def __str__(self) -> str:
        _, _, section, meaning = CODES.get(self.code, ("", "-", "-", ""))
        at = "" if self.offset is None else f" at byte {self.offset}"
        more = f" ({self.detail})" if self.detail else ""
        return f"{self.class_}/{self.code}{at}: {meaning}{more} [SPEC {section}]"


def _refusal(code: str, offset: Optional[int] = None, detail: str = "") -> CairnError:
    return CairnError(CODES[code][0], code, offset, detail)


def _align(x: int, a: int) -> int:
    return -(-x // a) * a


_U16 = struct.Struct("<H").unpack_from
_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from
_I64 = struct.Struct("<q").unpack_from
_F64 = struct.Struct("<d").unpack_from

# ---------------------------------------------------------------------------------------------------------------------
# §11 Checksums

_crc32 = zlib.crc32  # the parameters of §11.1; the tests compare it with its check value

# ---------------------------------------------------------------------------------------------------------------------
# §6 Header and trailer

MAGIC = b"\x89CAIRN\r\n"
INDEX_LIMIT = 2**29 - 8
INDEX_LEAST = 26


@dataclass(frozen=True)
class _Head:
    """The fields of a header or trailer that passed §6.1 to §6.6."""

    streamed: bool
    log2: int
    file_length: int
    index_offset: int
    index_length: int
    index_crc: int


def _read_head(b: bytes, at: int, trailer: bool, magic: str, crc: str) -> _Head:
    """Steps 1 to 7 of §12.2 for the 64 bytes `b` that stand at file offset `at`."""
    if b[:8] != MAGIC:
        raise _refusal(magic, at)
    if _crc32(b[:60]) != _U32(b, 60)[0]:
        raise _refusal(crc, at + 60)
    if _U16(b, 8)[0] != 1:
        raise _refusal("version", at + 8, str(_U16(b, 8)[0]))
    flags = _U16(b, 10)[0]
    if flags & ~3:
        raise _refusal("flags", at + 10)
    for i in (*range(13, 16), *range(44, 60)):
        if b[i]:
            raise _refusal("reserved", at + i)
    if bool(flags & 2) != trailer:
        raise _refusal("role", at + 10)
    if not 12 <= b[12] <= 22:
        raise _refusal("block-size", at + 12)
    return _Head(bool(flags & 1), b[12], _U64(b, 16)[0], _U64(b, 24)[0], _U64(b, 32)[0], _U32(b, 40)[0])


# ---------------------------------------------------------------------------------------------------------------------
# §7 Index: cursor

class _Cursor:
    """Reads the index from front to back. `end` is the end of the innermost container, `code` what passing it breaks."""

    __slots__ = ("b", "pos", "end", "code", "base")

    def __init__(self, b: bytes, base: int) -> None:
        self.b, self.pos, self.end, self.code, self.base = b, 0, len(b), "index-short", base

    def fail(self, code: str, pos: Optional[int] = None, detail: str = "") -> CairnError:
        return _refusal(code, self.base + (self.pos if pos is None else pos), detail)

    def skip(self, n: int) -> int:
        """Steps over `n` bytes, which must be there; returns where they begin."""
        pos = self.pos
        if n > self.end - pos:
            raise self.fail(self.code)
        self.pos = pos + n
        return pos

    def take(self, n: int) -> bytes:
        pos = self.skip(n)
        return self.b[pos:pos + n]

    def u8(self) -> int:
        return self.b[self.skip(1)]

    def u32(self) -> int:
        return _U32(self.b, self.skip(4))[0]

    def u64(self) -> int:
        return _U64(self.b, self.skip(8))[0]

    def u64s(self, n: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{n}Q", self.b, self.skip(8 * n))

    def count(self, least: int) -> range:
        """A count of records, checked against the bytes left (§7.1)."""
        n = self.u32()
        if n * least > self.end - self.pos:
            raise self.fail("index-short", self.pos - 4)
        return range(n)


# ---------------------------------------------------------------------------------------------------------------------
# §7.3 Dtypes, §10 the registry

# class, elements per group, bytes per group, names
_REGISTRY_TEXT = """
    scalar 1 1 bool i8 u8 f8_e3m4 f8_e4m3 f8_e4m3b11fnuz f8_e4m3fn f8_e4m3fnuz f8_e5m2 f8_e5m2fnuz f8_e8m0fnu
    scalar 1 2 i16 u16 f16 bf16
    scalar 1 4 i32 u32 f32 c32
    scalar 1 8 i64 u64 f64 c64
    scalar 1 16 c128
    packed 2 1 f4_e2m1fn i4 u4
    packed 4 1 i2 u2
    packed 4 3 f6_e2m3fn f6_e3m2fn
    packed 8 1 i1 u1
    block 32 17 mxfp4
    block 32 18 q4_0 iq4_nl
    block 32 20 q4_1
    block 32 22 q5_0
    block 32 24 q5_1
    block 32 34 q8_0
    block 32 36 q8_1
    block 64 18 q2_0
    block 64 36 nvfp4
    block 128 18 q1_0
    block 256 50 iq1_s
    block 256 54 tq1_0
    block 256 56 iq1_m
    block 256 66 iq2_xxs tq2_0
    block 256 74 iq2_xs
    block 256 82 iq2_s
    block 256 84 q2_k
    block 256 98 iq3_xxs
    block 256 110 q3_k iq3_s
    block 256 136 iq4_xs
    block 256 144 q4_k
    block 256 176 q5_k
    block 256 210 q6_k
    block 256 292 q8_k
"""
KINDS = ("scalar", "packed", "block")
_NAME = re.compile(rb"[a-z0-9_]+|(?=[\x21-\x7e]*\.)[\x21-\x7e]+")


@dataclass(frozen=True)
class DType:
    """An element type: a name and a geometry. All rules follow from the geometry, but for `bool` and `u8`."""

    name: str
    kind: str  # "scalar", "packed" or "block"
    elements: int  # per group
    width: int  # bytes per group

    @property
    def alignment(self) -> int:
        return min(self.width & -self.width, 64)

    @property
    def bits(self) -> int:
        """Of one element of a scalar or packed dtype."""
        return self.width * 8 // self.elements

    def nbytes(self, n: int) -> int:
        return -(-n // self.elements) * self.width


REGISTRY = {
    name: DType(name, line.split()[0], int(line.split()[1]), int(line.split()[2]))
    for line in _REGISTRY_TEXT.strip().splitlines()
    for name in line.split()[3:]
}

# Those that NumPy has. Elements are little-endian whatever the host.
_NUMPY_DTYPES = {
    "bool": "?", "i8": "i1", "i16": "<i2", "i32": "<i4", "i64": "<i8", "u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8",
    "f16": "<f2", "f32": "<f4", "f64": "<f8", "c64": "<c8", "c128": "<c16",
}

# ---------------------------------------------------------------------------------------------------------------------
# §7.4 Buffers, §7.5 block CRCs, §5.2 placement

_NO_BUFFER = 0xFFFFFFFF


class _Buffer:
    __slots__ = ("start", "length", "kind", "owner", "first_block", "blocks", "views")

    def __init__(self, start: int, length: int, kind: int, owner: int, first_block: int, blocks: int) -> None:
        self.start, self.length, self.kind, self.owner = start, length, kind, owner
        self.first_block, self.blocks = first_block, blocks
        self.views: list[int] = []  # numbers of the tensors that view it

    @property
    def end(self) -> int:
        return self.start + self.length


# ---------------------------------------------------------------------------------------------------------------------
# §7.6 Tensors, §7.7 strides

def _legal_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> Optional[tuple[int, bool]]:
    """The number of the last element and whether the layout is dense; None if the strides are not legal (§7.7)."""
    axes, row_major, row = [], True, 1
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent == 1:
            if stride:
                return None
        else:
            if not stride:
                return None
            axes.append((stride, extent))
            row_major = row_major and stride == row
            row *= extent
    if row_major:
        return None
    last, product, dense = 0, 1, True
    for stride, extent in sorted(axes):
        if stride <= last:
            return None
        dense = dense and stride == product
        last += (extent - 1) * stride
        product *= extent
    return (last, dense) if last <= MAX - 1 else None


class Tensor:
    """One entry of the tensor table. Its bytes are checked when they are taken, block by block, and only once."""

    __slots__ = ("_file", "number", "dtype", "shape", "strides", "buffer", "offset", "extent", "dense")

    def __init__(self, file: CairnFile, number: int, dtype: DType, shape: tuple[int, ...], strides: Optional[tuple[int, ...]],
                 buffer: Optional[int], offset: int, extent: int, dense: bool) -> None:
        self._file, self.number, self.dtype, self.shape, self.strides = file, number, dtype, shape, strides
        self.buffer, self.offset, self.extent, self.dense = buffer, offset, extent, dense

    def __repr__(self) -> str:
        return f"<Tensor {self.number} {self.dtype.name} {list(self.shape)}>"

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The byte length (§7.6): what `tobytes` returns. `extent` is what the elements span in the buffer."""
        return self.dtype.nbytes(self.size)

    @property
    def partial(self) -> bool:
        """Whether it ends within a group of a packed dtype."""
        return self.dtype.kind == "packed" and self.size % self.dtype.elements != 0

    # §12.4: to take a tensor is to check it first.

    def verify(self) -> None:
        """Checks the buffer's kind, the blocks that hold elements, then tail bits and bool bytes."""
        if self.buffer is None:
            return
        file, buffer = self._file, self._file._buffers[self.buffer]
        file._unchanged()
        if buffer.kind != 0:
            raise _refusal("buffer-kind", None, f"kind {buffer.kind}")
        for start, stop in self._touched():
            file._check_blocks(buffer, start, stop)
        self._check_elements()

    def unchecked(self) -> memoryview:
        """The bytes from the first to the end of the last element, where they lie, WITHOUT any check of them."""
        if self.buffer is None:
            return memoryview(b"")
        buffer = self._file._buffers[self.buffer]
        if buffer.kind != 0:
            raise _refusal("buffer-kind", None, f"kind {buffer.kind}")
        start = buffer.start + self.offset
        return self._file._view()[start:start + self.extent]

    def tobytes(self) -> bytes:
        """A copy of the elements in row-major order; of packed and block dtypes, the bytes as stored."""
        self.verify()
        self._file._charge(self.nbytes)
        return b"".join(self._chunks())

    def chunks(self) -> Iterator[Union[bytes, memoryview]]:
        """What `tobytes` returns, in pieces of bounded size."""
        self.verify()
        return self._chunks()

    def numpy(self, *, copy: bool = False) -> Any:
        """A read-only array where the bytes lie, with the tensor's own strides, or a copy that the caller owns."""
        import numpy as np
        if self.dtype.name not in _NUMPY_DTYPES:
            raise _refusal("wrong-type", None, f"NumPy has no {self.dtype.name}; use tobytes()")
        dtype = np.dtype(_NUMPY_DTYPES[self.dtype.name])
        self.verify()
        try:
            if self.buffer is None:
                result = np.empty(self.shape, dtype)
                result.flags.writeable = False
            elif self.strides is None:
                result = np.frombuffer(self.unchecked(), dtype).reshape(self.shape)
            else:
                strides = tuple(s * self.dtype.width for s in self.strides)
                result = np.ndarray(self.shape, dtype, self.unchecked(), 0, strides)
        except (ValueError, OverflowError) as e:  # NumPy 1 has 32 axes; an empty array may have extents beyond ssize_t
            raise _refusal("host-size", None, str(e)) from e
        if copy:
            self._file._charge(self.nbytes)
            result = result.copy()
        return result

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Any:
        result = self.numpy(copy=bool(copy))
        return result if dtype is None else result.astype(dtype, copy=False)

    def _axes(self) -> list[tuple[int, int]]:
        """(stride, extent) of the axes above 1, in their order."""
        return [(s, d) for s, d in zip(self.strides or (), self.shape) if d > 1]

    def _touched(self) -> Iterator[tuple[int, int]]:
        """Ascending byte ranges of the buffer that touch the same blocks as the elements do.

        A gap as long as a block may skip one, shorter gaps cannot. So the axes in front of the first long gap melt into one run,
        and the number of runs is at most twice the number of blocks.
        """
        if self.dense:
            yield self.offset, self.offset + self.extent
            return
        width, block, axes, run = self.dtype.width, 1 << self._file._head.log2, sorted(self._axes()), 1
        while axes and (axes[0][0] - run) * width < block:
            stride, extent = axes.pop(0)
            run += (extent - 1) * stride
        for place in itertools.product(*(range(0, s * d, s) for s, d in reversed(axes))):
            start = self.offset + sum(place) * width
            yield start, start + run * width

    def _check_elements(self) -> None:
        """§8.3, of a tensor in a kind-0 buffer whose blocks are good."""
        if self.partial:
            at = self.extent - self.dtype.width
            group = int.from_bytes(self.unchecked()[at:], "little")
            if group >> (self.size % self.dtype.elements * self.dtype.bits):
                raise _refusal("tail-bits", self._start() + at)
        elif self.dtype.name == "bool":
            buffer = self._file._buffers[self.buffer]
            at = self._file._not_bool(buffer, self.offset, self.offset + self.extent)
            if at is not None and (self.dense or any(bytes(c).translate(None, b"\0\1") for c in self._chunks())):
                raise _refusal("bool-value", buffer.start + at)

    def _start(self) -> int:
        return self._file._buffers[self.buffer].start + self.offset

    def _chunks(self) -> Iterator[Union[bytes, memoryview]]:
        """The elements in row-major order, unchecked, in pieces of bounded size."""
        data, width = self.unchecked(), self.dtype.width
        if self.strides is None:
            for i in range(0, len(data), _CHUNK):
                yield data[i:i + _CHUNK]
            return
        axes = self._axes()
        if len(axes) <= 32 and self.nbytes > _PLAIN and _numpy():
            # The last axes that fit a chunk are copied at once, along the axis before them as many as fit.
            np, k, inner = _numpy(), len(axes), width
            while k > 1 and inner * axes[k - 1][1] <= _CHUNK:
                k -= 1
                inner *= axes[k][1]
            step, item = max(1, _CHUNK // inner), np.dtype((np.void, width))
            stride, extent = axes[k - 1]
            shape, strides = [d for _, d in axes[k:]], [s * width for s, _ in axes[k - 1:]]
            for place in itertools.product(*(range(0, s * d, s) for s, d in axes[:k - 1])):
                for i in range(0, extent, step):
                    at = (sum(place) + i * stride) * width
                    yield np.ndarray([min(step, extent - i), *shape], item, data, at, strides).tobytes()
            return
        (stride, extent), piece = axes[-1], bytearray()
        format_ = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(width)
        items = data.cast(format_) if format_ else None
        for place in itertools.product(*(range(0, s * d, s) for s, d in axes[:-1])):
            first = sum(place)
            for i in range(first, first + stride * extent, stride * _CHUNK):
                last = min(i + stride * _CHUNK, first + stride * extent)
                if items is not None:
                    piece += items[i:last:stride].tobytes()
                else:
                    for j in range(i, last, stride):
                        piece += data[j * width:(j + 1) * width]
                if len(piece) >= _CHUNK:
                    yield bytes(piece)
                    piece.clear()
        if piece:
            yield bytes(piece)


_CHUNK = 1 << 20
_PAGE = 4096  # of what is remembered about bool bytes
_PLAIN = 4096  # bytes up to which a strided tensor is not worth NumPy


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        return None
    return numpy


# ---------------------------------------------------------------------------------------------------------------------
# §9 Values

DEPTH_LIMIT, PATH_LIMIT, BYTES_LIMIT, BIGINT_LIMIT = 128, 4096, 65536, 8192
_NULL, _FALSE, _TRUE, _INT, _BIGINT, _FLOAT, _COMPLEX, _STR, _BYTES, _LIST, _TUPLE, _DICT, _NAMED, _TENSOR = range(1, 15)


@dataclass(frozen=True)
class Named:
    """A named value whose type this reader does not restore: a name and a value, never code (§9.5)."""

    name: str
    value: Any


class _Checker:
    """Checks one tree of the index (§12.3) without building it. Recursion ends at DEPTH_LIMIT."""

    def __init__(self, cursor: _Cursor, leaf: Optional[Callable[[int, bool, int], None]]) -> None:
        self.c, self.leaf = cursor, leaf  # no leaf: this is the metadata

    def value(self, depth: int, path: int, in_bytes: bool = False) -> None:
        c = self.c
        if depth > DEPTH_LIMIT:
            raise c.fail("depth-limit")
        at = c.skip(1)
        tag = c.b[at]
        if not _NULL <= tag <= _TENSOR:
            raise c.fail("value-tag", at, f"0x{tag:02x}")
        if in_bytes and tag != _TENSOR:
            raise c.fail("named-bytes", at)
        if tag == _INT or tag == _FLOAT:
            c.skip(8)
        elif tag == _COMPLEX:
            c.skip(16)
        elif tag == _BIGINT:
            n = c.u32()
            if n > BIGINT_LIMIT:
                raise c.fail("bigint-limit", at)
            if n < 9:
                raise c.fail("value-bigint", at)
            high, last = c.take(n)[-2:]
            if last == (0xFF if high >= 0x80 else 0):
                raise c.fail("value-bigint", at)
        elif tag == _STR:
            self.text(c.take(c.u32()), at)
        elif tag == _BYTES:
            n = c.u32()
            if n > BYTES_LIMIT:
                raise c.fail("bytes-limit", at)
            c.skip(n)
        elif tag in (_LIST, _TUPLE, _DICT):
            count, n = c.u32(), c.u32()
            if count * (6 if tag == _DICT else 1) > n:
                raise c.fail("value-length", at)
            if n > c.end - c.pos:
                raise c.fail(c.code, at)
            outer = c.end, c.code
            c.end, c.code = c.pos + n, "value-length"
            if tag == _DICT:
                # A set of bytes: Python hashes them with a secret key, ints not. Tag and bytes in one string are unambiguous.
                keys: set[bytes] = set()
                for _ in range(count):
                    taken = self.key(path, keys, depth == 1)
                    self.value(depth + 1, path + taken)
            else:
                for _ in range(count):
                    self.value(depth + 1, path)
            if c.pos != c.end:
                raise c.fail("value-length")
            c.end, c.code = outer
        elif tag == _NAMED:
            n = c.u32()
            if not 1 <= n <= 255:
                raise c.fail("named-name", at)
            name = c.take(n)
            if not _NAME.fullmatch(name):
                raise c.fail("named-name", at)
            self.value(depth + 1, path, name == b"bytes")
        elif tag == _TENSOR:
            number = c.u32()
            if self.leaf is None:
                raise c.fail("metadata", at)
            self.leaf(number, in_bytes, at)

    def key(self, path: int, keys: set[bytes], top: bool) -> int:
        """Returns what the key counts on its path."""
        c = self.c
        at = c.skip(1)
        tag = c.b[at]
        if tag not in (_INT, _STR, _BYTES):
            raise c.fail("key-tag", at)
        if top and self.leaf is None and tag != _STR:
            raise c.fail("metadata", at)
        n = 8 if tag == _INT else c.u32()
        b = c.take(n)
        if path + n > PATH_LIMIT:
            raise c.fail("path-limit", at)
        if tag == _STR:
            self.text(b, at)
        key = bytes((tag,)) + b
        if key in keys:
            raise c.fail("key-duplicate", at)
        keys.add(key)
        return n

    def text(self, b: bytes, at: int) -> None:
        try:
            b.decode("utf-8")
        except UnicodeDecodeError as e:
            raise self.c.fail("value-utf8", at) from e


# What follows reads trees that _Checker has accepted.

Build = Callable[[str, Any], Any]


def _fold(b: bytes, pos: int, build: Build) -> tuple[Any, int]:
    """Builds the value at `pos` from the leaves up; returns it and where it ends. See CairnFile.fold."""
    tag = b[pos]
    pos += 1
    if tag == _NULL:
        return build("null", None), pos
    if tag == _FALSE or tag == _TRUE:
        return build("bool", tag == _TRUE), pos
    if tag == _INT:
        return build("int", _I64(b, pos)[0]), pos + 8
    if tag == _FLOAT:
        return build("float", b[pos:pos + 8]), pos + 8
    if tag == _COMPLEX:
        return build("complex", b[pos:pos + 16]), pos + 16
    n = _U32(b, pos)[0]
    pos += 4
    if tag == _TENSOR:
        return build("tensor", n), pos
    if tag == _BIGINT:
        return build("int", int.from_bytes(b[pos:pos + n], "little", signed=True)), pos + n
    if tag == _STR:
        return build("str", b[pos:pos + n].decode("utf-8")), pos + n
    if tag == _BYTES:
        return build("bytes", b[pos:pos + n]), pos + n
    if tag == _NAMED:
        name = b[pos:pos + n].decode("ascii")
        value, pos = _fold(b, pos + n, build)
        return build("named", (name, value)), pos
    pos += 4
    items = []
    for _ in range(n):
        if tag == _DICT:
            key, pos = _fold(b, pos, build)
            value, pos = _fold(b, pos, build)
            items.append((key, value))
        else:
            value, pos = _fold(b, pos, build)
            items.append(value)
    return build({_LIST: "list", _TUPLE: "tuple", _DICT: "dict"}[tag], items), pos


def _step_over(b: bytes, pos: int) -> int:
    """Where the value at `pos` ends."""
    tag = b[pos]
    while tag == _NAMED:
        pos += 5 + _U32(b, pos + 1)[0]
        tag = b[pos]
    if tag <= _TRUE:
        return pos + 1
    if tag in (_INT, _FLOAT):
        return pos + 9
    if tag == _COMPLEX:
        return pos + 17
    if tag == _TENSOR:
        return pos + 5
    if tag in (_LIST, _TUPLE, _DICT):
        return pos + 9 + _U32(b, pos + 5)[0]
    return pos + 5 + _U32(b, pos + 1)[0]


# §9.7 Addresses

_INT_TOKEN = re.compile(r"~i(0|-?[1-9][0-9]*)")
_BYTES_TOKEN = re.compile(r"~b((?:[0-9a-f]{2})*)")
_STR_TOKEN = re.compile(r"(?:[^~/]|~0|~1)*", re.DOTALL)
_POSITION = re.compile(r"0|[1-9][0-9]*")


def _token(token: str) -> tuple[bytes, Optional[int]]:
    """The key that a token names, as its bytes in a file, and the position that it names, if it can be one."""
    match = _INT_TOKEN.fullmatch(token)
    if match:
        digits = match.group(1)
        if len(digits) <= 20 and -2**63 <= int(digits) <= MAX:
            return struct.pack("<Bq", _INT, int(digits)), None
        raise _refusal("address", None, "int outside i64")
    match = _BYTES_TOKEN.fullmatch(token)
    if match:
        key = bytes.fromhex(match.group(1))
        return struct.pack("<BI", _BYTES, len(key)) + key, None
    if not _STR_TOKEN.fullmatch(token):
        raise _refusal("address", None, repr(token)[:80])
    try:
        key = re.sub("~[01]", lambda m: "~" if m.group() == "~0" else "/", token).encode("utf-8")
    except UnicodeEncodeError as e:
        raise _refusal("address", None, "surrogate") from e
    # A container has fewer than 2^32 items.
    position = int(token) if len(token) <= 10 and _POSITION.fullmatch(token) else None
    return struct.pack("<BI", _STR, len(key)) + key, position


def _spell(key: bytes) -> str:
    """The token of a key."""
    if key[0] == _INT:
        return f"~i{_I64(key, 1)[0]}"
    if key[0] == _BYTES:
        return "~b" + key[5:].hex()
    return key[5:].decode("utf-8").replace("~", "~0").replace("/", "~1")


def _resolve(b: bytes, pos: int, address: str) -> int:
    """Where the value with this address begins, in the tree whose value begins at `pos`."""
    if address and not address.startswith("/"):
        raise _refusal("address", None, repr(address)[:80])
    for wanted, position in [_token(t) for t in address.split("/")[1:]]:
        while b[pos] == _NAMED:
            pos += 5 + _U32(b, pos + 1)[0]
        tag = b[pos]
        if tag == _DICT:
            count, pos = _U32(b, pos + 1)[0], pos + 9
            for _ in range(count):
                found = b.startswith(wanted, pos)
                pos = _step_over(b, pos)
                if found:
                    break
                pos = _step_over(b, pos)
            else:
                raise _refusal("not-found", None, repr(address)[:80])
        elif tag in (_LIST, _TUPLE) and position is not None and position < _U32(b, pos + 1)[0]:
            pos += 9
            for _ in range(position):
                pos = _step_over(b, pos)
        else:
            raise _refusal("not-found", None, repr(address)[:80])
    return pos


def _leaves(b: bytes, pos: int, node: Any = None) -> Iterator[tuple[Any, int]]:
    """(node, tensor number) of each leaf, in preorder. A node is (node of the parent, token): paths share what they have in common,
    so keeping all of them costs no more than a few times the index."""
    while b[pos] == _NAMED:
        pos += 5 + _U32(b, pos + 1)[0]
    tag = b[pos]
    if tag == _TENSOR:
        yield node, _U32(b, pos + 1)[0]
    elif tag in (_LIST, _TUPLE, _DICT):
        count, pos = _U32(b, pos + 1)[0], pos + 9
        for i in range(count):
            token: Union[int, bytes] = i
            if tag == _DICT:
                end = _step_over(b, pos)
                token, pos = b[pos:end], end
            if b[pos] >= _LIST:
                yield from _leaves(b, pos, (node, token))
            pos = _step_over(b, pos)


def _address(node: Any) -> str:
    tokens = []
    while node is not None:
        node, token = node
        tokens.append(str(token) if type(token) is int else _spell(token))
    return "".join("/" + t for t in reversed(tokens))


# §9.5: what the standard library has. The factories of a default_dict that are taken by name; nothing is imported or called
# because of a name in a file.
_FACTORIES: dict[Any, Any] = {t.__name__: t for t in (bool, bytes, complex, dict, float, int, list, set, str, tuple)}
_FACTORIES[None] = None


def _restore(name: str, value: Any) -> Any:
    if name == "ordered_dict" and type(value) is dict:
        return OrderedDict(value)
    if name == "counter" and type(value) is dict:
        return Counter(value)
    if name == "default_dict" and type(value) is tuple and len(value) == 2:
        factory, items = value
        if (factory is None or type(factory) is str) and factory in _FACTORIES and type(items) is dict:
            return defaultdict(_FACTORIES[factory], items)
    return Named(name, value)


# ---------------------------------------------------------------------------------------------------------------------
# §12 Reading

class CairnFile:
    """An open Cairn file of which every rule of level O holds. Use `open` or `loads`."""

    def __init__(self, data: Any, file: Any = None, *, max_index: Optional[int] = None, max_copy: Optional[int] = None) -> None:
        """`data` is bytes or a mapping, `file` the open file that is mapped. `max_index` and `max_copy` are budgets in bytes:
        for the length of the index, and for all that this object copies out of tensors."""
        self._data, self._file, self._size = data, file, len(data)
        self._max_copy, self._copied = max_copy, 0
        data = memoryview(data)
        try:
            self._open(data, max_index)
        finally:
            data.release()

    # Level O, §12.2. Numbers are its steps.

    def _open(self, data: memoryview, max_index: Optional[int]) -> None:
        first = bytes(data[:64])
        if not MAGIC.startswith(first[:8]):  # 1
            raise _refusal("magic", 0)
        if len(first) < 64:
            raise _refusal("too-short", len(first))
        self._head = head = _read_head(first, 0, False, "magic", "header-crc")  # 2 to 7
        stated_at = 0
        if head.streamed:  # 8
            for i in range(16, 44):
                if first[i]:
                    raise _refusal("streamed-fields", i)
            if self._size < 128:
                raise _refusal("trailer-missing", self._size)
            stated_at = self._size - 64
            trailer = _read_head(bytes(data[stated_at:]), stated_at, True, "trailer-missing", "trailer-crc")
            if not trailer.streamed:
                raise _refusal("trailer-mismatch", stated_at + 10)
            if trailer.log2 != head.log2:
                raise _refusal("trailer-mismatch", stated_at + 12)
            self._head = head = trailer
        if not 192 <= head.file_length <= MAX:
            raise _refusal("file-length", stated_at + 16)
        if self._size < head.file_length:
            raise _refusal("truncated", self._size)
        if self._size > head.file_length:
            raise _refusal("trailing-bytes", head.file_length)
        if head.index_length > INDEX_LIMIT:
            raise _refusal("index-limit", stated_at + 32)
        if head.index_offset < 64 or not head.streamed and head.index_offset != 64:
            raise _refusal("index-offset", stated_at + 24)
        if head.index_length < INDEX_LEAST or _align(head.index_offset + head.index_length, 64) > self._size - 64:
            raise _refusal("index-length", stated_at + 32)
        if max_index is not None and head.index_length > max_index:
            raise _refusal("budget", stated_at + 32, f"index of {head.index_length} bytes")
        self._index = index = bytes(data[head.index_offset:head.index_offset + head.index_length])  # 9
        if _crc32(index) != head.index_crc:
            raise _refusal("index-crc", head.index_offset)
        c = _Cursor(index, head.index_offset)
        tags = self._read_extensions(c)  # 10
        dtypes = self._read_dtypes(c)  # 11
        self._read_buffers(c, tags)  # 12
        self._crcs = c.skip(4 * sum(b.blocks for b in self._buffers))  # 13
        self._read_tensors(c, dtypes)  # 14
        self._place(stated_at)  # 15
        for buffer in self._buffers:  # 16
            if buffer.kind == 0:
                self._check_views(buffer)
        self._metadata_at = c.pos  # 17
        if index[c.pos:c.pos + 1] not in (b"", b"\x0c"):
            raise c.fail("metadata")
        _Checker(c, None).value(1, 0)
        self._root_at = c.pos  # 18
        met, vectors = 0, set()

        def leaf(number: int, in_bytes: bool, at: int) -> None:
            nonlocal met
            if number >= len(self.tensors):
                raise c.fail("tensor-reference", at)
            if number > met:
                raise c.fail("tensor-order", at)
            if number in vectors or in_bytes and (number < met or not self._is_bytes(self.tensors[number])):
                raise c.fail("named-bytes", at)
            if in_bytes:
                vectors.add(number)
            met = max(met, number + 1)

        _Checker(c, leaf).value(1, 0)
        if c.pos != len(index):  # 19
            raise c.fail("index-long")
        if met != len(self.tensors):
            raise c.fail("tensor-order")
        self._bool_pages: dict[int, bytearray] = {}
        self._good = bytearray(self._buffers[-1].first_block + self._buffers[-1].blocks if self._buffers else 0)

    def _read_extensions(self, c: _Cursor) -> array:
        tags, unknown = array("L"), None
        for _ in c.count(8):
            at = c.pos
            tag, n = c.u32(), c.u32()
            c.skip(n)
            if any(c.take(-n % 8)):
                raise c.fail("extension-padding", at)
            if tag <= (tags[-1] if tags else 0):
                raise c.fail("extension-order", at)
            tags.append(tag)
            if tag >> 31 and unknown is None:
                unknown = at
        if unknown is not None:
            raise c.fail("extension-unknown", unknown)
        return tags

    def _read_dtypes(self, c: _Cursor) -> list[DType]:
        dtypes: dict[bytes, DType] = {}
        for _ in c.count(11):
            at = c.pos
            elements, width, kind = c.u32(), c.u32(), c.u8()
            name = c.take(c.u8())
            if kind > 2:
                raise c.fail("dtype-class", at + 8)
            if not _NAME.fullmatch(name):
                raise c.fail("dtype-name", at + 9)
            fits = (elements == 1, elements >= 2 and width * 8 % max(elements, 1) == 0, elements >= 2)[kind]
            if not 1 <= width <= 65535 or not fits:
                raise c.fail("dtype-geometry", at)
            dtype = DType(name.decode("ascii"), KINDS[kind], elements, width)
            if REGISTRY.get(dtype.name, dtype) != dtype:
                raise c.fail("dtype-registered", at)
            if name in dtypes:
                raise c.fail("dtype-duplicate", at)
            dtypes[name] = dtype
        return list(dtypes.values())

    def _read_buffers(self, c: _Cursor, tags: array) -> None:
        self._buffers: list[_Buffer] = []
        end, blocks = 64 if self._head.streamed else 64 + self._head.index_length, 0
        for _ in c.count(16):
            at = c.pos
            length, kind, owner = c.u64(), c.u32(), c.u32()
            if length == 0 and kind < 2:
                raise c.fail("buffer-length", at)
            i = bisect.bisect_left(tags, owner)
            if owner != 0 if kind == 0 else not (i < len(tags) and tags[i] == owner):
                raise c.fail("buffer-owner", at + 12)
            if kind != 1 and self._buffers and self._buffers[-1].kind == 1:
                raise c.fail("buffer-order", at + 8)
            start = _align(end, 4096 if length >= 65536 else 64)  # §5.2
            end = start + length
            if end > MAX:
                raise c.fail("buffer-length", at)
            n = -(-length // (1 << self._head.log2))
            self._buffers.append(_Buffer(start, length, kind, owner, blocks, n))
            blocks += n
        self._buffers_end = end

    def _read_tensors(self, c: _Cursor, dtypes: list[DType]) -> None:
        self.tensors: list[Tensor] = []
        table, records, again = c.pos, set(), None
        dtypes_met = buffers_met = 0
        dtype_order = buffer_order = True
        for number in c.count(18):
            at = c.pos
            dtype_number, buffer_number, offset, rank, flags = struct.unpack_from("<IIQBB", c.b, c.skip(18))
            if rank > 64:
                raise c.fail("tensor-rank", at + 16)
            if flags > 1:
                raise c.fail("tensor-flags", at + 17)
            shape = c.u64s(rank)
            strides = c.u64s(rank) if flags else None
            if dtype_number >= len(dtypes):
                raise c.fail("tensor-dtype", at)
            dtype, dense, empty = dtypes[dtype_number], True, 0 in shape
            n = math.prod(max(d, 1) for d in shape)
            extent = dtype.nbytes(n)
            if n > MAX or extent > MAX:
                raise c.fail("tensor-size", at + 18)
            if dtype.kind == "block" and (rank == 0 or shape[-1] % dtype.elements):
                raise c.fail("tensor-groups", at + 18)
            if strides is not None:
                legal = None if dtype.kind != "scalar" or empty else _legal_strides(shape, strides)
                if legal is None:
                    raise c.fail("tensor-strides", at + 18 + 8 * rank)
                last, dense = legal
                extent = (last + 1) * dtype.width
                if extent > MAX:
                    raise c.fail("tensor-size", at + 18 + 8 * rank)
            if empty != (buffer_number == _NO_BUFFER):
                raise c.fail("tensor-buffer", at + 4)
            if offset % dtype.alignment or empty and offset:
                raise c.fail("tensor-offset", at + 8)
            if not empty:
                if buffer_number >= len(self._buffers):
                    raise c.fail("tensor-buffer", at + 4)
                buffer = self._buffers[buffer_number]
                if buffer.kind == 1:
                    raise c.fail("buffer-viewed", at + 4)
                if buffer.kind == 0 and offset + extent > buffer.length:
                    raise c.fail("tensor-extent", at + 8)
                if not buffer.views:
                    buffer_order = buffer_order and buffer_number == buffers_met
                    buffers_met += 1
                buffer.views.append(number)
            if dtype_number >= dtypes_met:
                dtype_order = dtype_order and dtype_number == dtypes_met
                dtypes_met = dtype_number + 1
            record = c.b[at:c.pos]
            if record in records and again is None:
                again = at
            records.add(record)
            self.tensors.append(Tensor(self, number, dtype, shape, strides, None if empty else buffer_number, offset,
                                       0 if empty else extent, dense))
        if again is not None:
            raise c.fail("tensor-duplicate", again)
        if not dtype_order or dtypes_met != len(dtypes):
            raise c.fail("dtype-order", table)
        if not self._head.streamed and not buffer_order:
            raise c.fail("buffer-order", table)
        if any(not b.views and b.kind != 1 for b in self._buffers):
            raise c.fail("buffer-unused", table)

    def _place(self, stated_at: int) -> None:
        """§5.1: the last index and the end of the file."""
        head = self._head
        self._last_index = _align(self._buffers_end, 64)
        if head.streamed and head.index_offset != self._last_index:
            raise _refusal("index-offset", stated_at + 24)
        if _align(self._last_index + head.index_length, 64) + 64 != head.file_length:
            raise _refusal("file-layout", stated_at + 16)

    def _cover(self, buffer: _Buffer) -> Iterator[tuple[int, Tensor]]:
        """§7.8: the chain of a buffer's dense tensors, as (where the news begin, tensor)."""
        top = 0
        views = (self.tensors[i] for i in buffer.views)
        for t in sorted((t for t in views if t.dense), key=lambda t: t.offset):
            if t.offset >= top and (t.offset or top):
                raise _refusal("view-cover", buffer.start + top)
            if t.offset + t.extent > top:
                yield top, t
                top = t.offset + t.extent
        if top != buffer.length:
            raise _refusal("view-cover", buffer.start + top)

    def _check_views(self, buffer: _Buffer) -> None:
        for _ in self._cover(buffer):
            pass
        if len(buffer.views) > 1 and any(self.tensors[i].partial for i in buffer.views):
            raise _refusal("view-partial", buffer.start)

    def _is_bytes(self, t: Tensor) -> bool:
        """§9.5: whether the tensor is a bytes object's own."""
        if t.buffer is None or t.dtype.name != "u8" or len(t.shape) != 1 or t.shape[0] <= 65536 or t.strides is not None or t.offset:
            return False
        buffer = self._buffers[t.buffer]
        return len(buffer.views) == 1 and (buffer.kind != 0 or buffer.length == t.shape[0])

    # Values: decoded when asked for.

    @cached_property
    def root(self) -> Any:
        """The root as Python values. Checks and copies the bytes objects of more than 64 KiB in it, no other tensor."""
        return self[""]

    @cached_property
    def metadata(self) -> dict[str, Any]:
        return _fold(self._index, self._metadata_at, self._build)[0]

    def __getitem__(self, address: str) -> Any:
        """The value at an address (§9.7): a `Tensor`, or plain Python."""
        return _fold(self._index, _resolve(self._index, self._root_at, address), self._build)[0]

    def __contains__(self, address: str) -> bool:
        try:
            _resolve(self._index, self._root_at, address)
        except CairnError as e:
            if e.code == "not-found":
                return False
            raise
        return True

    def leaves(self) -> Iterator[tuple[str, Tensor]]:
        """Address and tensor of each leaf of the root, in preorder."""
        return ((_address(node), self.tensors[i]) for node, i in _leaves(self._index, self._root_at))

    def fold(self, build: Build, address: str = "", *, metadata: bool = False) -> Any:
        """Builds something else than Python values, exact to the bit: calls build(kind, content) for each value after its parts.

        The kinds: null None, bool, int, float (its 8 bytes as in the file), complex (16 bytes), str, bytes, list and tuple (a list of
        what build returned), dict (a list of pairs; a key is built as well), named (name, value), tensor (number)."""
        at = self._metadata_at if metadata else self._root_at
        return _fold(self._index, _resolve(self._index, at, address), build)[0]

    def _build(self, kind: str, x: Any) -> Any:
        if kind == "float":
            return _F64(x, 0)[0]
        if kind == "complex":
            return complex(_F64(x, 0)[0], _F64(x, 8)[0])
        if kind == "tuple":
            return tuple(x)
        if kind == "dict":
            return dict(x)
        if kind == "tensor":
            return self.tensors[x]
        if kind == "named":
            return x[1].tobytes() if x[0] == "bytes" else _restore(*x)
        return x

    # Level V, §12.4.

    def verify(self) -> None:
        """Raises the first fault of the whole file, in the order of §12.4."""
        for fault in self.faults():
            raise fault

    def faults(self) -> Iterator[CairnError]:
        """Every fault of level V, each damaged block among them, in the order of §12.4."""
        self._unchanged()
        head, data = self._head, self._view()
        if not head.streamed:
            try:  # 1
                self._check_trailer(data)
            except CairnError as e:
                yield e
            second = data[self._last_index:self._last_index + head.index_length]  # 2
            if _crc32(second) != head.index_crc:
                yield _refusal("index-crc", self._last_index)
            elif second != self._index:
                yield _refusal("index-copy", self._last_index)
        yield from self._check_padding(data)  # 3
        first_leaves: list[Any] = []
        for buffer in self._buffers:  # 4
            cover: list[tuple[int, Tensor]] = []
            for start in range(0, buffer.length, 1 << head.log2):
                try:
                    self._check_blocks(buffer, start, start + 1)
                except CairnError as e:
                    if buffer.kind == 0:
                        cover = cover or list(self._cover(buffer))
                        if not first_leaves:  # tensors are numbered by their first appearance
                            for node, i in _leaves(self._index, self._root_at):
                                if i == len(first_leaves):
                                    first_leaves.append(node)
                        t = cover[bisect.bisect_left(cover, (start + 1,)) - 1][1]
                        e.detail = f"of {_address(first_leaves[t.number])!r}"
                    yield e
        for t in self.tensors:  # 5
            if t.buffer is not None and self._buffers[t.buffer].kind == 0 and (t.partial or t.dtype.name == "bool"):
                try:
                    if self._all_good(t):
                        t._check_elements()
                except CairnError as e:
                    yield e
        for t in self.tensors:  # 6
            if t.buffer is not None and self._buffers[t.buffer].kind != 0:
                yield _refusal("buffer-kind", None, f"tensor {t.number}, kind {self._buffers[t.buffer].kind}")

    def _check_trailer(self, data: memoryview) -> None:
        head, at = self._head, self._size - 64
        trailer = _read_head(bytes(data[at:]), at, True, "trailer-magic", "trailer-crc")
        for field, mine, wanted in (
            (10, trailer.streamed, head.streamed), (12, trailer.log2, head.log2), (16, trailer.file_length, head.file_length),
            (24, trailer.index_offset, self._last_index), (32, trailer.index_length, head.index_length),
            (40, trailer.index_crc, head.index_crc),
        ):
            if mine != wanted:
                raise _refusal("trailer-mismatch", at + field)

    def _check_padding(self, data: memoryview) -> Iterator[CairnError]:
        head = self._head
        end = 64 if head.streamed else 64 + head.index_length
        ends = [(b.start, b.end) for b in self._buffers]
        ends += [(self._last_index, self._last_index + head.index_length), (self._size - 64, self._size)]
        for start, next_end in ends:
            gap = bytes(data[end:start])  # fewer than 4096 bytes
            if any(gap):
                yield _refusal("padding", end + len(gap) - len(gap.lstrip(b"\0")))
            end = next_end

    def _check_blocks(self, buffer: _Buffer, start: int, stop: int) -> None:
        """Checks the blocks that hold bytes start..stop of a buffer, if they have not been found good before."""
        log2, data = self._head.log2, self._view()
        number, end = buffer.first_block + (start >> log2), buffer.first_block + (stop - 1 >> log2) + 1
        while (number := self._good.find(0, number, end)) >= 0:
            at = buffer.start + (number - buffer.first_block << log2)
            if _crc32(data[at:min(at + (1 << log2), buffer.end)]) != _U32(self._index, self._crcs + 4 * number)[0]:
                raise _refusal("block-crc", at)
            self._good[number] = 1

    def _all_good(self, t: Tensor) -> bool:
        """Whether all blocks of a tensor have been found good."""
        log2, first = self._head.log2, self._buffers[t.buffer].first_block
        return all(self._good.find(0, first + (a >> log2), first + (b - 1 >> log2) + 1) < 0 for a, b in t._touched())

    def _not_bool(self, buffer: _Buffer, start: int, stop: int) -> Optional[int]:
        """Where the first byte above 1 stands in start..stop of a buffer. Remembers the pages without one, since many tensors may view
        the same bytes (§17)."""
        pages = self._bool_pages.setdefault(buffer.start, bytearray(-(-buffer.length // _PAGE)))
        data = self._view()[buffer.start:buffer.end]
        page, end = start // _PAGE, (stop - 1) // _PAGE + 1
        while (page := pages.find(0, page, end)) >= 0:
            whole = bytes(data[page * _PAGE:(page + 1) * _PAGE])
            if not whole.translate(None, b"\0\1"):
                pages[page] = 1
            else:
                at = max(start, page * _PAGE)
                part = bytes(data[at:min(stop, (page + 1) * _PAGE)])
                bad = part.translate(None, b"\0\1")
                if bad:
                    return at + part.index(bad[:1])
            page += 1
        return None

    # The file below.

    def _view(self) -> memoryview:
        if self._data is None:
            raise ValueError("the file is closed")
        return memoryview(self._data).toreadonly()

    def _unchanged(self) -> None:
        """§17: refuses a file whose length is not that at open."""
        if self._file is not None and os.fstat(self._file.fileno()).st_size != self._size:
            raise _refusal("file-changed")

    def _charge(self, n: int) -> None:
        if self._max_copy is not None and self._copied + n > self._max_copy:
            raise _refusal("budget", None, f"{n} bytes more to copy")
        self._copied += n

    def close(self) -> None:
        """Closes the file. Arrays that still view it keep its mapping alive; trees and shapes stay usable."""
        data, self._data = self._data, None
        if self._file is not None:
            try:
                data.close()
            except (AttributeError, BufferError):  # empty, or arrays are alive: the mapping goes with the last of them
                pass
            self._file.close()
            self._file = None

    def __enter__(self) -> CairnFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def open(path: Union[str, os.PathLike], *, max_index: Optional[int] = None, max_copy: Optional[int] = None) -> CairnFile:
    """Opens a file at level O: all rules that header and index decide. OSError is passed on as it is."""
    file = io.open(path, "rb")
    try:
        size = os.fstat(file.fileno()).st_size
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        try:
            return CairnFile(data, file, max_index=max_index, max_copy=max_copy)
        except BaseException:
            if size:
                data.close()
            raise
    except BaseException:
        file.close()
        raise


def loads(data: Any, *, max_index: Optional[int] = None, max_copy: Optional[int] = None) -> CairnFile:
    """Opens the bytes of a file, which must not change afterwards."""
    return CairnFile(memoryview(data).toreadonly().cast("B"), max_index=max_index, max_copy=max_copy)
