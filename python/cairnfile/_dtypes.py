"""Element types as NumPy dtypes, where NumPy (or ml_dtypes, if it is installed) has one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from . import _cairnfile
from ._cairnfile import Raw

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None  # type: ignore[assignment]

_NUMPY = {
    "bool": "?", "i8": "i1", "i16": "i2", "i32": "i4", "i64": "i8", "u8": "u1", "u16": "u2", "u32": "u4", "u64": "u8",
    "f16": "f2", "f32": "f4", "f64": "f8", "c64": "c8", "c128": "c16",
}  # fmt: skip
_ML_SCALAR = {
    "bf16": "bfloat16", "f8_e3m4": "float8_e3m4", "f8_e4m3": "float8_e4m3", "f8_e4m3b11fnuz": "float8_e4m3b11fnuz",
    "f8_e4m3fn": "float8_e4m3fn", "f8_e4m3fnuz": "float8_e4m3fnuz", "f8_e5m2": "float8_e5m2",
    "f8_e5m2fnuz": "float8_e5m2fnuz", "f8_e8m0fnu": "float8_e8m0fnu",
}  # fmt: skip
# ml_dtypes keeps one element in a byte; Cairn packs them.
_ML_PACKED = {
    "i4": "int4", "u4": "uint4", "i2": "int2", "u2": "uint2", "i1": "int1", "u1": "uint1",
    "f6_e2m3fn": "float6_e2m3fn", "f6_e3m2fn": "float6_e3m2fn", "f4_e2m1fn": "float4_e2m1fn",
}  # fmt: skip
# NumPy's other types are carried under NumPy's own names: dates, fixed-length text and bytes, void, extended floats.
_PRIVATE = "numpy."
_PRIVATE_FORM = re.compile(r"(?:[SUV][1-9][0-9]*|[fc][1-9][0-9]*|[mM]8(?:\[[A-Za-z0-9]+\])?)\Z")

GEOMETRY = {name: (group, elements, nbytes) for name, group, elements, nbytes in _cairnfile.dtypes()}


def _ml(name: str | None) -> np.dtype | None:
    kind = getattr(ml_dtypes, name, None) if ml_dtypes is not None and name is not None else None
    return None if kind is None else np.dtype(kind)


_FROM_ML = {found: name for name, ml in {**_ML_SCALAR, **_ML_PACKED}.items() if (found := _ml(ml)) is not None}


def describe(name: str, group: str, elements: int, nbytes: int) -> np.dtype | None:
    """The dtype of arrays that can view the tensor's own memory; None where there is none."""
    if group != "scalar":
        return None
    if name in _NUMPY:
        return np.dtype(_NUMPY[name])
    if name.startswith(_PRIVATE) and _PRIVATE_FORM.match(name[len(_PRIVATE) :]):
        return _private(name[len(_PRIVATE) :], nbytes)
    return _ml(_ML_SCALAR.get(name))


def _private(text: str, nbytes: int) -> np.dtype | None:
    try:
        dtype = np.dtype("<" + text)
    except TypeError:
        return None
    return dtype if dtype.itemsize == nbytes else None


def dtype(name: str, group: str, elements: int, nbytes: int) -> np.dtype | None:
    """The dtype of the array that a tensor is read as, viewing or unpacked."""
    return describe(name, group, elements, nbytes) or _ml(_ML_PACKED.get(name))


def name_of(dtype: np.dtype) -> str:
    """The name of the element type that keeps `dtype`.

    Raises
    ------
    TypeError
        For Python objects, records, and types of a length that varies.
    """
    if dtype in _FROM_ML:
        return _FROM_ML[dtype]
    text = dtype.newbyteorder("<").str[1:]
    for name, known in _NUMPY.items():
        if np.dtype(known) == dtype.newbyteorder("="):
            return name
    if dtype.names is None and dtype.subdtype is None and _PRIVATE_FORM.match(text) and dtype.itemsize <= 65535:
        return _PRIVATE + text
    raise TypeError(f"arrays of dtype {dtype!r} cannot be kept")


def geometry_of(name: str, dtype: np.dtype) -> tuple[str, int, int] | None:
    """What a private name needs to be stated with; None for registered names."""
    return None if name in GEOMETRY else ("scalar", 1, dtype.itemsize)


def adapt(array: np.ndarray, adapter: Any) -> Raw:
    """An array that is not of NumPy's own numbers in little-endian order, as bytes."""
    name = name_of(array.dtype)
    geometry = geometry_of(name, array.dtype)
    if name in _ML_PACKED:
        return adapter.converted(array, lambda: Raw(name, array.shape, _pack(array, name)))
    if array.dtype.isnative or array.dtype.byteorder == "|":
        return Raw.of_array(array, name, geometry)
    return adapter.converted(array, lambda: Raw.of_array(array.astype(array.dtype.newbyteorder("<")), name, geometry, span(array)))


def span(array: np.ndarray) -> tuple[int, int]:
    """Address of the first byte in memory of an array, and bytes up to its last one."""
    low = array.__array_interface__["data"][0]
    if array.size == 0:
        return low, 0
    high = low + array.itemsize
    for extent, stride in zip(array.shape, array.strides):
        reach = (extent - 1) * stride
        low, high = (low + reach, high) if reach < 0 else (low, high + reach)
    return low, high - low


def _bits(name: str) -> int:
    _, elements, nbytes = GEOMETRY[name]
    return 8 * nbytes // elements


def _pack(array: np.ndarray, name: str) -> np.ndarray:
    """The elements' low bits, one behind the other from the lowest bit of the first byte on."""
    _, elements, nbytes = GEOMETRY[name]
    bits = _bits(name)
    values = np.ascontiguousarray(array).reshape(-1).view(np.uint8) & np.uint8((1 << bits) - 1)
    groups = np.zeros((-(-values.size // elements), elements), np.uint8)
    groups.reshape(-1)[: values.size] = values
    word = np.zeros(len(groups), np.uint32)
    for position in range(elements):
        word |= groups[:, position].astype(np.uint32) << np.uint32(bits * position)
    return np.ascontiguousarray(word.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :nbytes]).reshape(-1)


def unpack(raw: Raw) -> Any:
    """A tensor that no dtype can view: unpacked where ml_dtypes has its elements, else as it is."""
    dtype = _ml(_ML_PACKED.get(raw.dtype))
    if dtype is None:
        return raw
    _, elements, nbytes = raw.geometry
    bits = _bits(raw.dtype)
    groups = np.frombuffer(raw.tobytes(), np.uint8).reshape(-1, nbytes)
    padded = np.zeros((len(groups), 4), np.uint8)
    padded[:, :nbytes] = groups
    word = padded.view("<u4").reshape(-1)
    out = np.empty((len(groups), elements), np.uint8)
    for position in range(elements):
        out[:, position] = (word >> np.uint32(bits * position)) & np.uint32((1 << bits) - 1)
    if raw.dtype[0] == "i":
        # The sign goes up to the top of the byte.
        out = ((out ^ np.uint8(1 << (bits - 1))) - np.uint8(1 << (bits - 1))).astype(np.uint8)
    count = int(np.prod(raw.shape, dtype=np.int64))
    return out.reshape(-1)[:count].copy().view(dtype).reshape(raw.shape)
