"""Formats under one interface: save a value, load it whole into memory of its own, open it until all names are known.

A contestant is left out where its package is missing, and says so.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
from typing import Any, Callable

import numpy as np
from workloads import flat


class Contestant:
    """One format with one framework."""

    def __init__(
        self,
        name: str,
        needs: tuple[str, ...],
        prepare: Callable[[Any], Any],
        save: Callable[[Any, str], Any],
        load: Callable[[str], Any],
        open: Callable[[str], Any] | None = None,
    ):
        self.name, self.needs, self.prepare, self.save, self.load, self.open = name, needs, prepare, save, load, open

    def missing(self) -> list[str]:
        """Packages that are not installed here."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


def _torch_nest(value: Any) -> Any:
    import torch

    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {key: _torch_nest(item) for key, item in value.items()}
    return type(value)(map(_torch_nest, value)) if isinstance(value, (list, tuple)) else value


def _torch_flat(value: Any) -> dict:
    return _torch_nest(flat(value))


def _lazily(module: str, function: str) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(module), function)(*arguments, **options)

    return call


def _save_raw(value: dict[str, np.ndarray], path: str) -> None:
    """The limit: the bytes of all tensors in one file, allocated first, in the largest calls."""
    arrays = list(value.values())
    with open(path, "wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, sum(array.nbytes for array in arrays) or 1)
        for start in range(0, len(arrays), 512):
            pending = [memoryview(array.reshape(-1)).cast("B") for array in arrays[start : start + 512]]
            while pending:
                written = os.writev(file.fileno(), pending)
                while pending and written >= len(pending[0]):
                    written -= len(pending.pop(0))
                if pending:
                    pending[0] = pending[0][written:]


def _load_raw(path: str) -> np.ndarray:
    """The limit of one thread: one array of NumPy's (huge pages), one file."""
    return np.fromfile(path, np.uint8)


def _open_cairn(path: str) -> list:
    import cairnfile

    with cairnfile.open(path) as file:
        return [(address, tensor.dtype_name, tensor.shape) for address, tensor in file.items()]


def _open_safetensors(path: str) -> list:
    import safetensors

    with safetensors.safe_open(path, "numpy") as file:
        slices = ((name, file.get_slice(name)) for name in file.keys())
        return [(name, part.get_dtype(), part.get_shape()) for name, part in slices]


def _save_pickle(value: Any, path: str) -> None:
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=5)


def _load_pickle(path: str) -> Any:
    with open(path, "rb") as file:
        return pickle.load(file)


def _save_npy(value: dict[str, np.ndarray], path: str) -> None:
    os.makedirs(path, exist_ok=True)
    for n, array in enumerate(value.values()):
        np.save(os.path.join(path, f"{n}.npy"), array)


def _load_npy(path: str) -> list:
    return [np.load(os.path.join(path, name)) for name in os.listdir(path)]


def _load_npz(path: str) -> dict:
    with np.load(path) as file:
        return {name: file[name] for name in file}


def _clones(tensors: dict) -> dict:
    return {name: tensor.clone() for name, tensor in tensors.items()}


_same = lambda value: value  # noqa: E731

_cairn_save, _cairn_load = _lazily("cairnfile", "save"), _lazily("cairnfile", "load")
_torch_cairn_save = _lazily("cairnfile.torch", "save")
_safetensors_save, _safetensors_load = _lazily("safetensors.numpy", "save_file"), _lazily("safetensors.numpy", "load_file")
_torch_safetensors_load = _lazily("safetensors.torch", "load_file")


def _cached(value: Any, path: str) -> None:
    """To the page cache only, as the peers save."""
    _cairn_save(value, path, durable=False)


CONTESTANTS = [
    Contestant("raw bytes", (), flat, _save_raw, _load_raw),
    Contestant("cairnfile", ("cairnfile",), _same, _cached, _cairn_load, _open_cairn),
    Contestant("cairnfile durable", ("cairnfile",), _same, _cairn_save, _cairn_load),
    Contestant("cairnfile mmap", ("cairnfile",), _same, _cached, lambda path: _cairn_load(path, mmap=True)),
    Contestant(
        "cairnfile.torch",
        ("cairnfile", "torch"),
        _torch_nest,
        lambda value, path: _torch_cairn_save(value, path, durable=False),
        _lazily("cairnfile.torch", "load"),
    ),
    Contestant("safetensors.numpy", ("safetensors",), flat, _safetensors_save, _safetensors_load, _open_safetensors),
    Contestant(
        "safetensors.torch + clone",
        ("safetensors", "torch"),
        _torch_flat,
        _lazily("safetensors.torch", "save_file"),
        lambda path: _clones(_torch_safetensors_load(path)),
    ),
    Contestant(
        "torch.save", ("torch",), _torch_nest, _lazily("torch", "save"), lambda path: _lazily("torch", "load")(path, weights_only=True)
    ),
    Contestant("np.save, a file each", (), flat, _save_npy, _load_npy),
    Contestant("np.savez", (), flat, lambda value, path: np.savez(path, **value), lambda path: _load_npz(path + ".npz")),
    Contestant("pickle 5", (), _same, _save_pickle, _load_pickle),
]
