//! Planning: values → tensors → buffers → index, all known before the first byte is written. `Spec §13`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::address;
use crate::buffer::{self, BufferRecord, place};
use crate::bytes::{from_usize, put_u32, table_index, to_u32, to_usize};
use crate::content;
use crate::dtype::DType;
use crate::entry::{self, NO_BUFFER};
use crate::error::{Code, Error, Result};
use crate::extension;
use crate::frame::Regions;
use crate::hash::{HashedState, KeyedState};
use crate::header::Header;
use crate::keys::Key;
use crate::layout::{self, block_count, has_partial_group};
use crate::limits::{HEADER_LEN, MAX_BLOCK_LOG2, MAX_DEPTH, MAX_INDEX_LEN, MAX_INLINE_BYTES, MAX_PATH_LEN, MIN_BLOCK_LOG2};
use crate::memory;
use crate::options::WriteOptions;
use crate::sharing::{self, Form, Groups, Leaf};
use crate::tensor::Tensor;
use crate::tree::{Dict, Value};
use crate::value::{self, BYTES_NAME};

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
}

pub(crate) struct PlannedBuffer<'v> {
    /// Where it begins in the file; 0 until the index is complete.
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) content: Content<'v>,
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
        let metadata = encode_metadata(&options.metadata)?;
        let mut collector = Collector::default();
        collector.value(value, 1, 0)?;
        let groups = collector.group(options.unshare)?;
        let tables = Tables::number(&collector, &groups, stream)?;
        tables.finish(&collector, &metadata, options, stream.is_some())
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

fn encode_metadata(metadata: &Dict<'_>) -> Result<Vec<u8>> {
    let mut collector = Collector { metadata: true, ..Collector::default() };
    if let Some((key, _)) = metadata.iter().find(|(key, _)| key.as_str().is_none()) {
        return Err(Error::new(Code::Metadata, format!("metadata key {key} is not a str")));
    }
    collector.dict(metadata, 1, 0)?;
    Ok(collector.out)
}

/// What stands behind a tensor number.
#[derive(Clone, Copy)]
enum Source<'v> {
    Tensor(&'v Tensor<'v>),
    Bytes(&'v [u8]),
}

/// A step of the path to the value being encoded, for messages.
#[derive(Clone, Copy)]
enum Step<'v> {
    Position(usize),
    Key(&'v Key),
}

/// Encodes the tree and numbers its tensors by first appearance.
#[derive(Default)]
struct Collector<'v> {
    out: Vec<u8>,
    sources: Vec<Source<'v>>,
    leaves: Vec<Leaf>,
    /// Tensors by the hash of what makes leaves one tensor; see [`Collector::number_of`].
    numbers: HashMap<u64, u32, HashedState>,
    /// Reserved tensors whose elements have rules, ascending, and their addresses.
    addresses: Vec<(usize, String)>,
    path: Vec<Step<'v>>,
    metadata: bool,
}

impl<'v> Collector<'v> {
    fn address(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Position(n) => address::push_position(&mut text, *n),
                Step::Key(key) => address::push_key(&mut text, key),
            }
        }
        text
    }

    #[cold]
    fn refuse(&self, code: Code, why: &str) -> Error {
        let part = if self.metadata { "metadata " } else { "" };
        Error::new(code, format!("{part}{:?}: {why}", self.address()))
    }

    fn value(&mut self, value: &'v Value<'v>, depth: u32, path: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.refuse(Code::DepthLimit, &format!("values nest deeper than {MAX_DEPTH}")));
        }
        match value {
            Value::Null => self.out.push(value::NULL),
            Value::Bool(false) => self.out.push(value::FALSE),
            Value::Bool(true) => self.out.push(value::TRUE),
            Value::Int(n) => value::put_int(&mut self.out, *n),
            Value::BigInt(n) => value::put_bytes(&mut self.out, value::BIGINT, n.to_le_bytes())?,
            Value::Float(x) => value::put_float(&mut self.out, *x),
            Value::Complex(re, im) => value::put_complex(&mut self.out, *re, *im),
            Value::Str(text) => value::put_bytes(&mut self.out, value::STR, text.as_bytes())?,
            Value::Bytes(bytes) if bytes.len() > MAX_INLINE_BYTES => self.long_bytes(bytes, depth)?,
            Value::Bytes(bytes) => value::put_bytes(&mut self.out, value::BYTES, bytes)?,
            Value::List(items) => self.items(value::LIST, items, depth, path)?,
            Value::Tuple(items) => self.items(value::TUPLE, items, depth, path)?,
            Value::Dict(dict) => self.dict(dict, depth, path)?,
            Value::Named(named) => {
                value::put_bytes(&mut self.out, value::NAMED, named.name().as_bytes())?;
                self.value(named.value(), depth + 1, path)?;
            }
            Value::Tensor(tensor) => self.tensor(tensor)?,
        }
        Ok(())
    }

    /// Makes room for the tensors among `items`, where they are many.
    fn expect(&mut self, items: impl ExactSizeIterator<Item = &'v Value<'v>>) {
        if items.len() < 1 << 14 || self.metadata {
            return;
        }
        let items = items.filter(|item| item.as_tensor().is_some()).count();
        self.leaves.reserve(items);
        self.sources.reserve(items);
        self.numbers.reserve(items);
        self.out.reserve(items * 16);
        memory::prefer_huge(self.leaves.as_ptr(), self.leaves.capacity());
        memory::prefer_huge(self.sources.as_ptr(), self.sources.capacity());
        memory::prefer_huge(self.out.as_ptr(), self.out.capacity());
    }

    fn items(&mut self, tag: u8, items: &'v [Value<'v>], depth: u32, path: u32) -> Result<()> {
        let start = value::begin_container(&mut self.out, tag, items.len())?;
        self.expect(items.iter());
        for (i, item) in items.iter().enumerate() {
            self.path.push(Step::Position(i));
            self.value(item, depth + 1, path)?;
            self.path.pop();
        }
        value::end_container(&mut self.out, start)
    }

    fn dict(&mut self, dict: &'v Dict<'v>, depth: u32, path: u32) -> Result<()> {
        let start = value::begin_container(&mut self.out, value::DICT, dict.len())?;
        self.expect(dict.iter().map(|(_, item)| item));
        for (key, item) in dict.iter() {
            self.path.push(Step::Key(key));
            let path = from_usize(key.path_len()).saturating_add(path.into());
            let Some(path) = u32::try_from(path).ok().filter(|p| *p <= MAX_PATH_LEN) else {
                return Err(self.refuse(Code::PathLimit, &format!("the keys along the path take {path} bytes, the most is {MAX_PATH_LEN}")));
            };
            key.encode(&mut self.out)?;
            self.value(item, depth + 1, path)?;
            self.path.pop();
        }
        value::end_container(&mut self.out, start)
    }

    fn tensor(&mut self, tensor: &'v Tensor<'v>) -> Result<()> {
        if self.metadata {
            return Err(self.refuse(Code::Metadata, "metadata cannot contain tensors"));
        }
        let next = to_u32(self.sources.len(), "tensors")?;
        let number = self.number_of(tensor, next);
        if number == next {
            self.add(tensor)?;
        }
        value::put_tensor(&mut self.out, number);
        Ok(())
    }

    /// The number of a tensor that was met before, or `next`. Hashes are all that is kept: where two tensors have the
    /// same, the second takes the next free one.
    fn number_of(&mut self, tensor: &'v Tensor<'v>, next: u32) -> u32 {
        let mut hash = identity_hash(tensor);
        loop {
            let number = *self.numbers.entry(hash).or_insert(next);
            if number == next || matches!(self.sources[table_index(number)], Source::Tensor(known) if are_one(known, tensor)) {
                return number;
            }
            hash = hash.wrapping_add(1);
        }
    }

    fn add(&mut self, tensor: &'v Tensor<'v>) -> Result<()> {
        if content::has_rules(tensor.dtype(), tensor.shape()) {
            if tensor.storage().bytes().is_some() {
                content::check_elements(tensor).map_err(|(code, _, why)| self.refuse(code, &why))?;
            } else {
                self.addresses.push((self.sources.len(), self.address()));
            }
        }
        self.leaves.push(leaf(tensor));
        self.sources.push(Source::Tensor(tensor));
        Ok(())
    }

    fn long_bytes(&mut self, bytes: &'v [u8], depth: u32) -> Result<()> {
        if self.metadata {
            return Err(self.refuse(Code::Metadata, &format!("bytes in metadata take at most {MAX_INLINE_BYTES}")));
        }
        if depth == MAX_DEPTH {
            return Err(self.refuse(Code::DepthLimit, &format!("long bytes are a named tensor and nest deeper than {MAX_DEPTH}")));
        }
        value::put_bytes(&mut self.out, value::NAMED, BYTES_NAME.as_bytes())?;
        value::put_tensor(&mut self.out, to_u32(self.sources.len(), "tensors")?);
        self.leaves.push(Leaf {
            space: 0,
            start: 0,
            end: from_usize(bytes.len()),
            align: 1,
            partial: false,
            form: Form::Alone,
            axes: Box::default(),
        });
        self.sources.push(Source::Bytes(bytes));
        Ok(())
    }

    fn group(&self, unshare: bool) -> Result<Groups> {
        sharing::group(&self.leaves, unshare).map_err(|(a, b)| {
            let detail = format!(
                "tensors {} and {} share memory in a way that cannot be kept: save the tensor they are views of too, or copy them",
                self.locate(a),
                self.locate(b)
            );
            Error::new(Code::SharingLost, detail)
        })
    }

    /// What to call tensor `number` in a message.
    fn locate(&self, number: usize) -> String {
        match self.sources[number] {
            Source::Tensor(tensor) => format!("{number} ({tensor:?})"),
            Source::Bytes(bytes) => format!("{number} ({} bytes)", bytes.len()),
        }
    }
}

/// Where a tensor's first element lies; all tensors without bytes are at one place.
fn home(tensor: &Tensor<'_>) -> (u64, u64) {
    let (space, base) = if tensor.byte_len() == 0 { return (0, 0) } else { tensor.storage().address() };
    (space, base + tensor.offset())
}

/// Strides in bytes, 0 on axes of extent at most 1; `None` when row-major or empty.
fn normal_byte_strides(tensor: &Tensor<'_>) -> Option<Vec<i64>> {
    let strides = tensor.byte_strides().filter(|_| !tensor.is_row_major())?;
    Some(strides.iter().zip(tensor.shape()).map(|(stride, dim)| if *dim <= 1 { 0 } else { *stride }).collect())
}

/// Equal for tensors that are one.
fn identity_hash(tensor: &Tensor<'_>) -> u64 {
    let mut hasher = KeyedState.build_hasher();
    let (space, address) = home(tensor);
    tensor.dtype().hash(&mut hasher);
    [space, address].iter().chain(tensor.shape()).for_each(|n| hasher.write_u64(*n));
    normal_byte_strides(tensor).iter().for_each(|strides| strides.hash(&mut hasher));
    hasher.finish()
}

/// Leaves of the same dtype, shape, layout and place are one tensor.
fn are_one(a: &Tensor<'_>, b: &Tensor<'_>) -> bool {
    home(a) == home(b) && a.dtype() == b.dtype() && a.shape() == b.shape() && normal_byte_strides(a) == normal_byte_strides(b)
}

fn leaf(tensor: &Tensor<'_>) -> Leaf {
    let geometry = tensor.dtype().geometry();
    let form = match tensor.normal_strides() {
        Ok(None) => Form::Dense,
        Ok(Some(strides)) => match layout::strided(geometry, tensor.shape(), &strides) {
            Ok(extent) if extent.dense => Form::Dense,
            Ok(_) => Form::Strided,
            Err(_) => Form::Illegal,
        },
        Err(_) => Form::Illegal,
    };
    let (space, base) = tensor.storage().address();
    let (first, end) = tensor.byte_range();
    let partial = has_partial_group(geometry, tensor.shape().iter().copied());
    Leaf { space, start: base + first, end: base + end, align: geometry.alignment(), partial, form, axes: axes(tensor) }
}

/// Extents above 1 and strides in bytes without sign, by stride; only needed where strides are explicit.
fn axes(tensor: &Tensor<'_>) -> Box<[(u64, u64)]> {
    let Some(strides) = tensor.byte_strides() else { return Box::default() };
    let mut axes: Vec<_> =
        tensor.shape().iter().copied().zip(strides.iter().map(|s| s.unsigned_abs())).filter(|(dim, _)| *dim > 1).collect();
    axes.sort_unstable_by_key(|(dim, stride)| (*stride, *dim));
    axes.into()
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
    fn number(collector: &Collector<'v>, groups: &Groups, stream: Option<&[(u64, u64)]>) -> Result<Self> {
        let mut tables =
            Self { dtypes: Vec::new(), buffers: Vec::new(), entries: memory::room(collector.sources.len()), planned: Vec::new() };
        let mut dtype_numbers: HashMap<&DType, u32, KeyedState> = HashMap::default();
        let mut buffer_of: Vec<Option<u32>> = tables.streamed_buffers(groups, stream)?;
        for (number, source) in collector.sources.iter().enumerate() {
            let dtype = match source {
                Source::Tensor(tensor) => tensor.dtype(),
                Source::Bytes(_) => &DType::U8,
            };
            let dtype_number = tables.dtype_number(dtype, &mut dtype_numbers)?;
            let (group, offset) = groups.place[number];
            if collector.leaves[number].start == collector.leaves[number].end {
                tables.entries.push((dtype_number, NO_BUFFER, 0));
                continue;
            }
            let buffer = match buffer_of[group] {
                Some(buffer) => buffer,
                None => {
                    let buffer = to_u32(tables.buffers.len(), "buffers")?;
                    tables.buffers.push(group);
                    *buffer_of.get_mut(group).unwrap_or(&mut None) = Some(buffer);
                    buffer
                }
            };
            tables.entries.push((dtype_number, buffer, offset));
        }
        tables.fill(collector, groups)?;
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

    /// The buffers that a stream wrote already, in its order: each must be one group.
    fn streamed_buffers(&mut self, groups: &Groups, stream: Option<&[(u64, u64)]>) -> Result<Vec<Option<u32>>> {
        let mut buffer_of = vec![None; groups.ranges.len()];
        let by_space: HashMap<u64, usize> =
            groups.ranges.iter().enumerate().filter(|(_, r)| r.0 != 0 && r.1 < r.2).map(|(g, r)| (r.0, g)).collect();
        for (number, (space, len)) in stream.unwrap_or(&[]).iter().enumerate() {
            let group = by_space.get(space).copied().filter(|g| groups.ranges[*g] == (*space, 0, *len));
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
    fn fill(&mut self, collector: &Collector<'v>, groups: &Groups) -> Result<()> {
        let viewing = self.entries.iter().enumerate().filter(|(_, (_, buffer, _))| *buffer != NO_BUFFER);
        let mut members = memory::room(self.entries.len());
        members.extend(viewing.map(|(number, (_, buffer, _))| (*buffer, number)));
        members.sort_unstable();
        self.planned = memory::room(self.buffers.len());
        // Every buffer has members, so they come in the order of the buffers.
        for members in members.chunk_by(|a, b| a.0 == b.0) {
            let group = self.buffers[table_index(members[0].0)];
            self.planned.push(planned(collector, groups, group, members)?);
        }
        Ok(())
    }

    fn finish(mut self, collector: &Collector<'v>, metadata: &[u8], options: &WriteOptions, streamed: bool) -> Result<Plan<'v>> {
        let blocks: u64 = self.planned.iter().map(|b| block_count(b.len, options.block_log2)).sum();
        let lists = blocks * 4 + from_usize(self.planned.len() * buffer::RECORD + self.entries.len() * entry::MIN_RECORD);
        check_index_len(lists)?;
        let mut index = memory::room(to_usize(lists)? + self.entries.len() * 16 + metadata.len() + collector.out.len());
        extension::encode(&[], &mut index)?;
        put_u32(&mut index, to_u32(self.dtypes.len(), "dtypes")?);
        self.dtypes.iter().for_each(|dtype| dtype.encode(&mut index));
        let record = |b: &PlannedBuffer<'_>| BufferRecord { len: b.len, kind: buffer::KIND_TENSOR, owner: 0 };
        buffer::encode(self.planned.iter().map(record), &mut index)?;
        let crcs_at = index.len();
        index.resize(crcs_at + to_usize(blocks * 4)?, 0);
        let promises = self.encode_tensors(collector, &mut index)?;
        index.extend_from_slice(metadata);
        index.extend_from_slice(&collector.out);
        check_index_len(from_usize(index.len()))?;
        let index_len = from_usize(index.len());
        let end = self.place(if streamed { HEADER_LEN } else { HEADER_LEN + index_len })?;
        let too_long = || Error::new(Code::BufferLength, "the file would be longer than 2^63-1 bytes");
        let regions = Regions::with_index(end, index_len).ok_or_else(too_long)?;
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
        Ok(Plan { options: options.clone(), buffers: self.planned, promises, index, crcs_at, header, regions })
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
    fn encode_tensors(&self, collector: &Collector<'v>, out: &mut Vec<u8>) -> Result<Vec<Promise>> {
        let mut promises = Vec::new();
        let mut addresses = collector.addresses.iter().peekable();
        put_u32(out, to_u32(self.entries.len(), "tensors")?);
        for (number, (dtype, buffer, offset)) in self.entries.iter().enumerate() {
            let tensor = match collector.sources[number] {
                Source::Tensor(tensor) => tensor,
                Source::Bytes(bytes) => {
                    entry::encode(*dtype, *buffer, *offset, &[from_usize(bytes.len())], None, out);
                    continue;
                }
            };
            let kept = matches!(collector.leaves[number].form, Form::Dense | Form::Strided) && !self.is_loose(*buffer);
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
fn planned<'v>(collector: &Collector<'v>, groups: &Groups, group: usize, members: &[(u32, usize)]) -> Result<PlannedBuffer<'v>> {
    let (space, start, end) = groups.ranges[group];
    let (_, first) = members[0];
    let (len, content) = match collector.sources[first] {
        Source::Bytes(bytes) => (from_usize(bytes.len()), Content::Piece(bytes)),
        Source::Tensor(tensor) if groups.loose[first] => {
            if tensor.storage().bytes().is_none() {
                return Err(Error::new(Code::SharingLost, format!("reserved {tensor:?} cannot be stored with its layout")));
            }
            (tensor.byte_len(), Content::Elements(tensor))
        }
        _ if space != 0 => (end - start, Content::Reserved(space, start)),
        Source::Tensor(tensor) if members.len() == 1 => (end - start, Content::Piece(tensor.span().unwrap_or(&[]))),
        Source::Tensor(_) => (end - start, Content::Pieces(pieces(collector, members, start))),
    };
    Ok(PlannedBuffer { start: 0, len, content })
}

/// The slices that make up a group, from its dense members in chain order.
fn pieces<'v>(collector: &Collector<'v>, members: &[(u32, usize)], start: u64) -> Vec<&'v [u8]> {
    let mut members: Vec<usize> = members.iter().map(|(_, number)| *number).collect();
    members.retain(|m| collector.leaves[*m].form == Form::Dense);
    members.sort_unstable_by_key(|m| (collector.leaves[*m].start, u64::MAX - collector.leaves[*m].end));
    let mut pieces = Vec::new();
    let mut covered = start;
    for member in members {
        let leaf = &collector.leaves[member];
        if leaf.end <= covered {
            continue;
        }
        if let Source::Tensor(tensor) = collector.sources[member] {
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
