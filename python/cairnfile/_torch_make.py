"""Values of a file as torch's objects."""

from __future__ import annotations

import math
from typing import Any, Optional, Tuple, Union

import numpy as np
import torch

from . import _dtypes, _torch_dtypes, _types
from ._cairnfile import Named, Raw
from ._lazy import Hooks
from ._torch_adapt import FROZEN, PARAMETER, storage_of
from ._torch_dtypes import DTYPES, PAIRS

MapLocation = Union[None, str, torch.device]
_Made = Optional[torch.Tensor]
_Ints = Tuple[int, ...]


class Maker:
    """Makes the tensors of one load. Those of one buffer of the file share one storage, which is as long as the buffer."""

    def __init__(self, device: torch.device):
        self._device = device
        self._copies = device.type != "cpu"
        # For each buffer a tensor whose storage is the buffer.
        self._over: dict[int | None, torch.Tensor] = {}

    def tensor(
        self,
        name: str,
        geometry: tuple[str, int, int],
        shape: _Ints,
        strides: _Ints | None,
        data: np.ndarray,
        offset: int,
        buffer: int | None,
    ) -> _Made:
        """What `Hooks.make` is to return: None where torch lacks the dtype or the shape."""
        dtype = DTYPES.get(name)
        if dtype is not None and strides is None and len(shape) == 1 and name != PAIRS and not self._copies:
            # Most of very many tensors are vectors, each the whole of a buffer that was not met before.
            whole = 0 < len(data) == shape[0] * geometry[2] and data.flags.writeable
            if whole and buffer is not None and buffer not in self._over:
                made = self._over[buffer] = torch.frombuffer(data, dtype=dtype)
                return made
        extents = shape if name != PAIRS else _torch_dtypes.shape_in_torch(name, shape)
        if dtype is None or extents is None:
            return None
        itemsize = geometry[2]
        nbytes = math.prod(extents) * itemsize
        if nbytes == 0:
            return torch.empty(extents, dtype=dtype, device=self._device)
        if buffer is None or not data.flags.writeable:
            data, offset, buffer = _own(data, offset, _reach(extents, strides, nbytes, itemsize)), 0, None
        over = self._over.get(buffer)
        if over is None and strides is None and len(data) == nbytes and not self._copies:
            made = torch.frombuffer(data, dtype=dtype)
            if len(extents) != 1:
                made.resize_(extents)
            self._keep(buffer, made)
            return made
        if over is None:
            over = torch.frombuffer(data, dtype=torch.uint8).to(self._device)
            self._keep(buffer, over)
        made = torch.empty(0, dtype=dtype, device=self._device)
        return made.set_(storage_of(over), offset // itemsize, extents, _in_elements(extents, strides, itemsize))

    def _keep(self, buffer: int | None, over: torch.Tensor) -> None:
        if buffer is not None:
            self._over[buffer] = over


def _reach(shape: _Ints, strides: _Ints | None, nbytes: int, itemsize: int) -> int:
    """Bytes from the first element to the end of the last."""
    if strides is None:
        return nbytes
    return sum((extent - 1) * stride for extent, stride in zip(shape, strides)) + itemsize


def _own(data: np.ndarray, offset: int, nbytes: int) -> np.ndarray:
    """The bytes of one tensor; copied where they may not be written, since torch has no read-only tensors."""
    part = data[offset : offset + nbytes]
    return part if part.flags.writeable else part.copy()


def _in_elements(shape: _Ints, strides: _Ints | None, itemsize: int) -> _Ints:
    """Strides in elements, with those of axes of extent 1, which files do not say, as of a contiguous tensor."""
    found, step = [], 1
    for axis in reversed(range(len(shape))):
        stride = step if strides is None or shape[axis] == 1 else strides[axis] // itemsize
        found.append(stride)
        step = stride * shape[axis]
    return tuple(reversed(found))


class Restorer:
    """Makes the objects of named values of one load. Parameters that were tied are one object."""

    def __init__(self) -> None:
        self._parameters: dict[tuple[int, str], tuple[Any, torch.nn.Parameter]] = {}

    def value(self, name: str, value: Any) -> Any:
        """What `Hooks.restore` is to return."""
        if name == PARAMETER or name == FROZEN:
            return self._parameter(name, value)
        if name == "dtype" and isinstance(value, str) and value in DTYPES:
            return DTYPES[value]
        if name == "numpy_scalar":
            value = _array(value)
        return _types.restore(name, value)

    def _parameter(self, name: str, value: Any) -> Any:
        trained = name == PARAMETER
        if type(value) is not torch.Tensor or (trained and not (value.is_floating_point() or value.is_complex())):
            return Named(name, value)
        key = id(value), name
        if key not in self._parameters:
            self._parameters[key] = value, torch.nn.Parameter(value, requires_grad=trained)
        return self._parameters[key][1]


def _array(value: Any) -> Any:
    """The array of a NumPy scalar."""
    if isinstance(value, Raw):
        return _dtypes.unpack(value)
    if type(value) is not torch.Tensor or value.dim() != 0 or value.device.type != "cpu":
        return value
    name = _torch_dtypes.NAMES[value.dtype]
    dtype = _dtypes.dtype(name, *_dtypes.GEOMETRY[name])
    if dtype is None or dtype.itemsize != value.element_size():
        return value
    return np.frombuffer(bytes(value.reshape(1).view(torch.uint8).tolist()), dtype).reshape(()).copy()


class TorchHooks(Hooks):
    """What makes torch's objects. Each load gets a maker and a restorer of its own, which it drops at its end."""

    def __init__(self, map_location: MapLocation = None):
        self.device = _device(map_location)
        self.describe = _torch_dtypes.describe
        self.dtype = _torch_dtypes.dtype
        self.unknown = _as_it_is

    @property
    def make(self):
        return Maker(self.device).tensor

    @property
    def restore(self):
        return Restorer().value


def _as_it_is(raw: Raw) -> Raw:
    return raw


def _device(map_location: MapLocation) -> torch.device:
    if map_location is not None and not isinstance(map_location, (str, torch.device)):
        raise TypeError("map_location is a device or its name: files do not say where tensors were")
    return torch.device("cpu" if map_location is None else map_location)
