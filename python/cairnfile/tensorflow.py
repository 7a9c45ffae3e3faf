"""TensorFlow: tensors, and the parameters of Keras models.

`save` and `load` are those of `cairnfile`; tensors come back as `tf.Tensor`. A `tf.Variable` is kept as the tensor that it
holds, and comes back as one: `variable.assign(…)` it, or use `save_model` and `load_model` for the parameters of a model.

Kept: all numeric dtypes of TensorFlow, and ties: tensors that are one object, or one buffer, are saved once and come back as
one. Tensors use the memory of the load where they can; TensorFlow does not write to it, so that views which overlap are as
good as copies. A dtype that TensorFlow lacks (`f8_e3m4`, `f8_e4m3`, `f8_e8m0fnu`, …) comes back as a NumPy array or a
`cairnfile.Raw`. Refused: ragged and sparse tensors, strings, quantized dtypes, resources, and tensors of a graph.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import tensorflow as tf

from . import _io, _types
from ._cairnfile import Raw
from ._elements import Elements
from ._io import dumps, save, verify
from ._lazy import NUMPY, File, Hooks
from .keras import load_model, load_state_dict, save_model, state_dict
from .safetensors.tensorflow import load_file, save_file

__all__ = [
    "File", "dumps", "load", "load_file", "load_model", "load_state_dict", "loads", "open", "save", "save_file", "save_model",
    "state_dict", "verify",
]  # fmt: skip

_REFUSED = (
    (tf.RaggedTensor, "a tf.RaggedTensor is several tensors: save its flat_values and nested_row_splits"),
    (tf.SparseTensor, "a tf.SparseTensor is several tensors: save its indices, values and dense_shape"),
    (tf.IndexedSlices, "a tf.IndexedSlices is several tensors: save its indices and values, or tf.convert_to_tensor(…) of it"),
)


def adapt(value, adapter):
    """What an object of TensorFlow is saved as."""
    for kind, why in _REFUSED:
        if isinstance(value, kind):
            raise TypeError(why)
    if isinstance(value, tf.Variable):
        # Memory of the variable itself: TensorFlow copies it before anything writes while this tensor lives.
        return value.value()
    if isinstance(value, tf.Tensor):
        return _array(value)
    return NotImplemented


def _array(tensor: tf.Tensor) -> np.ndarray:
    if tf.is_symbolic_tensor(tensor):
        raise TypeError("a tensor of a graph has no elements yet: save outside tf.function")
    if tensor.dtype == tf.string:
        raise TypeError("a tf.string tensor cannot be kept: save tensor.numpy().tolist(), a list of bytes")
    if tensor.dtype.is_quantized:
        raise TypeError(f"a {tensor.dtype.name} tensor cannot be kept: save tf.bitcast of it to the plain integer, and its range")
    if tensor.dtype in (tf.resource, tf.variant):
        raise TypeError(f"a tensor of {tensor.dtype.name} is a handle, not data")
    return _host(tensor)


def _host(tensor: tf.Tensor) -> np.ndarray:
    """The tensor's own memory, where that is the host's, else a copy."""
    # Without axes TensorFlow gives a scalar for the dtypes of ml_dtypes, which NumPy takes for no array.
    return np.asarray(tensor) if tensor.shape.rank else np.asarray(tf.reshape(tensor, [1])).reshape(())


@functools.lru_cache(None)
def _represents(dtype: np.dtype) -> bool:
    """Whether TensorFlow has tensors of exactly this dtype."""
    if dtype.kind in "SUOmM":
        return False
    try:
        return np.asarray(tf.convert_to_tensor(np.zeros(1, dtype))).dtype == dtype
    except (TypeError, ValueError, tf.errors.OpError):
        return False


def _make(*place):
    array = Elements(*place).array(NUMPY)
    if isinstance(array, Raw) or not _represents(array.dtype):
        return None
    if not _usable(array):
        return tf.convert_to_tensor(array)
    # The file's memory, which TensorFlow does not own: it copies before it writes. `identity` goes to the device in use.
    if array.dtype == tf.bfloat16.as_numpy_dtype:
        return tf.identity(tf.bitcast(tf.experimental.dlpack.from_dlpack(array.view(np.uint16).__dlpack__()), tf.bfloat16))
    return tf.identity(tf.experimental.dlpack.from_dlpack(array.__dlpack__()))


def _usable(array: np.ndarray) -> bool:
    """Whether TensorFlow can use the memory as it is."""
    if array.size == 0 or not (array.flags.c_contiguous and array.flags.writeable):
        return False
    dtype, address = array.dtype, array.__array_interface__["data"][0]
    return address % 64 == 0 and (dtype.isbuiltin == 1 and dtype.kind in "iufc" or dtype == tf.bfloat16.as_numpy_dtype)


def _restore(name: str, value):
    if name == "numpy_scalar" and isinstance(value, tf.Tensor):
        value = _host(value)
    return _types.restore(name, value)


class _TensorFlowHooks(Hooks):
    def numpy(self, array: Any) -> np.ndarray:
        return _host(array) if isinstance(array, tf.Tensor) else array


HOOKS = _TensorFlowHooks(make=_make, restore=_restore)


def load(
    path: Any,
    *,
    only: str | list[str] | None = None,
    mmap: bool = False,
    max_memory: int | None = None,
    progress: _io.Progress = None,
) -> Any:
    """Loads what was saved, with `tf.Tensor` for tensors; arguments and errors as in `cairnfile.load`.

    Examples
    --------
    >>> import cairnfile.tensorflow, tensorflow as tf, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "state.cairn")
    >>> cairnfile.tensorflow.save({"w": tf.ones(2), "step": 7}, path)
    >>> cairnfile.tensorflow.load(path)
    {'w': <tf.Tensor: shape=(2,), dtype=float32, numpy=array([1., 1.], dtype=float32)>, 'step': 7}
    """
    return _io.load(path, only=only, mmap=mmap, max_memory=max_memory, progress=progress, _hooks=HOOKS)


def loads(data: bytes, *, only: str | list[str] | None = None, max_memory: int | None = None) -> Any:
    """Loads from the bytes of a file, as `load` does."""
    return _io.loads(data, only=only, max_memory=max_memory, _hooks=HOOKS)


def open(path, *, mmap: bool = False, max_memory: int | None = None) -> File:
    """Opens a file as `cairnfile.open` does; tensors and their slices are read as `tf.Tensor`."""
    return File(os.fsdecode(path), mmap=bool(mmap), max_memory=max_memory, hooks=HOOKS)
