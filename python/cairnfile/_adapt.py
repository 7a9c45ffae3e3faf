"""From objects to what the extension module knows: the type decides who is asked."""

from __future__ import annotations

import importlib
from typing import Any, Callable

import numpy as np

from . import _dtypes, _types

# Whose objects they are, by the package that their type comes from; imported when the first one is met.
_FRAMEWORKS = {
    "torch": "torch",
    "jax": "jax", "jaxlib": "jax", "flax": "jax",
    "tensorflow": "tensorflow", "keras": "keras",
    "mxnet": "mxnet",
}  # fmt: skip


class Adapter:
    """Adapts the objects of one save; what was converted for it is kept until it ends."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], tuple[Any, np.ndarray]] = {}
        #: What frameworks keep between calls, such as the copies of a device's storages.
        self.state: dict[Any, Any] = {}

    def __call__(self, value: Any) -> Any:
        made = _types.adapt(value, self)
        if made is not NotImplemented:
            return made
        if isinstance(value, (np.ndarray, np.generic, np.dtype)):
            return _types.adapt_numpy(value, self)
        framework = framework_of(type(value))
        return NotImplemented if framework is None else framework.adapt(value, self)

    def converted(self, array: np.ndarray, make: Callable[[], Any]) -> Any:
        """What `make` makes of an array, once for each view: views of the same elements stay tied."""
        key = (*_dtypes.span(array), array.shape, array.strides, array.dtype.str, array.dtype)
        if array.size == 0 or key not in self._made:
            self._made[key] = make(), array
        return self._made[key][0]


def framework_of(cls: type) -> Any:
    """The module here for the framework that a type comes from; None for all other types."""
    for base in cls.__mro__:
        name = _FRAMEWORKS.get(base.__module__.partition(".")[0])
        if name is not None:
            return importlib.import_module(f"{__package__}.{name}")
    return None
