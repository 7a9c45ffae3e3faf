//! The arithmetic of files: where parts and buffers begin, how a buffer is cut into blocks, what lies inside of what. Pure,
//! and used by reader and writer alike. `Spec §5, §8, §14.1`.
//!
//! `tests/arithmetic` compiles this file at 8 bits and tries its inputs, and proves the lemmas at 64 bits.

use std::ops::Range;

use crate::limits::{
    HEADER_LEN, LARGE_ALIGN, LARGE_BUFFER, MAX_LEN, MAX_SHARDS, MIN_INDEX_LEN, MIN_SHARD_LOG2, PART_ALIGN, WHOLE_SHARE, Word,
};

/// The least multiple of `align` (a power of two) that is at least `x`; `None` where no [`Word`] is.
pub(crate) fn align_up(x: Word, align: Word) -> Option<Word> {
    x.checked_add(align - 1).map(|x| x & !(align - 1))
}

/// Where a buffer of `len` bytes begins when the part before it ends at `end`; `None` if it would end past [`MAX_LEN`].
pub(crate) fn place(end: Word, len: Word) -> Option<Word> {
    let align = if len >= LARGE_BUFFER { LARGE_ALIGN } else { PART_ALIGN };
    align_up(end, align).filter(|start| start.checked_add(len).is_some_and(|end| end <= MAX_LEN))
}

/// Where the parts behind the buffers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regions {
    /// The index copy of a planned file, the index of a streamed one.
    pub(crate) last_index: Word,
    pub(crate) trailer: Word,
    pub(crate) file_len: Word,
}

/// The regions when the last buffer (or the part before it) ends at `end`; `None` past [`MAX_LEN`].
pub(crate) fn regions(end: Word, index_len: Word) -> Option<Regions> {
    let last_index = align_up(end, PART_ALIGN)?;
    let trailer = align_up(last_index.checked_add(index_len)?, PART_ALIGN)?;
    let file_len = trailer.checked_add(HEADER_LEN).filter(|len| *len <= MAX_LEN)?;
    Some(Regions { last_index, trailer, file_len })
}

/// Where the first buffer may begin: behind the header, or the index.
pub(crate) fn data_start(streamed: bool, index_len: Word) -> Word {
    if streamed { HEADER_LEN } else { HEADER_LEN + index_len }
}

/// Whether an index of `len` bytes at `offset`, its padding and a trailer fit a file of `file_len` bytes, of which there are
/// [`HEADER_LEN`] at least.
pub(crate) fn index_fits(offset: Word, len: Word, file_len: Word) -> bool {
    let end = offset.checked_add(len).and_then(|end| align_up(end, PART_ALIGN));
    len >= MIN_INDEX_LEN && end.is_some_and(|end| end <= file_len - HEADER_LEN)
}

/// Where the second index of a planned file lies: it ends, padded, where the trailer begins.
pub(crate) fn copy_offset(index_len: Word, file_len: Word) -> Option<Word> {
    file_len.checked_sub(HEADER_LEN)?.checked_sub(align_up(index_len, PART_ALIGN)?)
}

/// Whether `span` bytes from `offset` on lie in a buffer of `len` bytes.
pub(crate) fn holds(len: Word, offset: Word, span: Word) -> bool {
    offset.checked_add(span).is_some_and(|end| end <= len)
}

/// How many blocks of `2^log2` bytes a buffer of `len` bytes is cut into.
pub(crate) fn block_count(len: Word, log2: u8) -> Word {
    len.div_ceil(1 << log2)
}

/// How many blocks buffers of these lengths are cut into; [`Word::MAX`] for that many or more.
pub(crate) fn block_total(lens: impl Iterator<Item = Word>, log2: u8) -> Word {
    lens.fold(0, |total, len| total.saturating_add(block_count(len, log2)))
}

/// Where block `i` of a buffer of `len` bytes begins in it, and its length.
pub(crate) fn block(len: Word, log2: u8, i: Word) -> (Word, Word) {
    let at = i << log2;
    (at, (1 << log2).min(len - at))
}

/// The numbers of the blocks that hold bytes `range` of a buffer.
pub(crate) fn blocks_under(log2: u8, range: &Range<Word>) -> Range<Word> {
    if range.is_empty() { 0..0 } else { range.start >> log2..range.end.div_ceil(1 << log2) }
}

/// `range` of a buffer of `len` bytes, widened to whole blocks.
pub(crate) fn widen(len: Word, log2: u8, range: &Range<Word>) -> Range<Word> {
    range.start >> log2 << log2..range.end.div_ceil(1 << log2).saturating_mul(1 << log2).min(len)
}

/// The zeros behind `len` bytes up to a multiple of 8.
pub(crate) fn padding(len: u32) -> u32 {
    len.wrapping_neg() & 7
}

/// Whether `a_len` bytes from `a` on and `b_len` from `b` on, both repeated every `step` bytes, provably have none in common.
pub(crate) fn apart(step: Word, a: Word, a_len: Word, b: Word, b_len: Word) -> bool {
    if step == 0 {
        return false;
    }
    // From the first byte of a up to that of b, around the circle of `step` bytes.
    let (a, b) = (a % step, b % step);
    let ahead = if b >= a { b - a } else { b + (step - a) };
    a_len <= ahead && b_len <= step - ahead
}

/// The exponent of the shards that `len` bytes are cut into, which are blocks of `2^log2` bytes: [`MAX_SHARDS`] at most.
pub(crate) fn shard_log2(len: Word) -> u8 {
    let mut log2 = MIN_SHARD_LOG2;
    while block_count(len, log2) > MAX_SHARDS {
        log2 += 1;
    }
    log2
}

/// How many parity shards `share` parts of [`WHOLE_SHARE`] are, for data of `shards` shards.
pub(crate) fn parity_count(shards: Word, share: Word) -> Word {
    (shards * share).div_ceil(WHOLE_SHARE)
}

/// The greatest share that asks for no more than `parity` shards: for as many, if any does; there is one data shard at least.
pub(crate) fn parity_share(shards: Word, parity: Word) -> Word {
    parity * WHOLE_SHARE / shards
}
