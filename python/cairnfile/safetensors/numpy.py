"""`safetensors.numpy` for Cairn files.

Arrays of every layout and byte order are saved right. Arrays that share memory stay shared where a file can say so, and
are written as copies where it cannot.
"""

from __future__ import annotations

import os
from typing import Union

import numpy as np

from .. import _safetensors

_KNOWN = (np.ndarray,), "numpy.ndarray"


def save(tensor_dict: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """The Cairn file of some arrays, as bytes.

    Examples
    --------
    >>> import numpy as np
    >>> from cairnfile.safetensors.numpy import load, save
    >>> load(save({"w": np.arange(3)}))
    {'w': array([0, 1, 2])}
    """
    return _safetensors.save(_safetensors.checked(tensor_dict, *_KNOWN), metadata, copy=True)


def save_file(
    tensor_dict: dict[str, np.ndarray], filename: Union[str, os.PathLike], metadata: dict[str, str] | None = None
) -> None:
    """Saves a dict of str to array; `metadata` is a dict of str to str.

    Raises
    ------
    CairnError
        Which is a TypeError, for tensors or metadata of other types.
    """
    _safetensors.save_file(_safetensors.checked(tensor_dict, *_KNOWN), filename, metadata, copy=True)


def load(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a flat Cairn file that is given as bytes."""
    return _safetensors.load(data, "np")


def load_file(filename: Union[str, os.PathLike], *, backend: str = "mmap") -> dict[str, np.ndarray]:
    """The arrays of a flat Cairn file, writable; see `cairnfile.safe_open` for `backend`."""
    return _safetensors.load_file(filename, "np", backend=backend)
