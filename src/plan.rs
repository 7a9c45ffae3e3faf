//! Planning: values → tensors → buffers → index, all known before the first byte is written. `Spec §13`.

use std::collections::HashMap;

use crate::buffer::{self, BufferRecord};
use crate::bytes::{from_usize, put_u32, table_index, to_u32, to_usize};
use crate::collect::{self, Collected, Source};
use crate::dtype::DType;
use crate::entry::{self, NO_BUFFER};
use crate::error::{Code, Error, Result};
use crate::extension::{self, Extension};
use crate::frame::Regions;
use crate::hash::KeyedState;
use crate::header::Header;
use crate::limits::{HEADER_LEN, MAX_BLOCK_LOG2, MAX_INDEX_LEN, MAX_LEN, MIN_BLOCK_LOG2, WHOLE_SHARE};
use crate::memory;
use crate::options::WriteOptions;
use crate::parity::{self, Scheme};
use crate::place::{block_total, data_start, place, regions};
use crate::sharing::{self, Form, Groups};
use crate::tensor::Tensor;
use crate::tree::Value;

/// What a buffer is filled with.
pub(crate) enum Content<'v> {
    /// One slice of memory, as nearly all are.
    Piece(&'v [u8]),
    /// Slices of memory, one behind the other.
    Pieces(Vec<&'v [u8]>),
    /// The elements of a tensor, row-major.
    Elements(&'v Tensor<'v>),
    /// Filled by the producer, through a view of the file; its storage's address space and the byte of that storage
    /// where the buffer begins.
    Reserved(u64, u64),
    /// Parity shards, once they are computed.
    Parity(Vec<u8>),
}

pub(crate) struct PlannedBuffer<'v> {
    /// Where it begins in the file; 0 until the index is complete.
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) content: Content<'v>,
}

impl PlannedBuffer<'_> {
    fn record(&self) -> BufferRecord {
        match self.content {
            Content::Parity(_) => BufferRecord { len: self.len, kind: buffer::KIND_AUXILIARY, owner: parity::TAG },
            _ => BufferRecord { len: self.len, kind: buffer::KIND_TENSOR, owner: 0 },
        }
    }
}

/// A reserved tensor whose elements have rules to be checked once they exist.
pub(crate) struct Promise {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Option<Vec<u64>>,
    pub(crate) buffer: u32,
    pub(crate) offset: u64,
    pub(crate) address: String,
}

/// A file that is fully known but for the checksums: every offset and every byte of the index.
pub struct Plan<'v> {
    pub(crate) options: WriteOptions,
    pub(crate) buffers: Vec<PlannedBuffer<'v>>,
    pub(crate) promises: Vec<Promise>,
    /// The index with zeros for the block checksums.
    pub(crate) index: Vec<u8>,
    pub(crate) crcs_at: usize,
    pub(crate) header: Header,
    pub(crate) regions: Regions,
    /// What the parity in the last buffer is of, if there is any.
    pub(crate) parity: Option<Scheme>,
}

impl<'v> Plan<'v> {
    /// Plans the file that `value` and `options` make.
    ///
    /// # Errors
    /// `sharing-lost` for a view that cannot be kept tied to another tensor; `bool-value` and `tail-bits` for
    /// elements that break a rule; a code of class limit above a limit of the format. The message has the address of
    /// the value.
    pub fn new(value: &'v Value<'v>, options: &WriteOptions) -> Result<Self> {
        Self::with_order(value, options, None)
    }

    /// The plan of a streamed file: the same buffers, behind the header.
    pub(crate) fn streamed(value: &'v Value<'v>, options: &WriteOptions) -> Result<Self> {
        Self::with_order(value, options, Some(&[]))
    }

    /// `stream`: the address spaces and lengths of the buffers that were written already, for a streamed file.
    pub(crate) fn with_order(value: &'v Value<'v>, options: &WriteOptions, stream: Option<&[(u64, u64)]>) -> Result<Self> {
        if !(MIN_BLOCK_LOG2..=MAX_BLOCK_LOG2).contains(&options.block_log2) {
            let detail = format!("block size 2^{} is outside 2^{MIN_BLOCK_LOG2} to 2^{MAX_BLOCK_LOG2}", options.block_log2);
            return Err(Error::new(Code::BlockSize, detail));
        }
        if u64::from(options.parity) > WHOLE_SHARE {
            let detail = format!("parity of {} ten-thousandths is more than all", options.parity);
            return Err(Error::new(Code::OutOfRange, detail));
        }
        if options.parity > 0 && stream.is_some() {
            return Err(Error::new(
                Code::Unrepresentable,
                "a streamed file cannot have parity: it is computed from all data before the index",
            ));
        }
        let metadata = collect::encode_metadata(&options.metadata)?;
        let collected = collect::collect(value)?;
        let groups = group(&collected, options.unshare)?;
        let tables = Tables::number(&collected, &groups, stream)?;
        tables.finish(&collected, &metadata, options, stream.is_some())
    }

    /// Length of the file, in bytes.
    pub fn file_len(&self) -> u64 {
        self.regions.file_len
    }

    /// Bytes of all buffers.
    pub fn data_len(&self) -> u64 {
        self.buffers.iter().map(|b| b.len).sum()
    }

    /// The index with `crcs` in place, and the header or trailer that goes with it.
    pub(crate) fn seal(&mut self, crcs: &[u32]) {
        let slots = self.index[self.crcs_at..].chunks_exact_mut(4);
        for (slot, crc) in slots.zip(crcs) {
            slot.copy_from_slice(&crc.to_le_bytes());
        }
        self.header.index_crc = crate::checksum::crc32(&self.index);
    }

    /// Header and trailer of a sealed plan.
    pub(crate) fn ends(&self) -> ([u8; 64], [u8; 64]) {
        let trailer = Header { trailer: true, index_offset: self.regions.last_index, ..self.header };
        let header = if self.header.streamed { Header::streamed(self.header.block_log2) } else { self.header };
        (header.encode(), trailer.encode())
    }
}

fn group(collected: &Collected<'_>, unshare: bool) -> Result<Groups> {
    sharing::group(&collected.leaves, collected.apart, unshare).map_err(|(a, b)| {
        let detail = format!(
            "tensors {} and {} share memory in a way that cannot be kept: save the tensor they are views of too, or copy them",
            collected.locate(a),
            collected.locate(b)
        );
        Error::new(Code::SharingLost, detail)
    })
}

/// Dtypes, buffers and tensors with their numbers in the file.
struct Tables<'v> {
    dtypes: Vec<&'v DType>,
    /// Group of each buffer.
    buffers: Vec<usize>,
    /// Dtype, buffer and offset of each tensor.
    entries: Vec<(u32, u32, u64)>,
    planned: Vec<PlannedBuffer<'v>>,
}

impl<'v> Tables<'v> {
    fn number(collected: &Collected<'v>, groups: &Groups, stream: Option<&[(u64, u64)]>) -> Result<Self> {
        let mut tables =
            Self { dtypes: Vec::new(), buffers: Vec::new(), entries: memory::room(collected.sources.len()), planned: Vec::new() };
        let mut dtype_numbers: HashMap<&DType, u32, KeyedState> = HashMap::default();
        let mut buffer_of = tables.streamed_buffers(collected, groups, stream)?;
        for (number, source) in collected.sources.iter().enumerate() {
            let dtype = match source {
                Source::Tensor(tensor) => tensor.dtype(),
                Source::Bytes(_) => &DType::U8,
            };
            let dtype_number = tables.dtype_number(dtype, &mut dtype_numbers)?;
            let (group, offset) = groups.place(number);
            if collected.leaves[number].is_empty() {
                tables.entries.push((dtype_number, NO_BUFFER, 0));
                continue;
            }
            let known = buffer_of.get_mut(group);
            let buffer = match known.as_deref() {
                Some(Some(buffer)) => *buffer,
                _ => {
                    let buffer = to_u32(tables.buffers.len(), "buffers")?;
                    tables.buffers.push(group);
                    known.map(|known| known.insert(buffer));
                    buffer
                }
            };
            tables.entries.push((dtype_number, buffer, offset));
        }
        tables.fill(collected, groups)?;
        Ok(tables)
    }

    /// The number of `dtype`, which mostly is that of the tensor before.
    fn dtype_number(&mut self, dtype: &'v DType, numbers: &mut HashMap<&'v DType, u32, KeyedState>) -> Result<u32> {
        if let Some(last) = self.entries.last().map(|(last, ..)| *last)
            && self.dtypes[table_index(last)] == dtype
        {
            return Ok(last);
        }
        let next = to_u32(self.dtypes.len(), "dtypes")?;
        let number = *numbers.entry(dtype).or_insert(next);
        if number == next {
            self.dtypes.push(dtype);
        }
        Ok(number)
    }

    /// The number of the buffer of each group, where it has one: those that a stream wrote already, in its order. Empty where
    /// no group will be met twice.
    fn streamed_buffers(&mut self, collected: &Collected<'v>, groups: &Groups, stream: Option<&[(u64, u64)]>) -> Result<Vec<Option<u32>>> {
        let stream = stream.unwrap_or(&[]);
        if stream.is_empty() && groups.each_alone() {
            return Ok(Vec::new());
        }
        let ranges = groups.ranges(&collected.leaves);
        let mut buffer_of = vec![None; ranges.len()];
        let by_space: HashMap<u64, usize> = match stream {
            [] => HashMap::new(),
            _ => ranges.clone().enumerate().filter(|(_, r)| r.0 != 0 && r.1 < r.2).map(|(g, r)| (r.0, g)).collect(),
        };
        for (number, (space, len)) in stream.iter().enumerate() {
            let group = by_space.get(space).copied().filter(|g| groups.range(&collected.leaves, *g) == (*space, 0, *len));
            let Some(group) = group else {
                let detail = format!("streamed buffer {number} of {len} bytes is not covered by one chain of tensors of the root");
                return Err(Error::new(Code::ViewCover, detail));
            };
            buffer_of[group] = Some(to_u32(number, "buffers")?);
            self.buffers.push(group);
        }
        Ok(buffer_of)
    }

    /// Finds the bytes of each buffer.
    fn fill(&mut self, collected: &Collected<'v>, groups: &Groups) -> Result<()> {
        let viewing = self.entries.iter().enumerate().filter(|(_, (_, buffer, _))| *buffer != NO_BUFFER);
        let viewing = viewing.map(|(number, (_, buffer, _))| (*buffer, number));
        self.planned = memory::room(self.buffers.len());
        let mut add = |members: &[(u32, usize)]| {
            let group = self.buffers[table_index(members[0].0)];
            self.planned.push(planned(collected, groups, group, members)?);
            Ok(())
        };
        if groups.each_alone() && viewing.clone().is_sorted() {
            let mut viewing = viewing;
            return viewing.try_for_each(|member| add(&[member]));
        }
        let mut members = memory::room(self.entries.len());
        members.extend(viewing);
        members.sort_unstable();
        // Every buffer has members, so they come in the order of the buffers.
        members.chunk_by(|a, b| a.0 == b.0).try_for_each(add)
    }

    fn finish(mut self, collected: &Collected<'v>, metadata: &[u8], options: &WriteOptions, streamed: bool) -> Result<Plan<'v>> {
        let scheme = self.add_parity(options.parity)?;
        let blocks = block_total(self.planned.iter().map(|b| b.len), options.block_log2);
        let records = from_usize(self.planned.len() * buffer::RECORD + self.entries.len() * entry::MIN_RECORD);
        // Lengths that no file has are refused here or when they are placed.
        let lists = blocks.saturating_mul(4).saturating_add(records);
        check_index_len(lists)?;
        let mut index = memory::room(to_usize(lists)? + self.entries.len() * 16 + metadata.len() + collected.encoded.len());
        let parity = scheme.map(|scheme| Extension { tag: parity::TAG, payload: vec![0; scheme.payload_len()] });
        extension::encode(parity.as_slice(), &mut index)?;
        put_u32(&mut index, to_u32(self.dtypes.len(), "dtypes")?);
        self.dtypes.iter().for_each(|dtype| dtype.encode(&mut index));
        buffer::encode(self.planned.iter().map(PlannedBuffer::record), &mut index)?;
        let crcs_at = index.len();
        index.resize(crcs_at + to_usize(blocks * 4)?, 0);
        let promises = self.encode_tensors(collected, &mut index)?;
        index.extend_from_slice(metadata);
        index.extend_from_slice(&collected.encoded);
        check_index_len(from_usize(index.len()))?;
        let index_len = from_usize(index.len());
        let end = self.place(data_start(streamed, index_len))?;
        let too_long = || Error::new(Code::BufferLength, "the file would be longer than 2^63-1 bytes");
        let regions = regions(end, index_len).ok_or_else(too_long)?;
        let index_offset = if streamed { regions.last_index } else { HEADER_LEN };
        let header = Header {
            streamed,
            trailer: false,
            block_log2: options.block_log2,
            file_len: regions.file_len,
            index_offset,
            index_len,
            index_crc: 0,
        };
        Ok(Plan { options: options.clone(), buffers: self.planned, promises, index, crcs_at, header, regions, parity: scheme })
    }

    /// Adds the buffer of as much parity as is wanted, in ten-thousandths.
    fn add_parity(&mut self, share: u16) -> Result<Option<Scheme>> {
        if share == 0 {
            return Ok(None);
        }
        let len = self.planned.iter().fold(0, |sum: u64, buffer| sum.saturating_add(buffer.len));
        if len > MAX_LEN {
            return Err(Error::new(Code::BufferLength, "the buffers would end past 2^63-1"));
        }
        let scheme = Scheme::for_share(len, share);
        self.planned.extend(scheme.map(|scheme| PlannedBuffer {
            start: 0,
            len: scheme.parity_len(),
            content: Content::Parity(Vec::new()),
        }));
        Ok(scheme)
    }

    /// Puts the buffers one behind the other from `end` on; returns the end of the last one.
    fn place(&mut self, mut end: u64) -> Result<u64> {
        for buffer in &mut self.planned {
            let too_long = || Error::new(Code::BufferLength, "the buffers would end past 2^63-1");
            buffer.start = place(end, buffer.len).ok_or_else(too_long)?;
            end = buffer.start + buffer.len;
        }
        Ok(end)
    }

    /// Encodes the tensor table; returns the reserved tensors whose elements are to be checked later.
    fn encode_tensors(&self, collected: &Collected<'v>, out: &mut Vec<u8>) -> Result<Vec<Promise>> {
        let mut promises = Vec::new();
        let mut addresses = collected.addresses.iter().peekable();
        put_u32(out, to_u32(self.entries.len(), "tensors")?);
        for (number, (dtype, buffer, offset)) in self.entries.iter().enumerate() {
            let tensor = match collected.sources[number] {
                Source::Tensor(tensor) => tensor,
                Source::Bytes(bytes) => {
                    entry::encode(*dtype, *buffer, *offset, &[from_usize(bytes.len())], None, out);
                    continue;
                }
            };
            let kept = matches!(collected.leaves[number].form, Form::Dense | Form::Strided) && !self.is_loose(*buffer);
            let strides = if kept { tensor.normal_strides().unwrap_or(None) } else { None };
            entry::encode(*dtype, *buffer, *offset, tensor.shape(), strides.as_deref(), out);
            if let Some((_, address)) = addresses.next_if(|(promised, _)| *promised == number)
                && *buffer != NO_BUFFER
            {
                let (dtype, shape) = (tensor.dtype().clone(), tensor.shape().to_vec());
                promises.push(Promise { dtype, shape, strides, buffer: *buffer, offset: *offset, address: address.clone() });
            }
        }
        Ok(promises)
    }

    fn is_loose(&self, buffer: u32) -> bool {
        self.planned.get(table_index(buffer)).is_some_and(|planned| matches!(planned.content, Content::Elements(_)))
    }
}

/// The buffer that holds `members`, of which there is one at least.
fn planned<'v>(collected: &Collected<'v>, groups: &Groups, group: usize, members: &[(u32, usize)]) -> Result<PlannedBuffer<'v>> {
    let (space, start, end) = groups.range(&collected.leaves, group);
    let (_, first) = members[0];
    let (len, content) = match collected.sources[first] {
        Source::Bytes(bytes) => (from_usize(bytes.len()), Content::Piece(bytes)),
        Source::Tensor(tensor) if groups.is_loose(first) => {
            if tensor.storage().bytes().is_none() {
                return Err(Error::new(Code::SharingLost, format!("reserved {tensor:?} cannot be stored with its layout")));
            }
            (tensor.byte_len(), Content::Elements(tensor))
        }
        _ if space != 0 => (end - start, Content::Reserved(space, start)),
        Source::Tensor(tensor) if members.len() == 1 => (end - start, Content::Piece(tensor.span().unwrap_or(&[]))),
        Source::Tensor(_) => (end - start, Content::Pieces(pieces(collected, members, start))),
    };
    Ok(PlannedBuffer { start: 0, len, content })
}

/// The slices that make up a group, from its dense members in chain order.
fn pieces<'v>(collected: &Collected<'v>, members: &[(u32, usize)], start: u64) -> Vec<&'v [u8]> {
    let mut members: Vec<usize> = members.iter().map(|(_, number)| *number).collect();
    members.retain(|m| collected.leaves[*m].form == Form::Dense);
    members.sort_unstable_by_key(|m| (collected.leaves[*m].start, u64::MAX - collected.leaves[*m].end));
    let mut pieces = Vec::new();
    let mut covered = start;
    for member in members {
        let leaf = &collected.leaves[member];
        if leaf.end <= covered {
            continue;
        }
        if let Source::Tensor(tensor) = collected.sources[member] {
            let skip = usize::try_from(covered - leaf.start).unwrap_or(usize::MAX);
            pieces.push(tensor.span().and_then(|s| s.get(skip..)).unwrap_or(&[]));
            covered = leaf.end;
        }
    }
    pieces
}

fn check_index_len(len: u64) -> Result<()> {
    if len > MAX_INDEX_LEN {
        return Err(Error::new(
            Code::IndexLimit,
            format!("the index would take {len} bytes, the most is {MAX_INDEX_LEN}: use larger blocks"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_a_limit() {
        assert!(check_index_len(MAX_INDEX_LEN).is_ok());
        assert_eq!(check_index_len(MAX_INDEX_LEN + 1).unwrap_err().code(), Code::IndexLimit);
    }
}
