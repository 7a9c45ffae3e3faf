"""The interface of safetensors, for NumPy: every behaviour that its own tests check, and where Cairn means something else."""

import importlib
import inspect
import io
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import cairnfile
import cairnfile.numpy
import cairnfile.safetensors
import numpy as np
import pytest
from cairnfile import CairnError, SafetensorError, TensorSpec, deserialize, safe_open, serialize, serialize_file
from cairnfile.safetensors import _safe_open_handle
from cairnfile.safetensors.numpy import load, load_file, save, save_file

BACKENDS = ["mmap", "pread"]
TENSORS = {
    "a": np.zeros((2, 2)),
    "b": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "s": np.array(False),
    "e": np.zeros((0, 5), "f2"),
}


def assert_equal(found, wanted):
    """Equal names in equal order, and arrays equal in type, shape and elements."""
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert type(found[name]) is np.ndarray
        assert (found[name].dtype, found[name].shape) == (array.dtype.newbyteorder("="), array.shape), name
        np.testing.assert_array_equal(found[name], array)


def spec(array, **other):
    return TensorSpec(
        **{"dtype": array.dtype.name, "shape": array.shape, "data_ptr": array.ctypes.data, "data_len": array.nbytes, **other}
    )


# Names


def test_the_error_is_cairns_and_importable():
    assert SafetensorError is CairnError is cairnfile.safetensors.SafetensorError
    assert getattr(importlib.import_module(SafetensorError.__module__), SafetensorError.__name__) is SafetensorError


def test_names_are_those_of_the_package():
    assert cairnfile.safetensors.safe_open is safe_open
    assert cairnfile.numpy.save_file is save_file and cairnfile.numpy.load_file is load_file
    assert cairnfile.numpy.save is cairnfile.save and cairnfile.numpy.load is cairnfile.load


def test_signatures_are_those_of_the_package():
    upstream = pytest.importorskip("safetensors.numpy")
    import cairnfile.safetensors.numpy as ours

    for name in ("save", "save_file", "load", "load_file"):
        theirs, mine = inspect.signature(getattr(upstream, name)), inspect.signature(getattr(ours, name))
        assert [(p.name, p.kind, p.default) for p in theirs.parameters.values()] == [
            (p.name, p.kind, p.default) for p in mine.parameters.values()
        ]


# Bytes and files


def test_bytes_are_the_files_and_have_the_values(path):
    data = np.zeros((2, 2), np.int32)
    before = save({"test": data})
    save_file({"test": data}, path)
    assert type(before) is bytes and path.read_bytes() == before
    data[1, 1] = 1
    after = save({"test": data})
    save_file({"test": data}, path)
    assert path.read_bytes() == after != before
    assert_equal(load(before), {"test": np.zeros((2, 2), np.int32)})
    assert_equal(load(after), {"test": np.array([[0, 0], [0, 1]], np.int32)})


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_and_bytes_round_trip(path, backend):
    save_file(TENSORS, path)
    assert_equal(load_file(path, backend=backend), TENSORS)
    assert_equal(load_file(str(path)), TENSORS)
    assert_equal(load(save(TENSORS)), TENSORS)
    assert_equal(load(bytearray(save(TENSORS))), TENSORS)
    with safe_open(path, "np", backend=backend) as f:
        assert_equal(f.get_tensors(), TENSORS)
        assert_equal({name: f.get_tensor(name) for name in f.keys()}, TENSORS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_loaded_is_writable_and_does_not_reach_the_file(path, backend):
    save_file({"a": np.zeros(3)}, path)
    with safe_open(path, "np", backend=backend) as f:
        for array in (f.get_tensor("a"), f.get_tensors()["a"], f.get_slice("a")[:], load_file(path, backend=backend)["a"]):
            array += 1
    assert_equal(load_file(path), {"a": np.zeros(3)})


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="the system does not list mappings")
def test_the_backend_says_whether_the_file_is_mapped(path):
    def is_mapped():
        with open("/proc/self/maps") as maps:
            return str(path) in maps.read()

    save_file({"a": np.zeros(100_000)}, path)
    for backend in BACKENDS:
        loaded = load_file(path, backend=backend)
        assert is_mapped() == (backend == "mmap")
        with safe_open(path, "np", backend=backend) as f:
            loaded = f.get_tensor("a")
            assert is_mapped() == (backend == "mmap")
        del loaded
        assert not is_mapped()


def test_a_file_may_be_replaced_while_it_is_mapped(path):
    save_file({"a": np.zeros(3)}, path)
    mapped = load_file(path, backend="mmap")
    save_file({"a": np.ones(3)}, path)
    assert_equal(mapped, {"a": np.zeros(3)})
    assert_equal(load_file(path), {"a": np.ones(3)})


def test_names_keep_their_order_where_safetensors_sorts_them(path):
    data, other = np.zeros((2, 2), np.int32), np.ones((2, 2), np.float16)
    for tensors in ({"test1": data, "test2": other}, {"test2": other, "test1": data}):
        save_file(tensors, path)
        assert_equal(load_file(path), tensors)
        with safe_open(path, "np") as f:
            assert f.keys() == list(tensors)


def test_tensors_are_aligned(path):
    save_file({"test1": np.zeros((2, 2), np.int32), "test2": np.zeros(3, np.float16), "test3": np.zeros(1)}, path)
    with cairnfile.open(path) as f:
        assert all(tensor.file_range[0] % 64 == 0 for tensor in f.values())


def test_big_endian_arrays_keep_their_values():
    assert_equal(
        load(save({"test1": np.arange(4, dtype=">i4").reshape(2, 2)})), {"test1": np.arange(4, dtype=np.int32).reshape(2, 2)}
    )


A = np.arange(24.0).reshape(4, 6)


@pytest.mark.parametrize(
    "array",
    [
        A.T,
        A[::2],
        A[:, 1],
        A[::-1],
        A[:, ::-2],
        np.broadcast_to(A[0], (3, 6)),
        np.asfortranarray(A),
        A[1:, 1:].T,
        A.reshape(2, 2, 6)[:, 1],
    ],
)
def test_arrays_of_every_layout_are_saved_right(array):
    assert_equal(load(save({"a": array})), {"a": array})


def test_ties_are_kept_and_no_error(path):
    base = np.arange(10.0)
    save_file({"a": base, "b": base, "part": base[2:5]}, path)
    assert os.path.getsize(path) < 2 * len(save({"a": base}))
    loaded = load_file(path)
    loaded["a"][3] = -1
    assert loaded["b"] is loaded["a"] and loaded["part"][1] == -1


def test_views_whose_sharing_no_file_can_state_are_copies():
    base = np.arange(10.0)
    tensors = {"a": base[:6], "b": base[4:], "c": base[::-1]}
    loaded = load(save(tensors))
    assert_equal(loaded, tensors)


def test_nothing_is_a_tensor_but_arrays(path):
    for wrong in ({"a": [1, 2]}, {"a": np.float32(1)}, {"a": {"b": np.zeros(1)}}, {1: np.zeros(1)}, [np.zeros(1)], "text"):
        with pytest.raises(CairnError) as caught:
            save_file(wrong, path)
        assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    assert not path.exists()


def test_an_ordered_dict_is_a_dict():
    assert_equal(load(save(OrderedDict(b=np.zeros(1), a=np.ones(2)))), {"b": np.zeros(1), "a": np.ones(2)})


# Metadata


def test_metadata(path):
    save_file(TENSORS, path, metadata={"framework": "pt", "": "é\n"})
    with safe_open(path, framework="np") as f:
        assert f.metadata() == {"framework": "pt", "": "é\n"}
    path.write_bytes(save(TENSORS, {"k": "v"}))
    with safe_open(path, framework="np") as f:
        assert f.metadata() == {"k": "v"}
    save_file(TENSORS, path)
    with safe_open(path, framework="np") as f:
        assert f.metadata() is None


@pytest.mark.parametrize("wrong", [{"a": 1}, {1: "a"}, {"a": None}, [("a", "b")], "text"])
def test_metadata_is_text_only(path, wrong):
    for call in (lambda: save(TENSORS, wrong), lambda: save_file(TENSORS, path, wrong), lambda: serialize({}, wrong)):
        with pytest.raises(TypeError):
            call()
    assert not path.exists()


# safe_open


def test_a_closed_file_refuses_and_may_be_overwritten(path):
    save_file(TENSORS, path)
    with safe_open(path, framework="np") as f:
        part = f.get_slice("a")
    for call in (
        f.keys,
        f.offset_keys,
        f.metadata,
        f.get_tensors,
        lambda: f.get_tensor("a"),
        lambda: f.get_slice("a"),
        f.__enter__,
    ):
        with pytest.raises(SafetensorError, match="closed"):
            call()
    assert part[:].shape == (2, 2)
    path.write_text("something")


def test_a_missing_file(tmp_path):
    for call in (lambda: safe_open(tmp_path / "notafile", "np"), lambda: load_file(tmp_path / "notafile")):
        with pytest.raises(FileNotFoundError, match="notafile"):
            call()


def test_arguments_that_do_not_fit(path):
    save_file(TENSORS, path)
    for arguments in (("nope",), ("mlx",), ("np", "cuda:0"), ("np", 0)):
        with pytest.raises(SafetensorError):
            safe_open(path, *arguments)
    with pytest.raises(SafetensorError, match="not_a_backend"):
        safe_open(path, "np", backend="not_a_backend")
    with pytest.raises(TypeError):
        safe_open(path, 1)
    with pytest.raises(TypeError):
        safe_open(1, "np")
    with pytest.raises(TypeError):
        safe_open(path)
    with safe_open(path, "numpy", None) as f:
        with pytest.raises(SafetensorError, match="nope"):
            f.get_tensor("nope")
        with pytest.raises(KeyError):
            f.get_slice("nope")
        with pytest.raises(TypeError):
            f.get_tensor(1)


def test_offset_keys_are_in_the_order_of_the_file(path):
    base = np.arange(10.0)
    save_file({"late": base[5:], "whole": base, "other": np.zeros(1)}, path)
    with safe_open(path, "np") as f:
        assert f.keys() == ["late", "whole", "other"]
        assert f.offset_keys() == ["whole", "late", "other"]


def test_files_that_are_not_flat_are_refused(path):
    for value in ({"a": {"b": np.zeros(1)}}, {"a": 1}, {"a": None}, [np.zeros(1)], np.zeros(1), 7, {1: np.zeros(1)}, {"a": b"x"}):
        cairnfile.save(value, path)
        with pytest.raises(SafetensorError, match="cairnfile.load"):
            safe_open(path, "np")
        with pytest.raises(SafetensorError, match="cairnfile.load"):
            load(path.read_bytes())


def test_a_saved_state_dict_is_flat(path):
    state = OrderedDict(b=np.zeros(2), a=np.ones(3))
    state._metadata = {"": {"version": 1}}
    cairnfile.save(state, path)
    assert_equal(load_file(path), dict(state))
    assert_equal(load(path.read_bytes()), dict(state))


def test_metadata_of_other_values_is_given_as_it_is(path):
    cairnfile.save(TENSORS, path, metadata={"step": 7})
    with safe_open(path, "np") as f:
        assert f.metadata() == {"step": 7}


@pytest.mark.parametrize("backend", BACKENDS)
def test_damage_is_found_before_anything_is_handed_out(path, backend):
    save_file({"a": np.zeros(1000), "b": np.ones(100_000)}, path)
    whole = bytearray(path.read_bytes())
    with cairnfile.open(path) as f:
        at = f["/b"].file_range[1] - 1
    whole[at] ^= 1
    path.write_bytes(whole)
    with safe_open(path, "np", backend=backend) as f:
        for call in (lambda: f.get_tensor("b"), f.get_tensors, lambda: f.get_slice("b")[-5:]):
            with pytest.raises(cairnfile.CorruptError):
                call()
        assert f.get_slice("b")[:5].tolist() == [1] * 5
    path.write_bytes(whole[:100])
    with pytest.raises(cairnfile.TruncatedError):
        safe_open(path, "np", backend=backend)


def test_a_foreign_file_is_refused_with_the_command_that_converts_it(path, tmp_path):
    foreign = tmp_path / "a model.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    foreign.write_bytes(len(header).to_bytes(8, "little") + header + np.array([1, 2], "<f4").tobytes())
    for call in (lambda: load_file(foreign), lambda: safe_open(foreign, "np")):
        with pytest.raises(cairnfile.MalformedError) as caught:
            call()
        assert f"cairn convert '{foreign}' '{tmp_path / 'a model.cairn'}'" in str(caught.value)
        assert (caught.value.code, caught.value.class_name, caught.value.offset) == ("magic", "malformed", 0)
    # The command that the message names does what it says.
    assert cairnfile._cairnfile.run_command(["cairn", "convert", "-q", str(foreign), str(path)]) == 0
    assert_equal(load_file(path), {"w": np.array([1, 2], np.float32)})


def test_a_handle_on_an_open_file(path):
    save_file(TENSORS, path)
    with open(path) as file, _safe_open_handle(file, framework="np", device="cpu") as f:
        assert_equal({name: f.get_tensor(name) for name in f.keys()}, TENSORS)
    with pytest.raises((AttributeError, io.UnsupportedOperation)):
        _safe_open_handle(io.BytesIO(save(TENSORS)), "np")


def test_a_handle_on_a_file_of_fsspec(path):
    system = pytest.importorskip("fsspec").filesystem("file")
    with system.open(str(path), "wb") as file:
        file.write(save(TENSORS))
    with system.open(str(path), "rb") as file, _safe_open_handle(file, framework="np") as f:
        assert_equal({name: f.get_tensor(name) for name in f.keys()}, TENSORS)


# Slices

WHOLE = np.random.default_rng(0).normal(size=(10, 5))
KEYS = [
    np.s_[:], np.s_[()], np.s_[:2], np.s_[:, :2], np.s_[0, :2], np.s_[2:, 0], np.s_[2:, 1], np.s_[2:, -1], np.s_[2:, -5], [],
    np.s_[-2:], np.s_[:-1], np.s_[3:1], np.s_[:100], np.s_[:20], np.s_[:, :20], np.s_[::-1], np.s_[::-3, ::2], np.s_[8:2:-2, 1],
    True, False, np.True_, None, np.s_[...], np.s_[..., 0], np.s_[None, 2, None], np.s_[0, 1], np.s_[-1], np.int64(3), np.array(3),
    [0, 1], [True] * 10, np.arange(10) % 2 == 0, np.s_[[0, 1], [1, 2]], np.s_[[3, 1], :2], WHOLE > 0, np.s_[5:5, 3], np.s_[100:],
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:40])
def test_indices_mean_what_they_mean_in_numpy(path, backend, key):
    save_file({"a": WHOLE, "t": WHOLE.T, "odd": WHOLE[::-1, 1:]}, path)
    with safe_open(path, "np", backend=backend) as f:
        part = f.get_slice("a")[key]
        assert type(part) is np.ndarray
        assert part.dtype == WHOLE.dtype
        assert part.shape == np.asarray(WHOLE[key]).shape and part.tolist() == np.asarray(WHOLE[key]).tolist()
        if not isinstance(key, tuple):
            assert f.get_slice("odd")[[]].shape == (0, 4)
            assert f.get_slice("t")[::-1].tolist() == WHOLE.T[::-1].tolist()


@pytest.mark.parametrize("key", [(2, 20), (2, -6), 10, -11, (0, 0, 0), ([0, 10],), (..., ...), "a", 1.5, [True]])
def test_indices_that_are_out_of_range(path, key):
    save_file({"a": WHOLE}, path)
    with safe_open(path, "np") as f:
        with pytest.raises(IndexError):
            WHOLE[key]
        with pytest.raises(IndexError) as caught:
            f.get_slice("a")[key]
        assert isinstance(caught.value, SafetensorError)


def test_slices_say_shape_and_dtype(path):
    names = {
        "?": "BOOL", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "u1": "U8", "u2": "U16", "u4": "U32", "u8": "U64",
        "f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "c16": "C128",
    }  # fmt: skip
    save_file({text: np.zeros((1, 2, 3), text) for text in names}, path)
    with safe_open(path, "np") as f:
        assert {text: f.get_slice(text).get_dtype() for text in f.keys()} == names
        assert f.get_slice("f4").get_shape() == [1, 2, 3]


def test_dtypes_of_ml_dtypes(path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    names = {
        "bfloat16": "BF16",
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float8_e8m0fnu": "F8_E8M0",
        "float4_e2m1fn": "F4",
    }
    names = {name: code for name, code in names.items() if hasattr(ml_dtypes, name)}
    tensors = {name: np.array([[1, 2, 4, 1], [1, 1, 1, 2]], getattr(ml_dtypes, name)) for name in names}
    save_file(tensors, path)
    with safe_open(path, "np") as f:
        assert {name: f.get_slice(name).get_dtype() for name in names} == names
        for name, array in tensors.items():
            for key in (np.s_[:], np.s_[1:], np.s_[:, 2:]):
                part = f.get_slice(name)[key]
                assert part.dtype == array.dtype and part.tolist() == array[key].tolist(), (name, key)
        assert f.get_slice("bfloat16")[::-1, 1].tolist() == [1, 2]
        if "float4_e2m1fn" in names:
            with pytest.raises(TypeError, match="share bytes"):
                f.get_slice("float4_e2m1fn")[::-1]


def test_a_slice_reads_the_blocks_under_it_only(path):
    save_file({"a": np.zeros((100, 100_000), np.uint8)}, path)
    with cairnfile.open(path) as f:
        start, _ = f["/a"].file_range
    with open(path, "r+b") as file:
        file.seek(start + 90 * 100_000)
        file.write(b"\1")
    with safe_open(path, "np") as f:
        assert f.get_slice("a")[10:20, ::-1].shape == (10, 100_000)
        with pytest.raises(cairnfile.CorruptError):
            f.get_slice("a")[90]


# Tensors by address


def test_specs_say_what_they_are_of():
    array = np.zeros((2, 3), np.float32)
    made = spec(array)
    assert (made.dtype, made.shape, made.data_ptr, made.data_len) == ("F32", [2, 3], array.ctypes.data, 24)
    assert TensorSpec(dtype="float4_e2m1fn_x2", shape=[2, 3], data_ptr=1, data_len=6).shape == [2, 6]


def test_specs_that_do_not_fit_are_refused():
    array = np.zeros((2, 3), np.float32)
    with pytest.raises(SafetensorError, match="nonsense"):
        TensorSpec(dtype="nonsense", shape=[1], data_ptr=0, data_len=0)
    with pytest.raises(TypeError):
        TensorSpec("float32", [1], 0, 0)
    for wrong in (spec(array, data_len=23), spec(array, data_len=28), spec(array, shape=[2, 4]), spec(array, data_ptr=0)):
        with pytest.raises(SafetensorError):
            serialize({"test": wrong})
    with pytest.raises(TypeError):
        serialize({"test": {"dtype": "float32", "shape": [1], "data_ptr": 0, "data_len": 0}})
    with pytest.raises(TypeError):
        serialize([("test", spec(array))])


def test_serialize_and_deserialize(path):
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)
    specs = {"b": spec(b), "a": spec(a), "e": TensorSpec(dtype="bool", shape=[0], data_ptr=0, data_len=0)}
    data = serialize(specs, {"k": "v"})
    serialize_file(specs, path, {"k": "v"})
    assert path.read_bytes() == data
    assert deserialize(data) == [
        ("b", {"shape": [], "dtype": "I64", "data": bytearray(b.tobytes())}),
        ("a", {"shape": [2, 3], "dtype": "F32", "data": bytearray(a.tobytes())}),
        ("e", {"shape": [0], "dtype": "BOOL", "data": bytearray()}),
    ]
    assert_equal(load_file(path), {"b": b, "a": a, "e": np.zeros(0, bool)})


def test_deserialize_gives_row_major_bytes():
    (item,) = deserialize(cairnfile.dumps({"a": A.T}))
    assert item == ("a", {"shape": [6, 4], "dtype": "F64", "data": bytearray(A.T.tobytes())})


# Threads


def run_together(count, work):
    barrier = threading.Barrier(count)

    def started(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(started, range(count)))


def test_threads_save_and_load_the_same_arrays(tmp_path):
    random = np.random.default_rng(1)
    tensors = {
        "1": random.normal(size=(5, 25)),
        "2": random.normal(size=(87, 76, 2)),
        "3": np.ones(5000),
        "4": np.array(5.0),
        "5": np.array(7, "i4"),
    }

    def work(number):
        for _ in range(10):
            save_file(tensors, tmp_path / f"{number}.cairn")
            assert_equal(load_file(tmp_path / f"{number}.cairn"), tensors)

    run_together(4, work)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_an_open_file(path, backend):
    save_file({"a": WHOLE}, path)
    with safe_open(path, "np", backend=backend) as f:
        part = f.get_slice("a")
        found = run_together(4, lambda number: [(part[number].tolist(), f.get_tensor("a").tolist()) for _ in range(20)])
    assert found == [[(WHOLE[number].tolist(), WHOLE.tolist())] * 20 for number in range(4)]


def test_threads_serialize_at_the_same_time(tmp_path):
    a = np.random.default_rng(2).normal(size=(4000, 2000)).astype(np.float32)
    b = np.arange(4_000_000, dtype=np.int8).reshape(2000, 2000)
    specs = {"a": spec(a), "b": spec(b)}

    def work(number):
        start = time.monotonic()
        serialize_file(specs, tmp_path / f"{number}.cairn")
        return start, time.monotonic()

    times = run_together(4, work)
    # With the interpreter's lock held, one would begin after another has ended.
    assert max(start for start, _ in times) < min(end for _, end in times)
    for number in range(4):
        assert_equal(load_file(tmp_path / f"{number}.cairn"), {"a": a, "b": b})
