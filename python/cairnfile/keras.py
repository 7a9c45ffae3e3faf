"""Keras models: their parameters, with the architecture in code. `cairnfile.tensorflow` has the same functions.

Works on every backend of Keras 3. A variable is kept as the tensor that it holds.
"""

from __future__ import annotations

import re
from typing import Any

from . import _io
from ._cairnfile import Named, Raw
from ._entries import Differences, token

__all__ = ["load_model", "load_state_dict", "save_model", "state_dict"]


def adapt(value, adapter):
    """What an object of Keras is saved as."""
    if _is_variable(value):
        return value.value
    if hasattr(value, "_flatten_layers"):
        raise TypeError(f"{type(value).__name__} {value.name!r} is more than data: save state_dict(…) of it, or use save_model")
    if type(value).__name__ == "KerasTensor":
        raise TypeError("a KerasTensor is symbolic: it has no elements")
    return NotImplemented


def _is_variable(value) -> bool:
    return hasattr(value, "assign") and hasattr(value, "value")


def state_dict(obj: Any) -> Any:
    """The parameters of a model or layer, or the state of an optimizer, as data that can be saved and loaded.

    Parameters
    ----------
    obj : keras.Layer, keras.Model or keras.Optimizer
        Built: its variables exist.

    Returns
    -------
    dict or list
        For a layer its weights (as `get_weights` has them: without the seeds of dropout) by name, and for each layer inside
        a dict of that form by the layer's name. A name that Keras made up, such as ``dense_7``, counts calls in the
        process; it is replaced by the count within the model (``dense``, ``dense_1``), so that two models built by the same
        code have the same names. A name of your own stays. For an optimizer the list of its variables.
    """
    if hasattr(obj, "_flatten_layers"):
        if not obj.built:
            raise ValueError(f"{obj.name!r} is not built, so it has no parameters yet: call it once, or obj.build(input_shape)")
        return _layer(obj, _snake(type(obj).__name__))
    if hasattr(obj, "apply_gradients") or hasattr(obj, "apply"):
        if not obj.built:
            raise ValueError("the optimizer is not built, so it has no state yet: optimizer.build(model.trainable_variables)")
        return list(obj.variables)
    raise TypeError(f"a Keras layer, model or optimizer is wanted, not a {type(obj).__name__}")


def _layer(layer, name: str) -> dict:
    names = _Names(layer.name, name)
    inside = [inner for inner in layer._flatten_layers(include_self=False, recursive=False) if inner.weights]
    theirs = {id(weight) for inner in inside for weight in inner.weights}
    made = {names.stable(weight.name, "variable"): weight for weight in layer.weights if id(weight) not in theirs}
    for inner in inside:
        name = names.stable(inner.name, _snake(type(inner).__name__))
        made[name] = _layer(inner, name)
    return made


class _Names:
    """Names in one layer, each used once, that do not depend on what else was built in the process."""

    def __init__(self, outer: str, stable_outer: str):
        self._outer, self._stable_outer = outer, stable_outer
        self._used: set[str] = set()

    def stable(self, name: str, made_up: str) -> str:
        # `Bidirectional` puts words before names that Keras made up; layers of one's own may put theirs.
        counted = re.fullmatch(rf"((?:forward_|backward_)?{re.escape(made_up)})(_\d+)?", name)
        if counted:
            name = counted[1]
        elif name.startswith(self._outer + "_"):
            name = self._stable_outer + name[len(self._outer) :]
        found, count = name, 0
        while found in self._used:
            count += 1
            found = f"{name}_{count}"
        self._used.add(found)
        return found


def _snake(name: str) -> str:
    """How Keras names layers of a class."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def load_state_dict(obj: Any, state: Any, *, strict: bool = True) -> tuple[list[str], list[str]]:
    """Puts a state that `state_dict` gave, saved and loaded again, into an object that was built by the same code.

    Parameters
    ----------
    obj : keras.Layer, keras.Model or keras.Optimizer
        Built: its variables exist.
    state : dict or list
        As of `state_dict`, with tensors of any framework or NumPy arrays.
    strict : bool
        False leaves what is missing in `state` as it is, and what is unexpected alone.

    Returns
    -------
    missing, unexpected : list of str
        Addresses of entries; empty if `strict`.

    Raises
    ------
    ValueError
        If shapes or dtypes differ, or entries are missing or unexpected: names them all. Nothing has been changed then.
    """
    variables, found = _flat(state_dict(obj), ""), _flat(state, "")
    differences = Differences()
    differences.compare({a: _form(v) for a, v in variables.items()}, {a: _form(v) for a, v in found.items()})
    missing, unexpected = differences.check("the model" if hasattr(obj, "_flatten_layers") else "the optimizer", strict=strict)
    for address, variable in variables.items():
        if address in found:
            variable.assign(found[address])
    return missing, unexpected


def _flat(value, address: str) -> dict[str, Any]:
    """The leaves under `value` by address."""
    if isinstance(value, dict):
        return {a: leaf for key, item in value.items() for a, leaf in _flat(item, address + token(key)).items()}
    if isinstance(value, (list, tuple)):
        return {a: leaf for n, item in enumerate(value) for a, leaf in _flat(item, f"{address}/{n}").items()}
    return {address: value}


def _form(value) -> tuple[str, tuple]:
    """Name of the dtype, as Keras has it, and shape."""
    if not hasattr(value, "shape") or isinstance(value, (Named, Raw)):
        return f"a {type(value).__name__}", ()
    dtype = value.dtype
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2], tuple(value.shape)


def save_model(model: Any, path: Any, *, metadata: dict[str, Any] | None = None) -> None:
    """Saves the parameters of a model: what `save_weights` saves, without the architecture and the optimizer.

    The file holds `state_dict(model)`: parameters have addresses such as ``/dense_1/kernel``, and can be loaded in part, or
    without Keras. For the whole state of a training, save
    ``{"model": state_dict(model), "optimizer": state_dict(model.optimizer), "epoch": 3}``, and `load_state_dict` the parts.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        Built: called once, or with its input shape known.
    path : str, os.PathLike or file object
        Where to.
    metadata : dict, optional
        As in `cairnfile.save`; the place for the configuration that the code builds the model from.

    Examples
    --------
    >>> import cairnfile.keras, keras, numpy as np, tempfile, os
    >>> build = lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])
    >>> path, model, clone = os.path.join(tempfile.mkdtemp(), "mlp.cairn"), build(), build()
    >>> cairnfile.keras.save_model(model, path)
    >>> cairnfile.keras.load_model(clone, path)
    ([], [])
    >>> bool(np.all(model(np.ones((1, 4))) == clone(np.ones((1, 4)))))
    True
    """
    _io.save(state_dict(model), path, metadata=metadata)


def load_model(model: Any, path: Any, *, strict: bool = True) -> tuple[list[str], list[str]]:
    """Loads what `save_model` saved into a model that was built by the same code.

    Parameters, result and errors as in `load_state_dict`, with a path (or file object) in place of the state.
    """
    state_dict(model)  # Refuses what has no parameters yet before the file is read.
    return load_state_dict(model, _io.load(path), strict=strict)
