"""Arrays: dtypes, layouts, sharing."""

from __future__ import annotations

import numpy as np
import pytest
from exact import assert_exact, assert_same_array, leaves, sharing
from hypothesis import given
from strategies import NUMBERS, OTHERS, arrays, sharing_nests

import cairnfile



def back(value, **options):
    return cairnfile.loads(cairnfile.dumps(value, **options))


@given(arrays())
def test_every_layout(array):
    assert_same_array(array, back(array))


@given(sharing_nests())
def test_views_share_as_before(value):
    try:
        found = back(value)
    except cairnfile.SharingLostError:
        # Refused, not lost; copies are then what was asked for.
        found = back(value, copy=True)
        assert [a.tolist() for a in leaves(value)] == [a.tolist() for a in leaves(found)]
        return
    assert_exact(value, found)
    assert sharing(value) == sharing(found)


@pytest.mark.parametrize("dtype", [*NUMBERS, *OTHERS, "U1", "S1", "M8[25s]", "m8", "M8[D]", "V16"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_every_dtype(dtype, shape):
    array = np.zeros(shape, dtype)
    assert_same_array(array, back(array))


def test_extended_floats():
    array = np.array([1, 2, 3], np.longdouble) / 3
    assert np.array_equal(array, back(array)) and back(array).dtype == array.dtype


@pytest.mark.parametrize("dtype", ["O", [("a", "f4")], "V0"])
def test_dtypes_that_are_refused(dtype):
    with pytest.raises(TypeError, match="the root: arrays of dtype"):
        cairnfile.dumps(np.zeros(2, dtype))


def test_bool_bytes_other_than_0_and_1_are_refused():
    with pytest.raises(cairnfile.InvalidError, match="bool"):
        cairnfile.dumps([np.array([0, 2], "u1").view("?")])


def test_one_array_twice_is_one_array():
    a = np.arange(10_000.0)
    value = {"a": a, "again": a, "same": a[:], "copy": a.copy()}
    data = cairnfile.dumps(value)
    assert len(data) < 2.1 * a.nbytes
    found = cairnfile.loads(data)
    assert found["a"] is found["again"] is found["same"]
    assert not np.shares_memory(found["a"], found["copy"])


def test_overlapping_views_share_memory_again():
    base = np.arange(24.0).reshape(4, 6)
    found = back({"rows": base[1:3], "column": base[:, 2], "base": base, "turned": base.T})
    found["base"][2, 2] = -1
    assert found["rows"][1, 2] == found["column"][2] == found["turned"][2, 2] == -1


def test_a_slice_does_not_drag_its_base_along():
    assert len(cairnfile.dumps(np.zeros(1_000_000)[:10])) < 1000
    assert len(cairnfile.dumps(np.zeros((1000, 1000))[:, 0])) < 10_000


def test_views_whose_sharing_would_be_lost_are_refused_unless_copied():
    base = np.arange(10)
    value = [base[::2], base[1:][::2], base[::-1]]
    with pytest.raises(cairnfile.SharingLostError):
        cairnfile.dumps(value)
    assert [a.tolist() for a in back(value, copy=True)] == [a.tolist() for a in value]


def test_a_swapped_array_that_shares_memory_is_refused_unless_copied():
    swapped = np.arange(6, dtype=">f4")
    found = back([swapped, swapped, swapped[:]])
    assert found[0] is found[1] is found[2] and found[0].tolist() == swapped.tolist()
    for other in [swapped[1:], swapped.view("u1"), swapped.view("<f4")]:
        with pytest.raises(cairnfile.SharingLostError, match="converted"):
            cairnfile.dumps([swapped, other])
        assert back([swapped, other], copy=True)[0].tolist() == swapped.tolist()


def test_column_slices_of_one_matrix_are_apart():
    matrix = np.arange(60.0).reshape(5, 12)
    q, k, v = matrix[:, :4], matrix[:, 4:8], matrix[:, 8:]
    assert_exact([q.copy(), k.copy(), v.copy()], back([q, k, v]))


def test_memmap_is_kept_as_an_array(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert type(mapped) is np.memmap
    assert_exact(back(mapped), np.arange(6.0))


@pytest.mark.parametrize("subclass", [lambda a: a.view(np.matrix), lambda a: np.rec.array([(1,)]), lambda a: np.ma.array(a)])
def test_other_subclasses_are_refused(subclass):
    with pytest.raises(TypeError, match="more than its elements|cannot be kept"):
        cairnfile.dumps(subclass(np.zeros((2, 2))))


def test_loaded_arrays_are_aligned_and_writable(path):
    value = {str(n): np.arange(n, dtype="u1") for n in range(1, 200)}
    cairnfile.save(value, path)
    for mmap in (False, True):
        found = cairnfile.load(path, mmap=mmap)
        for array in found.values():
            assert array.__array_interface__["data"][0] % 64 == 0
            array += 1
    assert_exact(cairnfile.load(path), value)


def test_raw_tensors():
    data = np.arange(36, dtype="u1")
    raw = cairnfile.Raw("q4_0", (2, 32), data)
    found = back([raw, raw])
    assert found[0] == raw and found[0] is found[1] and found[0].tobytes() == data.tobytes()
    private = cairnfile.Raw("acme.f5", (3,), data[:6], geometry=("scalar", 1, 2), strides=(2,))
    assert back(private) == private and back(private).geometry == ("scalar", 1, 2)
    view = cairnfile.Raw("u1", (8,), data, offset=4)
    assert back(view).shape == (8,)
    for wrong in [
        lambda: cairnfile.Raw("f32", (10,), data),
        lambda: cairnfile.Raw("q4_0", (31,), data),
        lambda: cairnfile.Raw("unknown", (1,), data),
        lambda: cairnfile.Raw("f32", (3,), data, strides=(-4,)),
        lambda: cairnfile.Raw("f32", (3,), data.astype("i4")),
        lambda: cairnfile.Raw("f32", (3,), data[::2]),
        lambda: cairnfile.Raw("f32", (3,), b"x" * 12),
        lambda: cairnfile.Raw("acme.f5", (1,), data, geometry=("packed", 3, 1)),
    ]:
        with pytest.raises((TypeError, ValueError, cairnfile.CairnError)):
            wrong()
