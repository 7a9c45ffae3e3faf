"""What torch has and a file does not: refused by name, with what to save in its place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import cairnfile.torch as ct  # noqa: E402
from cairnfile._torch_adapt import storage_of  # noqa: E402

# Half of what is refused is experimental in some version of torch.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def fake():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        return torch.empty(3)


def ragged(**options):
    return torch.nested.nested_tensor([torch.rand(2), torch.rand(3)], **options)


def subclass():
    return torch.rand(3).as_subclass(type("Mine", (torch.Tensor,), {}))


def shell(name):
    return lambda: torch.empty(0, dtype=getattr(torch, name))


CASES = {
    "quantized": (lambda: torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8), "int_repr"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "to_dense"),
    "compressed": (lambda: torch.eye(3).to_sparse_csr(), "to_dense"),
    "meta": (lambda: torch.empty(3, device="meta"), "real tensor"),
    "nested": (ragged, "unbind"),
    "uninitialized": (lambda: torch.nn.LazyLinear(3).weight, "forward"),
    "subclass": (subclass, "as_subclass"),
    "fake": (fake, "real tensor"),
    "module": (lambda: torch.nn.Linear(2, 2), "state_dict"),
    "optimizer": (lambda: torch.optim.SGD([torch.zeros(1)], lr=0.1), "state_dict"),
    "generator": (torch.Generator, "get_state"),
    "function": (lambda: torch.nn.functional.relu, "function"),
    "return type": (lambda: torch.rand(3, 2).max(0), "cannot be kept"),
    "storage": (lambda: storage_of(torch.rand(3)), "cannot be kept"),
}
if hasattr(torch, "jagged"):
    CASES["jagged"] = (lambda: ragged(layout=torch.jagged), "offsets")
if hasattr(torch.Tensor, "has_names"):
    CASES["named axes"] = (lambda: torch.zeros(2, 3, names=("a", "b")), "rename")
for each in filter(lambda name: hasattr(torch, name), ("uint4", "int3", "bits8", "bcomplex32")):
    CASES[each] = (shell(each), "torch.uint8")
    CASES[f"torch.{each}"] = (lambda name=each: getattr(torch, name), "cannot be kept")


@pytest.mark.parametrize("case", CASES)
def test_refused_with_address_and_hint(case):
    make, hint = CASES[case]
    with pytest.raises(TypeError, match=r'at "/a/0": ') as raised:
        ct.dumps({"a": [make()]})
    assert hint in str(raised.value)


def test_refused_inside_vmap():
    vmap = getattr(torch, "vmap", None) or pytest.importorskip("functorch").vmap

    def save(row):
        ct.dumps([row])
        return row

    with pytest.raises(TypeError, match=r'at "/0": .*cannot be kept'):
        vmap(save)(torch.rand(3, 2))
