"""The names of the package safetensors, with its signatures, for Cairn files: changing the import is enough.

`from safetensors.torch import save_file` becomes `from cairnfile.safetensors.torch import save_file`; `.numpy`, `.flax`
and `.tensorflow` are there too. Files are Cairn files, whatever their names end with: `cairn convert` makes them of
safetensors files and back. What is better than there: names keep their order, tied and overlapping tensors and tensors
that are not contiguous are kept, indices mean what NumPy means by them, and what is handed out was verified.
"""

from .._cairnfile import CairnError as SafetensorError
from .._cairnfile import __version__
from .._safetensors import _safe_open_handle, safe_open
from .._spec import TensorSpec, deserialize, serialize, serialize_file

__all__ = [
    "SafetensorError", "TensorSpec", "__version__", "_safe_open_handle", "deserialize", "safe_open", "serialize",
    "serialize_file",
]  # fmt: skip
