"""MXNet 1.9: NDArrays, and the parameters of Gluon blocks.

`save` and `load` are those of `cairnfile`. Tensors come back as `mx.np.ndarray` if ``mx.util.is_np_array()`` (after
``mx.npx.set_np()``), else as `mx.nd.NDArray`, whichever of the two they were.

Kept: all dtypes of MXNet, bfloat16 too, and ties: arrays that are one object, or one buffer, are saved once and come back as
one. Views that overlap (``x[2:5]``) go on sharing memory, except those of int8 and bfloat16 and those without axes, which
come back as copies. NumPy arrays come back for what MXNet lacks: other dtypes, and (unless
``mx.util.is_np_shape()``) arrays without axes or without elements. Refused: sparse NDArrays. Needs NumPy below 1.24, as MXNet
does; `python/envs/make mxnet` sets up such an environment.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.base import _LIB, check_call

from . import _io, _types
from ._cairnfile import Raw
from ._elements import Elements
from ._entries import Differences
from ._io import dumps, save, verify
from ._lazy import NUMPY, File, Hooks

__all__ = ["File", "dumps", "load", "load_model", "loads", "open", "save", "save_model", "verify"]

_BFLOAT16 = np.dtype([("bfloat16", "<u2")])
_NAMES = {
    np.dtype(np.float16): "f16", np.dtype(np.float32): "f32", np.dtype(np.float64): "f64", _BFLOAT16: "bf16",
    np.dtype(np.bool_): "bool", np.dtype(np.int8): "i8", np.dtype(np.uint8): "u8", np.dtype(np.int32): "i32",
    np.dtype(np.int64): "i64",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
# What MXNet can take over without a copy.
_IN_PLACE = ("f16", "f32", "f64", "bool", "u8", "i32", "i64")
# MXNet counts elements with 32 bits.
_MAX_ELEMENTS = 2**31 - 1


def adapt(value, adapter):
    """What an object of MXNet is saved as."""
    if isinstance(value, mx.gluon.Parameter):
        return _data(value.name, value)
    if isinstance(value, mx.gluon.Block):
        raise TypeError(f"the block {value.name!r} is more than data: use save_model")
    return _array(value, adapter) if isinstance(value, mx.nd.NDArray) else NotImplemented


def _array(array: mx.nd.NDArray, adapter) -> Raw:
    if array.stype != "default":
        raise TypeError(f"a sparse NDArray ({array.stype}) cannot be kept: save array.tostype('default'), or its data and indices")
    name = _NAMES[np.dtype(array.dtype)]
    if array.handle is None or (array.shape == () and array.size != 1):
        raise ValueError("the NDArray has no shape and no elements yet")
    if array.size == 0:
        return Raw(name, array.shape, np.empty(0, np.uint8))
    nbytes = array.size * np.dtype(array.dtype).itemsize
    address = _address(array)
    if array.ctx.device_type.startswith("cpu"):
        return Raw.from_address(name, array.shape, address, nbytes, array)
    # A copy on the host, once for each buffer of the device.
    kept = adapter.state.setdefault("mxnet", {})
    key = (str(array.ctx), address, array.shape, name)
    if key not in kept:
        kept[key] = Raw.of_array(array.asnumpy(), name, None, (address, nbytes)), array
    return kept[key][0]


def _address(array: mx.nd.NDArray) -> int:
    """Where the elements are, once they are there; row-major."""
    array.wait_to_read()
    address = ctypes.c_void_p()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
    return address.value or 0


class _Maker:
    """Makes the arrays of one load."""

    def __init__(self) -> None:
        # For each buffer of the file one array over all of its memory, and that memory. MXNet orders what it does to an array
        # and to views that it made of it, but knows nothing of other arrays over the same memory.
        self._bases: dict[int, tuple[mx.nd.NDArray, np.dtype]] = {}

    def array(self, name, geometry, shape, strides, data, offset, buffer):
        if name not in _DTYPES or ((shape == () or 0 in shape) and not mx.util.is_np_shape()):
            return None
        # NumPy may lack bfloat16: its bits.
        array = Elements("u16" if name == "bf16" else name, geometry, shape, strides, data, offset, buffer).array(NUMPY)
        if name == "bf16":
            return _copy(array.view(_BFLOAT16))
        if name in _IN_PLACE and array.size and shape and array.flags.c_contiguous and array.flags.writeable:
            return self._view(array, data, offset, buffer)
        return _copy(array)

    def _view(self, array: np.ndarray, data: np.ndarray, offset: int, buffer: int | None) -> mx.nd.NDArray:
        if buffer is None:
            return _as_asked(mx.nd.from_numpy(array, zero_copy=True))
        size, (start, rest) = array.itemsize, divmod(offset, array.itemsize)
        if buffer not in self._bases and rest == 0:
            elements = min(len(data) // size, _MAX_ELEMENTS)
            self._bases[buffer] = mx.nd.from_numpy(data[: elements * size].view(array.dtype), zero_copy=True), array.dtype
        base, dtype = self._bases.get(buffer, (None, None))
        if base is None or dtype != array.dtype or rest or start + array.size > base.size:
            return _copy(array)
        return _as_asked(base[start : start + array.size].reshape(array.shape))


def _copy(array: np.ndarray) -> mx.nd.NDArray:
    made = mx.nd.empty(array.shape, dtype=array.dtype)
    made._sync_copyfrom(np.ascontiguousarray(array).reshape(array.shape))
    return _as_asked(made)


def _as_asked(array: mx.nd.NDArray) -> mx.nd.NDArray:
    return array.as_np_ndarray() if mx.util.is_np_array() else array


def _restore(name: str, value):
    if name == "numpy_scalar" and isinstance(value, mx.nd.NDArray):
        value = value.asnumpy()
    return _types.restore(name, value)


class _MXNetHooks(Hooks):
    """What makes MXNet's objects; each load gets a maker of its own."""

    def __init__(self) -> None:
        self.describe, self.dtype, self.unknown, self.restore = NUMPY.describe, NUMPY.dtype, NUMPY.unknown, _restore

    @property
    def make(self):
        return _Maker().array

    def numpy(self, array: Any) -> np.ndarray:
        # NumPy would take an NDArray apart, element by element.
        return array.asnumpy() if isinstance(array, mx.nd.NDArray) else array


HOOKS = _MXNetHooks()


def load(
    path: Any,
    *,
    only: str | list[str] | None = None,
    mmap: bool = False,
    max_memory: int | None = None,
    progress: _io.Progress = None,
) -> Any:
    """Loads what was saved, with MXNet's arrays for tensors, on the CPU; arguments and errors as in `cairnfile.load`.

    Examples
    --------
    >>> import cairnfile.mxnet, mxnet as mx, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "state.cairn")
    >>> cairnfile.mxnet.save({"w": mx.nd.ones(2), "step": 7}, path)
    >>> cairnfile.mxnet.load(path)["w"]
    <BLANKLINE>
    [1. 1.]
    <NDArray 2 @cpu(0)>
    """
    return _io.load(path, only=only, mmap=mmap, max_memory=max_memory, progress=progress, _hooks=HOOKS)


def loads(data: bytes, *, only: str | list[str] | None = None, max_memory: int | None = None) -> Any:
    """Loads from the bytes of a file, as `load` does."""
    return _io.loads(data, only=only, max_memory=max_memory, _hooks=HOOKS)


def open(path, *, mmap: bool = False, max_memory: int | None = None) -> File:
    """Opens a file as `cairnfile.open` does; tensors and their slices are read as MXNet's arrays."""
    return File(os.fsdecode(path), mmap=bool(mmap), max_memory=max_memory, hooks=HOOKS)


def _data(name: str, parameter: mx.gluon.Parameter) -> mx.nd.NDArray:
    """The value of a parameter, the mean of its copies if it is on several devices."""
    if parameter._stype != "default":
        raise TypeError(f"the parameter {name!r} is sparse ({parameter._stype}) and cannot be kept: make it of stype 'default'")
    try:
        copies = parameter.list_data()
    except (mx.gluon.DeferredInitializationError, RuntimeError) as error:
        raise ValueError(f"the parameter {name!r} has no value yet: initialize the block, and call it once on data") from error
    return copies[0] if len(copies) == 1 else parameter._reduce()


def save_model(block: mx.gluon.Block, path: Any, *, metadata: dict[str, Any] | None = None) -> None:
    """Saves the parameters of a block, without the architecture: what `save_parameters` saves.

    The file holds a dict from the names that `save_parameters` uses (``"0.weight"``, ``"features.1.bias"``) to tensors.
    They follow the structure, so a block that is built by the same code has the same; parameters that are shared are
    saved once. The states of an optimizer are arrays and numbers, which `save` takes as they are; `Trainer.save_states`
    would pickle them.

    Parameters
    ----------
    block : mx.gluon.Block
        With all parameters initialised.
    path : str, os.PathLike or file object
        Where to.
    metadata : dict, optional
        As in `cairnfile.save`; the place for the configuration that the code builds the block from.

    Raises
    ------
    ValueError
        For a parameter without a value, by name.

    Examples
    --------
    >>> import cairnfile.mxnet, mxnet as mx, tempfile, os
    >>> def build():
    ...     net = mx.gluon.nn.HybridSequential()
    ...     net.add(mx.gluon.nn.Dense(8, activation="relu"), mx.gluon.nn.Dense(2))
    ...     return net
    >>> path, net, clone, x = os.path.join(tempfile.mkdtemp(), "mlp.cairn"), build(), build(), mx.nd.ones((1, 4))
    >>> net.initialize()
    >>> y = net(x)
    >>> cairnfile.mxnet.save_model(net, path)
    >>> cairnfile.mxnet.load_model(clone, path)
    ([], [])
    >>> bool((clone(x) == y).asnumpy().all())
    True
    """
    parameters = block._collect_params_with_prefix()
    _io.save({name: _data(name, parameter) for name, parameter in parameters.items()}, path, metadata=metadata)


def load_model(block: mx.gluon.Block, path: Any, *, strict: bool = True, ctx: Any = None) -> tuple[list[str], list[str]]:
    """Loads what `save_model` saved into a block that was built by the same code, initialised or not.

    Parameters
    ----------
    block : mx.gluon.Block
        Parameters that have no value, or whose shape is not known yet, get both from the file.
    path : str, os.PathLike or file object
        Where from.
    strict : bool
        False leaves parameters that are missing in the file as they are, and what is unexpected alone.
    ctx : mx.Context or list of mx.Context, optional
        Where to initialise parameters that are nowhere yet; the CPU if left out.

    Returns
    -------
    missing, unexpected : list of str
        Names of parameters; empty if `strict`.

    Raises
    ------
    ValueError
        If shapes or dtypes differ, or entries are missing or unexpected: names them all. Nothing has been changed then.
    """
    parameters, found = block._collect_params_with_prefix(), _io.load(path, _hooks=HOOKS)
    if type(found) is not dict:
        raise ValueError(f"the file holds a {type(found).__name__}, not the parameters of a block by name")
    differences = Differences()
    differences.compare({name: _wanted(p) for name, p in parameters.items()}, {name: _found(v) for name, v in found.items()})
    missing, unexpected = differences.check("the model", strict=strict)
    for name, parameter in parameters.items():
        if name in found:
            parameter._load_init(found[name], ctx)
    return missing, unexpected


def _wanted(parameter: mx.gluon.Parameter) -> tuple:
    unknown = -1 if mx.util.is_np_shape() else 0
    shape = None if parameter.shape is None else tuple(None if n == unknown else n for n in parameter.shape)
    return _NAMES[np.dtype(parameter.dtype)], shape


def _found(value) -> tuple:
    if isinstance(value, mx.nd.NDArray):
        return _NAMES[np.dtype(value.dtype)], value.shape
    return f"a {type(value).__name__}", getattr(value, "shape", ())
