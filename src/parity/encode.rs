//! Parity of bytes in memory, for a file that is about to be written. `Spec §14.1`.

use std::ops::Range;

use crate::bytes::{from_usize, table_index, to_usize};
use crate::checksum::crc32;
use crate::error::Result;
use crate::limits::Word;
use crate::parallel;
use crate::parity::code::Encoder;
use crate::parity::{Protected, Scheme, width};

/// The parity shards one behind the other, and the checksums of all shards, those of data first.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) crcs: Vec<u32>,
}

/// Buffers in memory, as the bytes that are protected.
struct Source<'b> {
    buffers: &'b [&'b [u8]],
    protected: Protected,
}

impl Source<'_> {
    /// Fills `memory` with the bytes in `range`, and zeros behind them.
    fn get(&self, range: Range<Word>, memory: &mut [u8]) -> Result<()> {
        let mut at = 0;
        for (number, piece) in self.protected.pieces(range) {
            let piece = &self.buffers[number][to_usize(piece.start)?..to_usize(piece.end)?];
            memory[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        memory[at..].fill(0);
        Ok(())
    }
}

/// Computes the parity of `buffers`, which are all that `scheme` protects.
pub(crate) fn encode(scheme: &Scheme, buffers: &[&[u8]], threads: Option<usize>) -> Result<Encoded> {
    let source = Source { buffers, protected: Protected::new(buffers.iter().map(|b| (0, from_usize(b.len())))) };
    let bytes = shards(scheme, &source, threads)?;
    let mut crcs = vec![0; table_index(scheme.data)];
    let work = (0..).zip(crcs.chunks_mut(256)).map(|(n, crcs)| (n * 256, crcs)).collect();
    parallel::try_for_each(threads, work, |(first, crcs): (u32, &mut [u32])| {
        let mut shard = vec![0; to_usize(scheme.shard())?];
        for (number, crc) in (first..).zip(crcs) {
            source.get(scheme.range(number), &mut shard)?;
            *crc = crc32(&shard);
        }
        Ok(())
    })?;
    crcs.extend(bytes.chunks(to_usize(scheme.shard())?).map(crc32));
    Ok(Encoded { bytes, crcs })
}

fn shards(scheme: &Scheme, source: &Source<'_>, threads: Option<usize>) -> Result<Vec<u8>> {
    let (shard, width) = (to_usize(scheme.shard())?, width(scheme.shard(), scheme.data));
    // Column by column, all parity shards of each; turned into shards at the end.
    let mut columns = vec![0; to_usize(scheme.parity_len())?];
    let work = columns.chunks_mut(width * table_index(scheme.parity)).enumerate().collect();
    parallel::try_for_each(threads, work, |(number, out): (usize, &mut [u8])| {
        let from = from_usize(number * width);
        let fetch = |shard, column: &mut [u8]| {
            let range = scheme.range(shard);
            let start = (range.start + from).min(range.end);
            source.get(start..(start + from_usize(width)).min(range.end), column)
        };
        let take = |parity, bytes: &[u8]| {
            let at = table_index(parity) * width;
            out[at..at + width].copy_from_slice(bytes);
            Ok(())
        };
        Encoder::new(scheme, width)?.column(&mut vec![0; width], fetch, take)
    })?;
    let mut bytes = vec![0; columns.len()];
    for (number, column) in columns.chunks(width * table_index(scheme.parity)).enumerate() {
        for (parity, piece) in column.chunks(width).enumerate() {
            let at = parity * shard + number * width;
            bytes[at..at + width].copy_from_slice(piece);
        }
    }
    Ok(bytes)
}
