"""The parameters and buffers of a torch model in a file; the architecture stays in code."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Tuple

import torch

from . import _cairnfile, _io, _types
from ._cairnfile import Group, LazyTensor, UsageError
from ._entries import Differences, token
from ._io import PathLike, Progress
from ._lazy import File
from ._torch_dtypes import shape_in_torch
from ._torch_make import TorchHooks

_EXTRA = "_extra_state"


def save_model(
    model: torch.nn.Module,
    path: Any,
    *,
    metadata: dict[str, Any] | None = None,
    copy: bool = False,
    durable: bool = True,
    block_size: int | None = None,
    parity: float = 0.0,
    progress: Progress = None,
) -> None:
    """Saves `model.state_dict()`: parameters and persistent buffers, tied ones once, and extra state where modules have it.

    Parameters
    ----------
    model : torch.nn.Module
        Its code is not saved. The values' names become addresses: ``layer.weight`` is at ``/layer.weight``.
    path, metadata, copy, durable, block_size, parity, progress
        As for `cairnfile.save`.

    Raises
    ------
    TypeError
        For what is no module, and for parameters that cannot be kept, with their address.

    Examples
    --------
    >>> import cairnfile.torch, torch, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "mlp.cairn")
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> cairnfile.torch.save_model(net, path)
    >>> clone = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> cairnfile.torch.load_model(clone, path)
    ([], [])
    >>> x = torch.ones(1, 4)
    >>> torch.equal(net(x), clone(x))
    True
    """
    state = _module(model).state_dict()
    how: dict[str, Any] = {"copy": copy, "durable": durable, "block_size": block_size, "parity": parity, "progress": progress}
    _io.save(state, path, metadata=metadata, **how)


def load_model(model: torch.nn.Module, path: PathLike, *, strict: bool = True) -> Tuple[List[str], List[str]]:
    """Copies what `save_model` saved into the parameters and buffers that a model has, one tensor at a time.

    The parameters stay the objects that they are, on their devices, so optimizers and ties go on. All of the file is
    verified, and all names, shapes and dtypes compared, before the first element is copied: a model is loaded or left
    as it was. Hooks of modules that rewrite state dicts are not run; for those use
    ``model.load_state_dict(cairnfile.torch.load(path))``.

    Parameters
    ----------
    model : torch.nn.Module
        Of the same architecture.
    path : str or os.PathLike
        A file with a dict of tensors by their name in the model.
    strict : bool
        False allows entries that are missing in the file and entries that the model has no use for.

    Returns
    -------
    (missing, unexpected) : two lists of str
        Names that the file lacks, and names that the model lacks; both empty if `strict`.

    Raises
    ------
    UsageError
        A `CairnError` and `ValueError` that lists what is missing, unexpected, or of another shape or dtype.
    CairnError
        For a damaged file, as `cairnfile.load`.
    """
    own = _own_state(_module(model))
    with File(os.fsdecode(path), hooks=TorchHooks()) as file:
        root = file.root
        if not isinstance(root, Group) or root.kind != "dict":
            raise UsageError(f"{os.fsdecode(path)!r} has no dict of tensors at its root, as save_model writes it")
        missing = [name for name in own if name not in root]
        unexpected = [name for name in root.keys() if name not in own and name != _types.STATE_METADATA]
        wrong = {name: why for name in own if name in root and (why := _mismatch(own[name], root[name], name))}
        wrong.update(_untied(own, root))
        differences = Differences()
        differences.missing += map(token, missing)
        differences.unexpected += map(token, unexpected)
        differences.mismatched += [(token(name), why) for name, why in wrong.items()]
        differences.check("the model", strict=strict)
        _check(file)
        _fill(model, own, root)
    return missing, unexpected


def _module(model: torch.nn.Module) -> torch.nn.Module:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"a model is a torch.nn.Module, not {type(model).__name__}")
    return model


def _own_state(model: torch.nn.Module) -> Dict[str, Any]:
    """The state dict, whose tensors are the model's own memory."""
    state = model.state_dict(keep_vars=True)
    tensors = [*model.parameters(), *model.buffers()]
    own = {id(tensor) for tensor in tensors}
    for name, value in state.items():
        if _is_extra(name):
            continue
        if id(value) not in own:
            what = f"{name!r} is not a parameter or buffer of the model"
            raise TypeError(f"{what}: use load_state_dict, which runs the model's hooks")
        if torch.nn.parameter.is_lazy(value):
            raise TypeError(f"{name!r} has no shape before the first forward pass: run the model once")
        if value.is_meta:
            raise TypeError(f"{name!r} is on the meta device and has no memory: call model.to_empty(device=…) first")
    return state


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2] == _EXTRA


def _mismatch(own: Any, entry: Any, name: str) -> str | None:
    """How an entry of the file differs from the tensor that it is for; None if it fits."""
    if _is_extra(name):
        return None
    kind = _kind(entry)
    wanted = tuple(own.shape), own.dtype
    if kind is None:
        return f"no tensor, but {type(entry).__name__}"
    return None if kind == wanted else f"{_spell(*kind)}, and the model has {_spell(*wanted)}"


def _kind(entry: Any) -> Tuple[Any, Any] | None:
    if isinstance(entry, LazyTensor):
        dtype = entry.dtype
        shape = shape_in_torch(entry.dtype_name, entry.shape)
        return (shape, dtype) if isinstance(dtype, torch.dtype) and shape is not None else (entry.shape, entry.dtype_name)
    return (tuple(entry.shape), entry.dtype) if isinstance(entry, torch.Tensor) else None


def _spell(shape: Tuple[int, ...], dtype: Any) -> str:
    return f"{dtype} of shape {tuple(shape)}"


def _untied(own: Dict[str, Any], root: Group) -> Dict[str, str]:
    """Entries that the model keeps in one tensor, where the file has several that differ."""
    first: Dict[int, str] = {}
    wrong = {}
    for name, value in own.items():
        if name not in root or _is_extra(name):
            continue
        other = first.setdefault(id(value), name)
        if other != name and not _same(root[other], root[name]):
            wrong[name] = f"the model ties it to {token(other)}, and the file has other values there"
    return wrong


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, LazyTensor) and isinstance(b, LazyTensor) and a.number == b.number:
        return True
    if _kind(a) != _kind(b) or _kind(a) is None:
        return False
    a, b = _tensor(a), _tensor(b)
    return isinstance(a, torch.Tensor) and torch.equal(_bytes(a), _bytes(b))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _tensor(entry: Any) -> Any:
    return entry.read() if isinstance(entry, LazyTensor) else entry


def _fill(model: torch.nn.Module, own: Dict[str, Any], root: Group) -> None:
    filled = set()
    extra = {}
    with torch.no_grad():
        for name, value in own.items():
            if name not in root:
                continue
            if _is_extra(name):
                entry = root[name]
                extra[name] = entry.load() if isinstance(entry, Group) else _tensor(entry)
            elif id(value) not in filled:
                filled.add(id(value))
                value.copy_(_tensor(root[name]))
    for name, value in extra.items():
        model.get_submodule(name.rpartition(".")[0]).set_extra_state(value)


def _check(file: File) -> None:
    """Raises for the first fault of a file."""
    faults = file.verify()
    if faults:
        fault = faults[0]
        error = getattr(_cairnfile, f"{fault['class_name'].capitalize()}Error", _cairnfile.CairnError)(fault["message"])
        error.code, error.class_name, error.offset = fault["code"], fault["class_name"], fault["offset"]
        raise error
