"""Files of torch's tensors: memory, devices, handles."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cairnfile  # noqa: E402
import cairnfile.torch as ct  # noqa: E402
from cairnfile._torch_adapt import storage_of  # noqa: E402
from torch_equal import assert_same, kept_strides, same_storage  # noqa: E402


@pytest.mark.parametrize("mmap", [False, True])
def test_tensors_outlive_their_siblings(path, mmap):
    ct.save({"a": torch.arange(100_000.0), "b": torch.arange(100_000)}, path)
    state = ct.load(path, mmap=mmap)
    view = state["a"][10:20]
    del state
    gc.collect()
    junk = [torch.full((100_000,), -1.0) for _ in range(20)]
    assert view.tolist() == list(range(10, 20)) and len(junk) == 20


def test_memory_is_released_with_the_last_tensor(path):
    ct.save(torch.zeros(32 << 20, dtype=torch.uint8), path)
    start = resident()
    tensor = ct.load(path).add_(1)[5:6]
    assert resident() - start > 30 << 20
    gc.collect()
    assert resident() - start > 30 << 20 and tensor.item() == 1
    del tensor
    gc.collect()
    assert resident() - start < 8 << 20


def resident() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


def test_mapped_tensors_are_private(path):
    ct.save(torch.zeros(10), path)
    before = path.read_bytes()
    tensor = ct.load(path, mmap=True)
    tensor += 1
    assert path.read_bytes() == before and torch.equal(ct.load(path), torch.zeros(10))


def test_loaded_tensors_are_like_any_other(path):
    ct.save([torch.rand(3, 3), torch.rand(2)], path)
    tensor, other = ct.load(path)
    tensor.requires_grad_().sum().backward()
    assert torch.equal(tensor.grad, torch.ones(3, 3)) and tensor.is_leaf and tensor._base is None
    other.resize_(0)
    copy = pickle.loads(pickle.dumps(tensor.detach()))
    assert torch.equal(copy, tensor)


def test_defaults_of_the_program_do_not_matter():
    data = ct.dumps([torch.arange(6).reshape(2, 3), torch.zeros(0), torch.arange(4)[1:]])
    torch.set_default_dtype(torch.float64)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        back = ct.loads(data)
        if hasattr(torch, "set_default_device"):
            with torch.device("meta"):
                assert all(tensor.device.type == "cpu" for tensor in ct.loads(data))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(deterministic)
    assert_same(back, [torch.arange(6).reshape(2, 3), torch.zeros(0), torch.arange(1, 4)])


def test_map_location(path):
    base = torch.rand(4, 4)
    ct.save([base, base[1], torch.nn.Parameter(base), np.datetime64(3, "s")], path)
    back = ct.load(path, map_location="meta")
    assert [t.device.type for t in back[:3]] == ["meta"] * 3 and back[1].storage_offset() == 4 and back[1].shape == (4,)
    assert storage_of(back[0])._cdata == storage_of(back[1])._cdata
    assert type(back[2]) is torch.nn.Parameter and back[3] == np.datetime64(3, "s")
    assert_same(ct.load(path, map_location=torch.device("cpu"))[:2], [base, base[1]])
    with pytest.raises(TypeError, match="map_location"):
        ct.load(path, map_location={"cuda:0": "cpu"})


@pytest.mark.parametrize("mmap", [False, True])
def test_open_gives_tensors(path, mmap):
    weight = torch.rand(100, 8).to(torch.bfloat16)
    views = {"w": weight, "view": weight[10:20], "t": weight.t(), "e": weight[:0]}
    ct.save({**views, "p": torch.nn.Parameter(weight), "n": torch.arange(4)[1]}, path)
    with ct.open(path, mmap=mmap) as file:
        handle = file["/w"]
        assert (handle.shape, handle.dtype) == ((100, 8), torch.bfloat16)
        for key in (slice(2, 5), 3, (slice(None), 2), (..., slice(1, 7, 2)), -1, (slice(5, 90, 7), None), slice(4, 4)):
            assert_same(handle[key].contiguous(), weight[key].contiguous())
        assert torch.equal(file["/view"][:], weight[10:20])
        assert_same(file["/t"].read(), weight.t())
        assert file["/n"][()].item() == 1 and file["/e"][:].shape == (0, 8)
        assert type(file["/p"]) is torch.nn.Parameter
        assert_same(file.load("/w"), weight)
        part = handle[2:5]
        part.zero_()
        assert_same(handle[2:5], weight[2:5])
        # Every read is memory of its own; in one load views stay together.
        first, second = file.load(["/w", "/view"]), file.load(["/w", "/view"])
        assert same_storage(first["w"], first["view"]) and not same_storage(first["w"], second["w"])
        again = pickle.loads(pickle.dumps(file))
        assert torch.equal(again["/w"][1], weight[1])
    assert torch.equal(handle[0], weight[0])


def test_only_and_file_objects(path):
    value = {"a": {"w": torch.rand(2)}, "b": torch.rand(3)}
    ct.save(value, path)
    assert_same(ct.load(path, only="/a"), value["a"])
    assert_same(ct.load(path, only=["/**/w"]), {"a": value["a"]})
    with path.open("rb") as file:
        assert_same(ct.load(file), value)
    with pytest.raises(cairnfile.LimitError):
        ct.load(path, max_memory=8)


def test_damage_is_found(path):
    ct.save(torch.zeros(100_000), path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\x01")
    for read in (lambda: ct.load(path), lambda: ct.load(path, mmap=True), lambda: ct.open(path)[""].read()):
        with pytest.raises(cairnfile.CorruptError):
            read()


def test_saving_needs_no_import_of_the_submodule(path):
    cairnfile.save({"t": torch.ones(2)}, path)
    assert cairnfile.load(path)["t"].tolist() == [1.0, 1.0]
    assert ct.save is cairnfile.save and ct.dumps is cairnfile.dumps
    assert kept_strides(ct.load(path)["t"]) == (1,)
