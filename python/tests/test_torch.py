"""torch's tensors: dtypes, layouts, sharing, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cairnfile  # noqa: E402
import cairnfile.torch as ct  # noqa: E402
from cairnfile import _torch_adapt, _torch_dtypes  # noqa: E402
from cairnfile._torch_adapt import storage_of  # noqa: E402
from torch_equal import as_bytes, assert_same, bits, random_tensor, same_storage  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*experimental:UserWarning")
DTYPES = list(_torch_dtypes.NAMES)
PAIRS = getattr(torch, "float4_e2m1fn_x2", None)
STRIDED = [dtype for dtype in DTYPES if dtype is not PAIRS]
LAYOUTS = {
    "row": lambda make: make(5),
    "matrix": lambda make: make(3, 4),
    "scalar": lambda make: make(),
    "one": lambda make: make(1, 1, 1),
    "empty": lambda make: make(0),
    "empty axis": lambda make: make(3, 0, 2),
    "transposed": lambda make: make(3, 4).t(),
    "permuted": lambda make: make(2, 3, 4).permute(2, 0, 1),
    "channels last": lambda make: make(2, 5, 4, 3).permute(0, 3, 1, 2),
}


def there_and_back(value, **options):
    return ct.loads(ct.dumps(value), **options)


def test_the_dtypes_that_are_not_kept():
    known = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    others = {str(dtype).partition(".")[2] for dtype in known - set(DTYPES)}
    # Quantized ones, shells of a few bits, and a complex of two bf16.
    assert {name for name in others if not name.startswith(("qint", "quint", "bits", "int", "uint"))} <= {"bcomplex32", "bit"}
    assert not {f"{sign}int{width}" for sign in ("u", "") for width in (8, 16, 32, 64)} & others


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", STRIDED, ids=str)
def test_dtypes_in_layouts(dtype, layout):
    tensor = LAYOUTS[layout](lambda *shape: random_tensor(dtype, *shape))
    back = there_and_back({"t": tensor})["t"]
    assert_same(tensor, back)
    assert back.is_contiguous() == tensor.is_contiguous()
    assert storage_of(back).nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("dtype", STRIDED, ids=str)
def test_views_of_one_storage(dtype):
    base = random_tensor(dtype, 6, 8)
    views = [base, base[1:3], base[:, 2], base[::2, 1::3], base.t(), base[5, 7], base.reshape(4, 12), base[2:2]]
    back = there_and_back(views)
    assert_same(views, back)
    for view, saved in zip(back[:-1], views):
        assert same_storage(view, back[0]) and view.storage_offset() == saved.storage_offset()
    as_bytes(back[0]).zero_()
    assert not any(any(bits(view)) for view in back)


def test_strides_of_axes_of_one_element_are_as_torch_makes_them():
    images = torch.rand(4, 1, 5, 6)[:, :, :, 1:3]
    back = there_and_back([images._base, images])[1]
    assert back.stride() == (30, 30, 6, 1)
    assert torch.equal(back, images)


def test_overlapping_views_without_their_base():
    base = torch.arange(10.0)
    back = there_and_back({"low": base[:7], "high": base[4:]})
    assert back["high"].data_ptr() - back["low"].data_ptr() == 16
    back["low"][5] = -1.0
    assert back["high"][1] == -1.0 and back["low"]._base is None


def test_expanded_tensors_keep_their_elements():
    tensor = torch.arange(3.0).expand(4, 3)
    assert torch.equal(there_and_back(tensor), tensor)


def test_a_storage_ends_where_its_buffer_does(path):
    ct.save([torch.ones(3), torch.zeros(1000)], path)
    for mmap in (False, True):
        ones, zeros = ct.load(path, mmap=mmap)
        assert (storage_of(ones).nbytes(), storage_of(zeros).nbytes()) == (12, 4000)


@pytest.mark.skipif(PAIRS is None, reason="this torch has no float4_e2m1fn_x2")
def test_float4_in_pairs():
    memory = torch.tensor([[0x12, 0xA3], [0x4F, 0x05]], dtype=torch.uint8)
    tensor = memory.view(PAIRS)
    data = ct.dumps({"t": tensor})
    raw = cairnfile.loads(data)["t"]
    assert raw.shape == (2, 4)
    back = ct.loads(data)["t"]
    assert back.dtype is PAIRS and back.shape == (2, 2)
    assert torch.equal(back.view(torch.uint8), memory)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    # Byte 0x12 has element 0 in its low half: 2 is 1.0 and 1 is 0.5.
    assert raw.dtype == ml_dtypes.float4_e2m1fn and raw[0, :2].tolist() == [1.0, 0.5]


@pytest.mark.skipif(PAIRS is None, reason="this torch has no float4_e2m1fn_x2")
def test_float4_shares_and_refuses():
    tensor = torch.zeros(4, 6, dtype=torch.uint8).view(PAIRS)
    back = there_and_back([tensor, tensor.view(24), tensor])
    assert back[0] is back[2] and back[0].data_ptr() == back[1].data_ptr()
    assert there_and_back(tensor[:0]).shape == (0, 6)
    for loose in (tensor[0, 0], tensor.t(), tensor[:, 1:3]):
        with pytest.raises(TypeError, match=r'at "/0": .*without axes or not contiguous'):
            ct.dumps([loose])


def test_what_torch_cannot_have_comes_back_raw_or_as_an_array():
    block = cairnfile.Raw("q4_0", (32,), np.arange(18, dtype=np.uint8))
    odd = cairnfile.Raw("f4_e2m1fn", (3,), np.array([0x21, 0x03], np.uint8))
    packed = [cairnfile.Raw(name, (4,), np.zeros(3 if "f6" in name else 2, np.uint8)) for name in ("i4", "u4", "f6_e2m3fn")]
    back = there_and_back([block, odd, *packed])
    assert back == [block, odd, *packed]
    dates = np.array(["2020-01-01", "NaT"], "M8[ns]")
    text = np.array(["a", "bc"])
    back = there_and_back([dates, text])
    assert [type(b) for b in back] == [np.ndarray] * 2 and back[0].dtype == dates.dtype and back[1].tolist() == ["a", "bc"]


def test_unsigned_ints_of_numpy():
    array = np.array([1, 65535], np.uint16)
    back = there_and_back(array)
    assert type(back) is (torch.Tensor if hasattr(torch, "uint16") else np.ndarray)
    assert np.asarray(back).dtype == np.uint16 and np.asarray(back).tolist() == [1, 65535]


def test_numpy_scalars_stay_numpy_scalars():
    values = [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex64(1 + 2j), np.uint16(9), np.float16(0.1)]
    values.append(np.datetime64(5, "ns"))
    back = there_and_back(values)
    assert [(type(b), b) for b in back] == [(type(v), v) for v in values]


def test_parameters(path):
    weight = torch.nn.Parameter(torch.rand(3, 2))
    frozen = torch.nn.Parameter(torch.arange(3), requires_grad=False)
    transposed = torch.nn.Parameter(torch.rand(4, 3).t())
    value = {"w": weight, "again": weight, "plain": weight.data, "frozen": frozen, "t": transposed}
    ct.save(value, path)
    back = ct.load(path)
    assert_same(value, back)
    assert back["w"] is back["again"] and back["w"].data_ptr() == back["plain"].data_ptr()
    assert back["w"].requires_grad and back["w"].is_leaf and not back["plain"].requires_grad and not back["frozen"].requires_grad
    arrays = cairnfile.load(path)
    assert type(arrays["w"]) is np.ndarray and arrays["w"] is arrays["plain"]


def test_a_parameter_that_cannot_be_one_keeps_its_name():
    back = there_and_back(cairnfile.Named("torch.nn.Parameter", torch.arange(3)))
    assert type(back) is cairnfile.Named and back.name == "torch.nn.Parameter"


def test_sizes_devices_dtypes():
    value = [torch.Size((2, 3)), torch.Size(()), torch.device("cpu"), torch.device("cuda:1"), *DTYPES]
    back = there_and_back(value)
    assert_same(value, back)
    assert there_and_back(np.dtype("M8[s]")) == np.dtype("M8[s]") and there_and_back(np.dtype("f4")) is torch.float32


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_lazy_conjugates_and_negatives(dtype):
    tensor = random_tensor(dtype, 3, 4)
    for lazy in (tensor.conj(), tensor.conj().t(), tensor.conj().imag, tensor[1:, 2].conj(), torch.nn.Parameter(tensor.conj())):
        assert lazy.is_conj() or lazy.is_neg()
        back = there_and_back([lazy])[0]
        assert type(back) is type(lazy) and not back.is_conj() and not back.is_neg()
        assert bits(back) == bits(lazy)
    back = there_and_back([tensor.conj(), tensor.conj()])
    assert back[0] is back[1]


def test_a_conjugate_beside_its_base_is_refused_unless_copied():
    tensor = torch.rand(3, dtype=torch.complex64)
    with pytest.raises(cairnfile.SharingLostError):
        ct.dumps([tensor, tensor.conj()])
    with pytest.raises(cairnfile.SharingLostError):
        ct.dumps([tensor.conj()[:2], tensor.conj()[1:]])
    back = ct.loads(ct.dumps([tensor, tensor.conj()], copy=True))
    assert torch.equal(back[1], tensor.conj().resolve_conj())


def test_storages_of_other_devices_are_copied_once(monkeypatch):
    base = torch.rand(4, 5)
    odd = torch.rand(3, dtype=torch.complex64)
    seen = []
    copied = _torch_adapt._copied

    def counted(tensor, state):
        made = copied(tensor, state)
        seen.append(made.data_ptr() - tensor.storage_offset() * tensor.element_size())
        return made

    monkeypatch.setattr(_torch_adapt, "_on_cpu", lambda tensor: False)
    monkeypatch.setattr(_torch_adapt, "_copied", counted)
    value = {"base": base, "row": base[1], "column": base[:, 2], "tied": base, "p": torch.nn.Parameter(base), "conj": odd.conj()}
    back = there_and_back(value)
    assert_same({**value, "conj": value["conj"].resolve_conj()}, back)
    assert len(seen) >= 5 and len(set(seen[:-1])) == 1 and base.data_ptr() not in seen
    assert back["base"] is back["tied"] and same_storage(back["row"], back["base"]) and same_storage(back["column"], back["base"])
    with pytest.raises(cairnfile.SharingLostError):
        ct.dumps([odd, odd.conj()])
