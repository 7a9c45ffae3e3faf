"""Equality that nothing slips through: type, bits, order, layout, and which arrays are one or share memory."""

from __future__ import annotations

import struct

import numpy as np


def assert_exact(a, b, at="") -> None:
    """Fails unless `b` is `a` in type, value, order and memory layout."""
    assert type(a) is type(b), f"{at}: {type(a)} is not {type(b)}"
    if isinstance(a, dict):
        assert list(map(_typed, a)) == list(map(_typed, b)), f"{at}: keys"
        for key in a:
            assert_exact(a[key], b[key], f"{at}/{key!r}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for n, (x, y) in enumerate(zip(a, b)):
            assert_exact(x, y, f"{at}/{n}")
    elif isinstance(a, np.ndarray):
        assert_same_array(a, b, at)
    elif isinstance(a, np.generic):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), at
    elif isinstance(a, (float, complex)):
        assert _bits(a) == _bits(b), at
    else:
        assert a == b, at


def _typed(key):
    return type(key), key


def _bits(number):
    number = complex(number)
    return struct.pack("<dd", number.real, number.imag)


def assert_same_array(a, b, at="") -> None:
    """Fails unless `b` has the dtype, shape, bits and kept layout of `a`."""
    assert a.dtype.newbyteorder("=") == b.dtype, f"{at}: {a.dtype} is not {b.dtype}"
    assert a.shape == b.shape, at
    assert np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))).tobytes() == np.ascontiguousarray(b).tobytes(), at
    if is_dense(a):
        assert normal_strides(a) == normal_strides(b), f"{at}: strides"
    assert b.flags.writeable and b.flags.aligned, at


def normal_strides(array) -> tuple:
    """Strides without those that no element depends on."""
    return tuple(stride if extent > 1 and array.size else 0 for extent, stride in zip(array.shape, array.strides))


def is_dense(array) -> bool:
    """Whether the elements fill their memory, in any order of the axes: the layouts that are kept on their own."""
    reach = array.itemsize
    for stride, extent in sorted((stride, extent) for stride, extent in zip(array.strides, array.shape) if extent > 1):
        if stride != reach:
            return False
        reach *= extent
    return True


def leaves(value, out=None) -> list:
    """The arrays of a nest, in order."""
    out = [] if out is None else out
    if isinstance(value, np.ndarray):
        out.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            leaves(item, out)
    elif isinstance(value, (list, tuple)):
        for item in value:
            leaves(item, out)
    return out


def sharing(value) -> list:
    """For each pair of arrays, by position: the same elements, or how far apart in shared memory."""
    arrays, pairs = leaves(value), []
    for i, a in enumerate(arrays):
        for j, b in enumerate(arrays[:i]):
            if a.size and b.size and np.shares_memory(a, b):
                distance = a.__array_interface__["data"][0] - b.__array_interface__["data"][0]
                pairs.append((j, i, distance))
    return pairs
