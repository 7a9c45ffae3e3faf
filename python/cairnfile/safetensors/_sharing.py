"""Which tensors of a torch state dict share memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def _storage(tensor: torch.Tensor):
    # torch 1.13 has no untyped_storage().
    return tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage().untyped()


def storage_ptr(tensor: torch.Tensor) -> int:
    """Address of the memory that a tensor is a view of; 0 on the meta device."""
    return 0 if tensor.device.type == "meta" else _storage(tensor).data_ptr()


def storage_size(tensor: torch.Tensor) -> int:
    """Bytes of the memory that a tensor is a view of."""
    return tensor.nelement() * tensor.element_size() if tensor.device.type == "meta" else _storage(tensor).nbytes()


def _end_ptr(tensor: torch.Tensor) -> int:
    """Address behind the last element."""
    if tensor.nelement() == 0:
        return tensor.data_ptr()
    reach = sum((extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr() + (reach + 1) * tensor.element_size()


def _is_complete(tensor: torch.Tensor) -> bool:
    """Whether a tensor has as many elements as its memory has room for, from its beginning on."""
    if tensor.device.type == "meta":
        return True
    return tensor.data_ptr() == storage_ptr(tensor) and tensor.nelement() * tensor.element_size() == storage_size(tensor)


def _find_shared_tensors(state_dict: dict[str, torch.Tensor]) -> list[set[str]]:
    """Names in groups: those whose spans in one memory overlap are together. Tensors without memory are left out."""
    memories: dict[tuple, list[str]] = {}
    for name, tensor in state_dict.items():
        memory = (tensor.device, storage_ptr(tensor), storage_size(tensor))
        if all(memory[1:]):
            memories.setdefault(memory, []).append(name)
    groups: list[set[str]] = []
    for names in memories.values():
        groups += _overlapping({name: (state_dict[name].data_ptr(), _end_ptr(state_dict[name])) for name in names})
    return groups


def _overlapping(spans: dict[str, tuple[int, int]]) -> list[set[str]]:
    groups: list[set[str]] = []
    end = None
    for name, (start, stop) in sorted(spans.items(), key=lambda item: item[1]):
        if end is None or start >= end:
            groups.append(set())
            end = stop
        groups[-1].add(name)
        end = max(end, stop)
    return groups


def _remove_duplicate_names(
    state_dict: dict[str, torch.Tensor],
    *,
    preferred_names: Iterable[str] | None = None,
    discard_names: Iterable[str] | None = None,
) -> dict[str, list[str]]:
    """For each group that shares memory: the name to keep, which covers the memory, and the names to leave out.

    Raises
    ------
    RuntimeError
        For a group none of whose tensors covers the memory.
    """
    preferred, discarded = set(preferred_names or ()), set(discard_names or ())
    removed: dict[str, list[str]] = {}
    for group in _find_shared_tensors(state_dict):
        complete = {name for name in group if _is_complete(state_dict[name])}
        if not complete:
            raise RuntimeError(f"none of {sorted(group)} covers the memory that they are views of: save their base, or copies")
        kept = min(complete & preferred or complete - discarded or complete)
        if len(group) > 1:
            removed[kept] = sorted(group - {kept})
    return removed


def tied_names(state_dict: dict[str, torch.Tensor]) -> dict[str, str]:
    """Each name whose memory lies in that of another one, with that one's name: the widest, then the first."""
    tied = {}
    for group in _find_shared_tensors(state_dict):
        spans = {name: (state_dict[name].data_ptr(), _end_ptr(state_dict[name])) for name in group}
        kept = min(group, key=lambda name: (spans[name][0] - spans[name][1], name))
        inside = (name for name in sorted(group - {kept}) if spans[kept][0] <= spans[name][0] and spans[name][1] <= spans[kept][1])
        tied.update(dict.fromkeys(inside, kept))
    return tied
