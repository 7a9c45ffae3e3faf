"""Nests of values and arrays of every layout, for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

NUMBERS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
OTHERS = ["M8[ns]", "m8[D]", "S3", "U2", "V5"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.floats(allow_nan=True),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(max_size=40),
)
keys = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=8))


def _numbers(dtype: str, shape):
    if dtype == "V5":
        return st.binary(min_size=5 * int(np.prod(shape)), max_size=5 * int(np.prod(shape))).map(
            lambda data: np.frombuffer(data, "V5").reshape(shape).copy()
        )
    return hnp.arrays(dtype, shape)


@st.composite
def arrays(draw, dtypes=tuple(NUMBERS + OTHERS)):
    """An array: C, Fortran or permuted, strided, reversed, broadcast, byte-swapped, read-only, 0-d or empty."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    array = draw(_numbers(dtype, shape))
    how = draw(st.sampled_from(["plain", "permuted", "strided", "reversed", "broadcast", "swapped", "frozen"]))
    if how == "permuted" and array.ndim:
        array = array.transpose(draw(st.permutations(range(array.ndim))))
    elif how == "strided" and array.ndim:
        array = array[..., :: draw(st.integers(2, 3))]
    elif how == "reversed" and array.ndim:
        array = array[::-1]
    elif how == "broadcast":
        array = np.broadcast_to(array, (draw(st.integers(1, 3)), *array.shape))
    elif how == "swapped" and dtype[0] != "V":
        array = array.astype(array.dtype.newbyteorder(">"))
    elif how == "frozen":
        array.flags.writeable = False
    return array


def nests(leaf):
    """Dicts, lists and tuples of `leaf`."""
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=12,
    )


values = nests(st.one_of(scalars, arrays()))


@st.composite
def sharing_nests(draw):
    """Lists of views over one or two bases, each base among them: what must come back sharing in the same way."""
    out = []
    for _ in range(draw(st.integers(1, 2))):
        base = np.arange(draw(st.integers(1, 40)), dtype=draw(st.sampled_from(["u1", "f4", "c16"])))
        views = [base]
        for _ in range(draw(st.integers(0, 4))):
            start = draw(st.integers(0, base.size))
            stop = draw(st.integers(start, base.size))
            view = base[start : stop : draw(st.integers(1, 3))]
            if view.size % 2 == 0 and draw(st.booleans()):
                view = view.reshape(2, -1).T if draw(st.booleans()) else view.reshape(-1, 2)
            views.append(view)
        out.append(draw(st.permutations(views)))
    return out
