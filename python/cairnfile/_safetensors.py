"""The interface of safetensors on Cairn files: flat dicts of str to tensor, one implementation for all frameworks.

Where it differs from safetensors: names keep their order and are not sorted; tied tensors, overlapping views and memory
layouts are kept; indices mean what they mean in NumPy; every byte that is handed out was verified.
"""

from __future__ import annotations

import importlib
import os
import shlex
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from . import _elements, _io
from ._cairnfile import Group, LazyTensor, MalformedError, NotFoundError, UsageError, sniff
from ._elements import Elements
from ._lazy import NUMPY, File, Hooks
from ._types import STATE_METADATA

_FRAMEWORKS = {
    "np": "numpy", "numpy": "numpy",
    "pt": "torch", "torch": "torch", "pytorch": "torch",
    "tf": "tensorflow", "tensorflow": "tensorflow",
    "flax": "jax", "jax": "jax",
}  # fmt: skip
_BACKENDS = {"mmap": True, "pread": False}

#: What safetensors calls the element types. It has no name for the others: they go by Cairn's, in capitals.
CODES = {
    "bool": "BOOL", "i8": "I8", "i16": "I16", "i32": "I32", "i64": "I64", "u8": "U8", "u16": "U16", "u32": "U32",
    "u64": "U64", "f16": "F16", "bf16": "BF16", "f32": "F32", "f64": "F64", "c64": "C64", "f4_e2m1fn": "F4",
    "f6_e2m3fn": "F6_E2M3", "f6_e3m2fn": "F6_E3M2", "f8_e5m2": "F8_E5M2", "f8_e4m3fn": "F8_E4M3",
    "f8_e8m0fnu": "F8_E8M0", "f8_e4m3fnuz": "F8_E4M3FNUZ", "f8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip


class WrongTypeError(UsageError, TypeError):
    """An argument of a type that does not fit: a ValueError, as safetensors has it for torch, and a TypeError."""


class IndexRangeError(UsageError, IndexError):
    """An index that the tensor does not have."""


def code(dtype: str) -> str:
    """What safetensors calls Cairn's element type `dtype`."""
    return CODES.get(dtype, dtype.upper())


# Saving


def checked(tensors: Any, known: tuple[type, ...], noun: str) -> dict[str, Any]:
    """`tensors` as a dict, if its keys are str and its values are tensors of the framework.

    Raises
    ------
    CairnError
        Which is a TypeError and a ValueError, for anything else.
    """
    if not isinstance(tensors, dict):
        raise WrongTypeError(f"tensors are a dict of str to {noun}, not a {type(tensors).__name__}")
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise WrongTypeError(f"names of tensors are str, and {name!r} is a {type(name).__name__}")
        if not isinstance(tensor, known):
            raise WrongTypeError(f"{name!r} is a {type(tensor).__name__}, not a {noun}; cairnfile.save takes nested values")
    return dict(tensors)


def text_metadata(metadata: Any) -> dict[str, str] | None:
    """The metadata, if it is a dict of str to str."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise WrongTypeError(f"metadata is a dict of str to str, not a {type(metadata).__name__}")
    for item in (item for pair in metadata.items() for item in pair):
        if not isinstance(item, str):
            raise WrongTypeError(
                f"metadata is text only, and {item!r} is a {type(item).__name__}; cairnfile.save takes other values"
            )
    return {str.__str__(key): str.__str__(value) for key, value in metadata.items()}


def save(tensors: dict, metadata: Any, *, copy: bool) -> bytes:
    """The file of `tensors`, as bytes; `copy` as in `cairnfile.save`."""
    return _io.dumps(tensors, metadata=text_metadata(metadata), copy=copy)


def save_file(tensors: dict, filename: Any, metadata: Any, *, copy: bool) -> None:
    """Saves `tensors` to `filename`; `copy` as in `cairnfile.save`."""
    _io.save(tensors, filename, metadata=text_metadata(metadata), copy=copy)


# Loading


@contextmanager
def _advice(filename=None):
    """Says what makes a Cairn file of a foreign one."""
    try:
        yield
    except MalformedError as error:
        kind = None if filename is None else sniff(_head(filename))
        if kind not in ("a safetensors file", "a NumPy .npy file"):
            raise
        path = PurePath(filename)
        target = path.with_suffix(".cairn")
        target = target if target != path else PurePath(f"{filename}.cairn")
        command = shlex.join(["cairn", "convert", str(path), str(target)])
        advised = MalformedError(f"{error}; this makes a Cairn file of it: {command}")
        for name in ("code", "class_name", "offset", "section"):
            setattr(advised, name, getattr(error, name))
        raise advised from None


def _head(filename: str) -> bytes:
    with open(filename, "rb") as file:
        return file.read(64)


def _hooks(framework: Any, device: Any) -> Hooks:
    """What makes tensors of the framework of that name, on the device."""
    if not isinstance(framework, str):
        raise WrongTypeError(f"framework is a str, not a {type(framework).__name__}")
    if framework not in _FRAMEWORKS:
        raise UsageError(f"framework {framework!r} is none of {', '.join(map(repr, _FRAMEWORKS))}")
    if _FRAMEWORKS[framework] == "torch":
        return _torch_hooks("cpu" if device is None else device)
    if device is not None and device != "cpu":
        raise UsageError(f"tensors of framework {framework!r} come on the CPU, not on device {device!r}")
    if _FRAMEWORKS[framework] == "numpy":
        return NUMPY
    return importlib.import_module(f"{__package__}.{_FRAMEWORKS[framework]}").HOOKS


def _torch_hooks(device: Any) -> Hooks:
    import torch

    from ._torch_make import TorchHooks

    try:
        return TorchHooks(torch.device(device))
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"device {device!r} is invalid: {error}") from None


def _mapped(backend: Any) -> bool:
    if not isinstance(backend, str):
        raise WrongTypeError(f"backend is a str, not a {type(backend).__name__}")
    if backend not in _BACKENDS:
        raise UsageError(f"backend {backend!r} is none of {', '.join(map(repr, _BACKENDS))}")
    return _BACKENDS[backend]


def flat(root: Any) -> list[str]:
    """The names of the tensors of a file whose root is a dict of str to tensor.

    Raises
    ------
    UsageError
        For any other root.
    """
    if not isinstance(root, Group) or root.kind != "dict":
        raise UsageError("the file is no flat dict of tensors: open it with cairnfile.open, or load it with cairnfile.load")
    names = []
    for name, value in root.items():
        if isinstance(name, str) and isinstance(value, LazyTensor):
            names.append(name)
        elif name != STATE_METADATA:
            # What torch keeps beside a state dict is no item of it.
            kind = value.kind if isinstance(value, Group) else type(value).__name__
            raise UsageError(
                f"the file is no flat dict of tensors, {name!r} is a {kind}: open it with cairnfile.open, or load it with "
                "cairnfile.load"
            )
    return names


class Slice:
    """A tensor of an open file, which is read as it is indexed.

    Indices mean what they mean in NumPy, in all frameworks. Ints, slices (with any step), `...` and None read and verify
    the blocks under the result; lists, masks and bools read the whole tensor. The result is a copy, in memory of its own.
    """

    __slots__ = ("_tensor", "_hooks")

    def __init__(self, tensor: LazyTensor, hooks: Hooks):
        self._tensor = tensor
        self._hooks = hooks

    def get_shape(self) -> list[int]:
        """Extent of each axis, in elements."""
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """Element type as safetensors spells it, such as `"F32"`; Cairn's name in capitals where it has none."""
        return code(self._tensor.dtype_name)

    def __getitem__(self, key):
        try:
            return _elements.maker(self._hooks)(_elements.take(self._tensor, key))
        except IndexError as error:
            raise IndexRangeError(str(error)) from None

    def __repr__(self) -> str:
        return f"<cairnfile slice of {self.get_dtype()} of shape {self.get_shape()}>"


class safe_open:
    """Opens a file of named tensors; a tensor is read when it is asked for.

    Only flat files are opened: those of `save_file`, and all others whose root is a dict of str to tensor, such as a saved
    state dict.

    Parameters
    ----------
    filename : str or os.PathLike
        The file.
    framework : str
        Whose tensors: `"pt"`, `"np"`, `"tf"` or `"flax"` (also `"torch"`, `"pytorch"`, `"numpy"`, `"tensorflow"`, `"jax"`).
    device : str or int
        Where torch tensors go, in any spelling that torch takes; `"cpu"` for all other frameworks.
    backend : str
        `"mmap"` verifies whole tensors and maps them copy-on-write: no copy is made, writing to them does not reach the
        file, and nobody may truncate or change the file meanwhile (replacing it is fine). `"pread"` reads them into memory
        of their own. Slices are read either way.

    Raises
    ------
    CairnError
        For a file that is damaged, foreign or nested, and for arguments that do not fit. The message about a safetensors
        file has the command that converts it.
    FileNotFoundError, OSError
        If the system refuses.

    Examples
    --------
    >>> import cairnfile, numpy as np, tempfile, os
    >>> from cairnfile.numpy import save_file
    >>> path = os.path.join(tempfile.mkdtemp(), "a.cairn")
    >>> save_file({"w": np.arange(6.0).reshape(2, 3)}, path, metadata={"format": "np"})
    >>> with cairnfile.safe_open(path, framework="np") as f:
    ...     f.keys(), f.metadata(), f.get_slice("w").get_dtype(), f.get_slice("w")[:, -1]
    (['w'], {'format': 'np'}, 'F64', array([2., 5.]))
    """

    __slots__ = ("_file", "_handles", "_hooks", "_mmap", "__weakref__")

    def __init__(self, filename: Any, framework: str, device: Any = "cpu", *, backend: str = "mmap"):
        path = os.fsdecode(filename)
        self._hooks, self._mmap = _hooks(framework, device), _mapped(backend)
        with _advice(path):
            self._file: File | None = File(path, hooks=_elements.HOOKS)
        root = self._file.root
        self._handles = {name: root[name] for name in flat(root)}

    def _open(self) -> File:
        if self._file is None:
            raise UsageError("the file is closed")
        return self._file

    def _handle(self, name: str) -> LazyTensor:
        self._open()
        if not isinstance(name, str):
            raise WrongTypeError(f"names of tensors are str, and {name!r} is a {type(name).__name__}")
        if name not in self._handles:
            raise NotFoundError(f"the file has no tensor {name!r}")
        return self._handles[name]

    def keys(self) -> list[str]:
        """Names of the tensors, in the order in which they were saved; safetensors sorts them."""
        self._open()
        return list(self._handles)

    def offset_keys(self) -> list[str]:
        """Names of the tensors, by where they lie in the file; those without bytes first."""
        self._open()
        return sorted(self._handles, key=lambda name: self._handles[name].file_range)

    def metadata(self) -> dict[str, str] | None:
        """The metadata; None if there is none. Values are not text only if `cairnfile.save` wrote such."""
        return self._open().metadata or None

    def get_tensor(self, name: str) -> Any:
        """The tensor called `name`, verified."""
        handle = self._handle(name)
        return _elements.maker(self._hooks)(handle.read_mapped() if self._mmap else handle.read())

    def get_tensors(self) -> dict[str, Any]:
        """All tensors by name, verified; those that were tied still are."""
        items, tensor = self._open()._file.read(None, None, self._mmap), _elements.maker(self._hooks)
        return {name: tensor(items[name]) for name in self._handles}

    def get_slice(self, name: str) -> Slice:
        """A handle on the tensor called `name`, which is read as it is indexed."""
        return Slice(self._handle(name), self._hooks)

    def __enter__(self) -> safe_open:
        self._open()
        return self

    def __exit__(self, *_exception) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _safe_open_handle(safe_open):
    """`safe_open` for a file object that a path is known of."""

    __slots__ = ()

    def __init__(self, f: Any, framework: str, device: Any = "cpu", *, backend: str = "mmap"):
        f.fileno()
        super().__init__(f.name, framework, device, backend=backend)


def load_file(filename: Any, framework: str, device: Any = "cpu", *, backend: str) -> dict[str, Any]:
    """All tensors of a flat file."""
    with safe_open(filename, framework, device, backend=backend) as file:
        return file.get_tensors()


def elements(data: Any) -> dict[str, Elements]:
    """The tensors of a flat file that is given as bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise WrongTypeError(f"a file is bytes, not a {type(data).__name__}")
    root = _io.loads(bytes(data), _hooks=_elements.HOOKS)
    state = {name: value for name, value in root.items() if name != STATE_METADATA} if type(root) is dict else root
    if type(state) is not dict or not all(isinstance(name, str) and isinstance(value, Elements) for name, value in state.items()):
        raise UsageError("the bytes are no flat dict of tensors: load them with cairnfile.loads")
    return state


def load(data: Any, framework: str) -> dict[str, Any]:
    """All tensors of a flat file that is given as bytes."""
    tensor = _elements.maker(_hooks(framework, None))
    return {name: tensor(item) for name, item in elements(data).items()}
