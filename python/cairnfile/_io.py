"""Saving and loading: to paths, bytes and file objects."""

from __future__ import annotations

import math
import os
from types import TracebackType
from typing import Any, Callable, Union

from . import _cairnfile
from ._adapt import Adapter
from ._lazy import NUMPY, File, Hooks

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Progress = Union[bool, Callable[[int, int], object], None]


class _How:
    """How to save: what the extension module looks at."""

    def __init__(
        self,
        metadata: dict[str, Any] | None,
        copy: bool,
        durable: bool = True,
        block_size: int | None = None,
        adapter: Adapter | None = None,
        parity: float = 0.0,
    ) -> None:
        if not 0 <= parity <= 1:
            raise ValueError(f"parity is a share from 0 to 1, not {parity}")
        if metadata is not None and type(metadata) is not dict:
            raise TypeError("metadata is a dict with str keys")
        self.adapt = adapter or Adapter()
        self.metadata = metadata
        self.copy = bool(copy)
        self.durable = bool(durable)
        self.block_size = block_size
        # Ten-thousandths, rounded up, but not for what a float cannot hold.
        self.parity = math.ceil(round(parity * 10_000, 6))


class _Bar:
    """tqdm as a callback; `progress=True` asks for it."""

    def __init__(self, label: str) -> None:
        try:
            from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise ImportError("progress=True needs tqdm: pip install 'cairnfile[progress]', or pass a function") from None
        self._bar = tqdm(desc=label, unit="B", unit_scale=True, unit_divisor=1024)

    def __call__(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Progress:
    """The callback that is asked for, closed when the work ends."""

    def __init__(self, wanted: Progress, label: str) -> None:
        self._callback: Callable[[int, int], object] | None = None
        if wanted is True:
            self._callback = _Bar(label)
        elif callable(wanted):
            self._callback = wanted
        elif wanted is not None and wanted is not False:
            raise TypeError("progress is True, or a function of (done, total)")

    def __enter__(self) -> Callable[[int, int], object] | None:
        return self._callback

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None) -> None:
        if isinstance(self._callback, _Bar):
            self._callback.close()


def save(
    obj: Any,
    path: Any,
    *,
    metadata: dict[str, Any] | None = None,
    copy: bool = False,
    durable: bool = True,
    block_size: int | None = None,
    parity: float = 0.0,
    progress: Progress = None,
    _adapter: Adapter | None = None,
) -> None:
    """Saves a value. When this returns, the new file survives a power cut; before, the old one does.

    Parameters
    ----------
    obj : any
        A nest of dict (keys str, int or bytes), list, tuple, None, bool, int, float, complex, str, bytes, numpy scalars
        and arrays of every layout, and tensors of torch, jax, tensorflow and mxnet. Types are matched exactly; order,
        memory layout, shared arrays and overlapping views are kept. Arrays must not change while this runs.
    path : str, os.PathLike or file object
        Where to. A file object gets the same bytes by `write`, and nothing is synced.
    metadata : dict, optional
        A dict with str keys and without tensors, kept beside the value.
    copy : bool
        Whether tensors that share memory in a way that cannot be kept are written as copies instead of refused.
    durable : bool
        Whether to wait until the file survives a power cut. Replacing is atomic either way.
    block_size : int, optional
        Bytes with a checksum of their own: a power of two from 4096 to 4194304; 262144 if left out.
    parity : float
        The share of the data, such as 0.02, that `cairn repair` can compute again where it is damaged. The file grows by as
        much; readers pass over it.
    progress : bool or callable, optional
        True for a tqdm bar, or a function of (bytes done, bytes in all).

    Raises
    ------
    TypeError, ValueError
        For a value that cannot be kept, with its address.
    SharingLostError
        For views whose sharing would be lost.
    OSError
        If the system refuses; the old file is as it was. KeyboardInterrupt leaves it too.

    Examples
    --------
    >>> import cairnfile, numpy as np, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "state.cairn")
    >>> cairnfile.save({"w": np.ones((2, 2)), "step": 1000}, path)
    >>> cairnfile.load(path)
    {'w': array([[1., 1.],
           [1., 1.]]), 'step': 1000}
    """
    how = _How(metadata, copy, durable, block_size, _adapter, parity)
    with _Progress(progress, "saving") as callback:
        if hasattr(path, "write"):
            _cairnfile.write(obj, path, how, callback)
        else:
            _cairnfile.save(obj, os.fsdecode(path), how, callback)


def dumps(
    obj: Any,
    *,
    metadata: dict[str, Any] | None = None,
    copy: bool = False,
    block_size: int | None = None,
    parity: float = 0.0,
    _adapter: Adapter | None = None,
) -> bytes:
    """The file that `save` would write, as bytes."""
    return _cairnfile.dumps(obj, _How(metadata, copy, block_size=block_size, adapter=_adapter, parity=parity))


def load(
    path: Any,
    *,
    only: str | list[str] | None = None,
    mmap: bool = False,
    max_memory: int | None = None,
    progress: Progress = None,
    _hooks: Hooks = NUMPY,
) -> Any:
    """Loads what was saved, every byte of it verified.

    Parameters
    ----------
    path : str, os.PathLike or file object
        Where from. A file object is read to its end.
    only : str or list of str, optional
        An address such as ``"/model/encoder"``, for the value there; or patterns, for the containers with what matches:
        ``*`` and ``?`` stay within a key, ``**`` is any number of keys, ``\\`` takes the next character as it is.
    mmap : bool
        False copies into memory of its own, on all cores: safe whatever happens to the file, and the faster way to arrays
        that are written to. True verifies and then maps, which is faster for arrays that are only read: they are writable,
        pages come in when they are touched, and nothing that is written reaches the file. Nobody may truncate or change the
        file meanwhile (replacing it is fine): one that shrinks ends the process.
    max_memory : int, optional
        Refuses to load more bytes of tensors than this.
    progress : bool or callable, optional
        True for a tqdm bar, or a function of (bytes done, bytes in all).

    Raises
    ------
    CairnError
        For a file that is damaged (`CorruptError`), cut (`TruncatedError`), foreign or wrong (`MalformedError`,
        `InvalidError`), newer (`UnsupportedError`) or too large (`LimitError`). Nothing is loaded in part.
    """
    only = list(only) if isinstance(only, (tuple, set, frozenset)) else only
    with _Progress(progress, "loading") as callback:
        if hasattr(path, "read"):
            if mmap:
                raise ValueError("a file object cannot be mapped: pass its path")
            return _cairnfile.loads(bytes(path.read()), _hooks, only, max_memory, callback)
        return _cairnfile.load(os.fsdecode(path), _hooks, only, bool(mmap), max_memory, callback)


def loads(data: bytes, *, only: str | list[str] | None = None, max_memory: int | None = None, _hooks: Hooks = NUMPY) -> Any:
    """Loads from the bytes of a file; arrays are copies."""
    return _cairnfile.loads(bytes(data), _hooks, only, max_memory, None)


def open(path: PathLike, *, mmap: bool = False, max_memory: int | None = None) -> File:
    """Opens a file: costs its index, not its data.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    mmap : bool
        False reads what is asked for, verified each time: safe whatever happens to the file. True maps: arrays are
        views of the file, read-only, verified when first taken. Nobody may truncate or change the file meanwhile.
    max_memory : int, optional
        Refuses to read more bytes of tensors than this, all reads of the file together.

    Returns
    -------
    File
        A mapping from addresses to handles, and a context manager.
    """
    return File(os.fsdecode(path), mmap=bool(mmap), max_memory=max_memory)


def verify(path: PathLike, *, progress: Progress = None) -> list[dict[str, Any]]:
    """Checks every byte of a file. Returns the faults, as `File.verify` does; an empty list for an intact file."""
    with open(path) as file, _Progress(progress, "verifying") as callback:
        return file.verify(progress=callback)
