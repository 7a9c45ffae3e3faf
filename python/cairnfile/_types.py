"""Python types beyond the built-in ones: how they are named in a file, and which names become objects again."""

from __future__ import annotations

import builtins
import dataclasses
import enum
import functools
import sys
from collections import Counter, OrderedDict, defaultdict
from typing import Any, Callable, NamedTuple

import numpy as np

from . import _dtypes
from ._cairnfile import Named, Raw

_FACTORIES = ("bool", "bytes", "complex", "dict", "float", "int", "list", "set", "str", "tuple")
# What an OrderedDict of torch carries besides its items; no state dict has a bytes key.
_STATE_DICT, STATE_METADATA = "torch.state_dict", b"_metadata"


class _Registered(NamedTuple):
    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


_by_type: dict[type, _Registered] = {}
_by_name: dict[str, _Registered] = {}
_members: dict[str, Any] = {}
# How files name enums and named tuples that were registered.
_names: dict[type, str] = {}


def type_name(cls: type) -> str:
    """Module and qualified name: what a file says of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def register(
    cls: type, *, name: str | None = None, encode: Callable[[Any], Any] | None = None, decode: Callable[[Any], Any] | None = None
) -> type:
    """Lets objects of exactly this class be saved, and come back as objects of it.

    Enums, named tuples and dataclasses need nothing more. For any other class, `encode` turns an object into a value
    that can be kept, and `decode` turns that back. A file holds the data and the name, never the code.

    Parameters
    ----------
    cls : type
        The class. May be used as a decorator.
    name : str, optional
        How files name the class; its module and qualified name if left out. Has a dot.

    Examples
    --------
    >>> import cairnfile, dataclasses
    >>> @cairnfile.register
    ... @dataclasses.dataclass
    ... class Config:
    ...     width: int
    >>> cairnfile.loads(cairnfile.dumps(Config(64)))
    Config(width=64)
    """
    if not isinstance(cls, type):
        raise TypeError("register takes a class")
    if (encode is None) is not (decode is None):
        raise TypeError("encode and decode go together")
    name = name or type_name(cls)
    if encode is None and (issubclass(cls, enum.Enum) or _is_named_tuple(cls)):
        _members[name] = cls
        _names[cls] = name
        return cls
    if encode is None:
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"{cls!r} is no enum, named tuple or dataclass: say how with encode= and decode=")
        encode, decode = _fields, functools.partial(_dataclass, cls)
    if "." not in name or not name.isascii() or not name.isprintable() or " " in name or len(name) > 255:
        raise ValueError(f"{name!r} is no private type name: visible ASCII with a dot, 255 characters at most")
    assert decode is not None
    entry = _Registered(name, encode, decode)
    _by_type[cls] = _by_name[name] = entry
    return cls


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _dataclass(cls: Any, value: dict[str, Any]) -> Any:
    if type(value) is not dict or set(value) != {field.name for field in dataclasses.fields(cls)}:
        return NotImplemented
    made = cls.__new__(cls)
    for field, item in value.items():
        object.__setattr__(made, field, item)
    return made


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and cls.__mro__[1] is tuple and isinstance(getattr(cls, "_fields", None), tuple)


def adapt(value: Any, adapter: Any) -> Any:
    """A value of a type that Python's standard library or the caller brought; NotImplemented for all others."""
    cls = type(value)
    if cls in _by_type:
        entry = _by_type[cls]
        return Named(entry.name, entry.encode(value))
    if cls is OrderedDict:
        return _ordered_dict(value)
    if cls is Counter:
        return Named("counter", dict(value))
    if cls is defaultdict:
        return Named("default_dict", (_factory(value.default_factory), dict(value)))
    if isinstance(value, enum.Enum):
        if value.name is None or value.name not in cls.__members__:
            raise TypeError(f"{value!r} is a combination, not a member, of {cls.__name__}")
        return Named("enum", (_names.get(cls, type_name(cls)), value.name))
    if _is_named_tuple(cls):
        return Named("named_tuple", (_names.get(cls, type_name(cls)), dict(zip(cls._fields, value))))
    return NotImplemented


def _ordered_dict(value: OrderedDict[Any, Any]) -> Named:
    extra = dict(vars(value))
    metadata = extra.pop("_metadata", None)
    if extra:
        raise TypeError(f"an OrderedDict with attributes of its own ({', '.join(map(repr, extra))}) cannot be kept")
    if metadata is None:
        return Named("ordered_dict", dict(value))
    return Named(_STATE_DICT, {**value, STATE_METADATA: metadata})


def _factory(factory: Any) -> str | None:
    if factory is None:
        return None
    name = getattr(factory, "__name__", "")
    if name not in _FACTORIES or getattr(builtins, name) is not factory:
        raise TypeError(f"a defaultdict of {factory!r} cannot be kept: only built-in factories are data")
    return name


def restore(name: str, value: Any) -> Any:
    """The object that a named value stands for; the name and the value where that is not known, or not of its form."""
    if name in _by_name:
        made = _by_name[name].decode(value)
    else:
        try:
            known = _RESTORE.get(name)
            made = NotImplemented if known is None else known(value)
        except (TypeError, ValueError, KeyError, AttributeError):
            made = NotImplemented
    return Named(name, value) if made is NotImplemented else made


def _restore_scalar(value: Any) -> Any:
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else NotImplemented


def _restore_state_dict(value: Any) -> Any:
    made = OrderedDict((key, item) for key, item in value.items() if key != STATE_METADATA)
    if STATE_METADATA in value:
        made._metadata = value[STATE_METADATA]  # type: ignore[attr-defined]
    return made


def _restore_default_dict(value: Any) -> Any:
    factory, items = value
    if type(items) is not dict or not (factory is None or factory in _FACTORIES):
        return NotImplemented
    return defaultdict(None if factory is None else getattr(builtins, factory), items)


def _restore_named_tuple(value: Any) -> Any:
    name, fields = value
    cls = _members.get(name)
    return cls(**fields) if cls is not None and type(fields) is dict and tuple(fields) == cls._fields else NotImplemented


def _restore_enum(value: Any) -> Any:
    name, member = value
    return _members[name][member] if name in _members else NotImplemented


def _restore_dtype(value: Any) -> Any:
    group, elements, nbytes = _dtypes.GEOMETRY.get(value, ("scalar", 1, None))
    if nbytes is None:
        dtype = np.dtype("<" + value.removeprefix("numpy."))
        return dtype if _dtypes.name_of(dtype) == value else NotImplemented
    return _dtypes.dtype(value, group, elements, nbytes) or NotImplemented


def _restore_torch_size(value: Any) -> Any:
    torch = sys.modules.get("torch")
    return NotImplemented if torch is None or type(value) is not tuple else torch.Size(value)


def _restore_torch_device(value: Any) -> Any:
    torch = sys.modules.get("torch")
    return NotImplemented if torch is None or type(value) is not str else torch.device(value)


_RESTORE = {
    "numpy_scalar": _restore_scalar,
    "ordered_dict": lambda value: OrderedDict(value) if type(value) is dict else NotImplemented,
    "counter": lambda value: Counter(value) if type(value) is dict else NotImplemented,
    "default_dict": _restore_default_dict,
    "named_tuple": _restore_named_tuple,
    "enum": _restore_enum,
    "dtype": _restore_dtype,
    "torch_size": _restore_torch_size,
    "torch_device": _restore_torch_device,
    _STATE_DICT: _restore_state_dict,
    # The parameter of another framework is a tensor here.
    "torch.nn.Parameter": lambda value: value if not isinstance(value, Named) else NotImplemented,
    "torch.nn.Parameter.frozen": lambda value: value if not isinstance(value, Named) else NotImplemented,
}


def adapt_numpy(value: Any, adapter: Any) -> Any:
    """NumPy's own objects that are no plain array of numbers."""
    if type(value) is np.ndarray:
        return _dtypes.adapt(value, adapter)
    if type(value) is np.memmap:
        return value.view(np.ndarray)
    if isinstance(value, np.generic):
        return Named("numpy_scalar", np.asarray(value))
    if isinstance(value, np.dtype):
        return Named("dtype", _dtypes.name_of(value))
    if isinstance(value, np.ndarray):
        raise TypeError(f"a {type(value).__name__} is more than its elements; save numpy.asarray(…) of it, or its parts")
    return NotImplemented


__all__ = ["Named", "Raw", "adapt", "adapt_numpy", "register", "restore", "type_name"]
