"""What a file and a model disagree on, said in one error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._cairnfile import UsageError

_SHOWN = 20


class Differences:
    """Entries that are missing from a file, unexpected in it, or of another form, by name or address."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        #: Pairs of name and what is wrong.
        self.mismatched: list[tuple[str, str]] = []

    def compare(self, wanted: Mapping[str, tuple], found: Mapping[str, tuple]) -> None:
        """Adds the differences of two sets of entries: names to pairs of dtype and shape.

        A wanted dtype of None, and a wanted extent of None, fit everything.
        """
        self.missing += [name for name in wanted if name not in found]
        self.unexpected += [name for name in found if name not in wanted]
        for name in wanted:
            if name in found and (wrong := mismatch(wanted[name], found[name])):
                self.mismatched.append((name, wrong))

    def check(self, whose: str, *, strict: bool = True) -> tuple[list[str], list[str]]:
        """Returns missing and unexpected entries.

        Raises
        ------
        UsageError
            A `CairnError` and `ValueError`, for mismatched entries, and if `strict` for missing and unexpected ones; names all of them.
        """
        parts = [f"mismatched: {name} ({wrong})" for name, wrong in self.mismatched[:_SHOWN]]
        parts += _more(self.mismatched)
        if strict:
            for kind, names in (("missing", self.missing), ("unexpected", self.unexpected)):
                parts += [f"{kind}: {name}" for name in names[:_SHOWN]] + _more(names)
        if parts:
            hint = "" if self.mismatched or not strict else "\nstrict=False allows missing and unexpected entries"
            raise UsageError(f"the file does not fit {whose}:\n  " + "\n  ".join(parts) + (hint if whose == "the model" else ""))
        return self.missing, self.unexpected


def mismatch(wanted: tuple, found: tuple) -> str | None:
    """What is wrong with a found dtype and shape; None if they fit."""
    (dtype, shape), (found_dtype, found_shape) = wanted, found
    fits = len(shape) == len(found_shape) and all(n is None or n == m for n, m in zip(shape, found_shape))
    if fits and dtype in (None, found_dtype):
        return None
    shown = tuple("?" if n is None else n for n in shape)
    return f"{dtype or 'any dtype'} of shape {_shape(shown)} is wanted, the file has {found_dtype} of shape {_shape(found_shape)}"


def _shape(shape: tuple) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _more(names: list) -> list[str]:
    return [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []


def token(key: Any) -> str:
    """A dict key, or a position, as the last token of an address."""
    if isinstance(key, bytes):
        return "/~b" + key.hex()
    if isinstance(key, int):
        return f"/~i{key}"
    return "/" + key.replace("~", "~0").replace("/", "~1")
