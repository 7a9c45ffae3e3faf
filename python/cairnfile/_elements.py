"""A tensor of a file before it is a framework's: which elements lie where in memory, and NumPy's indexing of them."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import numpy as np

from . import _dtypes
from ._cairnfile import LazyTensor, Raw
from ._lazy import Hooks, plan


class Elements(NamedTuple):
    """What `make` of `Hooks` is called with."""

    dtype: str
    geometry: tuple[str, int, int]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    data: np.ndarray
    offset: int
    buffer: int | None

    def tobytes(self) -> bytes:
        """The elements' bytes, row-major."""
        return self.raw().tobytes()

    def raw(self) -> Raw:
        known = self.dtype in _dtypes.GEOMETRY
        return Raw(self.dtype, self.shape, self.data, self.strides, self.offset, None if known else self.geometry)

    def array(self, hooks: Hooks) -> Any:
        """NumPy's array of them, a view where it has a dtype for their memory; else what `hooks` makes of such."""
        dtype = hooks.describe(self.dtype, *self.geometry)
        return hooks.unknown(self.raw()) if dtype is None else self._view(dtype)

    def opaque(self) -> np.ndarray:
        """An array of them in which NumPy sees bytes only: it can be indexed whatever the dtype."""
        return self._view(np.dtype(f"V{self.geometry[2]}"))

    def _view(self, dtype: np.dtype) -> np.ndarray:
        if 0 in self.shape:
            return np.empty(self.shape, dtype)
        return np.ndarray(self.shape, dtype, self.data, self.offset, self.strides)


def keep(name: str, value):
    """For `restore` of `Hooks`: the value without its name."""
    return value


#: Hooks of files whose tensors come as `Elements`, their names left out.
HOOKS = Hooks(make=lambda *place: Elements(*place), restore=keep)


def maker(hooks: Hooks) -> Callable[[Elements], Any]:
    """A function that makes one load's tensors: one object becomes one tensor, those of one buffer share it."""
    make, made = hooks.make, {}

    def tensor(elements: Elements) -> Any:
        if id(elements) not in made:
            found = None if make is None else make(*elements)
            made[id(elements)] = elements, elements.array(hooks) if found is None else found
        return made[id(elements)][1]

    return tensor


def _is_basic(key) -> bool:
    entries = key if isinstance(key, tuple) else (key,)
    return all(
        entry is None or entry is Ellipsis or isinstance(entry, (slice, int, np.integer)) and not isinstance(entry, bool)
        for entry in entries
    )


def take(tensor: LazyTensor, key) -> Elements:
    """`tensor[key]` with NumPy's meaning of every key, for a tensor of a file that was opened with `HOOKS`.

    Ints, slices, `...` and None read the blocks under the result; lists, masks and bools read the tensor.
    """
    if _is_basic(key):
        ranges, picks = plan(tensor.shape, key)
        whole = all(wanted == (0, extent) for wanted, extent in zip(ranges, tensor.shape))
        elements = tensor.read() if whole else tensor.read(ranges)
    else:
        picks, elements = key if isinstance(key, tuple) else (key,), tensor.read()
    if elements.geometry[0] != "scalar":
        return _whole_groups(elements, picks)
    part = np.array(elements.opaque()[picks], order="C")
    data = part.reshape(-1).view(np.uint8) if part.size else np.empty(0, np.uint8)
    return Elements(elements.dtype, elements.geometry, part.shape, None, data, 0, None)


def _whole_groups(elements: Elements, picks: tuple) -> Elements:
    if all(pick is Ellipsis or isinstance(pick, slice) and pick in (slice(None), slice(None, None, 1)) for pick in picks):
        return elements
    raise TypeError(f"elements of dtype {elements.dtype} share bytes: take ranges, or read the tensor and index that")
