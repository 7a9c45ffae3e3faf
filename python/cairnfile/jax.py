"""JAX: arrays and pytrees.

`save` and `load` are those of `cairnfile`, with these differences: tensors come back as `jax.Array`, and every registered
pytree node (a `flax.struct` dataclass, a Flax `State`, an Optax state) is saved by its children. What a node has besides its
children (functions, names: what JAX calls static) is code, not data: it is in no file, and comes from the template that is
handed to `load` as `like`. Without a template such nodes come back as `cairnfile.Named`, with the name of the class and a
dict or tuple of the children.

Kept: all of JAX's dtypes, keys of `jax.random.key`, and ties: leaves that are one array, or one buffer, are saved once and come
back as one array. Not kept: weak types (arrays come back strong), and where an array was placed, except as `like` says.
A dtype that JAX cannot represent now comes back as a NumPy array: `c32` and the block-quantized ones (as
`cairnfile.Raw`), and those of 64 bits unless ``jax.config.update("jax_enable_x64", True)``; never a truncated one.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import numpy as np

from . import _io, _types
from ._adapt import Adapter
from ._cairnfile import Named, Raw
from ._elements import Elements
from ._entries import Differences, mismatch, token
from ._lazy import NUMPY, File, Hooks
from ._types import type_name
from .safetensors.flax import load_file as load_file
from .safetensors.flax import save_file as save_file

_KEY = "jax.random.key"
_FROZEN_DICT = "flax.core.frozen_dict.FrozenDict"


def adapt(value, adapter):
    """What an object of JAX or Flax is saved as."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError("a tracer has no elements yet: save outside jax.jit, jax.grad and jax.vmap")
    if isinstance(value, jax.Array):
        return _key(value, adapter) if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key) else _array(value, adapter)
    if isinstance(value, jax.ShapeDtypeStruct):
        raise TypeError("a jax.ShapeDtypeStruct has no elements: it is for load(…, like=…)")
    if type_name(type(value)) == _FROZEN_DICT:
        return Named(_FROZEN_DICT, dict(value))
    if _is_node(value):
        raise TypeError(f"a {type(value).__name__} is a registered pytree node: cairnfile.jax.save keeps it by its children")
    return NotImplemented


def _check(array: jax.Array) -> None:
    if array.is_deleted():
        raise ValueError("the array was deleted, or donated to a jitted function")
    if not array.is_fully_addressable:
        raise ValueError(
            "the array is spread over processes: save jax.experimental.multihost_utils.process_allgather(…) of it from one "
            "process, or each process's array.addressable_shards"
        )


def _array(array: jax.Array, adapter) -> np.ndarray:
    _check(array)
    if array.size == 0:
        return np.asarray(array)
    # Arrays of one buffer stay tied, also where the host's copy is another one for each.
    kept = adapter.state.setdefault("jax", {})
    key = (_buffers(array), array.shape, array.dtype)
    if key not in kept:
        kept[key] = np.asarray(array), array
    return kept[key][0]


def _buffers(array: jax.Array):
    """What two arrays have in common if their elements are one memory."""
    try:
        return tuple((str(shard.device), shard.data.unsafe_buffer_pointer()) for shard in array.addressable_shards)
    except RuntimeError:
        # Not every kind of device tells addresses.
        return id(array)


def _key(array: jax.Array, adapter) -> Named:
    _check(array)
    implementation = jax.random.key_impl(array)
    if not isinstance(implementation, str):
        raise TypeError(f"keys of the generator {implementation} cannot be kept: save jax.random.key_data(…) of them")
    kept = adapter.state.setdefault("jax keys", {})
    if id(array) not in kept:
        kept[id(array)] = jax.random.key_data(array), array
    return Named(_KEY, (implementation, kept[id(array)][0]))


class _TreeAdapter(Adapter):
    """Also takes registered pytree nodes of any package, by their children."""

    def __call__(self, value):
        made = _types.adapt(value, self)
        if made is NotImplemented and _is_node(value):
            return _by_children(value)
        return super().__call__(value) if made is NotImplemented else made


def _is_node(value) -> bool:
    return not jax.tree_util.all_leaves([value])


def _children(node) -> tuple[list, list, Any]:
    """Keys and values of a node's children, and the tree of one level that takes such children."""
    pairs, tree = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda value: value is not node)
    return [_plain(path[0]) for path, _ in pairs], [child for _, child in pairs], tree


def _plain(key):
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return str(key)


def _by_children(node) -> Named:
    keys, children, _ = _children(node)
    if keys == list(range(len(keys))):
        return Named(type_name(type(node)), tuple(children))
    if len(set(keys)) < len(keys):
        raise ValueError(f"the children of the pytree node {type(node).__name__} have equal keys: {keys}")
    return Named(type_name(type(node)), dict(zip(keys, children)))


@functools.lru_cache(None)
def _represents(dtype: np.dtype, x64: bool) -> bool:
    """Whether JAX has arrays of exactly this dtype; `x64` is the setting that decides about 64 bits."""
    try:
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            return False
        return np.asarray(jax.device_put(np.zeros(1, dtype))).dtype == dtype
    except (TypeError, ValueError, RuntimeError):
        return False


def _make(*place):
    array = Elements(*place).array(NUMPY)
    if isinstance(array, Raw) or not _represents(array.dtype, jax.config.jax_enable_x64):
        return None
    # Where the device is the host and the memory is aligned, this is the file's memory, not a copy.
    return jax.device_put(array)


def _restore(name: str, value):
    if name == _KEY:
        return _restore_key(value)
    if name == _FROZEN_DICT and type(value) is dict:
        return _restore_frozen_dict(value)
    if name == "numpy_scalar" and isinstance(value, jax.Array):
        value = np.asarray(value)
    return _types.restore(name, value)


def _restore_key(value):
    try:
        implementation, data = value
        return jax.random.wrap_key_data(data, impl=implementation)
    except (TypeError, ValueError):
        return Named(_KEY, value)


def _restore_frozen_dict(value: dict):
    try:
        from flax.core import FrozenDict
    except ImportError:
        return Named(_FROZEN_DICT, value)
    return FrozenDict(value)


def _restore_data(name: str, value):
    """For templates: what is no pytree node becomes an object, nodes keep their names."""
    return _restore(name, value) if name in _LEAVES else Named(name, value)


_LEAVES = frozenset({_KEY, "numpy_scalar", "dtype", "enum", "counter", "torch_size", "torch_device"})
HOOKS = Hooks(make=_make, restore=_restore)
_LIKE_HOOKS = Hooks(make=_make, restore=_restore_data)


def save(
    obj: Any,
    path: Any,
    *,
    metadata: dict[str, Any] | None = None,
    copy: bool = False,
    durable: bool = True,
    block_size: int | None = None,
    parity: float = 0.0,
    progress: _io.Progress = None,
) -> None:
    """Saves a pytree; `cairnfile.save` says what else may be in it, and what the keyword arguments mean.

    Dicts, lists, tuples, named tuples and `None` are kept as they are. Other registered pytree nodes are kept by their
    children, under the name of their class; classes given to `cairnfile.register` as that says.

    Raises
    ------
    TypeError
        For a tracer, and for objects that are neither data nor pytree nodes, with the address.
    ValueError
        For an array that was deleted, or that is spread over processes.

    Examples
    --------
    >>> import cairnfile.jax, jax.numpy as jnp, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "state.cairn")
    >>> cairnfile.jax.save({"w": jnp.ones(2), "step": 7}, path)
    >>> cairnfile.jax.load(path)
    {'w': Array([1., 1.], dtype=float32), 'step': 7}
    """
    nodes = _TreeAdapter()
    how: dict[str, Any] = {"copy": copy, "durable": durable, "block_size": block_size, "parity": parity, "progress": progress}
    _io.save(obj, path, metadata=metadata, **how, _adapter=nodes)


def dumps(
    obj: Any,
    *,
    metadata: dict[str, Any] | None = None,
    copy: bool = False,
    block_size: int | None = None,
    parity: float = 0.0,
) -> bytes:
    """The file that `save` would write, as bytes."""
    return _io.dumps(obj, metadata=metadata, copy=copy, block_size=block_size, parity=parity, _adapter=_TreeAdapter())


_NOTHING = object()


def load(
    path: Any,
    *,
    like: Any = _NOTHING,
    only: str | list[str] | None = None,
    mmap: bool = False,
    max_memory: int | None = None,
    progress: _io.Progress = None,
) -> Any:
    """Loads what was saved, with `jax.Array` for tensors.

    Parameters
    ----------
    path : str, os.PathLike or file object
        Where from.
    like : pytree, optional
        A template: a pytree of the structure that was saved, such as a freshly initialised state. The result has its
        nodes (named tuples, dataclasses, Flax structs, Optax states) with what is static in them, and the file's leaves.
        Its leaves say what is expected: an array, or a `jax.ShapeDtypeStruct` as of `jax.eval_shape`, the shape, dtype and
        (if it was put somewhere) the sharding; a `numpy.ndarray` that one comes back; a Python number that one, or an array
        of its kind without axes, is in the file. With `only`, the template of the part.
    only, mmap, max_memory, progress
        As in `cairnfile.load`.

    Raises
    ------
    ValueError
        If the file does not fit `like`: names every missing, unexpected and mismatched entry by its address.
    CairnError
        As in `cairnfile.load`.

    Examples
    --------
    >>> import cairnfile.jax, jax.numpy as jnp, tempfile, os
    >>> from typing import Any, NamedTuple
    >>> class State(NamedTuple):
    ...     params: Any
    ...     step: int
    >>> path = os.path.join(tempfile.mkdtemp(), "state.cairn")
    >>> cairnfile.jax.save(State({"w": jnp.arange(3.0)}, 7), path)
    >>> cairnfile.jax.load(path, like=State({"w": jnp.zeros(3)}, 0))
    State(params={'w': Array([0., 1., 2.], dtype=float32)}, step=7)
    """
    hooks = HOOKS if like is _NOTHING else _LIKE_HOOKS
    return _fitted(like, _io.load(path, only=only, mmap=mmap, max_memory=max_memory, progress=progress, _hooks=hooks))


def loads(data: bytes, *, like: Any = _NOTHING, only: str | list[str] | None = None, max_memory: int | None = None) -> Any:
    """Loads from the bytes of a file, as `load` does."""
    hooks = HOOKS if like is _NOTHING else _LIKE_HOOKS
    return _fitted(like, _io.loads(data, only=only, max_memory=max_memory, _hooks=hooks))


def open(path, *, mmap: bool = False, max_memory: int | None = None) -> File:
    """Opens a file as `cairnfile.open` does; tensors and their slices are read as `jax.Array`."""
    return File(os.fsdecode(path), mmap=bool(mmap), max_memory=max_memory, hooks=HOOKS)


def _fitted(like, value):
    if like is _NOTHING:
        return value
    fitter = _Fitter()
    made = fitter.fit(like, value, "")
    fitter.differences.check("like")
    return made


class _Fitter:
    """Puts the values of a file into the nodes of a template."""

    def __init__(self):
        self.differences = Differences()
        # Arrays that were moved to where the template wants them, so that ties are kept.
        self._placed = {}

    def fit(self, template, value, address: str):
        if type(template) in _types._by_type or not _is_node(template):
            return self._leaf(template, _restored(value), address)
        if template is None:
            return None if value is None else self._mismatch(address, template, value)
        name, items = _opened(value)
        wanted_name, wanted_items = _opened(_form(template))
        if _bare(name) != _bare(wanted_name) or type(items) is not type(wanted_items):
            return self._mismatch(address, template, value)
        inside = address + ("/1" if name is not None and type(value.value) is tuple and type(items) is dict else "")
        if type(items) is not dict:
            return self._positions(template, items, inside)
        return self._keys(template, items, inside)

    def _keys(self, template, items: dict, address: str):
        keys, children, tree = (list(template), list(template.values()), None) if type(template) is dict else _children(template)
        self.differences.missing += [address + token(key) for key in keys if key not in items]
        self.differences.unexpected += [address + token(key) for key in items if key not in keys]
        made = [self.fit(child, items[key], address + token(key)) for key, child in zip(keys, children) if key in items]
        if len(made) < len(keys):
            return template
        return dict(zip(keys, made)) if tree is None else jax.tree_util.tree_unflatten(tree, made)

    def _positions(self, template, items, address: str):
        _, children, tree = _children(template)
        self.differences.missing += [f"{address}/{n}" for n in range(len(items), len(children))]
        self.differences.unexpected += [f"{address}/{n}" for n in range(len(children), len(items))]
        made = [self.fit(child, item, f"{address}/{n}") for n, (child, item) in enumerate(zip(children, items))]
        return template if len(made) < len(children) else jax.tree_util.tree_unflatten(tree, made)

    def _leaf(self, template, value, address: str):
        if isinstance(template, (jax.Array, jax.ShapeDtypeStruct, np.ndarray)):
            return self._array(template, value, address)
        number = isinstance(template, (bool, int, float, complex)) and type(value) is not type(template)
        if number and isinstance(value, (jax.Array, np.ndarray)) and value.shape == () and _kind(value.dtype) is type(template):
            return value
        if type(value) is not type(template) or (isinstance(template, np.generic) and value.dtype != template.dtype):
            return self._mismatch(address, template, value)
        return value

    def _array(self, template, value, address: str):
        if not isinstance(value, (jax.Array, np.ndarray)):
            return self._mismatch(address, template, value)
        wrong = mismatch((template.dtype, template.shape), (value.dtype, value.shape))
        if wrong:
            self.differences.mismatched.append((address or "the root", wrong))
            return template
        if isinstance(template, np.ndarray):
            return np.array(value)
        placed = template.sharding if isinstance(template, jax.ShapeDtypeStruct) or template.committed else None
        if placed is None:
            return value
        key = (id(value), placed)
        if key not in self._placed:
            self._placed[key] = jax.device_put(value, placed), value
        return self._placed[key][0]

    def _mismatch(self, address: str, template, value):
        self.differences.mismatched.append((address or "the root", f"{_said(template)} is wanted, the file has {_said(value)}"))
        return template


def _form(node):
    """A node of a template as it would be in a file."""
    if type(node) in (dict, list, tuple):
        return node
    made = _types.adapt(node, None)
    return _by_children(node) if made is NotImplemented else made


def _opened(value) -> tuple[str | None, Any]:
    """The name of the class that a value is said to be, None for plain ones, and its items."""
    if not isinstance(value, Named):
        return None, value
    if value.name == "named_tuple" and type(value.value) is tuple and len(value.value) == 2:
        return value.value
    if value.name == "default_dict" and type(value.value) is tuple and len(value.value) == 2:
        return value.name, value.value[1]
    return value.name, value.value


def _bare(name: str | None) -> str | None:
    # Packages move their classes between modules.
    return None if name is None else name.rpartition(".")[2]


def _restored(value):
    """A value that was read for a template, where the template has a leaf."""
    if isinstance(value, Named):
        return _restore(value.name, _restored(value.value))
    if type(value) is dict:
        return {key: _restored(item) for key, item in value.items()}
    return type(value)(map(_restored, value)) if type(value) in (list, tuple) else value


def _kind(dtype) -> type | None:
    kinds = ((np.bool_, bool), (np.integer, int), (np.floating, float), (np.complexfloating, complex))
    return next((kind for abstract, kind in kinds if jax.dtypes.issubdtype(dtype, abstract)), None)


def _said(value) -> str:
    if isinstance(value, (jax.Array, jax.ShapeDtypeStruct, np.ndarray)):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, Named):
        return _with_article(_opened(value)[0] or "")
    return "None" if value is None else _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in tuple('aeiou') else 'a'} {name}"
