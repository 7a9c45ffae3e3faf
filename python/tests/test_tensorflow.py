"""TensorFlow: tensors of every dtype, and Keras models restored into clones whose outputs are equal."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

import cairnfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
ml_dtypes = pytest.importorskip("ml_dtypes")

import cairnfile.tensorflow as ct  # noqa: E402

NUMBERS = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64", "complex128",
]  # fmt: skip
SMALL = [
    "bfloat16", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "int4", "uint4",
    "int2", "uint2", "float4_e2m1fn",
]  # fmt: skip
SHAPES = [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 5)]


def elements(dtype, shape):
    return (np.arange(int(np.prod(shape))) % 2).astype(dtype).reshape(shape)


def same(a, b):
    assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
    # Without axes TensorFlow gives scalars.
    a, b = ((x.numpy() if tf.is_tensor(x) else x) for x in (a, b))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NUMBERS + SMALL)
def test_every_dtype(name, shape):
    array = elements(np.dtype(getattr(ml_dtypes, name, name) if name in SMALL else name), shape)
    tensor = tf.constant(array)
    assert tensor.dtype.name == name
    data = ct.dumps({"a": tensor})
    same(tensor, ct.loads(data)["a"])
    same(array, cairnfile.loads(data)["a"])
    assert data == cairnfile.dumps({"a": tensor})


def test_what_tensorflow_lacks_comes_back_as_numpy_or_raw():
    value = {
        "text": np.array(["a", "bc"]),
        "date": np.array(["2024-01-01"], "M8[D]"),
        "f8": np.array([1, 2], ml_dtypes.float8_e8m0fnu),
        "q": cairnfile.Raw("q4_0", (32,), np.arange(18, dtype="u1")),
    }
    found = ct.loads(cairnfile.dumps(value))
    assert [type(v) for v in found.values()] == [np.ndarray] * 3 + [cairnfile.Raw]
    assert all(found[k].dtype == value[k].dtype and (found[k] == value[k]).all() for k in ("text", "date", "f8"))
    assert found["q"] == value["q"]


LAYOUTS = [lambda a: a.T, lambda a: a[::2, 1:], lambda a: a[::-1], lambda a: np.broadcast_to(a[0], (4, 6))]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_numpy_have_the_same_elements(layout):
    array = layout(np.arange(24.0).reshape(4, 6))
    assert (ct.loads(cairnfile.dumps(array)).numpy() == array).all()


def test_ties():
    tensor, variable = tf.range(1000.0), tf.Variable(tf.ones(1000))
    scalar = tf.constant(2, tf.bfloat16)
    a, b = ct.loads(ct.dumps([scalar, tf.identity(scalar)]))
    assert a is b
    parts = [tensor, {"again": tensor}, (tf.identity(tensor),), variable, [variable, variable.value()], tf.range(1000.0)]
    data = ct.dumps(parts)
    assert len(data) < 17000
    a, b, c, d, e, f = ct.loads(data)
    assert a is b["again"] and a is c[0] and d is e[0] and d is e[1] and f is not a and d is not a


def test_variables_are_kept_as_tensors():
    variable = tf.Variable([1.0, 2.0])
    data = ct.dumps(variable)
    variable.assign([3.0, 4.0])
    found = ct.loads(data)
    same(tf.constant([1.0, 2.0]), found)
    variable.assign(found)
    assert variable.numpy().tolist() == [1, 2]
    same(tf.constant([1.0, 2.0]), ct.loads(ct.dumps(keras.Variable([1.0, 2.0]))))


WRITES = {
    "assign_add": lambda v: v.assign_add(tf.ones_like(v)),
    "slice": lambda v: v[:32].assign(tf.zeros_like(v[:32])),
    "scatter": lambda v: v.scatter_update(tf.IndexedSlices(tf.zeros((1,), v.dtype), [3])),
    "descent": lambda v: tf.raw_ops.ResourceApplyGradientDescent(var=v.handle, alpha=tf.ones((), v.dtype), delta=tf.ones_like(v)),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mmap", [False, True])
def test_what_is_made_of_a_tensor_never_writes_to_another(path, write, dtype, mmap):
    base = np.arange(64).astype(getattr(ml_dtypes, dtype, dtype))
    cairnfile.save([base, base[:16]], path)
    whole, part = ct.load(path, mmap=mmap)
    assert np.asarray(part).ctypes.data == np.asarray(whole).ctypes.data, "nothing to see if memory is not shared"
    variable = tf.Variable(whole)
    del whole
    WRITES[write](variable)
    assert (variable.numpy() != base).any() and (part.numpy() == base[:16]).all()


def test_nested_containers_and_options(path):
    value = {"l": [tf.ones(2), (None, True, 3, 2.5, "s", b"b")], 5: {}, b"k": np.float32(2)}
    value["m"] = tf.reshape(tf.range(12.0), (3, 4))
    ct.save(value, path, metadata={"epoch": 3})
    found = ct.load(path)
    assert list(found) == list(value) and found["l"][1] == value["l"][1] and found[5] == {} and type(found[b"k"]) is np.float32
    scalar = ml_dtypes.bfloat16(2)
    assert type(ct.loads(cairnfile.dumps(scalar))) is type(scalar)
    same(value["m"], ct.load(path, only="/m", mmap=True))
    assert list(ct.load(path, only=["/l/0"])) == ["l"]
    seen = []
    ct.load(path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (60, 60)
    with pytest.raises(cairnfile.LimitError):
        ct.load(path, max_memory=10)


@pytest.mark.parametrize("mmap", [False, True])
def test_lazy_files(path, mmap):
    tensor = tf.reshape(tf.range(60.0), (3, 4, 5))
    ct.save({"a": tensor, "b": tf.constant(2, tf.bfloat16)}, path, metadata={"epoch": 3})
    with ct.open(path, mmap=mmap) as file:
        same(tensor, pickle.loads(pickle.dumps(file))["/a"][:])
        assert (np.asarray(file["/a"]) == tensor.numpy()).all() and np.asarray(file["/b"]).dtype == ml_dtypes.bfloat16
        assert file.metadata == {"epoch": 3}
        for key in (np.s_[1], np.s_[:, 1:3], np.s_[..., ::2], np.s_[0, None, -1], np.s_[1, 2, 3]):
            same(tensor[key], file["/a"][key])


def refused(make, words):
    with pytest.raises(TypeError, match='at "/a/0": .*' + words):
        ct.dumps({"a": [make()]})


def test_refused():
    refused(lambda: tf.ragged.constant([[1], [2, 3]]), "RaggedTensor .*flat_values and nested_row_splits")
    refused(lambda: tf.sparse.from_dense([[1, 0]]), "SparseTensor .*indices, values and dense_shape")
    refused(lambda: tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0])), "IndexedSlices .*indices and values")
    refused(lambda: tf.constant("text"), "tf.string .*list of bytes")
    refused(lambda: tf.bitcast(tf.zeros(2, tf.int8), tf.qint8), "qint8 .*tf.bitcast")
    refused(lambda: tf.Variable(1.0).handle, "resource .*handle")
    refused(lambda: keras.Input((3,)), "KerasTensor is symbolic")
    refused(lambda: keras.Sequential([keras.layers.Dense(1)]), "save_model")
    refused(lambda: tf.float32, "DType")

    @tf.function
    def traced(x):
        refused(lambda: x, "graph .*outside tf.function")
        return x

    traced(tf.ones(1))


# Models ------------------------------------------------------------------------------------------------------------------------


def mlp():
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3), keras.layers.Dense(2, name="head")]
    return keras.Sequential([keras.Input((4,)), *layers])


@keras.saving.register_keras_serializable()
class Block(keras.layers.Layer):
    """A layer with layers, weights and random state of its own."""

    def __init__(self):
        super().__init__()
        self.inner = [keras.layers.Dense(6), keras.layers.Dense(6, name=self.name + "_second")]
        self.attention = keras.layers.MultiHeadAttention(2, 3)
        self.drop = keras.layers.Dropout(0.5)
        self.scale = self.add_weight(shape=(6,), initializer="ones")
        self.shift = self.add_weight(shape=(6,), initializer="zeros")

    def call(self, x):
        x = self.inner[1](self.inner[0](x))
        return self.drop(self.attention(x, x)) * self.scale + self.shift


def functional():
    inputs = keras.Input((5, 6))
    shared = keras.layers.Dense(6)
    x = shared(Block()(shared(inputs)))
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Bidirectional(keras.layers.LSTM(3))(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.embed = keras.layers.Embedding(10, 4)
        self.stack = [keras.layers.Conv1D(4, 2), keras.layers.Conv1D(4, 2)]
        self.tied = self.embed

    def call(self, x):
        x = self.embed(x)
        for layer in self.stack:
            x = layer(x)
        return x @ tf.transpose(self.tied.embeddings)


def shaken(model):
    """The model with parameters that no initialiser makes."""
    for n, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(n).uniform(0.1, 1, weight.shape))
    return model


def built(model, x):
    model(x)
    return model


CASES = {
    "mlp": (mlp, np.ones((2, 4), "f4")),
    "functional": (functional, np.ones((2, 5, 6), "f4")),
    "subclassed": (lambda: built(Subclassed(), np.ones((2, 7), "i4")), np.ones((2, 7), "i4")),
    "bfloat16": (lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="bfloat16")]), np.ones((2, 4), "f4")),
}


@pytest.mark.parametrize("case", CASES)
def test_clones_have_equal_outputs(case, path):
    build, x = CASES[case]
    model = shaken(build())
    ct.save_model(model, path, metadata={"case": case})
    clone = build()
    assert [w.path for w in clone.weights] != [w.path for w in model.weights], "names of Keras are not stable"
    assert not (np.asarray(model(x)) == np.asarray(clone(x))).all()
    assert ct.load_model(clone, path) == ([], [])
    assert np.asarray(model(x)).tobytes() == np.asarray(clone(x)).tobytes()
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(model.weights, clone.weights))
    with cairnfile.open(path) as file:
        assert file.metadata == {"case": case} and len(file) == len(model.weights)


def test_names_are_those_of_the_code(path):
    ct.save_model(mlp(), path)
    with cairnfile.open(path) as file:
        assert list(file) == [f"/{layer}/{name}" for layer in ("dense", "dense_1", "head") for name in ("kernel", "bias")]
    ct.save_model(functional(), path)
    with cairnfile.open(path) as file:
        assert {"/dense/kernel", "/block/variable", "/block/variable_1", "/block/block_second/bias", "/dense_1/kernel"} <= set(file)
        assert "/block/multi_head_attention/query/kernel" in file and "/bidirectional/forward_lstm/lstm_cell/bias" in file


def test_names_do_not_clash():
    named = [keras.layers.Dense(1, name="mine"), keras.layers.Dense(1, name="dense_90"), keras.layers.Conv1D(1, 1, name="dense")]
    model = keras.Sequential([keras.Input((2, 1)), keras.layers.Dense(1), *named])
    assert list(ct.state_dict(model)) == ["dense", "mine", "dense_1", "dense_2"]


def test_part_of_a_file_goes_into_another_model(path):
    model = shaken(mlp())
    ct.save_model(model, path)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3), keras.layers.Dense(7)]
    other = keras.Sequential([keras.Input((4,)), *layers])
    missing, unexpected = ct.load_state_dict(other, cairnfile.load(path, only=["/dense/**", "/dense_1/**"]), strict=False)
    assert missing == ["/dense_2/kernel", "/dense_2/bias"] and unexpected == []
    x = np.ones((2, 4), "f4")
    assert (np.asarray(other.layers[1](other.layers[0](x))) == np.asarray(model.layers[1](model.layers[0](x)))).all()


def test_differences(path):
    ct.save_model(mlp(), path)
    layers = [keras.layers.Dense(8), keras.layers.Dense(3), keras.layers.Dense(2, name="tail")]
    other = keras.Sequential([keras.Input((4,)), *layers])
    before = other.get_weights()
    with pytest.raises(ValueError) as raised:
        ct.load_model(other, path)
    assert str(raised.value).splitlines() == [
        "the file does not fit the model:",
        "  missing: /tail/kernel",
        "  missing: /tail/bias",
        "  unexpected: /head/kernel",
        "  unexpected: /head/bias",
        "strict=False allows missing and unexpected entries",
    ]
    assert all((a == b).all() for a, b in zip(before, other.get_weights()))
    found = ct.load_model(other, path, strict=False)
    assert found == (["/tail/kernel", "/tail/bias"], ["/head/kernel", "/head/bias"])
    assert (other.get_weights()[0] != before[0]).any() and (other.get_weights()[4] == before[4]).all()


@pytest.mark.parametrize("strict", [True, False])
def test_mismatches_change_nothing(path, strict):
    ct.save_model(mlp(), path)
    for width, dtype, words in (
        (9, "float32", r"/dense_1/kernel \(float32 of shape \(8, 9\) is wanted, the file has float32 of shape \(8, 3\)\)"),
        (3, "float16", r"mismatched: /dense_1/kernel \(float16 of shape .* is wanted, the file has float32"),
    ):
        layers = [keras.layers.Dense(8), keras.layers.Dense(width, dtype=dtype), keras.layers.Dense(2, name="head")]
        other = keras.Sequential([keras.Input((4,)), *layers])
        before = other.get_weights()
        with pytest.raises(ValueError, match=words):
            ct.load_model(other, path, strict=strict)
        assert all((a == b).all() for a, b in zip(before, other.get_weights()))
    cairnfile.save({"dense": {"kernel": "text"}}, path)
    with pytest.raises(ValueError, match=r"mismatched: /dense/kernel \(.* is wanted, the file has a str"):
        ct.load_model(mlp(), path, strict=strict)


def test_what_is_not_built(path):
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="is not built, so it has no parameters yet"):
        ct.save_model(model, path)
    with pytest.raises(ValueError, match="is not built, so it has no parameters yet"):
        ct.load_model(model, path)
    with pytest.raises(TypeError, match="not a dict"):
        ct.save_model({}, path)


def test_training_goes_on(path):
    def compiled():
        keras.utils.set_random_seed(1)
        model = mlp()
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 100)), "mse")
        return model

    x, y = np.random.default_rng(0).random((2, 16, 4)).astype("f4")
    y = y[:, :2]
    model = compiled()
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False)
    ct.save({"model": ct.state_dict(model), "optimizer": ct.state_dict(model.optimizer), "epoch": 2}, path)
    clone = compiled()
    with pytest.raises(ValueError, match="optimizer is not built"):
        ct.state_dict(clone.optimizer)
    clone.optimizer.build(clone.trainable_variables)
    state = ct.load(path)
    ct.load_state_dict(clone, state["model"])
    ct.load_state_dict(clone.optimizer, state["optimizer"])
    for m in (model, clone):
        m.fit(x, y, batch_size=4, epochs=2, initial_epoch=state["epoch"] - 2, verbose=0, shuffle=False)
    assert all((a == b).all() for a, b in zip(model.get_weights(), clone.get_weights()))
    with pytest.raises(ValueError, match="does not fit the optimizer"):
        ct.load_state_dict(clone.optimizer, state["optimizer"][:-1])
