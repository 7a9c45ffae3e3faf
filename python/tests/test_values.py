"""Values that are no arrays: every type comes back as itself, everything else is refused with its address."""

from __future__ import annotations

import collections
import enum
import io
import os
import pathlib
import random

import numpy as np
import pytest
from exact import assert_exact
from hypothesis import given
from strategies import keys, nests, scalars, values

import cairnfile


@given(nests(scalars))
def test_nests_of_scalars(value):
    assert_exact(value, cairnfile.loads(cairnfile.dumps(value)))


@given(values)
def test_values_with_arrays_and_canonical_bytes(value):
    data = cairnfile.dumps(value, copy=True)
    back = cairnfile.loads(data)
    # Tensors without bytes are one if dtype and shape are equal, so only the second file is sure to be its own image.
    again = cairnfile.dumps(back)
    assert cairnfile.dumps(cairnfile.loads(again)) == again


@pytest.mark.parametrize(
    "value",
    [
        {"": 1, "/": 2, "~": 3, "a\0b": 4, "\x1b[31m": 5},
        {1: "int", "1": "str", b"1": "bytes"},
        [0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 2**1000, -(2**1000)],
        [float("nan"), -0.0, float("inf"), 5e-324, complex(-0.0, float("nan"))],
        [b"", b"x" * 65536, b"y" * 65537, b"z" * 1_000_000],
        [True, 1, 1.0, "1", b"1", None],
        (),
        ((),),
        [[], {}, ()],
        "\U0001f5ff",
    ],
)
def test_edges(value, path):
    cairnfile.save(value, path)
    assert_exact(value, cairnfile.load(path))


def test_nan_payload():
    signalling = np.array([0x7FF0_0000_0000_0001, 0xFFF8_1234_5678_9ABC], "u8").view("f8")
    assert cairnfile.loads(cairnfile.dumps(signalling)).tobytes() == signalling.tobytes()
    quiet = float(signalling[1])
    assert np.float64(cairnfile.loads(cairnfile.dumps(quiet))).tobytes() == np.float64(quiet).tobytes()


def test_depth_is_bounded_at_128():
    value = None
    for _ in range(127):
        value = [value]
    assert_exact(value, cairnfile.loads(cairnfile.dumps(value)))
    with pytest.raises(cairnfile.LimitError, match="128"):
        cairnfile.dumps([value])


@pytest.mark.parametrize("make", [lambda: [], lambda: {}])
def test_a_value_that_contains_itself(make):
    value = make()
    inner = [value]
    value.append(inner) if isinstance(value, list) else value.update(x=inner)
    with pytest.raises(ValueError, match="contain themselves"):
        cairnfile.dumps(value)


class Text(str):
    pass


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (object(), "the root"),
        ({"a": [0, {1, 2}]}, '"/a/1"'),
        ({"a": {7: (range(3),)}}, '"/a/~i7/0"'),
        ([bytearray(b"x")], '"/0"'),
        ({b"k": Text("x")}, '"/~b6b"'),
        ([lambda: 0], '"/0"'),
        ({"x": np.array([object()])}, '"/x"'),
        ({"x": np.zeros(2, [("a", "f4")])}, '"/x"'),
        ({"x": np.ma.masked_array([1, 2], [0, 1])}, '"/x"'),
        ({"x/y": Access.READ | Access.WRITE}, '"/x~1y"'),
        ([collections.defaultdict(lambda: 0)], '"/0"'),
        ([pathlib.Path("x")], '"/0"'),
    ],
)
def test_what_cannot_be_kept_is_named_with_its_address(value, address, path):
    with pytest.raises(TypeError) as refusal:
        cairnfile.save(value, path)
    assert f"at {address}: " in str(refusal.value)
    assert not path.exists() and not os.listdir(path.parent)


@pytest.mark.parametrize("key", [True, None, 1.0, (1,), np.int64(1), Text("k"), 2**63, "\ud800"])
def test_other_keys_are_refused(key):
    with pytest.raises(TypeError, match="keys are str"):
        cairnfile.dumps({"in": {key: 1}})


def test_lone_surrogates_are_refused():
    with pytest.raises(ValueError, match='at "/a": a str has a lone surrogate'):
        cairnfile.dumps({"a": "\udcff"})


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict([("b", 1), (0, 2)]),
        collections.Counter("abracadabra"),
        collections.defaultdict(list, {"a": [1]}),
        collections.defaultdict(None, {"a": 1}),
        np.float32(1.5),
        np.float64(-0.0),
        np.bool_(True),
        np.int8(-3),
        np.str_("äx"),
        np.bytes_(b"ab"),
        np.datetime64("2026-01-01T00:00:00", "ns"),
        np.complex64(1j),
        np.dtype("f4"),
        np.dtype("M8[s]"),
        np.dtype("U7"),
        np.random.default_rng(0).bit_generator.state,
        random.Random(3).getstate(),
    ],
)
def test_types_that_are_kept_by_name(value):
    assert_exact(value, cairnfile.loads(cairnfile.dumps(value)))


def test_a_default_factory_works_again():
    back = cairnfile.loads(cairnfile.dumps(collections.defaultdict(int, {"a": 1})))
    back["b"] += 2
    assert back == {"a": 1, "b": 2}


def test_state_dict_metadata_stays_with_an_ordered_dict():
    state = collections.OrderedDict(w=np.ones(2))
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    back = cairnfile.loads(cairnfile.dumps(state))
    assert list(back) == ["w"] and back._metadata == state._metadata and type(back._metadata) is collections.OrderedDict
    state.other = 1
    with pytest.raises(TypeError, match="other"):
        cairnfile.dumps(state)


def test_unknown_names_come_back_as_name_and_value():
    point = cairnfile.loads(cairnfile.dumps(Point(1, [2])))
    assert point == cairnfile.Named("named_tuple", ("test_values.Point", {"x": 1, "y": [2]}))
    colour = cairnfile.loads(cairnfile.dumps(Colour.RED))
    assert (colour.name, colour.value) == ("enum", ("test_values.Colour", "RED"))
    assert cairnfile.dumps(point) == cairnfile.dumps(Point(1, [2]))
    private = cairnfile.Named("acme.thing", {"w": 1})
    assert cairnfile.loads(cairnfile.dumps(private)) == private
    with pytest.raises(cairnfile.CairnError):
        cairnfile.dumps(cairnfile.Named("unregistered", 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [("counter", [1]), ("default_dict", ("eval", {})), ("enum", 3), ("named_tuple", ({},)), ("dtype", "nonsense"), ("torch_size", "x")],
)
def test_names_with_other_forms_are_not_guessed_at(name, value):
    assert cairnfile.loads(cairnfile.dumps(cairnfile.Named(name, value))) == cairnfile.Named(name, value)


@given(keys)
def test_keys(key):
    assert_exact({key: key}, cairnfile.loads(cairnfile.dumps({key: key})))


def test_paths_and_file_objects(tmp_path):
    value = {"w": np.arange(100_000.0), "n": 1}
    expected = cairnfile.dumps(value)
    for path in [tmp_path / "a", str(tmp_path / "b"), os.fsencode(tmp_path / "c")]:
        cairnfile.save(value, path)
        with open(path, "rb") as file:
            assert file.read() == expected
        assert_exact(value, cairnfile.load(path))
    sink = io.BytesIO()
    cairnfile.save(value, sink)
    assert sink.getvalue() == expected
    sink.seek(0)
    assert_exact(value, cairnfile.load(sink))
    assert_exact(value, cairnfile.loads(memoryview(expected)))
    with open(tmp_path / "d", "wb", buffering=0) as raw:
        cairnfile.save(value, raw)
    assert (tmp_path / "d").read_bytes() == expected


def test_what_a_file_object_raises_is_raised():
    class Full:
        def write(self, _data):
            raise RuntimeError("the disk of this test is full")

    with pytest.raises(RuntimeError, match="of this test"):
        cairnfile.save([1], Full())


def test_metadata(path):
    cairnfile.save(1, path, metadata={"licence": "MIT", "tags": ["a", 2], "big": 2**80})
    with cairnfile.open(path) as file:
        assert_exact(file.metadata, {"licence": "MIT", "tags": ["a", 2], "big": 2**80})
    for wrong in [{1: 2}, {"w": np.zeros(3)}, {"b": b"x" * 70000}]:
        with pytest.raises((cairnfile.CairnError, TypeError)):
            cairnfile.dumps(1, metadata=wrong)
    with pytest.raises(TypeError):
        cairnfile.dumps(1, metadata=["x"])


def test_options_are_checked():
    for size in [0, 4095, 4097, 2**23, 3 * 4096]:
        with pytest.raises(ValueError, match="block_size"):
            cairnfile.dumps(1, block_size=size)
    assert cairnfile.dumps(np.zeros(9000), block_size=4096) != cairnfile.dumps(np.zeros(9000))
