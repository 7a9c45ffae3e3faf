"""`safetensors.torch` for Cairn files.

Tied tensors stay tied, overlapping views stay views of one memory, and tensors that are not contiguous keep their layout:
none of them is refused. Only views whose sharing a file cannot state (parts that overlap, without the tensor that they are
parts of) are: `SharingLostError`.
"""

from __future__ import annotations

import os
from typing import Union

import torch

from .. import _safetensors
from .._cairnfile import UsageError
from ._sharing import (
    _end_ptr,
    _find_shared_tensors,
    _is_complete,
    _remove_duplicate_names,
    storage_ptr,
    storage_size,
    tied_names,
)

__all__ = [
    "_end_ptr", "_find_shared_tensors", "_is_complete", "_remove_duplicate_names", "load", "load_file", "load_model", "save",
    "save_file", "save_model", "storage_ptr", "storage_size",
]  # fmt: skip

_PathLike = Union[str, os.PathLike]


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without their being parameters; one object stays one object."""
    tensors = _safetensors.checked(tensors, (torch.Tensor,), "torch.Tensor")
    plain: dict[int, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            raise UsageError(f"{name!r} is a sparse tensor ({tensor.layout}): save its to_dense(), or its parts")
        if tensor.device.type == "meta":
            raise RuntimeError(f"{name!r} is on the meta device and has no elements to save")
        plain.setdefault(id(tensor), tensor.detach())
    return {name: plain[id(tensor)] for name, tensor in tensors.items()}


def save(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The Cairn file of some tensors, as bytes.

    Examples
    --------
    >>> import torch
    >>> from cairnfile.safetensors.torch import load, save
    >>> load(save({"w": torch.arange(3)}))
    {'w': tensor([0, 1, 2])}
    """
    return _safetensors.save(_plain(tensors), metadata, copy=False)


def save_file(tensors: dict[str, torch.Tensor], filename: _PathLike, metadata: dict[str, str] | None = None) -> None:
    """Saves a dict of str to tensor; `metadata` is a dict of str to str. Tensors must not change while this runs.

    Raises
    ------
    CairnError
        Which is a ValueError, for other types and for sparse tensors.
    RuntimeError
        For tensors on the meta device.
    SharingLostError
        For views whose sharing would be lost.
    """
    _safetensors.save_file(_plain(tensors), filename, metadata, copy=False)


def load(data: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a flat Cairn file that is given as bytes, on the CPU."""
    return _safetensors.load(data, "pt")


def load_file(filename: _PathLike, device: Union[str, int] = "cpu", *, backend: str = "mmap") -> dict[str, torch.Tensor]:
    """The tensors of a flat Cairn file on `device`; see `cairnfile.safe_open` for `backend`."""
    return _safetensors.load_file(filename, "pt", device, backend=backend)


def save_model(
    model: torch.nn.Module, filename: _PathLike, metadata: dict[str, str] | None = None, force_contiguous: bool = True
) -> None:
    """Saves the parameters and buffers of a model, by their names; the architecture stays in code.

    All names are in the file, tied ones tied. As in safetensors, the metadata says beside each tied name which name it is
    tied to, where the metadata of the caller does not have that name.

    Parameters
    ----------
    force_contiguous : bool
        Whether tensors that are not contiguous are written row-major; if False, they keep their layout.
    """
    state = _plain(dict(model.state_dict()))
    metadata = _safetensors.text_metadata(metadata)
    tied = tied_names(state)
    if tied:
        metadata = {**tied, **(metadata or {})}
    if force_contiguous:
        state = _contiguous(state)
    _safetensors.save_file(state, filename, metadata, copy=False)


def _contiguous(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Row-major tensors; those that are one view of one memory stay one."""
    made: dict[tuple, torch.Tensor] = {}
    for tensor in state.values():
        made.setdefault(_view_of(tensor), tensor.contiguous())
    return {name: made[_view_of(tensor)] for name, tensor in state.items()}


def _view_of(tensor: torch.Tensor) -> tuple:
    """Equal for tensors that are the same elements; a tensor without elements is like no other."""
    if tensor.nelement() == 0:
        return (id(tensor),)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.is_conj(), tensor.is_neg()


def load_model(
    model: torch.nn.Module,
    filename: _PathLike,
    strict: bool = True,
    device: Union[str, int] = "cpu",
    *,
    backend: str = "mmap",
) -> tuple[set[str], list[str]]:
    """Loads what `save_model` or `save_file` saved into a model.

    Parameters
    ----------
    strict : bool
        Whether names that are missing or unexpected are an error.
    device : str or int
        Where tensors are loaded to before they are copied into the model.
    backend : str
        See `cairnfile.safe_open`.

    Returns
    -------
    (set of str, list of str)
        Names of the model that the file had no tensor for, those apart that are tied to one that it had; and names of the
        file that the model had no place for: such that it does not know, and such that are tied in the model although the
        file has different tensors for them.

    Raises
    ------
    RuntimeError
        If `strict` and there are such names; for shapes that do not fit.
    """
    loaded = load_file(filename, device=device, backend=backend)
    result = model.load_state_dict(loaded, strict=False)
    state = model.state_dict()
    missing = set(result.missing_keys) - _covered(state, loaded)
    unexpected = [*result.unexpected_keys, *_overwritten(state, loaded)]
    if strict and (missing or unexpected):
        lines = [f"the file does not fit {type(model).__name__}:"]
        for names, text in ((missing, "Missing"), (unexpected, "Unexpected")):
            if names:
                lines.append(f"    {text} key(s) in state_dict: " + ", ".join(f'"{name}"' for name in sorted(names)))
        raise RuntimeError("\n".join(lines))
    return missing, unexpected


def _covered(state: dict[str, torch.Tensor], loaded: dict[str, torch.Tensor]) -> set[str]:
    """Names of the model whose memory is inside that of one tensor that was loaded."""
    covered = set()
    for group in _find_shared_tensors(state):
        spans = [(state[name].data_ptr(), _end_ptr(state[name])) for name in group if name in loaded]
        for name in group - loaded.keys():
            start, stop = state[name].data_ptr(), _end_ptr(state[name])
            if any(low <= start and stop <= high for low, high in spans):
                covered.add(name)
    return covered


def _overwritten(state: dict[str, torch.Tensor], loaded: dict[str, torch.Tensor]) -> list[str]:
    """Names that are tied in the model, and of which the file has tensors that differ: all but the first of each tie."""
    names = []
    for group in _find_shared_tensors(state):
        both = sorted(group & loaded.keys())
        if not all(_same(state[name], loaded[name]) for name in both):
            names += both[1:]
    return names


def _same(inside: torch.Tensor, loaded: torch.Tensor) -> bool:
    """Whether a tensor of the model has what was loaded for it, in every bit."""
    loaded = loaded.to(inside)
    return torch.equal(_bytes(inside), _bytes(loaded))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return (torch.view_as_real(tensor).reshape(-1) if tensor.is_complex() else tensor).view(torch.uint8)
