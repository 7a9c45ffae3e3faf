"""Element types as torch dtypes, as far as the installed torch has them."""

from __future__ import annotations

import sys

import numpy as np
import torch

from . import _dtypes

if sys.byteorder != "little":
    raise ImportError("cairnfile.torch views tensors as they lie in files, which is little-endian; this machine is not")

_SPELLED = {
    "bool": "bool", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
    "c32": "complex32", "c64": "complex64", "c128": "complex128",
    "f8_e4m3fn": "float8_e4m3fn", "f8_e5m2": "float8_e5m2", "f8_e4m3fnuz": "float8_e4m3fnuz",
    "f8_e5m2fnuz": "float8_e5m2fnuz", "f8_e8m0fnu": "float8_e8m0fnu", "f4_e2m1fn": "float4_e2m1fn_x2",
}  # fmt: skip
#: Both put element 0 in the low half of a byte; torch counts bytes where Cairn counts elements.
PAIRS = "f4_e2m1fn"

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, spelled) for name, spelled in _SPELLED.items() if hasattr(torch, spelled)}
NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


def describe(name: str, group: str, elements: int, nbytes: int) -> np.dtype | None:
    """The dtype of the NumPy array that stands in for a tensor where torch has no dtype: NumPy's own types only."""
    found = _dtypes.describe(name, group, elements, nbytes)
    # Types that other packages add to NumPy have numbers from 256.
    return found if found is not None and found.num < 256 else None


def dtype(name: str, group: str, elements: int, nbytes: int) -> torch.dtype | np.dtype | None:
    """The dtype of what a tensor is read as; None for `cairnfile.Raw`."""
    return DTYPES.get(name) or describe(name, group, elements, nbytes)


def shape_in_torch(name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that torch has for a tensor of a file; None where it has none."""
    if name != PAIRS:
        return tuple(shape)
    if not shape or shape[-1] % 2:
        return None
    return (*shape[:-1], shape[-1] // 2)
