//! The buffer table, where each buffer lies in the file, and the table of block checksums. `Spec §5.2, §7.4, §7.5`.

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian};
use nom::Parser;
use nom::bytes::complete::take;

use crate::blocks::{Block, block_at};
use crate::bytes::{Input, Parsed, count, from_usize, put_u32, put_u64, refuse, table_index, to_u32};
use crate::error::{Code, Error, Result};
use crate::place::{block_count, place};

/// Tensor bytes as they are.
pub(crate) const KIND_TENSOR: u32 = 0;
/// Bytes that belong to an extension and no tensor views.
pub(crate) const KIND_AUXILIARY: u32 = 1;

/// Bytes of one record.
pub(crate) const RECORD: usize = 16;

/// One record of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferRecord {
    pub(crate) len: u64,
    pub(crate) kind: u32,
    pub(crate) owner: u32,
}

impl BufferRecord {
    fn read(bytes: &[u8; RECORD]) -> Self {
        Self { len: LittleEndian::read_u64(bytes), kind: LittleEndian::read_u32(&bytes[8..]), owner: LittleEndian::read_u32(&bytes[12..]) }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.len);
        put_u32(out, self.kind);
        put_u32(out, self.owner);
    }
}

/// The table as parsed: records stay in the index, only what must be summed up is kept.
#[derive(Debug, Default)]
pub(crate) struct BufferTable {
    records: usize,
    crcs: usize,
    starts: Vec<u64>,
    /// Number of the first block of each buffer, and the number of all blocks.
    first_blocks: Vec<u32>,
    end: u64,
    block_log2: u8,
    /// How many buffers are not auxiliary.
    pub(crate) viewable: u32,
}

impl BufferTable {
    /// Parses the buffer table and steps over the checksums. `index` is the start of the index, `data_start` the end
    /// of the part before the first buffer, `tags` the extensions of the file.
    pub(crate) fn parse<'a>(index: Input<'a>, input: Input<'a>, data_start: u64, block_log2: u8, tags: &[u32]) -> Parsed<'a, Self> {
        let (list, n) = count(RECORD)(input)?;
        let capacity = table_index(n);
        let mut table = Self {
            records: index.until(&list).len(),
            starts: Vec::with_capacity(capacity),
            first_blocks: Vec::with_capacity(capacity + 1),
            end: data_start,
            block_log2,
            ..Self::default()
        };
        let mut blocks = 0;
        let (rest, list) = take(capacity * RECORD).parse(list)?;
        for (number, record) in (0..n).zip(list.bytes.as_chunks().0) {
            let at = list.offset + from_usize(table_index(number) * RECORD);
            table.add(BufferRecord::read(record), number, at, tags, &mut blocks).or_else(refuse)?;
        }
        table.first_blocks.push(table.blocks_so_far(blocks, rest)?);
        table.crcs = index.until(&rest).len();
        let (rest, _) = take(table.blocks() * 4).parse(rest)?;
        Ok((rest, table))
    }

    fn blocks_so_far(&self, blocks: u64, at: Input<'_>) -> std::result::Result<u32, nom::Err<Error>> {
        match u32::try_from(blocks) {
            Ok(blocks) if u64::from(blocks) * 4 <= from_usize(at.bytes.len()) => Ok(blocks),
            _ => refuse(Error::at(Code::IndexShort, at.offset, format!("the index has no room for the checksums of {blocks} blocks"))),
        }
    }

    fn add(&mut self, record: BufferRecord, number: u32, at: u64, tags: &[u32], blocks: &mut u64) -> Result<()> {
        check_record(record, number, at, tags)?;
        let auxiliary = record.kind == KIND_AUXILIARY;
        if !auxiliary && self.viewable != number {
            return Err(Error::at(Code::BufferOrder, at, format!("buffer {number} follows an auxiliary buffer and is not one")));
        }
        self.viewable += u32::from(!auxiliary);
        let start = place(self.end, record.len)
            .ok_or_else(|| Error::at(Code::BufferLength, at, format!("buffer {number} of {} bytes would end past 2^63-1", record.len)))?;
        self.starts.push(start);
        self.end = start + record.len;
        // More blocks than u32 counts do not fit the index: refused when the table is complete.
        self.first_blocks.push(u32::try_from(*blocks).unwrap_or(u32::MAX));
        *blocks += block_count(record.len, self.block_log2);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The end of the last buffer.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn blocks(&self) -> u32 {
        self.first_blocks.last().copied().unwrap_or(0)
    }

    /// Buffer `number` of `index`, the bytes this table was parsed from.
    pub(crate) fn get(&self, index: &[u8], number: u32) -> Option<Buffer> {
        let i = table_index(number);
        let start = *self.starts.get(i)?;
        let record = BufferRecord::read(index.get(self.records + i * RECORD..)?.first_chunk()?);
        Some(Buffer { number, start, record, first_block: self.first_blocks[i] })
    }

    /// Number of the first block of buffer `number`; of the end, for the number after the last.
    pub(crate) fn first_block(&self, number: u32) -> u32 {
        self.first_blocks.get(table_index(number)).copied().unwrap_or_else(|| self.blocks())
    }

    /// Blocks `range` of the file, in order.
    pub(crate) fn blocks_in<'t>(&'t self, index: &'t [u8], range: Range<u32>) -> impl Iterator<Item = Block> + 't {
        // Buffers without blocks share their number with the next one, which is the one wanted.
        let first = self.first_blocks.partition_point(|b| *b <= range.start).saturating_sub(1);
        let mut buffer = self.get(index, u32::try_from(first).unwrap_or(u32::MAX));
        range.map_while(move |number| {
            let mut current = buffer?;
            while self.first_block(current.number + 1) <= number {
                current = self.get(index, current.number + 1)?;
            }
            buffer = Some(current);
            Some(block_at(&current, self.block_log2, (number - current.first_block).into()))
        })
    }

    /// The stored checksum of block `number` of the file.
    pub(crate) fn crc(&self, index: &[u8], number: u32) -> u32 {
        let at = self.crcs + table_index(number) * 4;
        LittleEndian::read_u32(&index[at..at + 4])
    }
}

fn check_record(record: BufferRecord, number: u32, at: u64, tags: &[u32]) -> Result<()> {
    if record.len == 0 && record.kind <= KIND_AUXILIARY {
        return Err(Error::at(Code::BufferLength, at, format!("buffer {number} has no bytes")));
    }
    let owned = if record.kind == KIND_TENSOR { record.owner == 0 } else { tags.binary_search(&record.owner).is_ok() };
    if !owned {
        let detail = format!("buffer {number} of kind {} has owner {:#010x}", record.kind, record.owner);
        return Err(Error::at(Code::BufferOwner, at + 12, detail));
    }
    Ok(())
}

/// One buffer: its record and where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub(crate) number: u32,
    pub(crate) start: u64,
    pub(crate) record: BufferRecord,
    pub(crate) first_block: u32,
}

/// Encodes the table; the checksums follow it.
pub(crate) fn encode(records: impl ExactSizeIterator<Item = BufferRecord>, out: &mut Vec<u8>) -> Result<()> {
    put_u32(out, to_u32(records.len(), "buffers")?);
    for record in records {
        record.encode(out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::finish;

    #[test]
    fn encode_then_parse() {
        let records = [BufferRecord { len: 5000, kind: 0, owner: 0 }, BufferRecord { len: 1, kind: 1, owner: 9 }];
        let mut bytes = Vec::new();
        encode(records.into_iter(), &mut bytes).unwrap();
        for crc in [7u32, 8, 9] {
            put_u32(&mut bytes, crc);
        }
        let input = Input::new(&bytes, 0);
        let (rest, table) = finish(BufferTable::parse(input, input, 64, 12, &[9])).unwrap();
        assert_eq!((rest.bytes.len(), table.blocks(), table.end()), (0, 3, 5121));
        assert_eq!(table.get(&bytes, 1).unwrap().record, records[1]);
        assert_eq!(table.crc(&bytes, 2), 9);
    }
    #[test]
    fn checksums_need_room_in_the_index() {
        let table = |room| {
            let mut bytes = Vec::new();
            encode([BufferRecord { len: 9 * 4096, kind: 0, owner: 0 }].into_iter(), &mut bytes).unwrap();
            bytes.resize(bytes.len() + room, 0);
            let input = Input::new(&bytes, 0);
            finish(BufferTable::parse(input, input, 64, 12, &[])).map(|(_, table)| table.blocks())
        };
        assert_eq!(table(36).unwrap(), 9);
        for room in [0, 9, 13, 35] {
            assert!(table(room).unwrap_err().to_string().starts_with("the index has no room for the checksums of 9 blocks"), "{room}");
        }
    }
}
