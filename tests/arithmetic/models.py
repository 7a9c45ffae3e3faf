"""The functions of src/place.rs and src/layout.rs over words that are z3 terms or Python's integers.

Each model bears the name of its Rust function and takes a Width, which has the constants and the operations. Operations
that panic where the word overflows note what must hold (`width.must`); checked ones give a value and a condition. What a
model returns is a list of results and the condition under which there are any.
"""

import z3


class Concrete:
    """Python's integers, bounded to 8 bits: what tests/arithmetic/main.rs compiles the functions at."""

    def __init__(self):
        self.max, self.limits = 255, dict(MAX_LEN=127, HEADER_LEN=4, PART_ALIGN=4, LARGE_ALIGN=16, LARGE_BUFFER=32, MIN_INDEX_LEN=3)
        self.limits |= dict(MIN_SHARD_LOG2=2, MAX_SHARDS=8, WHOLE_SHARE=20)

    def __getattr__(self, name):
        return self.limits[name]

    def must(self, condition):
        assert condition, "an operation overflows"

    def ite(self, condition, a, b):
        return a if condition else b

    def all(self, *conditions):
        return all(conditions)

    def any(self, *conditions):
        return any(conditions)

    def no(self, condition):
        return not condition

    def mask(self, x, align):
        return x & (self.max & ~(align - 1))

    def div(self, x, y):
        return x // y

    def rem(self, x, y):
        return x % y


class Symbolic:
    """z3's integers, bounded to 64 bits by what is asked of them. `x & !(align - 1)` is x less its remainder: `prove`
    shows that of bit-vectors."""

    def __init__(self):
        self.max, self.needs = 2**64 - 1, []
        self.limits = dict(MAX_LEN=2**63 - 1, HEADER_LEN=64, PART_ALIGN=64, LARGE_ALIGN=4096, LARGE_BUFFER=65536, MIN_INDEX_LEN=26)
        self.limits |= dict(MIN_SHARD_LOG2=9, MAX_SHARDS=32768, WHOLE_SHARE=10_000)

    def __getattr__(self, name):
        return self.limits[name]

    def must(self, condition):
        self.needs.append(condition)

    def ite(self, condition, a, b):
        return z3.If(condition, a, b)

    def all(self, *conditions):
        return z3.And(*conditions)

    def any(self, *conditions):
        return z3.Or(*conditions)

    def no(self, condition):
        return z3.Not(condition)

    def mask(self, x, align):
        return x - x % align

    def div(self, x, y):
        return x / y if z3.is_expr(x) else x // y

    def rem(self, x, y):
        return x % y


def add(w, a, b):
    w.must(a + b <= w.max)
    return a + b


def sub(w, a, b, when=True):
    w.must(w.any(w.no(when), a >= b))
    return a - b


def mul(w, a, b):
    w.must(a * b <= w.max)
    return a * b


def ceil(w, x, y):
    """`x.div_ceil(y)`, which does not overflow."""
    return w.div(x, y) + w.ite(w.rem(x, y) > 0, 1, 0)


def least(w, a, b):
    return w.ite(a <= b, a, b)


# src/place.rs


def align_up(w, x, align):
    up = x + (align - 1)
    return [w.mask(up, align)], up <= w.max


def place(w, end, length):
    align = lambda a: align_up(w, end, a)
    large = length >= w.LARGE_BUFFER
    ([at_large], fits_large), ([at_small], fits_small) = align(w.LARGE_ALIGN), align(w.PART_ALIGN)
    start, fits = w.ite(large, at_large, at_small), w.ite(large, fits_large, fits_small)
    return [start], w.all(fits, start + length <= w.max, start + length <= w.MAX_LEN)


def regions(w, end, index_len):
    [last_index], first = align_up(w, end, w.PART_ALIGN)
    [trailer], second = align_up(w, last_index + index_len, w.PART_ALIGN)
    file_len = trailer + w.HEADER_LEN
    return [last_index, trailer, file_len], w.all(first, last_index + index_len <= w.max, second, file_len <= w.max, file_len <= w.MAX_LEN)


def data_start(w, streamed, index_len):
    return [w.ite(streamed, w.HEADER_LEN, add(w, index_len, w.HEADER_LEN))], True


def index_fits(w, offset, length, file_len):
    [end], fits = align_up(w, offset + length, w.PART_ALIGN)
    most = sub(w, file_len, w.HEADER_LEN)
    return [w.all(length >= w.MIN_INDEX_LEN, offset + length <= w.max, fits, end <= most)], True


def copy_offset(w, index_len, file_len):
    [padded], fits = align_up(w, index_len, w.PART_ALIGN)
    return [file_len - w.HEADER_LEN - padded], w.all(file_len >= w.HEADER_LEN, fits, file_len - w.HEADER_LEN >= padded)


def holds(w, length, offset, span):
    return [w.all(offset + span <= w.max, offset + span <= length)], True


def block_count(w, length, log2):
    return [ceil(w, length, 1 << log2)], True


def block_total(w, *lengths_and_log2):
    *lengths, log2 = lengths_and_log2
    total = 0
    for length in lengths:
        total = least(w, total + block_count(w, length, log2)[0][0], w.max)
    return [total], True


def block(w, length, log2, i):
    at = mul(w, i, 1 << log2)
    return [at, least(w, 1 << log2, sub(w, length, at))], True


def blocks_under(w, log2, start, end):
    empty = start >= end
    return [w.ite(empty, 0, w.div(start, 1 << log2)), w.ite(empty, 0, ceil(w, end, 1 << log2))], True


def widen(w, length, log2, start, end):
    up = least(w, ceil(w, end, 1 << log2) * (1 << log2), w.max)
    return [w.div(start, 1 << log2) * (1 << log2), least(w, up, length)], True


def padding(w, length):
    return [w.rem(-length, 8)], True


def apart(w, step, a, a_len, b, b_len):
    # Where `step` is 0 nothing is divided.
    some = step > 0
    by = w.ite(some, step, 1)
    a, b = w.rem(a, by), w.rem(b, by)
    ahead = w.ite(b >= a, b - a, b + (by - a))
    w.must(ahead <= w.max)
    return [w.all(some, a_len <= ahead, b_len <= sub(w, by, ahead))], True


def shard_log2(w, length):
    """The turns of its loop: one for each exponent that is too small."""
    top = (w.max // w.MAX_SHARDS).bit_length()
    return [w.MIN_SHARD_LOG2 + sum(w.ite(block_count(w, length, log2)[0][0] > w.MAX_SHARDS, 1, 0) for log2 in range(w.MIN_SHARD_LOG2, top))], True


def parity_count(w, shards, share):
    return [ceil(w, mul(w, shards, share), w.WHOLE_SHARE)], True


def parity_share(w, shards, parity):
    return [w.div(mul(w, parity, w.WHOLE_SHARE), shards)], True


# src/layout.rs


def reach_step(w, reach, product, dense, stride, dim):
    """One turn of the loop in `reach`: an axis of extent above 1."""
    further = (sub(w, dim, 1)) * stride
    fits = w.all(stride > reach, further <= w.max, further + reach <= w.max, further + reach < w.MAX_LEN, product * dim <= w.max)
    return [further + reach, product * dim, w.all(dense, stride == product)], fits


def reach(w, *dims_and_strides):
    rank = len(dims_and_strides) // 2
    last, product, dense, legal = 0, 1, True, True
    axes = sorted((s, d) for d, s in zip(dims_and_strides[:rank], dims_and_strides[rank:]) if d > 1)
    for stride, dim in axes:
        [last, product, dense], fits = reach_step(w, last, product, dense, stride, dim)
        legal = legal and fits
    return [last, dense], legal


def strided(w, width, *dims_and_strides):
    """Of a scalar dtype with `width` bytes."""
    rank = len(dims_and_strides) // 2
    dims, strides = dims_and_strides[:rank], dims_and_strides[rank:]
    [length], fits = row_major(w, 1, width, *dims)
    canonical = all((d <= 1) == (s == 0) for d, s in zip(dims, strides))
    plain, expected = True, 1
    for d, s in zip(reversed(dims), reversed(strides)):
        plain, expected = plain and (d <= 1 or s == expected), min(expected * max(d, 1), w.max)
    [last, dense], legal = reach(w, *dims_and_strides)
    [span], small = span_of(w, last, width)
    return [length, span, dense], fits and length > 0 and canonical and not plain and legal and small


def span_of(w, reach, width):
    """The span in `strided`."""
    span = (reach + 1) * width
    return [span], w.all(span <= w.max, span <= w.MAX_LEN)


def product_step(w, product, dim):
    """One turn of the loop in `bounded_count`."""
    counted = w.ite(dim == 0, 1, dim)
    return [product * counted], w.all(product * counted <= w.max, product * counted <= w.MAX_LEN)


def row_major(w, elements, width, *dims):
    product, fits = 1, True
    for dim in dims:
        [product], ok = product_step(w, product, dim)
        fits = w.all(fits, ok)
    size = ceil(w, product, elements) * width
    return [w.ite(w.any(False, *[dim == 0 for dim in dims]), 0, size)], w.all(fits, size <= w.max, size <= w.MAX_LEN)


def element_bytes(w, elements, width, start, count):
    first = w.div(start, elements)
    end = ceil(w, add(w, start, count), elements)
    return [mul(w, first, width), mul(w, sub(w, end, first), width)], True


def element_step(w, at, i, stride):
    """One turn of the fold in `element_at`."""
    return [add(w, at, mul(w, i, stride))], True
