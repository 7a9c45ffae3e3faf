//! Blocks: how a buffer is cut, how each piece is checked, and which have been. `Spec §8`.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::buffer::Buffer;
use crate::bytes::{table_index, to_usize};
use crate::checksum::{crc32, mismatch};
use crate::error::{Code, Error, Result};
use crate::place::{block, blocks_under};
use crate::read::Cairn;

/// Bytes of blocks that one thread verifies one after the other.
const TOGETHER: usize = 4 << 20;

/// Which blocks of a mapping were found intact: a bit each. Empty where every copy is verified anew.
#[derive(Debug)]
pub(crate) struct Verified(Vec<AtomicU64>);

impl Verified {
    pub(crate) fn new(blocks: u32, remember: bool) -> Self {
        let words = if remember { table_index(blocks.div_ceil(64)) } else { 0 };
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    fn contains(&self, block: u32) -> bool {
        self.0.get(table_index(block / 64)).is_some_and(|word| word.load(Ordering::Relaxed) >> (block % 64) & 1 == 1)
    }

    fn insert(&self, block: u32) {
        if let Some(word) = self.0.get(table_index(block / 64)) {
            word.fetch_or(1 << (block % 64), Ordering::Relaxed);
        }
    }
}

/// One block of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Number among all blocks of the file.
    pub(crate) number: u32,
    /// Number of the buffer, and of the block in it.
    pub(crate) buffer: u32,
    pub(crate) in_buffer: u32,
    /// Absolute offset and length.
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// The blocks that hold bytes `range` of `buffer`.
pub(crate) fn blocks_of(buffer: &Buffer, log2: u8, range: Range<u64>) -> impl Iterator<Item = Block> + use<> {
    let buffer = *buffer;
    blocks_under(log2, &range).map(move |i| block_at(&buffer, log2, i))
}

/// Their numbers in the file.
pub(crate) fn numbers_of(buffer: &Buffer, log2: u8, range: &Range<u64>) -> Range<u32> {
    let Range { start, end } = blocks_under(log2, range);
    buffer.first_block + narrow(start)..buffer.first_block + narrow(end)
}

/// Block `i` of `buffer`.
pub(crate) fn block_at(buffer: &Buffer, log2: u8, i: u64) -> Block {
    let (at, len) = block(buffer.record.len, log2, i);
    let in_buffer = narrow(i);
    Block { number: buffer.first_block + in_buffer, buffer: buffer.number, in_buffer, start: buffer.start + at, len }
}

/// Blocks are counted in u32 in the whole file.
fn narrow(block: u64) -> u32 {
    u32::try_from(block).unwrap_or(u32::MAX)
}

impl Cairn<'_> {
    /// Refuses `block` if `bytes`, which are its bytes, are not those that were written.
    pub(crate) fn check_block(&self, block: &Block, bytes: &[u8]) -> Result<()> {
        let stored = self.index.buffers.crc(self.index_bytes(), block.number);
        let computed = crc32(bytes);
        if stored == computed {
            return Ok(());
        }
        let detail = format!("{}; it is block {} of buffer {}", mismatch(Code::BlockCrc, stored, computed), block.in_buffer, block.buffer);
        Err(Error::at(Code::BlockCrc, block.start, detail))
    }

    /// Verifies `blocks` of a file in memory, those that were not before, on all cores.
    pub(crate) fn verify_in_memory(&self, memory: &[u8], blocks: impl Iterator<Item = Block>) -> Result<()> {
        let mut blocks = blocks.peekable();
        if blocks.peek().is_some() {
            self.source.check_mapped_len()?;
        }
        let pending: Vec<Block> = blocks.filter(|b| !self.verified.contains(b.number)).collect();
        let some = pending.chunks((TOGETHER >> self.header.block_log2).max(1)).collect();
        crate::parallel::try_for_each(self.threads, some, |some: &[Block]| {
            some.iter().try_for_each(|block| {
                let range = to_usize(block.start)?..to_usize(block.start + block.len)?;
                let bytes = memory.get(range).ok_or_else(|| Error::at(Code::Changed, block.start, "the block is not in memory"))?;
                self.check_block(block, bytes)?;
                self.verified.insert(block.number);
                Ok(())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_was_verified_is_remembered() {
        let verified = Verified::new(5000, true);
        let some = |block: &u32| block.is_multiple_of(65) || block.is_multiple_of(997);
        (0..5000).rev().filter(some).for_each(|block| verified.insert(block));
        assert!((0..5000).all(|block| verified.contains(block) == some(&block)));
        let forgetful = Verified::new(5000, false);
        forgetful.insert(7);
        assert!(!forgetful.contains(7));
        let last = Verified::new(129, true);
        last.insert(128);
        assert!(last.contains(128) && !last.contains(64));
    }
}
