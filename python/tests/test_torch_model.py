"""Models: parameters and buffers in a file, copied into a model in place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import cairnfile  # noqa: E402
import cairnfile.torch as ct  # noqa: E402
from torch_equal import assert_same  # noqa: E402

nn = torch.nn


class Language(nn.Module):
    """Token embedding tied to the head."""

    def __init__(self, tokens=500, width=64):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("mask", torch.tril(torch.ones(4, 4)).bool())
        self.register_buffer("scratch", torch.rand(3), persistent=False)
        self.head = nn.Linear(width, tokens, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.norm(self.embedding(tokens)))


class Counting(nn.Module):
    """A module with state that is no tensor."""

    def __init__(self, count):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2))
        self.count = count

    def get_extra_state(self):
        return {"count": self.count, "seen": torch.tensor([self.count])}

    def set_extra_state(self, state):
        self.count = state["count"]
        assert state["seen"].tolist() == [self.count]


def mlp(*widths, **options):
    return nn.Sequential(*(nn.Linear(a, b, **options) for a, b in zip(widths, widths[1:])))


def values(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_tied_weights_are_saved_once_and_stay_tied(path):
    model, clone = Language(), Language()
    ct.save_model(model, path, metadata={"epoch": 3})
    assert path.stat().st_size < 500 * 64 * 4 + 20_000
    parameters = list(clone.parameters())
    pointers = [p.data_ptr() for p in parameters]
    optimizer = torch.optim.SGD(clone.parameters(), lr=0.1)
    assert ct.load_model(clone, path) == ([], [])
    assert clone.head.weight is clone.embedding.weight and [p.data_ptr() for p in clone.parameters()] == pointers
    assert all(a is b for a, b in zip(parameters, optimizer.param_groups[0]["params"]))
    assert_same(dict(model.state_dict()), dict(clone.state_dict()))
    assert not torch.equal(model.scratch, clone.scratch)
    tokens = torch.arange(8)
    assert torch.equal(model.eval()(tokens), clone.eval()(tokens))
    with ct.open(path) as file:
        assert file.metadata == {"epoch": 3}
        assert file["/head.weight"].number == file["/embedding.weight"].number


def test_the_file_is_a_state_dict(path):
    model = Language()
    ct.save_model(model, path)
    state = ct.load(path)
    assert type(state) is type(model.state_dict()) and state._metadata == model.state_dict()._metadata
    assert state["head.weight"].data_ptr() == state["embedding.weight"].data_ptr()
    Language().load_state_dict(state)


@pytest.mark.parametrize("build", [lambda m: m.state_dict(), lambda m: dict(m.state_dict()), lambda m: dict(m.named_parameters())])
def test_any_dict_of_tensors_by_name_fits(path, build):
    model, clone = mlp(3, 4), mlp(3, 4)
    ct.save(build(model), path)
    assert ct.load_model(clone, path) == ([], [])
    assert_same(values(model), values(clone))


def test_missing_and_unexpected_are_listed_and_nothing_is_changed(path):
    ct.save({"0.weight": torch.rand(4, 3), "0.bias": torch.rand(4), "old/~name": torch.zeros(1)}, path)
    model = mlp(3, 4, 2)
    before = values(model)
    with pytest.raises(cairnfile.CairnError) as raised:
        ct.load_model(model, path)
    assert isinstance(raised.value, ValueError)
    lines = str(raised.value).splitlines()
    assert lines[1:] == [
        "  missing: /1.weight",
        "  missing: /1.bias",
        "  unexpected: /old~1~0name",
        "strict=False allows missing and unexpected entries",
    ]
    assert_same(before, values(model))
    assert ct.load_model(model, path, strict=False) == (["1.weight", "1.bias"], ["old/~name"])
    assert torch.equal(model[0].weight, ct.load(path)["0.weight"]) and torch.equal(model[1].weight, before["1.weight"])


@pytest.mark.parametrize("strict", [True, False])
def test_mismatches_are_refused_strict_or_not(path, strict):
    ct.save({"0.weight": torch.rand(3, 4), "0.bias": torch.rand(4).half()}, path)
    model = mlp(3, 4)
    before = values(model)
    with pytest.raises(cairnfile.UsageError) as raised:
        ct.load_model(model, path, strict=strict)
    text = str(raised.value)
    assert "mismatched: /0.weight (torch.float32 of shape (3, 4), and the model has torch.float32 of shape (4, 3))" in text
    assert "mismatched: /0.bias (torch.float16 of shape (4,), and the model has torch.float32 of shape (4,))" in text
    assert_same(before, values(model))


def test_entries_that_are_no_tensors_are_mismatched(path):
    ct.save({"0.weight": [1, 2], "0.bias": 3.0}, path)
    with pytest.raises(cairnfile.UsageError, match="/0.bias .no tensor, but float"):
        ct.load_model(mlp(3, 4), path)
    ct.save(torch.rand(3), path)
    with pytest.raises(cairnfile.UsageError, match="no dict of tensors"):
        ct.load_model(mlp(3, 4), path)


def test_long_lists_are_cut_with_their_count(path):
    ct.save({}, path)
    with pytest.raises(cairnfile.UsageError, match="(?s)and 40 more.*strict=False"):
        ct.load_model(mlp(*[2] * 31), path)


def test_values_that_the_model_ties_must_be_the_same(path):
    model = Language(20, 4)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ct.save(state, path)
    clone = Language(20, 4)
    assert ct.load_model(clone, path) == ([], [])
    assert_same(values(model), values(clone))
    state["head.weight"][3, 1] += 1
    ct.save(state, path)
    with pytest.raises(cairnfile.UsageError, match="/head.weight .the model ties it to /embedding.weight"):
        ct.load_model(clone, path)
    assert_same(values(model), values(clone))


def test_a_damaged_file_leaves_the_model_as_it_was(path):
    model = mlp(300, 300, 300)
    ct.save_model(model, path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 10_000)
        file.write(b"damage")
    clone = mlp(300, 300, 300)
    before = values(clone)
    with pytest.raises(cairnfile.CorruptError) as raised:
        ct.load_model(clone, path)
    assert raised.value.code == "block-crc" and raised.value.offset > 300 * 300 * 4
    assert_same(before, values(clone))


def test_extra_state(path):
    model, clone = nn.ModuleDict({"inner": Counting(7)}), nn.ModuleDict({"inner": Counting(0)})
    ct.save_model(model, path)
    assert ct.load_model(clone, path) == ([], [])
    assert clone["inner"].count == 7 and torch.equal(clone["inner"].weight, model["inner"].weight)


def test_what_cannot_be_filled_is_refused(path):
    ct.save_model(mlp(3, 4), path)
    with pytest.raises(TypeError, match="to_empty"):
        ct.load_model(mlp(3, 4, device="meta"), path)
    with pytest.raises(TypeError, match="run the model once"):
        ct.load_model(nn.Sequential(nn.LazyLinear(4)), path)
    for call in (ct.load_model, ct.save_model):
        with pytest.raises(TypeError, match="torch.nn.Module"):
            call({"0.weight": torch.rand(2)}, path)
    renamed = mlp(3, 4)
    renamed._register_state_dict_hook(lambda module, state, *_: state.update({"0.bias": state["0.bias"] * 2}))
    with pytest.raises(TypeError, match="load_state_dict"):
        ct.load_model(renamed, path)


def test_dtypes_of_parameters(path):
    names = ("bfloat16", "complex32", "float8_e4m3fn", "float8_e8m0fnu", "float4_e2m1fn_x2", "uint16", "bool")
    dtypes = {f"as_{name}": getattr(torch, name) for name in names if hasattr(torch, name)}
    buffers = {name: torch.randint(0, 2, (4, 8), dtype=torch.uint8).view(dtype) for name, dtype in dtypes.items()}
    model, clone = nn.Module(), nn.Module()
    for name, tensor in buffers.items():
        model.register_buffer(name, tensor)
        clone.register_buffer(name, torch.zeros(4, 8, dtype=torch.uint8).view(tensor.dtype))
    ct.save_model(model, path)
    assert ct.load_model(clone, path) == ([], [])
    assert_same(dict(model.state_dict()), dict(clone.state_dict()))


def test_memory_of_one_tensor_at_a_time(path):
    model = mlp(*[1024] * 17, bias=False)
    ct.save_model(model, path)
    del model
    clone = mlp(*[1024] * 17, bias=False)
    limit = peak() + (24 << 20)
    ct.load_model(clone, path)
    assert peak() < limit, "16 tensors of 4 MiB were held at once"


def peak() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
