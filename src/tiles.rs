//! Tiles: whole blocks that lie one behind the other, a few MiB together. The unit of reading and of parallel work:
//! large enough for the system call, small enough for the cache and for all cores.

use std::ops::Range;

use crate::blocks::Block;
use crate::bytes::to_usize;
use crate::error::{Error, Result};
use crate::read::Cairn;

/// Bytes from which a tile is complete.
const TILE: u64 = 4 << 20;

/// Part of the file that begins and ends with a block (or with the gap before its first one).
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) blocks: Range<u32>,
}

/// Cuts blocks `blocks` of the file into tiles, the first of which begins at byte `start`.
pub(crate) fn cut(cairn: &Cairn<'_>, blocks: Range<u32>, start: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut tile = Tile { start, end: start, blocks: blocks.start..blocks.start };
    for block in cairn.index.buffers.blocks_in(cairn.index_bytes(), blocks) {
        tile.end = block.start + block.len;
        tile.blocks.end = block.number + 1;
        if tile.end - tile.start >= TILE {
            let next = Tile { start: tile.end, end: tile.end, blocks: tile.blocks.end..tile.blocks.end };
            tiles.push(std::mem::replace(&mut tile, next));
        }
    }
    if !tile.blocks.is_empty() {
        tiles.push(tile);
    }
    tiles
}

impl Tile {
    /// Checks the blocks of this tile, whose bytes are `bytes`; the first fault.
    pub(crate) fn check(&self, cairn: &Cairn<'_>, bytes: &[u8]) -> Result<()> {
        self.each(cairn, |block, range| cairn.check_block(&block, &bytes[range]))
    }

    /// Calls `visit` with each block and where it lies in the tile's bytes.
    pub(crate) fn each(
        &self,
        cairn: &Cairn<'_>,
        mut visit: impl FnMut(Block, Range<usize>) -> std::result::Result<(), Error>,
    ) -> Result<()> {
        for block in cairn.index.buffers.blocks_in(cairn.index_bytes(), self.blocks.clone()) {
            let at = to_usize(block.start - self.start)?;
            visit(block, at..at + to_usize(block.len)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Storage, Tensor, Value, WriteOptions};

    #[test]
    fn tiles_are_cut_at_blocks_and_small() {
        let len = 9 << 20;
        let tensor = Tensor::new(DType::U8, &[len], Storage::shared(vec![1; 9 << 20])).unwrap();
        let bytes = crate::to_bytes(&Value::from(tensor), &WriteOptions::new()).unwrap();
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        let tiles = cut(&cairn, 0..cairn.index.buffers.blocks(), 4096);
        let cuts: Vec<_> = tiles.iter().map(|tile| (tile.start - 4096, tile.end - 4096, tile.blocks.clone())).collect();
        assert_eq!(cuts, [(0, TILE, 0..16), (TILE, 2 * TILE, 16..32), (2 * TILE, len, 32..36)]);
    }
}
