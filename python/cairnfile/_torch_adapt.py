"""torch's objects as values of a file."""

from __future__ import annotations

from typing import Any

import torch

from ._cairnfile import Named, Raw
from ._torch_dtypes import NAMES, PAIRS

PARAMETER, FROZEN = "torch.nn.Parameter", "torch.nn.Parameter.frozen"

_SUBCLASSES = {
    "DTensor": "save value.full_tensor(), or value.to_local() on each rank",
    "FakeTensor": "it has no elements; save the real tensor",
    "NestedTensor": "save value.values() and value.offsets()",
    "UninitializedParameter": "it has no elements before the first forward pass",
    "UninitializedBuffer": "it has no elements before the first forward pass",
}
# What people save that is no value, by the class that it derives from.
_OBJECTS = (
    (torch.nn.Module, "save value.state_dict(), or use save_model"),
    (torch.optim.Optimizer, "save value.state_dict()"),
    (torch.Generator, "save value.get_state()"),
)


def adapt(value: Any, adapter: Any) -> Any:
    """An object of torch as a value: called by `cairnfile.save` for the types of torch and those derived from them.

    The value of a tensor is its dtype, shape, layout, elements, and the memory that it shares with others. `grad`,
    `grad_fn`, hooks, attributes that a program set, and `requires_grad` of what is no Parameter are not part of it;
    nor is the device.

    Parameters
    ----------
    value : any
        An object whose type, or a base of it, is torch's.
    adapter : Adapter
        Of the save. Its `state` keeps the copies of devices' storages, so that views of one stay views of one.

    Returns
    -------
    Raw, Named or NotImplemented

    Raises
    ------
    TypeError
        For tensors that are more, or less, than elements in memory, with what to save in their place.
    """
    cls = type(value)
    if cls is torch.Tensor:
        return _tensor(value, adapter.state)
    if cls is torch.nn.Parameter:
        return Named(PARAMETER if value.requires_grad else FROZEN, _tensor(value, adapter.state))
    if cls is torch.Size:
        return Named("torch_size", tuple(value))
    if cls is torch.device:
        return Named("torch_device", str(value))
    if cls is torch.dtype:
        return Named("dtype", _name(value))
    if isinstance(value, torch.Tensor):
        hint = _SUBCLASSES.get(cls.__name__, "save value.as_subclass(torch.Tensor), or its parts")
        raise TypeError(f"a {cls.__name__}, a subclass of torch.Tensor, cannot be kept: {hint}")
    for base, hint in _OBJECTS:
        if isinstance(value, base):
            raise TypeError(f"an object of type {cls.__module__}.{cls.__qualname__} cannot be kept: {hint}")
    return NotImplemented


def _name(dtype: torch.dtype) -> str:
    name = NAMES.get(dtype)
    if name is None:
        raise TypeError(f"tensors of {dtype} cannot be kept; save value.view(torch.uint8) beside the dtype's name")
    return name


def _tensor(tensor: torch.Tensor, state: dict) -> Raw:
    refusal = _refusal(tensor)
    if refusal is not None:
        raise TypeError(refusal)
    name = _name(tensor.dtype)
    if not _on_cpu(tensor):
        tensor = _copied(tensor, state)
    return _resolved(tensor, name, state) if tensor.is_conj() or tensor.is_neg() else _viewed(tensor, name)


def _refusal(tensor: torch.Tensor) -> str | None:
    """Why a tensor has no elements in memory of its own, and what to save; None if it has."""
    if tensor.is_quantized:
        return "a quantized tensor cannot be kept: save value.int_repr() with its scales and zero points, or value.dequantize()"
    if tensor.is_nested:
        return "a nested tensor cannot be kept: save value.unbind()"
    if tensor.layout is not torch.strided:
        return f"a tensor of layout {tensor.layout} cannot be kept: save its indices and values, or value.to_dense()"
    if tensor.is_meta:
        return "a tensor on the meta device has no elements: save the real tensor"
    # Newer versions of torch have no named axes.
    if getattr(tensor, "has_names", bool)():
        return f"a tensor with named axes {tensor.names} cannot be kept: save value.rename(None) and the names"
    return None


def _on_cpu(tensor: torch.Tensor) -> bool:
    return tensor.is_cpu


def _viewed(tensor: torch.Tensor, name: str, source: tuple[int, int] | None = None) -> Raw:
    """A tensor in the memory of the CPU, in place."""
    shape, strides = tuple(tensor.shape), None
    if not tensor.is_contiguous():
        strides = [stride * tensor.element_size() for stride in tensor.stride()]
    if name == PAIRS:
        if not shape or strides is not None:
            what = f"a tensor of {tensor.dtype} without axes or not contiguous"
            raise TypeError(f"{what} cannot be kept: save value.view(torch.uint8)")
        shape = (*shape[:-1], 2 * shape[-1])
    address, nbytes = _span(tensor)
    return Raw.from_address(name, shape, address, nbytes, tensor, strides, source)


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """Address of the first element, and bytes to the end of the last; strides of torch are never negative."""
    if tensor.numel() == 0:
        return 0, 0
    try:
        address = tensor.data_ptr()
    except RuntimeError as error:
        raise TypeError(f"a tensor without memory of its own cannot be kept (is it traced, or inside vmap?): {error}") from None
    if tensor.is_contiguous():
        return address, tensor.numel() * tensor.element_size()
    last = sum((extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.stride()))
    return address, (last + 1) * tensor.element_size()


def _resolved(tensor: torch.Tensor, name: str, state: dict) -> Raw:
    """A lazy conjugate or negative as what it means, once for each view."""
    source = _span(tensor)
    key = ("torch.resolved", *source, tensor.shape, tensor.stride(), name, tensor.is_conj(), tensor.is_neg())
    if key not in state:
        # The view is kept too: while it lives its address is nobody else's.
        state[key] = _viewed(tensor.resolve_conj().resolve_neg(), name, source), tensor
    return state[key][0]


def storage_of(tensor: torch.Tensor) -> torch.UntypedStorage:
    """The storage of a tensor, whose name changed."""
    return tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor._storage()  # type: ignore[operator]


def _copied(tensor: torch.Tensor, state: dict) -> torch.Tensor:
    """The same view of a copy of its storage on the CPU, which is made once for each storage."""
    try:
        storage = storage_of(tensor)
        address, nbytes = storage.data_ptr(), storage.nbytes()
    except RuntimeError:
        address, nbytes = 0, 1
    if nbytes and not address:
        raise TypeError(f"a tensor on {tensor.device} has no memory that can be read: save value.cpu()")
    key = ("torch.copied", str(tensor.device), address, nbytes)
    if key not in state:
        state[key] = torch.UntypedStorage(nbytes).copy_(storage, False), storage
    view = torch.empty(0, dtype=tensor.dtype, device="cpu")
    view.set_(state[key][0], tensor.storage_offset(), tensor.shape, tensor.stride())
    view = view.conj() if tensor.is_conj() else view
    return torch._neg_view(view) if tensor.is_neg() else view
