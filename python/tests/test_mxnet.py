"""MXNet 1.9: arrays of every dtype and both kinds, and Gluon blocks restored into clones whose outputs are equal."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import cairnfile

mx = pytest.importorskip("mxnet")
from mxnet.gluon import nn  # noqa: E402

import cairnfile.mxnet as cm  # noqa: E402

NAMES = ["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64"]
SHAPES = [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 5)]
BFLOAT16 = np.dtype([("bfloat16", "<u2")])


@pytest.fixture
def numpy_semantics():
    mx.npx.set_np()
    yield
    mx.npx.reset_np()


def elements(dtype, shape):
    return (np.arange(int(np.prod(shape))) % 2).astype(dtype).reshape(shape)


def same(a, b):
    assert type(a) is type(b) and np.dtype(a.dtype) == np.dtype(b.dtype) and a.shape == b.shape
    assert a.asnumpy().tobytes() == b.asnumpy().tobytes()


def address(array):
    return cm._address(array)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape and 0 not in shape])
def test_every_dtype(name, shape):
    array = mx.nd.array(elements(name, shape), dtype=name)
    data = cm.dumps({"a": array})
    found = cm.loads(data)["a"]
    assert type(found) is mx.nd.NDArray and found.ctx == mx.cpu()
    same(array, found)
    plain = cairnfile.loads(data)["a"]
    assert plain.dtype == name and (plain == elements(name, shape)).all()
    assert data == cairnfile.dumps({"a": array}) == cairnfile.dumps({"a": plain})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_dtype_under_numpy_semantics(name, shape, numpy_semantics):
    array = mx.np.array(elements(name, shape), dtype=name)
    data = cm.dumps({"a": array})
    found = cm.loads(data)["a"]
    assert type(found) is mx.np.ndarray
    same(array, found)
    assert data == cairnfile.dumps({"a": elements(name, shape)})


@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_bfloat16(shape, path):
    array = mx.nd.array(elements("f4", shape)).astype(BFLOAT16)
    data = cm.dumps(array)
    same(array, cm.loads(data))
    path.write_bytes(data)
    with cairnfile.open(path) as file:
        assert file[""].dtype_name == "bf16"
    assert (cm.loads(data).astype("float32").asnumpy() == elements("f4", shape)).all()


def test_the_kind_follows_the_setting_not_the_file():
    data = cm.dumps(mx.np.ones((2,)))
    assert type(cm.loads(data)) is mx.nd.NDArray
    mx.npx.set_np()
    try:
        assert type(cm.loads(data)) is mx.np.ndarray
    finally:
        mx.npx.reset_np()


def test_what_mxnet_lacks_comes_back_as_numpy_or_raw():
    value = {
        "u2": np.arange(3, dtype="u2"),
        "c": np.ones(2, "c8"),
        "text": np.array(["a", "bc"]),
        "scalar": np.array(3.0),
        "empty": np.empty((0, 2), "f4"),
        "q": cairnfile.Raw("q4_0", (32,), np.arange(18, dtype="u1")),
    }
    found = cm.loads(cairnfile.dumps(value))
    assert [type(v) for v in found.values()] == [np.ndarray] * 5 + [cairnfile.Raw]
    for key in list(value)[:-1]:
        assert found[key].dtype == value[key].dtype and found[key].shape == value[key].shape and (found[key] == value[key]).all()
    assert found["q"] == value["q"]


LAYOUTS = [lambda a: a.T, lambda a: a[::2, 1:], lambda a: a[::-1], lambda a: np.broadcast_to(a[0], (4, 6))]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_numpy_have_the_same_elements(layout):
    array = layout(np.arange(24, dtype="f4").reshape(4, 6))
    found = cm.loads(cairnfile.dumps(array))
    assert type(found) is mx.nd.NDArray and (found.asnumpy() == array).all()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_ties(dtype):
    array = mx.nd.array(np.arange(1000) % 100, dtype=dtype)
    other = array.detach()
    assert other is not array and address(other) == address(array)
    data = cm.dumps([array, {"again": array}, (other,), mx.nd.array(np.arange(1000) % 100, dtype=dtype)])
    assert len(data) < 12000
    a, b, c, d = cm.loads(data)
    assert a is b["again"] and a is c[0] and d is not a
    a[:] = 7
    assert (d.asnumpy() == np.arange(1000) % 100).all()


def check_views(array):
    for _ in range(20):
        whole, rows, last = cm.loads(cm.dumps([array, array[1:3], array[3:]]))
        whole[:] = 5
        assert (rows.asnumpy() == 5).all()
        rows[:] = 6
        last *= 2
        assert whole.asnumpy()[:, 0].tolist() == [5, 6, 6, 10]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int32", "int64"])
def test_views_go_on_sharing_memory(dtype):
    base = mx.nd.arange(12).astype(dtype)
    check_views(base.reshape((4, 3)))
    part, whole, matrix = cm.loads(cm.dumps([base[4:6], base, base.reshape((4, 3))]))
    whole[:] = 1
    assert part.asnumpy().tolist() == [1, 1] and (matrix.asnumpy() == 1).all()


def test_views_go_on_sharing_memory_under_numpy_semantics(numpy_semantics):
    check_views(mx.np.arange(12).reshape((4, 3)))


def test_views_of_two_dtypes_come_back_as_copies():
    base = np.arange(8, dtype="i4")
    a, b = cm.loads(cairnfile.dumps([base, base.view("f4")]))
    a[:] = 0
    mx.nd.waitall()
    assert b.asnumpy().tobytes() == base.tobytes()


def test_loaded_arrays_can_be_computed_with_and_written(path):
    cm.save([mx.nd.ones((300, 300)), mx.nd.ones((3, 3), dtype="int8")], path)
    before = path.read_bytes()
    for mmap in (False, True):
        a, b = cm.load(path, mmap=mmap)
        a += 1
        b *= 3
        assert (mx.nd.dot(a, a).asnumpy() == 1200).all() and (b.asnumpy() == 3).all()
        a.attach_grad()
        with mx.autograd.record():
            loss = (a * a).sum()
        loss.backward()
        assert (a.grad.asnumpy() == 4).all()
    assert path.read_bytes() == before


def test_nested_containers_and_options(path):
    value = {"l": [mx.nd.ones((2,)), (None, True, 3, 2.5, "s", b"b")], 5: {}, b"k": np.float32(2)}
    value["m"] = mx.nd.arange(12).reshape((3, 4))
    cm.save(value, path, metadata={"epoch": 3})
    found = cm.load(path)
    assert list(found) == list(value) and found["l"][1] == value["l"][1] and found[5] == {} and type(found[b"k"]) is np.float32
    same(value["m"], cm.load(path, only="/m", mmap=True))
    assert list(cm.load(path, only=["/l/0"])) == ["l"]
    seen = []
    cm.load(path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (60, 60)
    with pytest.raises(cairnfile.LimitError):
        cm.load(path, max_memory=10)


@pytest.mark.parametrize("mmap", [False, True])
def test_lazy_files(path, mmap):
    array = mx.nd.arange(60).reshape((3, 4, 5))
    cm.save({"a": array}, path, metadata={"epoch": 3})
    before = path.read_bytes()
    with cm.open(path, mmap=mmap) as file:
        same(array, pickle.loads(pickle.dumps(file))["/a"][:])
        assert file.metadata == {"epoch": 3}
        for key in (np.s_[1], np.s_[:, 1:3], np.s_[1, 2, 1:3]):
            same(array[key], file["/a"][key])
        plain = np.asarray(file["/a"])
        assert type(plain) is np.ndarray and plain.dtype == "f4" and (plain == array.asnumpy()).all()
        whole = file["/a"][:]
        whole[:] = 1
        assert (whole.asnumpy() == 1).all()
    assert path.read_bytes() == before


def test_refused():
    for make, words in (
        (lambda: mx.nd.sparse.zeros("csr", (2, 3)), r"sparse NDArray \(csr\) .*tostype"),
        (lambda: mx.nd.sparse.zeros("row_sparse", (2, 3)), r"sparse NDArray \(row_sparse\)"),
        (lambda: nn.Dense(2), "save_model"),
        (lambda: mx.sym.Variable("x"), "Symbol"),
    ):
        with pytest.raises(TypeError, match='at "/a/0": .*' + words):
            cm.dumps({"a": [make()]})


# Blocks ------------------------------------------------------------------------------------------------------------------------


def mlp():
    net = nn.HybridSequential()
    net.add(nn.Dense(8, activation="relu"), nn.BatchNorm(), nn.Dense(2))
    return net


class Tied(mx.gluon.Block):
    """Two layers with the parameters of one, and a constant."""

    def __init__(self):
        super().__init__()
        self.first = nn.Dense(4, in_units=4)
        self.second = nn.Dense(4, in_units=4, params=self.first.params)
        self.scale = self.params.get_constant("scale", mx.nd.array([2.0]))

    def forward(self, x):
        return self.second(self.first(x)) * self.scale.data()


class Recurrent(mx.gluon.Block):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm, self.out = nn.Embedding(10, 4), mx.gluon.rnn.LSTM(5, 2), nn.Dense(3, flatten=False)

    def forward(self, x):
        return self.out(self.lstm(self.embed(x)))


CASES = {"mlp": (mlp, (2, 4)), "tied": (Tied, (2, 4)), "recurrent": (Recurrent, (3, 2))}


def trained(build, x):
    net = build()
    net.initialize(mx.init.Uniform(1))
    net(x)
    return net


@pytest.mark.parametrize("state", ["bare", "deferred", "initialised", "hybrid"])
@pytest.mark.parametrize("case", CASES)
def test_clones_have_equal_outputs(case, state, path):
    build, shape = CASES[case]
    x = mx.nd.array(np.random.default_rng(0).integers(0, 9, shape))
    net = trained(build, x)
    cm.save_model(net, path, metadata={"case": case})
    clone = build()
    if state != "bare":
        clone.initialize()
    if state in ("initialised", "hybrid"):
        clone(x)
    if state == "hybrid":
        clone.hybridize()
    assert list(clone.collect_params()) != list(net.collect_params()), "names of Gluon are not stable"
    assert cm.load_model(clone, path) == ([], [])
    same(net(x), clone(x))
    assert [p.grad_req for p in clone.collect_params().values()] == [p.grad_req for p in net.collect_params().values()]
    with cairnfile.open(path) as file:
        assert file.metadata == {"case": case} and list(file.root.keys()) == list(net._collect_params_with_prefix())


def test_shared_parameters_are_saved_once(path):
    cm.save_model(trained(Tied, mx.nd.ones((1, 4))), path)
    found = cm.load(path)
    assert found["first.weight"] is found["second.weight"]


def test_blocks_under_numpy_semantics(numpy_semantics, path):
    x = mx.np.ones((2, 4))
    net, clone = trained(mlp, x), mlp()
    cm.save_model(net, path)
    cm.load_model(clone, path)
    same(net(x), clone(x))


def test_the_first_layers_go_into_another_block(path):
    x = mx.nd.ones((2, 4))
    net = trained(mlp, x)
    cm.save_model(net, path)
    other = nn.HybridSequential()
    other.add(nn.Dense(8, activation="relu"), nn.BatchNorm())
    missing, unexpected = cm.load_model(other, path, strict=False)
    assert missing == [] and unexpected == ["2.weight", "2.bias"]
    same(net[1](net[0](x)), other(x))


def test_differences(path):
    x = mx.nd.ones((2, 4))
    cm.save_model(trained(mlp, x), path)
    other = nn.HybridSequential()
    other.add(nn.Dense(8), nn.Dense(8), nn.Dense(2), nn.Dense(1))
    other.initialize()
    other(x)
    before = {name: p.data().asnumpy() for name, p in other._collect_params_with_prefix().items()}
    with pytest.raises(ValueError) as raised:
        cm.load_model(other, path)
    said = str(raised.value).splitlines()
    assert said[0] == "the file does not fit the model:" and said[-1] == "strict=False allows missing and unexpected entries"
    names = ["1.weight", "1.bias", "3.weight", "3.bias"], ["1.gamma", "1.beta", "1.running_mean", "1.running_var"]
    assert set(said[1:-1]) == {f"  missing: {n}" for n in names[0]} | {f"  unexpected: {n}" for n in names[1]}
    assert all((p.data().asnumpy() == before[n]).all() for n, p in other._collect_params_with_prefix().items())
    missing, unexpected = cm.load_model(other, path, strict=False)
    assert sorted(missing) == sorted(names[0]) and sorted(unexpected) == sorted(names[1])


@pytest.mark.parametrize("strict", [True, False])
def test_mismatches_change_nothing(path, strict):
    cm.save_model(trained(mlp, mx.nd.ones((2, 4))), path)
    other = nn.HybridSequential()
    other.add(nn.Dense(8), nn.BatchNorm(), nn.Dense(3))
    with pytest.raises(ValueError, match=r"2.weight \(f32 of shape \(3, \?\) is wanted, the file has f32 of shape \(2, 8\)\)"):
        cm.load_model(other, path, strict=strict)
    assert other[0].weight._data is None
    other = mlp()
    other.cast("float16")
    with pytest.raises(ValueError, match="mismatched: 0.weight .f16 of shape"):
        cm.load_model(other, path, strict=strict)
    cairnfile.save({"0.weight": "text"}, path)
    with pytest.raises(ValueError, match="mismatched: 0.weight .*the file has a str"):
        cm.load_model(mlp(), path, strict=strict)
    cairnfile.save([1], path)
    with pytest.raises(ValueError, match="the file holds a list"):
        cm.load_model(mlp(), path, strict=strict)


def test_what_has_no_value(path):
    net = mlp()
    with pytest.raises(ValueError, match="the parameter '0.weight' has no value yet"):
        cm.save_model(net, path)
    net.initialize()
    with pytest.raises(ValueError, match="the parameter '0.weight' has no value yet"):
        cm.save_model(net, path)
    sparse = nn.Embedding(4, 2, sparse_grad=True)
    sparse.initialize()
    cm.save_model(sparse, path)
    weight = mx.gluon.Parameter("w", shape=(2, 2), stype="row_sparse")
    with pytest.raises(TypeError, match="the parameter 'w' is sparse"):
        cm.dumps(weight)


def test_several_devices(path):
    x = mx.nd.ones((2, 4))
    net = trained(mlp, x)
    cm.save_model(net, path)
    clone = mlp()
    cm.load_model(clone, path, ctx=[mx.cpu(0), mx.cpu(1)])
    assert len(clone[0].weight.list_data()) == 2
    same(net(x), clone(x))
    cm.save_model(clone, path)
    again = mlp()
    cm.load_model(again, path)
    same(net(x), again(x))
