"""The interface of safetensors, for JAX and TensorFlow."""

import inspect

import cairnfile
import numpy as np
import pytest
from cairnfile import safe_open

ARRAYS = {
    "a": np.arange(24, dtype=np.float32).reshape(4, 6),
    "b": np.array([[True, False]]),
    "i": np.arange(3, dtype=np.int32),
    "s": np.array(7.5, np.float32),
    "e": np.zeros((2, 0), np.float16),
}


class Jax:
    names = ("flax", "jax")

    def __init__(self):
        pytest.importorskip("jax")
        import jax
        import jax.numpy as jnp
        import cairnfile.jax
        from cairnfile.safetensors import flax

        self.module = cairnfile.jax
        self.api, self.kind, self.make, self.half = flax, jax.Array, jnp.asarray, jnp.bfloat16


class TensorFlow:
    names = ("tf", "tensorflow")

    def __init__(self):
        tf = pytest.importorskip("tensorflow")
        import cairnfile.tensorflow
        from cairnfile.safetensors import tensorflow

        self.module = cairnfile.tensorflow
        self.api, self.kind, self.make, self.half = tensorflow, tf.Tensor, tf.convert_to_tensor, tf.bfloat16.as_numpy_dtype


@pytest.fixture(params=[Jax, TensorFlow], ids=["jax", "tensorflow"])
def framework(request):
    return request.param()


def assert_equal(framework, found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert isinstance(found[name], framework.kind), name
        got = np.asarray(found[name])
        assert (got.dtype, got.shape, got.tolist()) == (array.dtype, array.shape, array.tolist()), name


def tensors(framework):
    return {**ARRAYS, "half": np.array([1, 2.5, -3], framework.half)}


def test_the_frameworks_module_has_the_files(framework):
    assert (framework.module.save_file, framework.module.load_file) == (framework.api.save_file, framework.api.load_file)


def test_round_trip(framework, path):
    arrays = tensors(framework)
    made = {name: framework.make(array) for name, array in arrays.items()}
    framework.api.save_file(made, path, {"k": "v"})
    assert framework.api.save(made, {"k": "v"}) == path.read_bytes()
    assert_equal(framework, framework.api.load(path.read_bytes()), arrays)
    for backend in ("mmap", "pread"):
        assert_equal(framework, framework.api.load_file(path, backend=backend), arrays)
        for name in framework.names:
            with safe_open(path, name, backend=backend) as f:
                assert f.metadata() == {"k": "v"} and f.keys() == list(arrays)
                assert_equal(framework, {key: f.get_tensor(key) for key in f.keys()}, arrays)


@pytest.mark.parametrize(
    "key", [np.s_[:], np.s_[::-1], np.s_[-2:, 1], np.s_[:100, ::-2], [0, 2], True, (), np.s_[1, 2], [], np.s_[3:1]], ids=repr
)
def test_indices_mean_what_they_mean_in_numpy(framework, path, key):
    framework.api.save_file({"a": framework.make(ARRAYS["a"])}, path)
    with safe_open(path, framework.names[0]) as f:
        assert_equal(framework, {"a": f.get_slice("a")[key]}, {"a": np.asarray(ARRAYS["a"][key])})


def test_what_is_no_tensor_is_refused(framework, path):
    for wrong in ({"a": 1.5}, {"a": [1, 2]}, {1: framework.make(ARRAYS["a"])}, "text"):
        with pytest.raises(TypeError):
            framework.api.save_file(wrong, path)
    assert not path.exists()
    framework.api.save_file({"a": framework.make(ARRAYS["a"])}, path)
    with pytest.raises(cairnfile.SafetensorError):
        safe_open(path, framework.names[0], device="cuda:0")


def test_variables_are_saved_by_their_values(path):
    framework = TensorFlow()
    import tensorflow as tf

    framework.api.save_file({"v": tf.Variable(ARRAYS["a"])}, path)
    assert_equal(framework, framework.api.load_file(path), {"v": ARRAYS["a"]})


def test_signatures_are_those_of_the_package(framework):
    upstream = pytest.importorskip(framework.api.__name__.replace("cairnfile.", ""))
    for name in ("save", "save_file", "load", "load_file"):
        theirs, mine = inspect.signature(getattr(upstream, name)), inspect.signature(getattr(framework.api, name))
        assert [(p.name, p.kind, p.default) for p in theirs.parameters.values()] == [
            (p.name, p.kind, p.default) for p in mine.parameters.values()
        ]
