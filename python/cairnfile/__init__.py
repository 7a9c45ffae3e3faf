"""Tensors, lists and dicts in one file that is exact, checked, immediate and durable.

>>> import cairnfile, numpy as np, tempfile, os
>>> path = os.path.join(tempfile.mkdtemp(), "state.cairn")
>>> cairnfile.save({"w": np.zeros(3), "step": 1}, path)
>>> cairnfile.load(path)
{'w': array([0., 0., 0.]), 'step': 1}

`cairnfile.torch`, `.jax`, `.tensorflow`, `.mxnet` and `.numpy` have the same functions for the tensors of a framework;
each is imported on demand. `save` takes tensors of any of them.
"""

import os as _os

from . import _cairnfile
from ._cairnfile import (
    CairnError,
    CorruptError,
    DurabilityError,
    Group,
    InvalidError,
    LazyTensor,
    LimitError,
    MalformedError,
    Named,
    NotFoundError,
    Raw,
    SharingLostError,
    TruncatedError,
    UnsupportedError,
    UsageError,
    __version__,
)
from ._io import dumps, load, loads, open, save, verify
from ._lazy import File
from ._safetensors import safe_open
from ._spec import TensorSpec, deserialize, serialize, serialize_file
from ._types import register

#: What safetensors calls it; `cairnfile.safetensors` has all names of that package.
SafetensorError = CairnError

__all__ = [
    "CairnError", "CorruptError", "DurabilityError", "File", "Group", "InvalidError", "LazyTensor", "LimitError",
    "MalformedError", "Named", "NotFoundError", "Raw", "SafetensorError", "SharingLostError", "TensorSpec",
    "TruncatedError", "UnsupportedError", "UsageError", "__version__", "deserialize", "dumps", "load", "loads",
    "open", "register", "safe_open", "save", "serialize", "serialize_file", "verify",
]  # fmt: skip

if hasattr(_os, "register_at_fork"):
    # The threads of the parent are not in the child.
    _os.register_at_fork(after_in_child=_cairnfile.forget_threads)
