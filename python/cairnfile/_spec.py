"""Tensors by address, as safetensors takes them: `TensorSpec`, `serialize`, `serialize_file`, `deserialize`."""

from __future__ import annotations

from typing import Any

from . import _dtypes, _safetensors
from ._cairnfile import Raw, UsageError
from ._safetensors import WrongTypeError

# Names that frameworks give their dtypes.
_NAMES = {
    "bool": "bool", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8", "uint16": "u16",
    "uint32": "u32", "uint64": "u64", "float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64",
    "complex64": "c64", "complex128": "c128", "float8_e4m3fn": "f8_e4m3fn", "float8_e4m3fnuz": "f8_e4m3fnuz",
    "float8_e5m2": "f8_e5m2", "float8_e5m2fnuz": "f8_e5m2fnuz", "float8_e8m0fnu": "f8_e8m0fnu",
    "float4_e2m1fn_x2": "f4_e2m1fn",
}  # fmt: skip


class TensorSpec:
    """A tensor by the address of its row-major bytes, which the caller keeps alive and unchanged until it is saved.

    Parameters
    ----------
    dtype : str
        What frameworks call the element type: `"float32"`, `"bfloat16"`, …
    shape : sequence of int
        Extent of each axis. A `float4_e2m1fn_x2` is two elements: the last extent is doubled.
    data_ptr : int
        Address of the first byte.
    data_len : int
        Number of bytes.

    Examples
    --------
    >>> import cairnfile, numpy as np
    >>> a = np.arange(3, dtype=np.float32)
    >>> spec = cairnfile.TensorSpec(dtype="float32", shape=[3], data_ptr=a.ctypes.data, data_len=a.nbytes)
    >>> [(name, item["dtype"], item["shape"]) for name, item in cairnfile.deserialize(cairnfile.serialize({"a": spec}))]
    [('a', 'F32', [3])]
    """

    __slots__ = ("_dtype", "_shape", "_data_ptr", "_data_len")

    def __init__(self, *, dtype: str, shape: Any, data_ptr: int, data_len: int):
        if not isinstance(dtype, str):
            raise WrongTypeError(f"dtype is a str, not a {type(dtype).__name__}")
        if dtype not in _NAMES:
            raise UsageError(f"dtype {dtype!r} is none of {', '.join(_NAMES)}")
        extents = [int(extent) for extent in shape]
        if dtype == "float4_e2m1fn_x2" and extents:
            extents[-1] *= 2
        if min([*extents, data_ptr, data_len]) < 0:
            raise UsageError("extents, addresses and lengths are not negative")
        self._dtype, self._shape, self._data_ptr, self._data_len = _NAMES[dtype], extents, data_ptr, data_len

    @property
    def dtype(self) -> str:
        """The element type as safetensors spells it."""
        return _safetensors.code(self._dtype)

    @property
    def shape(self) -> list[int]:
        """Extent of each axis, in elements."""
        return list(self._shape)

    @property
    def data_ptr(self) -> int:
        """Address of the first byte."""
        return self._data_ptr

    @property
    def data_len(self) -> int:
        """Number of bytes."""
        return self._data_len

    def __repr__(self) -> str:
        return f"TensorSpec(dtype={self.dtype!r}, shape={self._shape}, data_ptr={self._data_ptr}, data_len={self._data_len})"

    def _raw(self) -> Raw:
        _, elements, nbytes = _dtypes.GEOMETRY[self._dtype]
        count = 1
        for extent in self._shape:
            count *= extent
        expected = -(-count // elements) * nbytes
        if expected != self._data_len:
            raise UsageError(f"{self.dtype} of shape {self._shape} has {expected} bytes, not {self._data_len}")
        if expected and not self._data_ptr:
            raise UsageError("data_ptr is null")
        return Raw.from_address(self._dtype, self._shape, self._data_ptr, self._data_len, self)


def _raws(tensor_dict: Any) -> dict[str, Raw]:
    specs = _safetensors.checked(tensor_dict, (TensorSpec,), "TensorSpec")
    return {name: spec._raw() for name, spec in specs.items()}


def serialize(tensor_dict: dict[str, TensorSpec], metadata: dict[str, str] | None = None) -> bytes:
    """The Cairn file of tensors that are given by address, as bytes."""
    return _safetensors.save(_raws(tensor_dict), metadata, copy=True)


def serialize_file(tensor_dict: dict[str, TensorSpec], filename: Any, metadata: dict[str, str] | None = None) -> None:
    """Saves tensors that are given by address. Threads may do so at the same time: the interpreter's lock is released."""
    _safetensors.save_file(_raws(tensor_dict), filename, metadata, copy=True)


def deserialize(bytes: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Names and contents of the tensors of a flat file: dicts of `shape`, `dtype` and the row-major `data`."""
    items = _safetensors.elements(bytes).items()
    return [
        (name, {"shape": list(item.shape), "dtype": _safetensors.code(item.dtype), "data": bytearray(item.tobytes())})
        for name, item in items
    ]
