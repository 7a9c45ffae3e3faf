"""Cairn files with torch's tensors.

>>> import cairnfile.torch, torch, tempfile, os
>>> path = os.path.join(tempfile.mkdtemp(), "state.cairn")
>>> model = torch.nn.Linear(2, 1)
>>> optimizer = torch.optim.Adam(model.parameters())
>>> cairnfile.torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 3}, path)
>>> state = cairnfile.torch.load(path)
>>> model.load_state_dict(state["model"])
<All keys matched successfully>

The value of a tensor is its dtype, shape, layout and elements, and the memory that it shares with others: tied tensors
are written once and come back as one object, overlapping views over one storage. A `torch.nn.Parameter` comes back as
one, with its `requires_grad`. For all other tensors `requires_grad`, and for all of them `grad`, hooks and attributes,
belong to the program and not to the value; so does the device: tensors come back on the CPU, or on `map_location`.
"""

from __future__ import annotations

import os
from typing import Any

from . import _io
from ._io import PathLike, Progress, dumps, save
from ._lazy import File
from ._torch_adapt import adapt
from ._torch_make import MapLocation, TorchHooks
from ._torch_model import load_model, save_model
from .safetensors.torch import load_file, save_file

__all__ = ["dumps", "load", "load_file", "load_model", "loads", "open", "save", "save_file", "save_model"]


def load(
    path: Any,
    *,
    only: str | list[str] | None = None,
    mmap: bool = False,
    map_location: MapLocation = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> Any:
    """Loads what was saved, every byte of it verified, with torch's tensors.

    All arrays and tensors of the file become `torch.Tensor`, whoever saved them; those of a NumPy type that torch lacks
    (dates, text; `uint16` to `uint64` in old versions of torch) become arrays, and what both lack, such as the blocks of
    `q4_0`, `cairnfile.Raw`. Those two stay on the CPU. What must be NumPy's, such as the state of its generators, is
    loaded with ``cairnfile.load(path, only="/rng")``.

    Parameters
    ----------
    path : str, os.PathLike or file object
        Where from. A file object is read to its end.
    only : str or list of str, optional
        An address such as ``"/model/encoder"``, or patterns, as for `cairnfile.load`.
    mmap : bool
        False copies into memory of its own; True verifies and then maps: tensors are writable, and nothing that is
        written reaches the file. Nobody may truncate or change the file meanwhile: one that shrinks ends the process.
    map_location : str or torch.device, optional
        The device that tensors are put on; the CPU if left out. Storages are moved whole: views stay views.
    max_memory : int, optional
        Refuses to load more bytes of tensors than this.
    progress : bool or callable, optional
        True for a tqdm bar, or a function of (bytes done, bytes in all).

    Raises
    ------
    CairnError
        For a damaged, cut, foreign, newer or too large file. Nothing is loaded in part.

    Examples
    --------
    >>> import cairnfile.torch, torch, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.cairn")
    >>> w = torch.zeros(2, 3, dtype=torch.bfloat16)
    >>> cairnfile.torch.save({"embedding": w, "head": w}, path)
    >>> state = cairnfile.torch.load(path)
    >>> state["head"].dtype, state["head"] is state["embedding"]
    (torch.bfloat16, True)
    """
    return _io.load(path, only=only, mmap=mmap, max_memory=max_memory, progress=progress, _hooks=TorchHooks(map_location))


def loads(
    data: bytes, *, only: str | list[str] | None = None, map_location: MapLocation = None, max_memory: int | None = None
) -> Any:
    """Loads from the bytes of a file, as `load` does from a path.

    Examples
    --------
    >>> import cairnfile.torch, torch
    >>> cairnfile.torch.loads(cairnfile.torch.dumps((torch.arange(3), 1)))
    (tensor([0, 1, 2]), 1)
    """
    return _io.loads(data, only=only, max_memory=max_memory, _hooks=TorchHooks(map_location))


def open(path: PathLike, *, mmap: bool = False, map_location: MapLocation = None, max_memory: int | None = None) -> File:
    """Opens a file: costs its index, not its data. Handles give torch's tensors.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    mmap : bool
        False reads what is asked for, verified each time. True maps the file; tensors are still copies of their part of
        it, since torch has no tensors that may only be read.
    map_location : str or torch.device, optional
        The device that tensors are put on; the CPU if left out.
    max_memory : int, optional
        Refuses to load more bytes of tensors than this.

    Returns
    -------
    File
        A mapping from addresses to handles, and a context manager.

    Examples
    --------
    >>> import cairnfile.torch, torch, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.cairn")
    >>> cairnfile.torch.save({"w": torch.arange(12).reshape(6, 2)}, path)
    >>> with cairnfile.torch.open(path) as f:
    ...     f["/w"][2:4]
    tensor([[4, 5],
            [6, 7]])
    """
    return File(os.fsdecode(path), mmap=bool(mmap), max_memory=max_memory, hooks=TorchHooks(map_location))
