"""`safetensors.tensorflow` for Cairn files."""

from __future__ import annotations

import os
from typing import Union

import tensorflow as tf

from .. import _safetensors


def _plain(tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The tensors; variables by their values."""
    tensors = _safetensors.checked(tensors, (tf.Tensor, tf.Variable), "tf.Tensor")
    plain = {id(tensor): tf.convert_to_tensor(tensor) for tensor in tensors.values()}
    return {name: plain[id(tensor)] for name, tensor in tensors.items()}


def save(tensors: dict[str, tf.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The Cairn file of some tensors, as bytes."""
    return _safetensors.save(_plain(tensors), metadata, copy=True)


def save_file(tensors: dict[str, tf.Tensor], filename: Union[str, os.PathLike], metadata: dict[str, str] | None = None) -> None:
    """Saves a dict of str to tensor or variable; `metadata` is a dict of str to str.

    Raises
    ------
    CairnError
        Which is a TypeError, for tensors or metadata of other types.
    """
    _safetensors.save_file(_plain(tensors), filename, metadata, copy=True)


def load(data: bytes) -> dict[str, tf.Tensor]:
    """The tensors of a flat Cairn file that is given as bytes."""
    return _safetensors.load(data, "tf")


def load_file(filename: Union[str, os.PathLike], *, backend: str = "mmap") -> dict[str, tf.Tensor]:
    """The tensors of a flat Cairn file; see `cairnfile.safe_open` for `backend`."""
    return _safetensors.load_file(filename, "tf", backend=backend)
