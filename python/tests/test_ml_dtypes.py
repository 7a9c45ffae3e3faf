"""The small floats and ints of ml_dtypes, and what they are without it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from exact import assert_same_array

import cairnfile
from cairnfile import _dtypes

ml_dtypes = pytest.importorskip("ml_dtypes")

SCALAR = [name for name in _dtypes._ML_SCALAR.values() if hasattr(ml_dtypes, name)]
PACKED = [name for name in _dtypes._ML_PACKED.values() if hasattr(ml_dtypes, name)]


def every_pattern(dtype, count):
    bits = _dtypes._bits(_dtypes.name_of(dtype))
    if bits >= 8:
        return np.arange(count, dtype=f"u{dtype.itemsize}").view(dtype)
    values = np.arange(count, dtype="u1") % (1 << bits)
    if np.dtype(dtype).name.startswith("int"):
        values = (values.astype("i1") - (1 << (bits - 1))).view("u1")
    return values.view(dtype)


@pytest.mark.parametrize("name", SCALAR)
def test_scalar_dtypes(name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    array = every_pattern(dtype, 256).reshape(16, 16)
    for layout in (array, array.T, array[::2, 1:], np.empty((0, 2), dtype), array[0, 0]):
        layout = np.asarray(layout, dtype)
        assert_same_array(layout, cairnfile.loads(cairnfile.dumps(layout)))
    found = cairnfile.loads(cairnfile.dumps([array, array[1:]]))
    assert np.shares_memory(*found)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65])
def test_packed_dtypes(name, count):
    dtype = np.dtype(getattr(ml_dtypes, name))
    array = every_pattern(dtype, count)
    data = cairnfile.dumps({"a": array, "tied": array})
    found = cairnfile.loads(data)
    assert found["a"] is found["tied"] and found["a"].dtype == dtype
    assert found["a"].tobytes() == array.tobytes()
    assert cairnfile.dumps(found) == data


def test_packed_dtypes_take_their_bits():
    sizes = {name: len(cairnfile.dumps(np.zeros(8192, getattr(ml_dtypes, name)))) for name in PACKED}
    assert sizes["int4"] < 4096 + 1024 and sizes["int2"] < 2048 + 1024


def test_scalars_and_dtypes():
    value = ml_dtypes.bfloat16(1.5)
    found = cairnfile.loads(cairnfile.dumps([value, np.dtype(ml_dtypes.bfloat16)]))
    assert type(found[0]) is ml_dtypes.bfloat16 and found[0] == value and found[1] == np.dtype(ml_dtypes.bfloat16)


def test_slices_of_packed_tensors(path):
    array = every_pattern(np.dtype(ml_dtypes.int4), 64).reshape(8, 8)
    cairnfile.save(array, path)
    with cairnfile.open(path) as file:
        assert file[""].dtype == np.dtype(ml_dtypes.int4)
        assert file[""][2:5, 1].tolist() == array[2:5, 1].tolist()


def test_without_ml_dtypes_the_bytes_are_kept(path):
    value = {"w": np.arange(10, dtype="u2").view(ml_dtypes.bfloat16), "q": every_pattern(np.dtype(ml_dtypes.int4), 5)}
    cairnfile.save(value, path)
    code = """
import sys
sys.modules["ml_dtypes"] = None
import cairnfile
value = cairnfile.load(sys.argv[1])
assert type(value["w"]) is cairnfile.Raw and value["w"].dtype == "bf16" and value["q"].shape == (5,), value
cairnfile.save(value, sys.argv[2])
"""
    subprocess.run([sys.executable, "-c", code, path, f"{path}2"], check=True)
    assert path.read_bytes() == path.with_name("a.cairn2").read_bytes()
