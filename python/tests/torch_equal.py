"""Equality of torch values that nothing slips through."""

from __future__ import annotations

import torch

from cairnfile._torch_adapt import storage_of


def as_bytes(tensor) -> torch.Tensor:
    """The elements as bytes, on a last axis of their own; works for dtypes that torch cannot compute with."""
    size = tensor.element_size()
    strides = (*(size * stride for stride in tensor.stride()), 1)
    view = torch.empty(0, dtype=torch.uint8)
    return view.set_(storage_of(tensor), size * tensor.storage_offset(), (*tensor.shape, size), strides)


def bits(tensor) -> bytes:
    """The bytes of the elements, row-major."""
    return as_bytes(tensor.detach().resolve_conj().resolve_neg()).contiguous().numpy().tobytes()


def random_tensor(dtype, *shape) -> torch.Tensor:
    """A contiguous tensor of random bits."""
    if dtype is torch.bool:
        return torch.randint(0, 2, shape).bool()
    size = torch.empty(0, dtype=dtype).element_size()
    count = int(torch.tensor(shape).prod()) if shape else 1
    memory = torch.randint(0, 256, (max(1, count * size),), dtype=torch.uint8)
    return torch.empty(0, dtype=dtype).set_(storage_of(memory), 0, shape)


def kept_strides(tensor) -> tuple:
    """Strides without those that no element depends on."""
    return tuple(stride if extent > 1 and tensor.numel() else 0 for extent, stride in zip(tensor.shape, tensor.stride()))


def same_storage(a, b) -> bool:
    """Whether both view one storage, or two over the same memory."""
    return storage_of(a).data_ptr() == storage_of(b).data_ptr() and storage_of(a).nbytes() == storage_of(b).nbytes()


def assert_same(a, b, at="") -> None:
    """Fails unless `b` is `a` in type, value and order, and its tensors in dtype, shape, bits and strides."""
    assert type(a) is type(b), f"{at}: {type(a)} is not {type(b)}"
    if isinstance(a, torch.Tensor):
        assert (a.dtype, a.shape, kept_strides(a)) == (b.dtype, b.shape, kept_strides(b)), at
        assert bits(a) == bits(b), at
    elif isinstance(a, dict):
        assert [(type(key), key) for key in a] == [(type(key), key) for key in b], at
        for key in a:
            assert_same(a[key], b[key], f"{at}/{key!r}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for n, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{at}/{n}")
    elif hasattr(a, "dtype") and hasattr(a, "tobytes"):
        assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()), at
    else:
        assert a == b, at
