"""The interface of safetensors, for torch: every behaviour that its own tests check, and where Cairn means something else."""

import copy
import inspect
import threading
from pathlib import Path

import cairnfile
import numpy as np
import pytest
from cairnfile import SafetensorError, safe_open

torch = pytest.importorskip("torch")

from cairnfile.safetensors import torch as api  # noqa: E402
from cairnfile.safetensors.torch import load, load_file, load_model, save, save_file, save_model  # noqa: E402

BACKENDS = ["mmap", "pread"]
FRAMEWORKS = ["pt", "torch", "pytorch"]


def has(*names):
    return [getattr(torch, name) for name in names if hasattr(torch, name)]


def bits(tensor):
    """Shape and bytes: torch cannot compare tensors of every dtype."""
    tensor = tensor.detach().contiguous().reshape(-1)
    tensor = torch.view_as_real(tensor).reshape(-1) if tensor.is_complex() else tensor
    return tensor.view(torch.uint8).tolist()


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert type(found[name]) is torch.Tensor
        assert (found[name].dtype, found[name].shape, found[name].device.type) == (tensor.dtype, tensor.shape, "cpu"), name
        assert bits(found[name]) == bits(tensor), name


TENSORS = {
    "fp32": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "bf16": torch.arange(8, dtype=torch.bfloat16).reshape(2, 4),
    "fp16": torch.arange(24, dtype=torch.float16).reshape(2, 3, 4),
    "bool": torch.tensor([[True, False], [False, False]]),
    "complex": torch.tensor([[0, 1 - 1j], [0, 0]], dtype=torch.complex64),
    "scalar": torch.tensor(7.5),
    "empty": torch.empty((0, 5), dtype=torch.float16),
    "empty too": torch.empty((2, 0)),
    "i64": torch.arange(5),
}


def test_the_frameworks_module_has_the_files():
    import cairnfile.torch

    assert (cairnfile.torch.save_file, cairnfile.torch.load_file) == (save_file, load_file)


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_and_bytes_round_trip(path, backend):
    save_file(TENSORS, path, metadata={"foo": "bar"})
    assert_equal(load_file(path, backend=backend), TENSORS)
    assert_equal(load_file(str(path)), TENSORS)
    assert_equal(load(save(TENSORS)), TENSORS)
    assert save(TENSORS, {"foo": "bar"}) == path.read_bytes()
    for framework in FRAMEWORKS:
        with safe_open(path, framework=framework, device="cpu", backend=backend) as f:
            assert f.metadata() == {"foo": "bar"}
            assert_equal({name: f.get_tensor(name) for name in f.keys()}, TENSORS)
            assert_equal(f.get_tensors(), TENSORS)


def test_saving_leaves_the_dict_as_it_was_and_replaces_the_file(path):
    tensors = {"a": torch.randn(2, 2), "b": torch.randint(0, 128, (2, 3), dtype=torch.uint8)}
    before = dict(tensors)
    for _ in range(2):
        save_file(tensors, path)
        assert all(tensors[name] is before[name] for name in before)
        loaded = load_file(Path(path))
        assert_equal(loaded, tensors)


def test_bytes_have_the_values():
    data = torch.zeros((2, 2), dtype=torch.int32)
    before = save({"test": data})
    data[1, 1] = 1
    assert_equal(load(before), {"test": torch.zeros((2, 2), dtype=torch.int32)})
    assert_equal(load(save({"test": data})), {"test": data})
    half = torch.ones((2, 2), dtype=torch.bfloat16)
    half[0, 0] = 2.25
    (item,) = cairnfile.deserialize(save({"test": half}))
    assert item == ("test", {"shape": [2, 2], "dtype": "BF16", "data": bytearray(b"\x10@\x80?\x80?\x80?")})
    (item,) = cairnfile.deserialize(save({"test": TENSORS["complex"]}))
    assert np.frombuffer(item[1]["data"], "<c8").tolist() == [0, 1 - 1j, 0, 0] and item[1]["dtype"] == "C64"


@pytest.mark.parametrize(
    "dtype",
    has("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "uint16", "uint64"),
    ids=str,
)
def test_dtypes_that_torch_got_later(path, dtype):
    data = {"test": torch.tensor([2, 4]).to(torch.float32).to(dtype)}
    save_file(data, path)
    assert_equal(load_file(path), data)


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="this torch has no float4_e2m1fn_x2")
def test_packed_elements(path):
    data = {"test": torch.arange(8, dtype=torch.uint8).reshape(2, 4).view(torch.float4_e2m1fn_x2)}
    save_file(data, path)
    assert_equal(load_file(path), data)
    with safe_open(path, "pt") as f:
        assert (f.get_slice("test").get_dtype(), f.get_slice("test").get_shape()) == ("F4", [2, 8])


def test_parameters_come_back_as_tensors(path):
    save_file({"p": torch.nn.Parameter(torch.ones(2))}, path)
    assert_equal(load_file(path), {"p": torch.ones(2)})


def test_what_is_no_tensor_is_refused(path):
    for wrong in ({"test": {"some": "thing"}}, "notadict", {"test": np.zeros(1)}, {1: torch.zeros(1)}):
        with pytest.raises(ValueError):
            save_file(wrong, path)
        with pytest.raises(SafetensorError):
            save(wrong)
    with pytest.raises(ValueError, match=r"to_dense\(\)"):
        save_file({"test": torch.sparse_coo_tensor(size=(2, 3))}, path)
    with pytest.raises(RuntimeError, match="meta"):
        save_file({"test": torch.zeros((10, 10), device="meta")}, path)
    assert not path.exists()


def test_metadata(path):
    save_file({"test": torch.zeros(1)}, path)
    with safe_open(path, framework="pt") as f:
        assert f.metadata() is None
    save_file({"test": torch.zeros(1)}, path, metadata={"Something": "more"})
    with safe_open(path, framework="pt") as f:
        assert f.metadata() == {"Something": "more"}
    with pytest.raises(TypeError):
        save_file({"test": torch.zeros(1)}, path, metadata={"a": 1})


# Where Cairn keeps what safetensors refuses


def test_tensors_that_are_not_contiguous_keep_elements_and_layout(path):
    whole = torch.arange(6, dtype=torch.float32).reshape(1, 2, 3)
    tensors = {
        "column": whole[:, :, 1],
        "t": torch.randn(3, 4).t(),
        "last": torch.randn(1, 2, 3, 3).to(memory_format=torch.channels_last),
    }
    save_file(tensors, path)
    loaded = load_file(path)
    assert_equal(loaded, tensors)
    assert loaded["t"].stride() == (1, 4) and loaded["last"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shared_memory_stays_shared(path, backend):
    whole = torch.arange(6.0).reshape(2, 3)
    save_file({"A": whole, "B": whole[:1], "C": whole[1:], "D": whole}, path)
    loaded = load_file(path, backend=backend)
    assert_equal(loaded, {"A": whole, "B": whole[:1], "C": whole[1:], "D": whole})
    loaded["A"][0, 1] = -1
    loaded["A"][1, 2] = -2
    assert (loaded["B"][0, 1], loaded["C"][0, 2], loaded["D"][0, 1]) == (-1, -2, -1)
    assert load_file(path)["A"][0, 1] == 1


def test_disjoint_views_of_one_storage(path):
    whole = torch.arange(100.0).reshape(10, 10)
    save_file({"test": whole[1:], "test2": whole[:1]}, path)
    assert_equal(load_file(path), {"test": whole[1:], "test2": whole[:1]})


# safe_open


def test_a_closed_file_refuses(path):
    save_file({"a": torch.zeros(2, 2)}, path)
    with safe_open(path, framework="pt") as f:
        pass
    with pytest.raises(SafetensorError):
        f.keys()
    path.write_text("something")


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match="notafile"):
        safe_open("notafile", framework="pt")


def test_devices(path):
    save_file({"a": torch.zeros(2)}, path)
    for device in ("cpu", None, torch.device("cpu")):
        assert load_file(path, device=device)["a"].device == torch.device("cpu")
    for device in ("nonsense", -1, 1.5):
        with pytest.raises(SafetensorError):
            load_file(path, device=device)
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)):
            load_file(path, device="cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_tensors_of_a_gpu(path):
    whole = torch.arange(6.0).reshape(2, 3).to("cuda:0")
    save_file({"a": whole, "tied": whole, "part": whole[1:]}, path)
    with torch.device("cuda:0"):
        assert_equal(load_file(path), {"a": whole.cpu(), "tied": whole.cpu(), "part": whole[1:].cpu()})
    for device in ("cuda:0", "cuda", 0):
        loaded = load_file(path, device=device)
        assert all(tensor.device == torch.device("cuda:0") for tensor in loaded.values())
        assert torch.equal(loaded["a"], whole)
        loaded["a"][1, 0] = -1
        assert loaded["tied"] is loaded["a"] and loaded["part"][0, 0] == -1
        with safe_open(path, "pt", device=device) as f:
            part = f.get_slice("a")[:1]
            assert part.device == torch.device("cuda:0") and torch.equal(part, whole[:1])
    torch.set_default_device("cuda:0")
    try:
        assert load_file(path)["a"].device == torch.device("cpu")
    finally:
        torch.set_default_device("cpu")


WHOLE = torch.randn(10, 5)
KEYS = [
    np.s_[:], np.s_[()], np.s_[:2], np.s_[:, :2], np.s_[0, :2], np.s_[2:, 0], np.s_[2:, 1], np.s_[2:, -1], [], np.s_[-2:],
    np.s_[:-1], np.s_[3:1], np.s_[:100], np.s_[::-1], np.s_[::-2, ::2], True, False, None, np.s_[..., 0], [0, 1],
    torch.tensor([1, 2]), np.s_[1, 2],
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:40])
def test_indices_mean_what_they_mean_in_numpy(path, backend, key):
    save_file({"a": WHOLE, "half": WHOLE.to(torch.bfloat16)}, path)
    with safe_open(path, framework="pt", device="cpu", backend=backend) as f:
        part, half = f.get_slice("a")[key], f.get_slice("half")[key]
    wanted = torch.from_numpy(np.array(WHOLE.numpy()[key if not isinstance(key, torch.Tensor) else key.numpy()]))
    assert part.dtype == torch.float32 and half.dtype == torch.bfloat16
    assert part.shape == wanted.shape == half.shape
    assert torch.equal(part, wanted) and torch.equal(half, wanted.to(torch.bfloat16))


def test_slices_say_shape_and_dtype(path):
    tensor = torch.arange(6, dtype=torch.float32).reshape(1, 2, 3)
    save_file({"test": tensor}, path)
    with safe_open(path, framework="pt") as f:
        part = f.get_slice("test")
        assert (part.get_shape(), part.get_dtype()) == ([1, 2, 3], "F32")
        assert torch.equal(part[:, :, 1:2], torch.tensor([[[1.0], [4.0]]]))
        with pytest.raises(IndexError):
            part[0, 2]


def test_threads_save_and_load_the_same_tensors(tmp_path):
    tensors = {"1": torch.randn(5, 25), "2": torch.randn(87, 76, 2), "3": torch.ones(5000), "4": torch.tensor(5.0)}
    barrier, failed = threading.Barrier(4), []

    def work(number):
        barrier.wait()
        try:
            for _ in range(10):
                save_file(tensors, tmp_path / f"{number}.cairn")
                assert_equal(load_file(tmp_path / f"{number}.cairn"), tensors)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# Which tensors share memory


def test_spans():
    for dtype, size in ((torch.float32, 4), (torch.float16, 2)):
        whole, steps = torch.zeros(4, dtype=dtype), torch.zeros(16, dtype=dtype)[::4]
        assert api._end_ptr(whole) - whole.data_ptr() == 4 * size
        assert api._end_ptr(steps) - steps.data_ptr() == (3 * 4 + 1) * size
    empty = torch.zeros(0)
    assert api._end_ptr(empty) == empty.data_ptr()


def test_complete_tensors():
    whole = torch.zeros(3, 3)
    assert api._is_complete(whole)
    assert not api._is_complete(whole[:1]) and not api._is_complete(whole[::2])
    assert api._is_complete(torch.zeros((2, 2), device="meta"))


def test_groups_that_share_memory():
    whole, line, absent = torch.zeros(3, 3), torch.zeros(4), torch.zeros((2, 2), device="meta")
    find = api._find_shared_tensors
    assert find({"A": whole, "B": whole[:1]}) == [{"A", "B"}]
    assert find({"A": whole}) == [{"A"}] and find({"B": whole[:1]}) == [{"B"}]
    assert find({"C": absent, "D": absent[:1]}) == find({"C": absent}) == []
    assert find({"B": line[:2], "C": line[2:]}) == [{"B"}, {"C"}]
    assert find({"B": line[:2], "C": line[1:]}) == [{"B", "C"}]
    assert find({"B": line[:2], "C": line[2:], "D": line[:1]}) == [{"B", "D"}, {"C"}]
    # The last one overlaps the first, not the one before it.
    assert find({"B": line, "C": line[1:2], "D": line[3:]}) == [{"B", "C", "D"}]


def test_storages_of_one_address_and_different_lengths():
    whole, small = torch.randn(10), torch.empty([])
    storage = whole.untyped_storage() if hasattr(whole, "untyped_storage") else whole.storage().untyped()
    small.set_(source=storage[:16])
    assert api.storage_ptr(small) == api.storage_ptr(whole)
    assert (api.storage_size(small), api.storage_size(whole)) == (16, 40)
    assert api._find_shared_tensors({"m": whole, "n": small}) == [{"m"}, {"n"}]


def test_names_to_leave_out():
    whole = torch.zeros(3, 3)
    remove = api._remove_duplicate_names
    assert remove({"A": whole, "B": whole[:1]}) == {"A": ["B"]}
    assert remove({"A": whole, "B": whole[:1], "C": whole}) == {"A": ["B", "C"]}
    assert remove({"A": whole, "C": whole}, preferred_names=["C"]) == {"C": ["A"]}
    assert remove({"A": whole, "C": whole}, discard_names=["A"]) == {"C": ["A"]}
    with pytest.raises(RuntimeError):
        remove({"B": whole[:1]})


# Models


class Tied(torch.nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.a = torch.nn.Linear(width, width)
        self.b = self.a


class Apart(torch.nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.a = torch.nn.Linear(width, width)
        self.b = torch.nn.Linear(width, width)


class Equal(Apart):
    def __init__(self):
        super().__init__()
        self.b = copy.deepcopy(self.a)


class Transposed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(20, 20)
        self.a.weight = torch.nn.Parameter(torch.randn(20, 20).t())


def assert_same_state(found, wanted):
    assert_equal({k: v.detach() for k, v in found.state_dict().items()}, {k: v.detach() for k, v in wanted.state_dict().items()})


def test_models_with_tied_tensors(path):
    model = Tied()
    save_file(model.state_dict(), path)
    save_model(model, path, metadata={"mine": "1", "b.bias": "my own"})
    with safe_open(path, framework="pt") as f:
        assert f.metadata() == {"b.weight": "a.weight", "b.bias": "my own", "mine": "1"}
        assert f.keys() == ["a.weight", "a.bias", "b.weight", "b.bias"]
    save_model(model, path)
    with safe_open(path, framework="pt") as f:
        assert f.metadata() == {"b.weight": "a.weight", "b.bias": "a.bias"}
    loaded = load_file(path)
    assert loaded["a.weight"].data_ptr() == loaded["b.weight"].data_ptr()
    assert path.stat().st_size < 2 * 20 * 20 * 4
    for backend in BACKENDS:
        other = Tied()
        missing, unexpected = load_model(other, path, backend=backend)
        assert (list(missing), unexpected) == ([], [])
        assert_same_state(other, model)
        assert other.a.weight is other.b.weight


def test_models_load_names_that_are_tied_to_others(path):
    model, other = Tied(), Tied()
    save_file({name: tensor for name, tensor in model.state_dict().items() if name.startswith("b.")}, path)
    load_model(other, path)
    assert_same_state(other, model)


def test_models_with_equal_tensors_that_are_not_tied(path):
    model, other = Equal(), Equal()
    assert api._find_shared_tensors(model.state_dict()) == [{"a.weight"}, {"a.bias"}, {"b.weight"}, {"b.bias"}]
    save_model(model, path)
    with safe_open(path, "pt") as f:
        assert f.metadata() is None
    load_model(other, path)
    assert_same_state(other, model)
    # Nothing is lost either: what the file has twice is the same.
    tied = Tied()
    assert load_model(tied, path) == (set(), [])
    assert torch.equal(tied.a.weight, model.a.weight)


def test_models_whose_tensors_are_not_contiguous(path):
    model, other = Transposed(), Transposed()
    for force, stride in ((True, (20, 1)), (False, (1, 20))):
        save_model(model, path, force_contiguous=force)
        assert load_file(path)["a.weight"].stride() == stride
        load_model(other, path)
        assert_same_state(other, model)


def test_tied_tensors_that_are_not_contiguous_stay_tied(path):
    model = Transposed()
    model.b = model.a
    save_model(model, path)
    loaded = load_file(path)
    assert loaded["a.weight"].data_ptr() == loaded["b.weight"].data_ptr() and loaded["a.weight"].is_contiguous()


def test_a_tied_file_fits_a_model_that_ties_nothing(path):
    model, other = Tied(), Apart()
    save_model(model, path)
    assert load_model(other, path) == (set(), [])
    assert_same_state(other, model)


def test_a_file_of_tensors_that_differ_does_not_fit_a_model_that_ties_them(path):
    model, other = Apart(), Tied()
    save_model(model, path)
    with pytest.raises(RuntimeError) as caught:
        load_model(other, path)
    assert 'Unexpected key(s) in state_dict: "b.bias", "b.weight"' in str(caught.value)
    missing, unexpected = load_model(other, path, strict=False)
    assert not missing and sorted(unexpected) == ["b.bias", "b.weight"]


def test_names_that_do_not_fit(path):
    model = Apart()
    state = dict(model.state_dict())
    state["new"] = state.pop("b.weight")
    save_file(state, path)
    with pytest.raises(RuntimeError) as caught:
        load_model(Apart(), path)
    assert 'Missing key(s) in state_dict: "b.weight"' in str(caught.value)
    assert 'Unexpected key(s) in state_dict: "new"' in str(caught.value)
    assert load_model(Apart(), path, strict=False) == ({"b.weight"}, ["new"])
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_model(Apart(width=3), path)


def test_ones_are_ones_in_the_file(path):
    model = Tied(4)
    torch.nn.init.ones_(model.a.weight)
    save_model(model, path)
    data = dict(cairnfile.deserialize(path.read_bytes()))
    assert data["a.weight"]["data"] == data["b.weight"]["data"] == b"\x00\x00\x80?" * 16


def test_signatures_are_those_of_the_package():
    upstream = pytest.importorskip("safetensors.torch")
    for name in ("save", "save_file", "load", "load_file", "save_model", "load_model"):
        theirs, mine = inspect.signature(getattr(upstream, name)), inspect.signature(getattr(api, name))
        assert [(p.name, p.kind, p.default) for p in theirs.parameters.values()] == [
            (p.name, p.kind, p.default) for p in mine.parameters.values()
        ]
