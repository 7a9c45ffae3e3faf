"""Open files: values by address, tensors by slices that read only the blocks they need."""

from __future__ import annotations

import operator
import os
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import TracebackType
from typing import Any, Callable

import numpy as np

from . import _cairnfile, _dtypes, _types
from ._cairnfile import LazyTensor, Raw


class Hooks:
    """How values of a file become objects."""

    def __init__(self, make: Callable[..., Any] | None = None, restore: Callable[[str, Any], Any] = _types.restore) -> None:
        self.describe = _dtypes.describe
        self.dtype = _dtypes.dtype
        self.unknown = _dtypes.unpack
        self.make = make
        self.restore = restore

    def index(self, tensor: LazyTensor, key: Any) -> Any:
        return index(tensor, key)

    def array(self, tensor: LazyTensor, dtype: Any, copy: bool | None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array of a file is always a copy: pass copy=None or True")
        array = tensor.read()
        if isinstance(array, Raw):
            raise TypeError(f"NumPy has no dtype for {tensor.dtype_name}: use tensor.read()")
        array = self.numpy(array)
        return array if dtype is None else array.astype(dtype, copy=False)

    def numpy(self, array: Any) -> np.ndarray:
        """NumPy's array of what `make` made."""
        return np.asarray(array)


NUMPY = Hooks()


def _axis(entry: Any, extent: int, axis: int) -> tuple[tuple[int, int], Any]:
    """The range that an index or slice needs, and what picks from it: None for an int."""
    if isinstance(entry, slice):
        start, stop, step = entry.indices(extent)
        count = len(range(start, stop, step))
        if count == 0:
            return (0, 0), slice(None)
        last = start + (count - 1) * step
        low, high = min(start, last), max(start, last) + 1
        return (low, high), slice(None, None, step)
    if isinstance(entry, (bool, np.bool_)):
        raise TypeError("a tensor of a file is indexed with ints and slices; read it first for masks")
    try:
        at = operator.index(entry)
    except TypeError:
        raise TypeError(f"a tensor of a file is indexed with ints and slices, not {type(entry).__name__}; read it first") from None
    if not -extent <= at < extent:
        raise IndexError(f"index {at} is out of bounds for axis {axis} with size {extent}")
    at += extent if at < 0 else 0
    return (at, at + 1), 0


def plan(shape: tuple[int, ...], key: Any) -> tuple[list[tuple[int, int]], tuple[Any, ...]]:
    """The range of each axis that `key` needs, and what picks from those ranges; of ints, slices, `...` and None."""
    entries = list(key) if isinstance(key, tuple) else [key]
    used = sum(entry is not None and entry is not Ellipsis for entry in entries)
    if used > len(shape):
        raise IndexError(f"{used} indices for a tensor with {len(shape)} axes")
    dots = [n for n, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = dots[0] if dots else len(entries)
    entries[at : at + 1] = [slice(None)] * (len(shape) - used)
    ranges: list[tuple[int, int]] = []
    picks: list[Any] = []
    axis = 0
    for entry in entries:
        if entry is None:
            picks.append(None)
            continue
        wanted, pick = _axis(entry, shape[axis], axis)
        ranges.append(wanted)
        picks.append(pick)
        axis += 1
    # With an ellipsis NumPy gives an array without axes, not a scalar.
    return ranges, (*picks, ...) if dots else tuple(picks)


def index(tensor: LazyTensor, key: Any) -> Any:
    """`tensor[key]` with NumPy's meaning of ints, slices, `...` and None; reads the blocks under the result only."""
    shape = tensor.shape
    ranges, picks = plan(shape, key)
    if all(wanted == (0, extent) for wanted, extent in zip(ranges, shape)):
        part = tensor.read()
    else:
        part = tensor.read(ranges)
    if isinstance(part, Raw):
        if all(pick is Ellipsis or pick == slice(None) or pick == slice(None, None, 1) for pick in picks):
            return part
        raise TypeError(f"NumPy has no dtype for {tensor.dtype_name}: take ranges of whole axes")
    return part[picks]


class File(Mapping[str, Any]):
    """An open file: a mapping from the addresses of its tensors, in order, to handles.

    `file[address]` also takes the address of any other value: containers come as `Group`, all else as it is. Threads
    may share a file; a process that was forked may go on using it; pickled, it is opened again by its path.

    Examples
    --------
    >>> import cairnfile, numpy as np, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.cairn")
    >>> cairnfile.save({"model": {"w": np.arange(6.0).reshape(2, 3)}, "step": 7}, path)
    >>> with cairnfile.open(path) as f:
    ...     list(f), f["/step"], f["/model/w"][1, :2]
    (['/model/w'], 7, array([3., 4.]))
    """

    __slots__ = ("_file", "_addresses", "__weakref__")

    def __init__(self, path: str, *, mmap: bool = False, max_memory: int | None = None, hooks: Hooks = NUMPY) -> None:
        self._file = _cairnfile.open(path, hooks, mmap, max_memory)
        self._addresses: list[str] | None = None

    def _keys(self) -> list[str]:
        if self._addresses is None:
            self._addresses = self._file.addresses()
        return self._addresses

    def __getitem__(self, address: str) -> Any:
        if not isinstance(address, str):
            raise TypeError("a file is indexed with addresses; f.root takes keys")
        return self._file.at(address)

    def get(self, address: str, default: Any = None) -> Any:
        return self._file.at(address) if address in self else default

    def __contains__(self, address: object) -> bool:
        return isinstance(address, str) and self._file.has(address)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def keys(self) -> KeysView[str]:
        """Addresses of all tensors, in order; a tied tensor has several."""
        return super().keys()

    def values(self) -> ValuesView[Any]:
        """Handles of all tensors."""
        return super().values()

    def items(self) -> ItemsView[str, Any]:
        """Pairs of address and handle."""
        return super().items()

    @property
    def root(self) -> Any:
        """The value that was saved: a `Group` or `LazyTensor`, or the value itself."""
        return self._file.at("")

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata that was saved beside the value."""
        return self._file.metadata

    @property
    def path(self) -> os.PathLike[str]:
        """The path that was opened."""
        return self._file.path

    @property
    def nbytes(self) -> int:
        """Length of the file, in bytes."""
        return self._file.nbytes

    @property
    def block_size(self) -> int:
        """Bytes of a block, each of which has a checksum of its own."""
        return self._file.block_size

    @property
    def streamed(self) -> bool:
        """Whether the file was written as a stream, its index at the end."""
        return self._file.streamed

    @property
    def closed(self) -> bool:
        """Whether the file was closed."""
        return self._file.closed

    def load(self, only: str | list[str] | None = None, *, progress: Callable[[int, int], object] | None = None) -> Any:
        """Loads what `cairnfile.load` would, with the same `only`."""
        return self._file.read(only, progress)

    def verify(self, *, progress: Callable[[int, int], object] | None = None) -> list[dict[str, Any]]:
        """Checks every byte. Returns the faults, by offset: dicts with code, class_name, offset, message, addresses."""
        return self._file.verify(progress)

    def close(self) -> None:
        """Closes the file. Handles and arrays that were taken from it go on working."""
        self._file.close()

    def __enter__(self) -> File:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._file.path, self._file.mmap, self._file.hooks)

    def __repr__(self) -> str:
        if self.closed:
            return f"<cairnfile.File {str(self.path)!r}: closed>"
        return f"<cairnfile.File {str(self.path)!r}: {len(self)} tensors, {self.nbytes} bytes>"


def _reopen(path: str, mmap: bool, hooks: Hooks) -> File:
    return File(path, mmap=mmap, hooks=hooks)
