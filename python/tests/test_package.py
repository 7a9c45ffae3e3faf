"""Registration, the command, examples in docstrings, stubs."""

from __future__ import annotations

import dataclasses
import doctest
import enum
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from exact import assert_exact

import cairnfile
from cairnfile import _io, _lazy, _types


@cairnfile.register
@dataclasses.dataclass(frozen=True)
class Config:
    width: int
    weights: object = None


@cairnfile.register
class Colour(enum.IntEnum):
    RED = 1


Point = cairnfile.register(namedtuple("Point", "x y"))


class Meters:
    def __init__(self, n):
        self.n = n


cairnfile.register(Meters, name="test.Meters", encode=lambda m: {"n": m.n}, decode=lambda value: Meters(value["n"]))


def test_registered_types_come_back():
    weight = np.arange(3.0)
    found = cairnfile.loads(cairnfile.dumps([Config(3, weight), Colour.RED, Point(1, weight), Meters(5)]))
    assert type(found[0]) is Config and found[0].width == 3 and found[0].weights is found[2].y
    assert found[1] is Colour.RED and type(found[2]) is Point and found[3].n == 5
    assert_exact(found[0].weights, weight)


def test_registration_is_checked():
    for wrong in [lambda: cairnfile.register(object), lambda: cairnfile.register(3), lambda: cairnfile.register(Meters, encode=repr)]:
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError):
        cairnfile.register(Meters, name="nodot", encode=repr, decode=eval)


def test_unregistered_classes_are_refused_with_a_hint():
    @dataclasses.dataclass
    class Stranger:
        x: int

    with pytest.raises(TypeError, match="cairnfile.register"):
        cairnfile.dumps([Stranger(1)])


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "cairnfile", *arguments], capture_output=True, text=True, check=False)


def test_the_command(path):
    cairnfile.save({"w": np.arange(6.0).reshape(2, 3)}, path)
    listed = command("ls", path)
    assert listed.returncode == 0 and "/w" in listed.stdout and "f64" in listed.stdout
    assert command("verify", path).returncode == 0
    assert command("get", path, "/nope").returncode == 2
    assert command("ls", path.with_name("none")).returncode == 5
    assert "Examples" in command("--help").stdout and command("--version").stdout.startswith("cairn ")


@pytest.mark.parametrize("module", [cairnfile, _io, _lazy, _types])
def test_examples_in_docstrings(module):
    with np.printoptions(legacy="1.25") if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else np.printoptions():
        failed, tried = doctest.testmod(module)
    assert failed == 0 and (tried > 0 or module is cairnfile)


def test_every_public_name_has_a_stub():
    stub = (Path(cairnfile.__file__).parent / "_cairnfile.pyi").read_text()
    from cairnfile import _cairnfile

    missing = [name for name in dir(_cairnfile) if not name.startswith("__") and f" {name}" not in stub]
    assert missing == []
    for cls in (_cairnfile.Raw, _cairnfile.Named, _cairnfile.File, _cairnfile.Group, _cairnfile.LazyTensor):
        assert [name for name in vars(cls) if not name.startswith("_") and f" {name}" not in stub] == []


def test_a_dataclass_with_other_fields_is_not_made():
    name = f"{Config.__module__}.Config"
    for value in [{"width": 1}, {"width": 1, "weights": None, "__class__": 3}, [1, 2]]:
        assert cairnfile.loads(cairnfile.dumps(cairnfile.Named(name, value))) == cairnfile.Named(name, value)
