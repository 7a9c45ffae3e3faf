"""JAX: arrays of every dtype, pytrees, templates, keys, and a training that goes on as if it had not stopped."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle
import socket
import subprocess
import sys
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import numpy as np
import pytest

import cairnfile

jax = pytest.importorskip("jax")
ml_dtypes = pytest.importorskip("ml_dtypes")

import jax.numpy as jnp  # noqa: E402

import cairnfile.jax as cj  # noqa: E402

NUMBERS = ["bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float16", "float32", "complex64"]
WIDE = ["int64", "uint64", "float64", "complex128"]
SMALL = [
    "bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn", "int4", "uint4", "int2", "uint2",
]  # fmt: skip
SHAPES = [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 5)]


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, name) if name in SMALL else name)


def elements(dtype, shape):
    count = int(np.prod(shape))
    if dtype == np.bool_ or dtype.kind in "fc" or dtype.name == "bfloat16":
        return (np.arange(count) - count // 2).astype(dtype).reshape(shape)
    return (np.arange(count) % 2).astype(dtype).reshape(shape)


def same(a, b):
    assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NUMBERS + SMALL)
def test_every_dtype(name, shape):
    array = jax.device_put(elements(dtype_of(name), shape))
    assert array.dtype == dtype_of(name)
    data = cj.dumps({"a": array})
    same(array, cj.loads(data)["a"])
    same(np.asarray(array), cairnfile.loads(data)["a"])
    assert data == cairnfile.dumps({"a": array})


@pytest.mark.parametrize("name", WIDE)
def test_64_bits_are_never_cut(name):
    array = elements(np.dtype(name), (2, 3))
    data = cj.dumps(array)
    assert not jax.config.jax_enable_x64
    same(array, cj.loads(data))
    jax.config.update("jax_enable_x64", True)
    try:
        found = cj.loads(data)
        same(jnp.asarray(array), found)
        same(jnp.asarray(array), cj.loads(cj.dumps(found)))
    finally:
        jax.config.update("jax_enable_x64", False)


def test_what_jax_lacks_comes_back_as_numpy_or_raw():
    value = {
        "text": np.array(["a", "bc"]),
        "date": np.array(["2024-01-01"], "M8[D]"),
        "f6": np.array([1, 2], ml_dtypes.float6_e2m3fn),
        "q": cairnfile.Raw("q4_0", (32,), np.arange(18, dtype="u1")),
    }
    found = cj.loads(cairnfile.dumps(value))
    assert [type(v) for v in found.values()] == [np.ndarray] * 3 + [cairnfile.Raw]
    assert all(found[k].dtype == value[k].dtype for k in ("text", "date", "f6"))
    assert all((found[k] == value[k]).all() for k in ("text", "date", "f6")) and found["q"] == value["q"]


LAYOUTS = [lambda a: a.T, lambda a: a[::2, 1:], lambda a: a[::-1], lambda a: np.broadcast_to(a[0], (4, 6))]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_numpy_have_the_same_elements(layout):
    array = layout(np.arange(24, dtype="f4").reshape(4, 6))
    assert (np.asarray(cj.loads(cairnfile.dumps(array))) == array).all()


def test_ties():
    array, small = jnp.arange(1000.0), jnp.arange(5).astype(jnp.int4)
    other, other_small = array.addressable_data(0), small.addressable_data(0)
    assert other is not array and other.unsafe_buffer_pointer() == array.unsafe_buffer_pointer()
    data = cj.dumps([array, {"again": array}, (other,), small, other_small, jnp.arange(1000.0)])
    assert len(data) < 13000
    a, b, c, d, e, f = cj.loads(data)
    assert a is b["again"] and a is c[0] and d is e and f is not a


def test_nested_containers(path):
    value = {"l": [jnp.ones(2), (None, True, 3, 2.5, 1j, "s", b"b")], 5: {}, b"k": np.float32(2)}
    value["o"] = OrderedDict(b=1, a=jnp.zeros(1))
    cj.save(value, path, metadata={"epoch": 3})
    found = cj.load(path)
    assert list(found) == list(value) and found["l"][1] == value["l"][1] and found[5] == {}
    assert type(found[b"k"]) is np.float32 and type(found["o"]) is OrderedDict and list(found["o"]) == ["b", "a"]
    with cj.open(path) as file:
        assert file.metadata == {"epoch": 3}


def test_load_options(path):
    value = {"a": {"w": jnp.arange(12.0).reshape(3, 4), "b": jnp.ones(4)}, "c": jnp.zeros(2)}
    cj.save(value, path)
    assert list(cj.load(path, only="/a")) == ["w", "b"]
    assert list(cj.load(path, only=["/*/w"])) == ["a"]
    same(value["a"]["w"], cj.load(path, only="/a/w", mmap=True))
    seen = []
    cj.load(path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (72, 72)
    with pytest.raises(cairnfile.LimitError):
        cj.load(path, max_memory=10)
    with pytest.raises(cairnfile.LimitError):
        cj.loads(path.read_bytes(), max_memory=10)


@pytest.mark.parametrize("mmap", [False, True])
def test_lazy_files(path, mmap):
    array = jnp.arange(60.0).reshape(3, 4, 5)
    cj.save({"a": array}, path)
    with cj.open(path, mmap=mmap) as file:
        same(array, pickle.loads(pickle.dumps(file))["/a"][:])
        assert (np.asarray(file["/a"]) == np.asarray(array)).all()
        for key in (np.s_[1], np.s_[:, 1:3], np.s_[..., ::2], np.s_[0, None, -1, ::-1], np.s_[1, 2, 3]):
            same(array[key], file["/a"][key])
        same(array, file["/a"][:])


def test_loaded_memory_is_not_written_by_donation(path):
    base = np.arange(4096, dtype="f4")
    cairnfile.save([base, base[:1024]], path)
    whole, part = cj.load(path)
    jax.jit(lambda x: x * 0, donate_argnums=0)(whole).block_until_ready()
    assert (np.asarray(part) == base[:1024]).all()


def test_refused():
    with pytest.raises(TypeError, match='at "/a/0": a tracer has no elements yet: save outside jax.jit'):
        jax.jit(lambda x: cj.dumps({"a": [x]}))(jnp.ones(1))
    gone = jnp.ones(3)
    gone.delete()
    with pytest.raises(ValueError, match='at "/g": the array was deleted'):
        cj.dumps({"g": gone})
    with pytest.raises(TypeError, match="like"):
        cj.dumps(jax.ShapeDtypeStruct((2,), jnp.float32))
    with pytest.raises(TypeError, match='at "/f": .*function.*cairnfile.register'):
        cj.dumps({"f": lambda x: x})
    with pytest.raises(TypeError, match="cairnfile.jax.save keeps it by its children"):
        cairnfile.dumps(jax.tree_util.Partial(max, 1))


PROCESS = """
import sys, jax, numpy as np, cairnfile.jax
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize("localhost:" + sys.argv[1], 2, int(sys.argv[2]))
mesh = jax.sharding.Mesh(np.array(jax.devices()), "x")
sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
array = jax.make_array_from_callback((2,), sharding, lambda index: np.ones(2, "f4")[index])
try:
    cairnfile.jax.dumps({"a": array})
except ValueError as error:
    print(error)
"""


def test_arrays_spread_over_processes_are_refused():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    started = [subprocess.Popen([sys.executable, "-c", PROCESS, port, n], stdout=subprocess.PIPE, text=True) for n in "01"]
    for process in started:
        assert process.communicate(timeout=60)[0].startswith('at "/a": the array is spread over processes: save ')


SHARDED = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, numpy as np, cairnfile.jax as cj
from jax.sharding import Mesh, NamedSharding, PartitionSpec
mesh = Mesh(np.array(jax.devices("cpu")), "x")
split = jax.device_put(np.arange(8.0, dtype="f4"), NamedSharding(mesh, PartitionSpec("x")))
whole = jax.device_put(np.arange(3.0, dtype="f4"), NamedSharding(mesh, PartitionSpec()))
data = cj.dumps([split, whole, split])
plain, placed = cj.loads(data), cj.loads(data, like=[split, whole, split])
assert [a.tolist() for a in plain] == [a.tolist() for a in placed] == [split.tolist(), whole.tolist(), split.tolist()]
assert plain[0] is plain[2] and placed[0] is placed[2]
assert [a.sharding for a in placed] == [split.sharding, whole.sharding, split.sharding] and len(plain[0].sharding.device_set) == 1
print("placed")
"""


def test_arrays_on_several_devices_are_kept_and_like_places_them():
    assert subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=60).stdout == "placed\n"


def test_keys():
    key = jax.random.key(7)
    value = {"k": key, "many": jax.random.split(key, 3), "rbg": jax.random.key(1, impl="rbg"), "raw": jax.random.PRNGKey(7)}
    data = cj.dumps(value)
    found = cj.loads(data)
    for name in ("k", "many", "rbg"):
        assert found[name].dtype == value[name].dtype and found[name].shape == value[name].shape
        assert (jax.random.key_data(found[name]) == jax.random.key_data(value[name])).all()
    same(jax.random.uniform(key, (5,)), jax.random.uniform(found["k"], (5,)))
    same(value["raw"], found["raw"])
    assert cairnfile.loads(data)["k"].name == "jax.random.key"
    assert cj.loads(data, like={**value, "k": jax.random.key(0)})["k"].dtype == key.dtype
    with pytest.raises(ValueError, match="mismatched: /k"):
        cj.loads(data, like={**value, "k": jax.random.key(0, impl="rbg")})


class Point(NamedTuple):
    x: Any
    y: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    w: Any
    b: Any
    name: str = dataclasses.field(metadata={"static": True}, default="")


@jax.tree_util.register_pytree_node_class
class Pair:
    """A node whose children have positions only."""

    def __init__(self, first, second, note):
        self.first, self.second, self.note = first, second, note

    def tree_flatten(self):
        return (self.first, self.second), self.note

    @classmethod
    def tree_unflatten(cls, note, children):
        return cls(*children, note)


def test_like_restores_registered_nodes(path):
    value = {"p": Point(jnp.ones(2), [Layer(jnp.arange(3.0), None, "static")]), "pair": Pair(jnp.zeros(1), {"a": 3}, "note")}
    cj.save(value, path)
    plain = cj.load(path)
    assert plain["pair"].name.endswith(".Pair") and plain["pair"].value[1] == {"a": 3}
    like = {"p": Point(jnp.zeros(2), [Layer(jnp.zeros(3), None, "mine")]), "pair": Pair(jnp.ones(1), {"a": 0}, "too")}
    found = cj.load(path, like=like)
    assert jax.tree.structure(found) == jax.tree.structure(like)
    same(found["p"].y[0].w, value["p"].y[0].w)
    assert found["p"].y[0].name == "mine" and found["pair"].note == "too" and found["pair"].second == {"a": 3}
    same(cj.load(path, like=like["p"].y[0].w, only="/p/1/y/0/w"), value["p"].y[0].w)


def test_like_keeps_order_ties_and_containers():
    shared = jnp.ones(3)
    value = {"z": shared, "a": shared, "d": defaultdict(list, k=shared), "o": OrderedDict(q=1, b=2)}
    value |= {"n": np.arange(3.0), "e": ((), [], {})}
    found = cj.loads(cj.dumps(value), like=value)
    assert list(found) == list(value) and found["z"] is found["a"] and found["d"]["k"] is found["a"]
    assert type(found["d"]) is defaultdict and found["d"].default_factory is list and list(found["o"]) == ["q", "b"]
    assert type(found["n"]) is np.ndarray and found["n"].flags.writeable and found["e"] == ((), [], {})


def test_like_by_shapes():
    def init(key):
        return {"w": jax.random.normal(key, (3, 2)), "step": jnp.zeros((), jnp.int32)}

    value = init(jax.random.key(0))
    found = cj.loads(cj.dumps(value), like=jax.eval_shape(init, jax.random.key(1)))
    same(value["w"], found["w"])
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    placed = cj.loads(cj.dumps(value), like={"w": jax.ShapeDtypeStruct((3, 2), "f4", sharding=device), "step": value["step"]})
    assert placed["w"].committed and not placed["step"].committed


def test_like_numbers():
    assert cj.loads(cj.dumps([1, True, 2.5, "a"]), like=[0, False, 0.0, ""]) == [1, True, 2.5, "a"]
    same(cj.loads(cj.dumps([jnp.int32(3)]), like=[0])[0], jnp.int32(3))
    for wrong in (jnp.float32(3), jnp.ones(1, jnp.int32), 3.0, True, "3", None):
        with pytest.raises(ValueError, match="mismatched: /0"):
            cj.loads(cj.dumps([wrong]), like=[0])
    with pytest.raises(ValueError, match="mismatched: the root .*float32 of shape.*wanted, the file has an int"):
        cj.loads(cj.dumps(3), like=jnp.float32(0))


def test_like_names_every_difference():
    value = {"a": jnp.ones((2, 3)), "b": Point(jnp.ones(1, jnp.int8), [1, 2]), "extra": {"deep": 1}, "t": (1,), "n": None, 7: 1}
    like = {"a": jnp.ones((3, 2)), "b": Point(jnp.ones(1), [1]), "lost": 0, "t": [1], "n": jnp.ones(1), "more": [1]}
    with pytest.raises(ValueError) as raised:
        cj.loads(cj.dumps(value), like=like)
    said = str(raised.value).splitlines()
    assert said[0] == "the file does not fit like:"
    assert set(map(str.strip, said[1:])) == {
        "mismatched: /a (float32 of shape (3, 2) is wanted, the file has float32 of shape (2, 3))",
        "mismatched: /b/1/x (float32 of shape (1,) is wanted, the file has int8 of shape (1,))",
        "mismatched: /t (a list is wanted, the file has a tuple)",
        "mismatched: /n (float32 of shape (1,) is wanted, the file has None)",
        "missing: /lost",
        "missing: /more",
        "unexpected: /b/1/y/1",
        "unexpected: /extra",
        "unexpected: /~i7",
    }


def test_like_tells_nodes_apart():
    class Other(NamedTuple):
        x: Any
        y: Any

    with pytest.raises(ValueError, match="a .*Other is wanted, the file has a .*Point"):
        cj.loads(cj.dumps(Point(1, 2)), like=Other(1, 2))
    with pytest.raises(ValueError, match="a dict is wanted, the file has a .*Point"):
        cj.loads(cj.dumps(Point(1, 2)), like={"x": 1, "y": 2})


def test_registered_classes_go_by_their_registration():
    @dataclasses.dataclass
    class Config:
        width: int

    cairnfile.register(Config, name="test_jax.Config")
    data = cj.dumps({"c": Config(3), "w": jnp.ones(1)})
    assert cj.loads(data)["c"] == Config(3) == cj.loads(data, like={"c": Config(0), "w": jnp.zeros(1)})["c"]


def test_flax_and_optax_training_goes_on(path):
    optax, linen = pytest.importorskip("optax"), pytest.importorskip("flax.linen")
    from flax.training.train_state import TrainState

    class MLP(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(2)(linen.relu(linen.Dense(8)(x)))

    def fresh(seed):
        model = MLP()
        params = model.init(jax.random.key(seed), jnp.ones((1, 4)))
        transform = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1e-2, 10)))
        return TrainState.create(apply_fn=model.apply, params=params, tx=transform)

    @jax.jit
    def step(state, key):
        x = jax.random.normal(key, (8, 4))
        gradients = jax.grad(lambda params: (state.apply_fn(params, x) ** 2).mean())(state.params)
        return state.apply_gradients(grads=gradients)

    key, state = jax.random.key(0), fresh(0)
    for _ in range(3):
        key, now = jax.random.split(key)
        state = step(state, now)
    cj.save({"state": state, "key": key}, path)
    found = cj.load(path, like={"state": fresh(1), "key": jax.random.key(1)})
    assert jax.tree.structure(found["state"].opt_state) == jax.tree.structure(state.opt_state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(found["state"])):
        same(a, b)
    now = jax.random.split(key)[1]
    for a, b in zip(jax.tree.leaves(step(state, now)), jax.tree.leaves(step(found["state"], jax.random.split(found["key"])[1]))):
        same(a, b)


def test_flax_structs_frozen_dicts_and_nnx(path):
    struct, core, nnx = pytest.importorskip("flax.struct"), pytest.importorskip("flax.core"), pytest.importorskip("flax.nnx")

    @struct.dataclass
    class State:
        w: Any
        name: str = struct.field(pytree_node=False)

    value = {"s": State(jnp.ones(2), "code"), "f": core.freeze({"a": {"b": jnp.zeros(1)}})}
    data = cj.dumps(value)
    assert type(cj.loads(data)["f"]) is core.FrozenDict
    found = cj.loads(data, like={"s": State(jnp.zeros(2), "mine"), "f": value["f"]})
    assert found["s"].name == "mine" and type(found["f"]) is core.FrozenDict and (found["s"].w == 1).all()

    def build(seed):
        rngs = nnx.Rngs(seed)
        return nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.Dropout(0.5, rngs=rngs), nnx.Linear(8, 2, rngs=rngs))

    model, x = build(0), jnp.ones((3, 4))
    cj.save({"model": model, "state": nnx.split(model)[1]}, path)
    graph, state = nnx.split(build(1))
    found = cj.load(path, like={"model": build(1), "state": state})
    outputs = [m(x) for m in (model, found["model"], nnx.merge(graph, found["state"]))]
    same(outputs[0], outputs[1])
    same(outputs[0], outputs[2])


KERAS = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
import keras, numpy as np, cairnfile.jax, cairnfile.keras
def build():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2, dtype="bfloat16")])
model, clone, x = build(), build(), np.ones((1, 4))
cairnfile.keras.save_model(model, sys.argv[1])
assert cairnfile.keras.load_model(clone, sys.argv[1]) == ([], [])
assert np.asarray(model(x)).tobytes() == np.asarray(clone(x)).tobytes() and "tensorflow" not in sys.modules
print(*cairnfile.jax.load(sys.argv[1]))
"""


def test_keras_on_jax(path):
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs keras")
    done = subprocess.run([sys.executable, "-c", KERAS, path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "dense dense_1\n", done.stderr
