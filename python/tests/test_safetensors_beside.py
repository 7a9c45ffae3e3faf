"""The same calls with the package safetensors and with Cairn's: the same results, and exceptions of the same family."""

import importlib

import cairnfile.safetensors
import numpy as np
import pytest

upstream = pytest.importorskip("safetensors")

FAMILIES = (TypeError, ValueError, FileNotFoundError, RuntimeError)
A = np.arange(24.0).reshape(4, 6)


def outcome(call, package, framework, path):
    api = importlib.import_module(f"{package.__name__}.{framework}")
    try:
        return plain(call(package, api, str(path)))
    except Exception as error:
        return error


def plain(value):
    """Values of both packages in a form that can be compared."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if hasattr(value, "shape"):
        return type(value), str(value.dtype), tuple(value.shape), value.tolist()
    return value


def compare(call, framework, tmp_path):
    theirs = outcome(call, upstream, framework, tmp_path / "theirs")
    ours = outcome(call, cairnfile.safetensors, framework, tmp_path / "ours")
    if not isinstance(theirs, Exception):
        assert not isinstance(ours, Exception), ours
        assert ours == theirs
        return
    assert isinstance(ours, Exception), f"they raise {theirs!r}"
    if isinstance(theirs, upstream.SafetensorError):
        assert isinstance(ours, cairnfile.safetensors.SafetensorError)
    for family in FAMILIES:
        assert not isinstance(theirs, family) or isinstance(ours, family), (theirs, ours)


def opened(use, metadata=None, **how):
    """A call that saves tensors and uses the open file."""

    def call(package, api, path):
        api.save_file(made(api, {"a": A, "b": A[0] + 1, "f": A.astype("f4"), "z": np.array(3)}), path, metadata)
        with package.safe_open(path, **{"framework": "np" if api.__name__.endswith("numpy") else "pt", **how}) as f:
            return use(f)

    return call


def made(api, arrays):
    if not isinstance(arrays, dict) or api.__name__.endswith("numpy"):
        return arrays
    import torch

    return {name: torch.from_numpy(array.copy()) if isinstance(array, np.ndarray) else array for name, array in arrays.items()}


def saved(api, path, **how):
    api.save_file(made(api, {"a": A}), path)
    return api.load_file(path, **how)


CALLS = {
    "load": lambda package, api, path: api.load(api.save(made(api, {"a": A, "b": A[0] + 1}))),
    "load_file": lambda package, api, path: saved(api, path),
    "load_file pread": lambda package, api, path: saved(api, path, backend="pread"),
    "load_file missing": lambda package, api, path: api.load_file(path),
    "load_file number": lambda package, api, path: api.load_file(3),
    "load_file backend": lambda package, api, path: saved(api, path, backend="no"),
    "load rubbish": lambda package, api, path: api.load(b"rubbish, not a file"),
    "load nothing": lambda package, api, path: api.load(b""),
    "load text": lambda package, api, path: api.load("text"),
    "load empty": lambda package, api, path: api.load(api.save({})),
    "save_file metadata": lambda package, api, path: api.save_file(made(api, {"a": A}), path, {"a": 1}),
    "save key": lambda package, api, path: api.save(made(api, {1: A})),
    "save metadata key": lambda package, api, path: api.save(made(api, {"a": A}), {1: "a"}),
    "save metadata list": lambda package, api, path: api.save(made(api, {"a": A}), [("a", "b")]),
    "keys": opened(lambda f: f.keys()),
    "metadata": opened(lambda f: f.metadata(), metadata={"a": "b", "c": ""}),
    "no metadata": opened(lambda f: f.metadata()),
    "get_tensor": opened(lambda f: [f.get_tensor(name) for name in f.keys()]),
    "get_tensors": opened(lambda f: f.get_tensors()),
    "get_tensor nope": opened(lambda f: f.get_tensor("nope")),
    "get_tensor number": opened(lambda f: f.get_tensor(1)),
    "get_slice nope": opened(lambda f: f.get_slice("nope")),
    "get_shape": opened(lambda f: [(f.get_slice(name).get_shape(), f.get_slice(name).get_dtype()) for name in f.keys()]),
    "framework": opened(lambda f: f.keys(), framework="nope"),
    "framework number": opened(lambda f: f.keys(), framework=1),
    "device": opened(lambda f: f.keys(), device="nope"),
    "backend": opened(lambda f: f.keys(), backend="nope"),
    "backend number": opened(lambda f: f.keys(), backend=1),
}  # fmt: skip
SLICES = [np.s_[:], np.s_[()], np.s_[1], np.s_[-1], np.s_[:2], np.s_[1:, 2], np.s_[1:, -1], np.s_[:, 2:4], np.s_[0, 0], []]


@pytest.mark.parametrize("framework", ["numpy", "torch"])
@pytest.mark.parametrize("name", CALLS)
def test_calls(tmp_path, framework, name):
    pytest.importorskip(framework)
    compare(CALLS[name], framework, tmp_path)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
@pytest.mark.parametrize("key", SLICES, ids=repr)
def test_slices(tmp_path, framework, key):
    pytest.importorskip(framework)
    compare(opened(lambda f: [f.get_slice("a")[key], f.get_slice("f")[key]]), framework, tmp_path)


def specs(package, array, **other):
    given = {"dtype": array.dtype.name, "shape": array.shape, "data_ptr": array.ctypes.data, "data_len": array.nbytes, **other}
    return package.TensorSpec(**given)


SPECS = {
    "round trip": lambda package, api, path: package.deserialize(package.serialize({"a": specs(package, A)})),
    "file": lambda package, api, path: (package.serialize_file({"a": specs(package, A)}, path, {"x": "y"}), api.load_file(path))[1],
    "properties": lambda package, api, path: [
        getattr(specs(package, A), name) for name in ("dtype", "shape", "data_ptr", "data_len")
    ],
    "repr": lambda package, api, path: repr(specs(package, A)),
    "dtype": lambda package, api, path: specs(package, A, dtype="nonsense"),
    "dtype number": lambda package, api, path: specs(package, A, dtype=3),
    "shape": lambda package, api, path: package.serialize({"a": specs(package, A, shape=[3])}),
    "length": lambda package, api, path: package.serialize({"a": specs(package, A, data_len=8)}),
    "positional": lambda package, api, path: package.TensorSpec("float32", [1], 0, 0),
    "dicts": lambda package, api, path: package.serialize({"a": {"dtype": "float32", "shape": [1], "data": b"1234"}}),
    "list": lambda package, api, path: package.serialize([specs(package, A)]),
    "rubbish": lambda package, api, path: package.deserialize(b"rubbish, not a file"),
}


@pytest.mark.parametrize("name", SPECS)
def test_specs(tmp_path, name):
    compare(SPECS[name], "numpy", tmp_path)


def models(save, load, **how):
    def call(package, api, path):
        import torch

        class Model(torch.nn.Module):
            def __init__(self, tied):
                super().__init__()
                torch.manual_seed(int(tied))
                self.a = torch.nn.Linear(3, 3)
                self.b = self.a if tied else torch.nn.Linear(3, 3)

        api.save_model(Model(save), path, **how)
        model = Model(load)
        found = api.load_model(model, path)
        with package.safe_open(path, "pt") as f:
            return found, {name: tensor.detach() for name, tensor in model.state_dict().items()}, f.metadata()

    return call


@pytest.mark.parametrize(
    "call", [models(True, True), models(False, False), models(False, True), models(True, True, metadata={"b.bias": "x"})]
)
def test_models(tmp_path, call):
    pytest.importorskip("torch")
    compare(call, "torch", tmp_path)


def test_torch_refuses_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    for wrong in (
        {"a": torch.sparse_coo_tensor(size=(2, 3))},
        {"a": torch.zeros(2, device="meta")},
        {"a": {"b": 1}},
        {"a": A},
        "text",
        [torch.zeros(1)],
    ):
        compare(lambda package, api, path, wrong=wrong: api.save_file(wrong, path), "torch", tmp_path)
        compare(lambda package, api, path, wrong=wrong: api.save(wrong), "torch", tmp_path)
