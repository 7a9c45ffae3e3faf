"""`safetensors.flax` for Cairn files."""

from __future__ import annotations

import os
from typing import Union

import jax
import numpy as np

from .. import _safetensors

_KNOWN = (jax.Array, np.ndarray), "jax.Array"


def save(tensors: dict[str, jax.Array], metadata: dict[str, str] | None = None) -> bytes:
    """The Cairn file of some arrays, as bytes."""
    return _safetensors.save(_safetensors.checked(tensors, *_KNOWN), metadata, copy=True)


def save_file(tensors: dict[str, jax.Array], filename: Union[str, os.PathLike], metadata: dict[str, str] | None = None) -> None:
    """Saves a dict of str to array; `metadata` is a dict of str to str.

    Raises
    ------
    CairnError
        Which is a TypeError, for tensors or metadata of other types.
    """
    _safetensors.save_file(_safetensors.checked(tensors, *_KNOWN), filename, metadata, copy=True)


def load(data: bytes) -> dict[str, jax.Array]:
    """The arrays of a flat Cairn file that is given as bytes."""
    return _safetensors.load(data, "flax")


def load_file(filename: Union[str, os.PathLike], *, backend: str = "mmap") -> dict[str, jax.Array]:
    """The arrays of a flat Cairn file; see `cairnfile.safe_open` for `backend`."""
    return _safetensors.load_file(filename, "flax", backend=backend)
