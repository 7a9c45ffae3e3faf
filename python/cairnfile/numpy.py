"""The functions of `cairnfile` for NumPy arrays, and `save_file` and `load_file` as in safetensors.

`save` and `load` here are Cairn's, with a path; those of safetensors, with bytes, are in `cairnfile.safetensors.numpy`.
"""

from ._io import dumps, load, loads, open, save, verify
from ._lazy import File
from .safetensors.numpy import load_file, save_file

__all__ = ["File", "dumps", "load", "load_file", "loads", "open", "save", "save_file", "verify"]
