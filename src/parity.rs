//! The parity extension: which bytes it protects, how they are cut into shards, and what stands in the index. `Spec §14.1`.
//!
//! ```text
//! protected bytes   buffer │ buffer │ buffer …        without padding, auxiliary ones left out
//! cut into          shard │ shard │ shard │ shard 0   the last one filled up with zeros
//! auxiliary buffer  parity shard │ parity shard       any as many lost shards can be computed from the rest
//! payload           a CRC-32 for each shard, then for each parity shard
//! ```

pub(crate) mod code;
pub(crate) mod encode;
pub(crate) mod heal;

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};

use crate::buffer::{Buffer, KIND_AUXILIARY};
use crate::bytes::table_index;
use crate::extension;
use crate::index::Index;
use crate::limits::Word;
use crate::place;

/// The tag of the extension, which a reader may skip.
pub(crate) const TAG: u32 = 2;

/// How many bytes are protected, by how many shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheme {
    /// Protected bytes; not 0.
    pub(crate) len: Word,
    /// Bytes of one shard, as a power of two.
    log2: u8,
    /// Shards that the protected bytes are cut into.
    pub(crate) data: u32,
    /// Parity shards: how many lost ones can be computed.
    pub(crate) parity: u32,
}

impl Scheme {
    /// `parity` shards for `len` bytes; `None` for no bytes, for no parity, and for more of it than data.
    fn with(len: Word, parity: Word) -> Option<Self> {
        let log2 = place::shard_log2(len);
        let data = place::block_count(len, log2);
        let fits = len > 0 && parity > 0 && parity <= data;
        let count = |n: Word| u32::try_from(n).ok();
        fits.then_some(Self { len, log2, data: count(data)?, parity: count(parity)? })
    }

    /// The scheme for `len` bytes where `share` ten-thousandths of the shards may be lost; `None` where there is nothing to protect.
    pub(crate) fn for_share(len: Word, share: u16) -> Option<Self> {
        let shards = place::block_count(len, place::shard_log2(len));
        Self::with(len, place::parity_count(shards, share.into()))
    }

    /// The greatest share that asks for as many parity shards.
    pub(crate) fn share(&self) -> u16 {
        u16::try_from(place::parity_share(self.data.into(), self.parity.into())).unwrap_or(u16::MAX)
    }

    /// Bytes of one shard.
    pub(crate) fn shard(&self) -> Word {
        1 << self.log2
    }

    /// Bytes of the auxiliary buffer.
    pub(crate) fn parity_len(&self) -> Word {
        self.parity_at(self.parity)
    }

    /// Where parity shard `number` begins in that buffer.
    pub(crate) fn parity_at(&self, number: u32) -> Word {
        Word::from(number) << self.log2
    }

    /// Bytes of the payload.
    pub(crate) fn payload_len(&self) -> usize {
        (table_index(self.data) + table_index(self.parity)) * 4
    }

    /// The protected bytes of shard `number`: the last one may have fewer than a shard takes.
    pub(crate) fn range(&self, number: u32) -> Range<Word> {
        let (start, len) = place::block(self.len, self.log2, number.into());
        start..start + len
    }
}

/// What a file says of its parity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parity {
    pub(crate) scheme: Scheme,
    /// Where the parity shards lie in the file.
    pub(crate) start: Word,
    /// Checksums of the shards, then of the parity shards.
    pub(crate) crcs: Vec<u32>,
}

impl Parity {
    /// The parity of a file whose index was parsed from `bytes`, and what it protects.
    ///
    /// # Errors
    /// A sentence that says why the parity in the file is of no use: no reader refuses a file for that.
    pub(crate) fn of(index: &Index, bytes: &[u8]) -> std::result::Result<Option<(Self, Protected)>, &'static str> {
        let Some(frame) = extension::frames(bytes).find(|frame| frame.tag == TAG) else { return Ok(None) };
        let numbers = 0..u32::try_from(index.buffers.len()).unwrap_or(u32::MAX);
        let (auxiliary, data): (Vec<Buffer>, Vec<Buffer>) =
            numbers.filter_map(|number| index.buffers.get(bytes, number)).partition(|buffer| buffer.record.kind == KIND_AUXILIARY);
        let mut own = auxiliary.iter().filter(|buffer| buffer.record.owner == TAG);
        let (Some(buffer), None) = (own.next(), own.next()) else { return Err("it has not one buffer") };
        let protected = Protected::new(data.iter().map(|buffer| (buffer.start, buffer.record.len)));
        let shard = Scheme::with(protected.len(), 1).ok_or("there is nothing to protect")?.shard();
        let scheme = Scheme::with(protected.len(), buffer.record.len / shard).filter(|scheme| scheme.parity_len() == buffer.record.len);
        let scheme = scheme.ok_or("its buffer is not one to as many shards as the data has")?;
        if frame.payload.len() != scheme.payload_len() {
            return Err("its payload is not one checksum for each shard");
        }
        let (crcs, _) = frame.payload.as_chunks::<4>();
        let crcs = crcs.iter().map(|crc| LittleEndian::read_u32(crc)).collect();
        Ok(Some((Self { scheme, start: buffer.start, crcs }, protected)))
    }
}

/// Where the protected bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protected {
    /// For each buffer, up to where in the protected bytes it reaches.
    ends: Vec<Word>,
    /// For each buffer, where it begins in the file.
    starts: Vec<Word>,
}

impl Protected {
    /// Of buffers given as (start in the file, length).
    pub(crate) fn new(buffers: impl Iterator<Item = (Word, Word)>) -> Self {
        let (mut ends, mut starts, mut end) = (Vec::new(), Vec::new(), 0);
        for (start, len) in buffers {
            end += len;
            ends.push(end);
            starts.push(start);
        }
        Self { ends, starts }
    }

    fn len(&self) -> Word {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The buffers under `range`, each with the bytes of it that belong there, from its beginning on.
    pub(crate) fn pieces(&self, range: Range<Word>) -> impl Iterator<Item = (usize, Range<Word>)> + '_ {
        let first = self.ends.partition_point(|end| *end <= range.start);
        (first..self.ends.len()).map_while(move |number| {
            let begin = if number == 0 { 0 } else { self.ends[number - 1] };
            (begin < range.end).then(|| (number, range.start.max(begin) - begin..range.end.min(self.ends[number]) - begin))
        })
    }

    /// The parts of the file under `range`: where each begins, and its length.
    fn places(&self, range: Range<Word>) -> impl Iterator<Item = (Word, Word)> + '_ {
        self.pieces(range).map(|(number, piece)| (self.starts[number] + piece.start, piece.end - piece.start))
    }
}

/// The columns of shards of `shard` bytes that are worked on at a time, so that those of all `count` shards take about 32 MiB: their
/// width, a power of two from 64 on.
fn width(shard: Word, count: u32) -> usize {
    const ROOM: usize = 32 << 20;
    let most = (ROOM / table_index(count).max(1)).max(64);
    let width = 1_usize << most.ilog2();
    width.min(usize::try_from(shard).unwrap_or(usize::MAX))
}

/// Puts the checksums of `crcs` behind one another.
pub(crate) fn payload(crcs: impl Iterator<Item = u32>) -> Vec<u8> {
    crcs.flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::from_usize;

    #[test]
    fn schemes() {
        let scheme = |len, share| Scheme::for_share(len, share).map(|s| (s.shard(), s.data, s.parity));
        assert_eq!(scheme(0, 200), None);
        assert_eq!(scheme(1, 200), Some((512, 1, 1)));
        assert_eq!(scheme(1000, 10_000), Some((512, 2, 2)));
        assert_eq!(scheme(512 * 32_768, 200), Some((512, 32_768, 656)));
        assert_eq!(scheme(512 * 32_768 + 1, 200), Some((1024, 16_385, 328)));
        assert_eq!(scheme((1 << 63) - 1, 1), Some((1 << 48, 32_768, 4)));
        assert_eq!(Scheme::with(1000, 3), None);
        for (len, share) in [(1, 1), (5000, 200), (512 * 32_768, 1), (512 * 32_768, 9999), (512 * 32_768, 10_000), (10_000_000, 50)] {
            let scheme = Scheme::for_share(len, share).unwrap();
            assert!(scheme.share() >= share);
            assert_eq!(Scheme::for_share(len, scheme.share()), Some(scheme));
        }
        assert_eq!(Scheme::for_share(1000, 1).unwrap().range(1), 512..1000);
    }

    #[test]
    fn pieces_of_buffers() {
        let protected = Protected::new([(64, 10), (128, 0), (4096, 20)].into_iter());
        let pieces = |range| protected.pieces(range).filter(|(_, r)| !r.is_empty()).collect::<Vec<_>>();
        assert_eq!(pieces(0..10), [(0, 0..10)]);
        assert_eq!(pieces(9..11), [(0, 9..10), (2, 0..1)]);
        assert_eq!(pieces(10..30), [(2, 0..20)]);
        assert_eq!(protected.places(8..12).filter(|p| p.1 > 0).collect::<Vec<_>>(), [(72, 2), (4096, 2)]);
        assert_eq!(protected.places(30..30).count(), 0);
    }

    #[test]
    fn columns_fit_memory() {
        assert_eq!((width(512, 10), width(1 << 20, 32_768), width(1 << 48, 1 << 16)), (512, 1024, 512));
        assert_eq!(from_usize(width(1 << 30, 1)), 32 << 20);
    }
}
