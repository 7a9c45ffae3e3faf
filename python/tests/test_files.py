"""Open files: addresses, slices, groups, partial loads, pickles, threads, forks."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from exact import assert_exact
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cairnfile


@pytest.fixture
def saved(path):
    weight = np.arange(600_000, dtype="f4").reshape(600, 1000)
    value = {
        "model": {"w": weight, "tied": weight, "b/~": np.arange(3)},
        "steps": [1, (2.5, None)],
        7: {b"k": b"x" * 100_000, "turned": np.asfortranarray(weight[:4, :3])},
        "scalar": np.float32(1),
    }
    cairnfile.save(value, path, metadata={"by": "test"})
    return path, value


@pytest.mark.parametrize("mmap", [False, True])
def test_mapping(saved, mmap):
    path, value = saved
    with cairnfile.open(path, mmap=mmap) as file:
        assert list(file) == ["/model/w", "/model/tied", "/model/b~1~0", "/~i7/turned"]
        assert len(file) == 4 and "/steps/1" in file and "/nothing" not in file and 3 not in file
        assert file["/steps/1/0"] == 2.5 and file["/steps/1/1"] is None and file["/~i7/~b6b"] == b"x" * 100_000
        assert_exact(file["/scalar"], np.float32(1))
        handle = file["/model/w"]
        assert (handle.shape, handle.dtype, handle.dtype_name, handle.ndim, handle.nbytes) == ((600, 1000), np.dtype("f4"), "f32", 2, 2_400_000)
        assert len(handle) == 600 and handle.address == "/model/w" and handle.number == file["/model/tied"].number
        assert_exact(np.asarray(handle[...]), value["model"]["w"]) if not mmap else None
        assert np.array_equal(handle, value["model"]["w"]) and np.asarray(handle, "f8").dtype == "f8"
        assert {address: tensor.shape for address, tensor in file.items()}["/~i7/turned"] == (4, 3)
        assert file.metadata == {"by": "test"} and file.nbytes == os.path.getsize(path) and not file.streamed
        assert file.get("/nothing", 5) == 5
        with pytest.raises(KeyError, match="nothing is at"):
            file["/nothing"]
        with pytest.raises(cairnfile.UsageError):
            file["model"]
        with pytest.raises(TypeError):
            file[0]
        assert "4 tensors" in repr(file) and "f32" in repr(handle)
    assert file.closed and "closed" in repr(file)
    with pytest.raises(ValueError, match="closed"):
        file["/model/w"]
    assert handle[0, 1] == 1


def test_groups(saved):
    path, value = saved
    root = cairnfile.open(path).root
    assert root.kind == "dict" and root.keys() == ["model", "steps", 7, "scalar"] and len(root) == 4
    assert "model" in root and 7 in root and "7" not in root and True not in root
    assert root["steps"].kind == "list" and root["steps"][1].kind == "tuple" and root["steps"][-2] == 1
    assert list(root["steps"][-1]) == [2.5, None] and list(root) == root.keys()
    assert dict(root["model"].items())["w"].shape == (600, 1000)
    assert_exact(root[7].load(), value[7])
    for wrong in ["x", 8, b"model"]:
        with pytest.raises(KeyError):
            root[wrong]
    with pytest.raises(IndexError):
        root["steps"][2]
    with pytest.raises(TypeError):
        root["steps"]["0"]


@pytest.mark.parametrize("order", ["C", "F"])
@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=6).flatmap(
        lambda shape: st.tuples(st.just(shape), hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    )
)
def test_indexing_is_numpys(tmp_path, order, case):
    shape, key = case
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape), order=order)
    path = tmp_path / "index.cairn"
    cairnfile.save(array, path, durable=False)
    found = cairnfile.open(path)[""][key]
    assert type(found) is type(array[key]) and np.array_equal(found, array[key]) and np.shape(found) == np.shape(array[key])


@pytest.mark.parametrize("key", [np.array([True]), [0], "x", 1.0, True, (0, 0, 0), (..., ...), 5, -5])
def test_other_indices_are_refused(path, key):
    cairnfile.save(np.zeros((4, 4)), path)
    with pytest.raises((TypeError, IndexError)):
        cairnfile.open(path)[""][key]


def test_a_slice_reads_and_verifies_only_its_blocks(saved):
    path, value = saved
    data = bytearray(path.read_bytes())
    at = data.find(value["model"]["w"].tobytes())
    data[at + 2_000_000] ^= 1
    path.write_bytes(data)
    handle = cairnfile.open(path)["/model/w"]
    assert np.array_equal(handle[:400], value["model"]["w"][:400])
    with pytest.raises(cairnfile.CorruptError):
        handle[400:]


def test_mapped_arrays_are_read_only_views(saved):
    path, value = saved
    with cairnfile.open(path, mmap=True) as file:
        view = file["/model/w"][1:3]
        again = file["/model/w"][...]
    del file
    assert np.shares_memory(view, again) and not view.flags.writeable
    assert np.array_equal(again, value["model"]["w"])


def test_partial_loads(saved):
    path, value = saved
    assert_exact(cairnfile.load(path, only="/model"), value["model"])
    assert_exact(cairnfile.load(path, only=""), value)
    assert_exact(cairnfile.load(path, only="/steps/1"), (2.5, None))
    found = cairnfile.load(path, only=["/model/*", "/~i7/turned", "/steps/0"])
    assert list(found) == ["model", "steps", 7] and found["steps"] == [1] and list(found[7]) == ["turned"]
    assert found["model"]["w"] is found["model"]["tied"]
    assert list(cairnfile.load(path, only="/**/w")["model"]) == ["w"]
    assert cairnfile.open(path).load("/scalar") == 1
    for missing in ["/nope", "/**/nope", ["/model/w", "/nope"]]:
        with pytest.raises(cairnfile.NotFoundError):
            cairnfile.load(path, only=missing)
    with pytest.raises(cairnfile.UsageError):
        cairnfile.load(path, only=["model"])


def test_a_budget_of_memory(saved):
    path, _ = saved
    with pytest.raises(cairnfile.LimitError, match="budget"):
        cairnfile.load(path, max_memory=1_000_000)
    assert cairnfile.load(path, only="/steps", max_memory=10) == [1, (2.5, None)]


def test_pickled_by_path(saved):
    path, value = saved
    for mmap in (False, True):
        again = pickle.loads(pickle.dumps(cairnfile.open(path, mmap=mmap)))
        assert np.array_equal(again["/model/w"][3], value["model"]["w"][3])
    assert pickle.loads(pickle.dumps(cairnfile.Named("a.b", [1]))) == cairnfile.Named("a.b", [1])


def test_threads_share_a_file(saved):
    path, value = saved
    file = cairnfile.open(path)
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda n: file["/model/w"][n % 600], range(400)))
        wholes = list(pool.map(lambda _: cairnfile.load(path), range(8)))
    assert all(np.array_equal(row, value["model"]["w"][n % 600]) for n, row in enumerate(rows))
    assert all(np.array_equal(whole["model"]["w"], value["model"]["w"]) for whole in wholes)


def test_threads_save_to_their_own_paths(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: cairnfile.save({"n": n, "w": np.full(300_000, n)}, tmp_path / str(n)), range(8)))
    for n in range(8):
        assert cairnfile.load(tmp_path / str(n))["w"][-1] == n


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_goes_on(tmp_path):
    value = {"w": np.arange(3_000_000.0), "v": [np.arange(300_000.0) for _ in range(40)]}
    path = tmp_path / "big.cairn"
    cairnfile.save(value, path)
    file = cairnfile.open(path)
    # The parent's threads exist before the fork and not after it.
    assert cairnfile.load(path)["w"][-1] == 2_999_999
    child = os.fork()
    if child == 0:
        good = False
        try:
            loaded = cairnfile.load(path)
            good = loaded["w"][-1] == 2_999_999 and len(loaded["v"]) == 40 and file["/w"][5] == 5 and file.verify() == []
            cairnfile.save(loaded, tmp_path / "child.cairn")
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert file["/w"][7] == 7 and (tmp_path / "child.cairn").read_bytes() == path.read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_file_of_many_tensors_opens_after_a_fork(path):
    """Its index is checked by several threads, which a fork does not copy."""
    value = {str(n): np.full(1, n, "u4") for n in range(20_000)}
    cairnfile.save(value, path, durable=False)
    assert len(cairnfile.load(path)) == 20_000
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            with cairnfile.open(path) as file:
                found = len(list(file.keys()))
            status = int(found != 20_000 or len(cairnfile.load(path)) != 20_000)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_parity(tmp_path):
    """A damaged file is made whole by the command that comes with the package."""
    path, value = tmp_path / "a.cairn", {"w": np.arange(5000), "b": np.ones(3)}
    cairnfile.save(value, path, parity=0.1)
    whole = path.read_bytes()
    assert whole == cairnfile.dumps(value, parity=0.1) != cairnfile.dumps(value)
    damaged = bytearray(whole)
    at = damaged.index(np.arange(100, 110).tobytes())
    damaged[at : at + 700] = bytes(700)
    path.write_bytes(damaged)
    with pytest.raises(cairnfile.CorruptError):
        cairnfile.load(path)
    done = subprocess.run([sys.executable, "-m", "cairnfile", "repair", str(path)], capture_output=True, text=True)
    assert (done.returncode, path.read_bytes()) == (0, whole), done.stderr
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match="share from 0 to 1"):
            cairnfile.save(value, path, parity=share)
