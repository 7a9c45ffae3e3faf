"""Formats under one interface: save a value, load it whole into memory of its own, open it until all names are known.

A contestant is left out where its package is missing, and says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
from dataclasses import dataclass
from typing import Any, Callable

import formats
import numpy as np
from workloads import flat

Path = str


@dataclass
class Contestant:
    """One format with one framework. What takes a name reads one tensor of a closed file, or 100 rows of it; `touch` maps
    and reads every byte."""

    name: str
    save: Callable[[Any, Path], Any]
    load: Callable[[Path], Any]
    needs: tuple[str, ...] = ()
    prepare: Callable[[Any], Any] = flat
    open: Callable[[Path], Any] | None = None
    one: Callable[[Path, str], Any] | None = None
    rows: Callable[[Path, str], Any] | None = None
    touch: Callable[[Path], Any] | None = None
    # On the disk when it returns; `save` and fsync if there is nothing better.
    durable: Callable[[Any, Path], Any] | None = None

    def missing(self) -> list[str]:
        """Packages that are not installed here."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


def _same(value: Any) -> Any:
    return value


def _lazily(module: str, function: str) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(module), function)(*arguments, **options)

    return call


def _torch_nest(value: Any) -> Any:
    import torch

    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {key: _torch_nest(item) for key, item in value.items()}
    return type(value)(map(_torch_nest, value)) if isinstance(value, (list, tuple)) else value


def _torch_flat(value: Any) -> dict:
    return _torch_nest(flat(value))


def _save_raw(value: dict[str, np.ndarray], path: Path) -> None:
    """The limit: the bytes of all tensors in one file, allocated first, in large calls."""
    with open(path, "wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, sum(array.nbytes for array in value.values()) or 1)
        pending, size = [], 0
        for array in value.values():
            view = memoryview(array.reshape(-1)).cast("B")
            for start in range(0, len(view), 4 << 20):
                pending.append(view[start : start + (4 << 20)])
                size += len(pending[-1])
                if size >= 4 << 20 or len(pending) == 1024:
                    _write_all(file.fileno(), pending)
                    pending, size = [], 0
        _write_all(file.fileno(), pending)


def _write_all(file: int, pending: list[memoryview]) -> None:
    while pending:
        written = os.writev(file, pending)
        while pending and written >= len(pending[0]):
            written -= len(pending.pop(0))
        if pending:
            pending[0] = pending[0][written:]


def _load_raw(path: Path) -> np.ndarray:
    """The limit of one thread: one array of NumPy's (huge pages), one file."""
    return np.fromfile(path, np.uint8)


def _open_raw(path: Path) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(64 << 10)


# Bytes of the tensor that is read alone, and of 100 rows of the other one.
_SIZES = {"h.5.attn.c_attn.weight": 768 * 2304 * 4, "wte.weight": 100 * 768 * 4}


def _part_raw(path: Path, name: str) -> np.ndarray:
    """As many bytes from somewhere: a raw file has no names."""
    return np.fromfile(path, np.uint8, _SIZES.get(name, 256), offset=4096)


def _touch_raw(path: Path) -> int:
    return formats.total({"": np.memmap(path, np.uint8, "r")})


def _cached(value: Any, path: Path) -> None:
    """To the page cache only, as the peers save."""
    _cairn_save(value, path, durable=False)


def _open_cairn(path: Path) -> list:
    import cairnfile

    with cairnfile.open(path) as file:
        return [(address, tensor.dtype_name, tensor.shape) for address, tensor in file.items()]


def _one_cairn(path: Path, name: str) -> Any:
    import cairnfile

    with cairnfile.open(path) as file:
        return np.asarray(file["/" + name])


def _rows_cairn(path: Path, name: str) -> Any:
    import cairnfile

    with cairnfile.open(path) as file:
        return file["/" + name][300:400]


def _open_safetensors(path: Path) -> list:
    import safetensors

    with safetensors.safe_open(path, "numpy") as file:
        slices = ((name, file.get_slice(name)) for name in file.keys())
        return [(name, part.get_dtype(), part.get_shape()) for name, part in slices]


def _one_safetensors(path: Path, name: str) -> Any:
    import safetensors

    with safetensors.safe_open(path, "numpy") as file:
        return file.get_tensor(name)


def _rows_safetensors(path: Path, name: str) -> Any:
    import safetensors

    with safetensors.safe_open(path, "numpy") as file:
        return file.get_slice(name)[300:400]


def _save_pickle(value: Any, path: Path) -> None:
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=5)


def _load_pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        return pickle.load(file)


def _save_npy(value: dict[str, np.ndarray], path: Path) -> None:
    os.makedirs(path, exist_ok=True)
    for name, array in value.items():
        np.save(os.path.join(path, f"{name}.npy"), array)


def _load_npy(path: Path) -> dict[str, np.ndarray]:
    return {name.removesuffix(".npy"): np.load(os.path.join(path, name)) for name in os.listdir(path)}


def _one_npy(path: Path, name: str) -> np.ndarray:
    return np.load(os.path.join(path, f"{name}.npy"))


def _rows_npy(path: Path, name: str) -> np.ndarray:
    return np.array(np.load(os.path.join(path, f"{name}.npy"), mmap_mode="r")[300:400])


def _touch_npy(path: Path) -> int:
    return formats.total({name: np.load(os.path.join(path, name), mmap_mode="r") for name in os.listdir(path)})


def _one_npz(path: Path, name: str) -> np.ndarray:
    with np.load(path + ".npz") as file:
        return file[name]


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path + ".npz") as file:
        return {name: file[name] for name in file}


def _arrays(value: Any) -> dict[str, np.ndarray]:
    """Torch's tensors as NumPy's, over the same memory."""
    return {name: tensor.numpy() for name, tensor in value.items()}


def _clones(path: Path) -> dict:
    return {name: tensor.clone() for name, tensor in _torch_safetensors_load(path).items()}


def _torch_load(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=True)


def _torch_load_mapped(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=True, mmap=True)


_cairn_save, _cairn_load = _lazily("cairnfile", "save"), _lazily("cairnfile", "load")
_torch_cairn_save, _torch_cairn_load = _lazily("cairnfile.torch", "save"), _lazily("cairnfile.torch", "load")
_safetensors_save, _safetensors_load = _lazily("safetensors.numpy", "save_file"), _lazily("safetensors.numpy", "load_file")
_torch_safetensors_save, _torch_safetensors_load = (_lazily("safetensors.torch", name) for name in ("save_file", "load_file"))
_torch_save = _lazily("torch", "save")

_cairn = {"needs": ("cairnfile",), "prepare": _same, "durable": _cairn_save}
_torch = ("torch",)

CONTESTANTS = [
    Contestant("raw bytes", _save_raw, _load_raw, open=_open_raw, one=_part_raw, rows=_part_raw, touch=_touch_raw),
    Contestant("cairnfile", _cached, _cairn_load, open=_open_cairn, one=_one_cairn, rows=_rows_cairn, **_cairn),
    Contestant(
        "cairnfile mmap",
        _cached,
        lambda path: _cairn_load(path, mmap=True),
        touch=lambda path: formats.total(flat(_cairn_load(path, mmap=True))),
        **_cairn,
    ),
    Contestant(
        "cairnfile.torch",
        lambda value, path: _torch_cairn_save(value, path, durable=False),
        _torch_cairn_load,
        needs=("cairnfile", "torch"),
        prepare=_torch_nest,
        durable=_torch_cairn_save,
    ),
    Contestant(
        "safetensors.numpy",
        _safetensors_save,
        _safetensors_load,
        needs=("safetensors",),
        open=_open_safetensors,
        one=_one_safetensors,
        rows=_rows_safetensors,
    ),
    Contestant(
        "safetensors.torch + clone",
        _torch_safetensors_save,
        _clones,
        needs=("safetensors", "torch"),
        prepare=_torch_flat,
        touch=lambda path: formats.total(_arrays(_torch_safetensors_load(path))),
    ),
    Contestant("torch.save", _torch_save, _torch_load, needs=_torch, prepare=_torch_nest),
    Contestant(
        "torch.save, mmap",
        _torch_save,
        _torch_load_mapped,
        needs=_torch,
        prepare=_torch_nest,
        open=lambda path: [(name, tensor.dtype, tensor.shape) for name, tensor in _torch_load_mapped(path).items()],
        one=lambda path, name: _torch_load_mapped(path)[name].clone(),
        rows=lambda path, name: _torch_load_mapped(path)[name][300:400].clone(),
        touch=lambda path: formats.total(_arrays(_torch_load_mapped(path))),
    ),
    Contestant("np.save, a file each", _save_npy, _load_npy, one=_one_npy, rows=_rows_npy, touch=_touch_npy),
    Contestant("np.savez", lambda value, path: np.savez(path, **value), _load_npz, one=_one_npz),
    Contestant("pickle 5", _save_pickle, _load_pickle, prepare=_same),
    Contestant(
        "GGUF", formats.save_gguf, formats.load_gguf, needs=("gguf",), open=formats.open_gguf, one=formats.one_gguf, touch=formats.touch_gguf
    ),
    Contestant(
        "Arrow IPC",
        formats.save_arrow,
        formats.load_arrow,
        needs=("pyarrow",),
        open=formats.open_arrow,
        one=formats.one_arrow,
        touch=formats.touch_arrow,
    ),
    Contestant(
        "HDF5", formats.save_hdf5, formats.load_hdf5, needs=("h5py",), open=formats.open_hdf5, one=formats.one_hdf5, rows=formats.rows_hdf5
    ),
    Contestant(
        "MXNet nd", formats.save_mxnet, formats.load_mxnet, needs=("mxnet",), prepare=lambda value: formats.mxnet_arrays(flat(value))
    ),
    Contestant(
        "TensorBundle",
        formats.save_bundle,
        formats.load_bundle,
        needs=("tensorflow",),
        prepare=lambda value: formats.tensorflow_tensors(flat(value)),
        open=formats.open_bundle,
        one=formats.one_bundle,
    ),
]
