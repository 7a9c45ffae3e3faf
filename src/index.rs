//! The index: one pass over its seven parts, front to back. `Spec §7`.
//!
//! ```text
//! extensions │ dtypes │ buffers │ block CRCs │ tensors │ metadata │ root
//! ```
//!
//! Parsing keeps offsets, never copies of what it read: an [`Index`] is a handful of tables beside the bytes they
//! point into, and takes at most as much memory as the index itself.

use std::sync::OnceLock;

use crate::bits::Bits;
use crate::buffer::{Buffer, BufferTable, KIND_TENSOR};
use crate::bytes::{Input, Parsed, count, finish, refuse, table_index};
use crate::dtype::{self, DType, Geometry};
use crate::entry::{self, Entry, NO_BUFFER};
use crate::error::{Code, Error, Result};
use crate::extension;
use crate::header::Header;
use crate::keys::KeyTables;
use crate::layout::Extent;
use crate::limits::{Limits, MAX_INLINE_BYTES};
use crate::parallel::join;
use crate::place::holds;
use crate::sharing;
use crate::walk;

/// The parsed and checked index. All offsets are relative to its first byte.
#[derive(Debug)]
pub(crate) struct Index {
    dtype_offsets: Vec<u32>,
    dtypes: OnceLock<Vec<DType>>,
    pub(crate) buffers: BufferTable,
    tensors: Vec<u32>,
    pub(crate) metadata: u32,
    pub(crate) root: u32,
    pub(crate) keys: KeyTables,
}

/// What parsing an index depends on besides its bytes.
pub(crate) struct Context<'a> {
    pub(crate) header: &'a Header,
    /// Where the first buffer may begin: the end of the header (streamed) or of the index (planned).
    pub(crate) data_start: u64,
    pub(crate) limits: &'a Limits,
    pub(crate) understood: &'a [u32],
    pub(crate) threads: Option<usize>,
}

/// From this many bytes on tables and values are checked side by side: starting a thread takes as long as checking these.
const BESIDE: usize = 1 << 17;

impl Index {
    /// Parses `bytes`, which lie at `header.index_offset`, and checks every level O rule on them.
    pub(crate) fn parse(bytes: &[u8], context: &Context<'_>) -> Result<Self> {
        let start = Input::new(bytes, context.header.index_offset);
        let (rest, tags) = finish(extension::parse(start, context.understood))?;
        let (rest, dtype_offsets) = finish(dtype_table(start, rest))?;
        let log2 = context.header.block_log2;
        let (rest, buffers) = finish(BufferTable::parse(start, rest, context.data_start, log2, &tags))?;
        let (tables, scanned) = Tables::scan(start, rest, (dtype_offsets, buffers), context)?;
        let end = scanned.as_ref().ok().copied();
        let beside = bytes.len() >= BESIDE && context.threads != Some(1);
        let (shared, walked) = join(beside, || tables.check(context, end), || end.map(|rest| walk::walk(bytes, rest, &tables, beside)));
        let (shared, rest) = (shared?, scanned?);
        let walked = walked.ok_or_else(|| Error::at(Code::IndexShort, rest.offset, "the index has no values"))?;
        tables.check_long_bytes(&walked, &shared)?;
        walked.outcome?;
        let (metadata, root, keys) = (walked.metadata, walked.root, walked.keys);
        let Tables { dtypes: dtype_offsets, buffers, tensors, .. } = tables;
        Ok(Self { dtype_offsets, dtypes: OnceLock::new(), buffers, tensors, metadata, root, keys })
    }

    pub(crate) fn tensor_count(&self) -> u32 {
        // The count was a u32 in the file.
        u32::try_from(self.tensors.len()).unwrap_or(u32::MAX)
    }

    /// Entry `number`, which the walk has found to exist.
    pub(crate) fn entry<'a>(&self, bytes: &'a [u8], number: u32) -> Result<Entry<'a>> {
        let at = *self.tensors.get(table_index(number)).ok_or_else(|| missing("tensor", number))?;
        entry_at(bytes, at)
    }

    pub(crate) fn dtype(&self, bytes: &[u8], number: u32) -> Result<&DType> {
        let dtypes = self.dtypes.get_or_init(|| decode_dtypes(bytes, &self.dtype_offsets));
        dtypes.get(table_index(number)).ok_or_else(|| missing("dtype", number))
    }

    /// The geometry of dtype `number` and whether it is bool; a file may have more dtypes than should be decoded for this.
    pub(crate) fn element(&self, bytes: &[u8], number: u32) -> Result<(Geometry, bool)> {
        let at = *self.dtype_offsets.get(table_index(number)).ok_or_else(|| missing("dtype", number))?;
        finish(dtype::element_of(Input::new(&bytes[table_index(at)..], 0))).map(|(_, element)| element)
    }

    pub(crate) fn buffer(&self, bytes: &[u8], number: u32) -> Result<Buffer> {
        self.buffers.get(bytes, number).ok_or_else(|| missing("buffer", number))
    }
}

#[cold]
fn missing(what: &str, number: u32) -> Error {
    Error::new(Code::NotFound, format!("the file has no {what} {number}"))
}

/// The entry at `at`, which was read before.
fn entry_at(bytes: &[u8], at: u32) -> Result<Entry<'_>> {
    let found = bytes.get(table_index(at)..).and_then(Entry::read);
    found.map(|(entry, _)| entry).ok_or_else(|| Error::at(Code::IndexShort, at.into(), "an entry changed after it was checked"))
}

fn decode_dtypes(bytes: &[u8], offsets: &[u32]) -> Vec<DType> {
    let at = |offset: &u32| finish(DType::parse(Input::new(&bytes[table_index(*offset)..], 0)));
    offsets.iter().filter_map(|offset| at(offset).ok().map(|(_, dtype)| dtype)).collect()
}

/// The tables while they are being checked.
pub(crate) struct Tables<'a> {
    pub(crate) bytes: &'a [u8],
    /// Absolute offset of the index.
    pub(crate) base: u64,
    dtypes: Vec<u32>,
    pub(crate) buffers: BufferTable,
    tensors: Vec<u32>,
}

/// What the entries were found to be like.
pub(crate) struct Entries {
    /// Each tensor with bytes has a buffer of its own, in order, and fills it: nothing is shared.
    pub(crate) plain: bool,
    pub(crate) empty_tensors: u32,
}

impl<'a> Tables<'a> {
    /// Finds the entries of the tensor table, which begins at `input`, and where it ends, or what keeps an entry from being
    /// read.
    fn scan(
        index: Input<'a>,
        input: Input<'a>,
        (dtypes, buffers): (Vec<u32>, BufferTable),
        context: &Context<'_>,
    ) -> Result<(Self, Result<Input<'a>>)> {
        let (mut rest, n) = finish(count(entry::MIN_RECORD)(input))?;
        context.limits.check_tensors(n)?;
        let mut tensors = Vec::with_capacity(table_index(n));
        let mut scanned = Ok(());
        for _ in 0..n {
            match finish(Entry::parse(rest)) {
                Ok((after, _)) => {
                    tensors.push(u32::try_from(rest.offset - index.offset).unwrap_or(u32::MAX));
                    rest = after;
                }
                Err(error) => {
                    scanned = Err(error);
                    break;
                }
            }
        }
        Ok((Self { bytes: index.bytes, base: index.offset, dtypes, buffers, tensors }, scanned.map(|()| rest)))
    }

    /// Checks every rule on the tables; `end` is where they end, if all entries could be read. Returns the buffers that more
    /// than one tensor views.
    fn check(&self, context: &Context<'_>, end: Option<Input<'_>>) -> Result<Bits> {
        let (entries, numbering) = self.check_entries(context)?;
        let Some(end) = end else { return Ok(Bits::default()) };
        let suspects = sharing::check_distinct(self, &entries)?;
        numbering.finish(self, end.offset)?;
        check_length(self, context)?;
        sharing::check_groups(self, &suspects)
    }

    pub(crate) fn tensor_count(&self) -> u32 {
        u32::try_from(self.tensors.len()).unwrap_or(u32::MAX)
    }

    /// Absolute offset of entry `number`.
    pub(crate) fn entry_offset(&self, number: u32) -> u64 {
        self.base + u64::from(self.tensors[table_index(number)])
    }

    pub(crate) fn entry(&self, number: u32) -> Result<Entry<'a>> {
        entry_at(self.bytes, self.tensors[table_index(number)])
    }

    /// The bytes of entry `number`; equal entries have equal bytes.
    pub(crate) fn entry_bytes(&self, number: u32) -> &'a [u8] {
        let start = &self.bytes[table_index(self.tensors[table_index(number)])..];
        Entry::read(start).map_or(&[], |(_, len)| &start[..len])
    }

    pub(crate) fn geometry(&self, dtype: u32) -> Result<Geometry> {
        let at = self.dtypes[table_index(dtype)];
        finish(dtype::geometry_of(Input::new(&self.bytes[table_index(at)..], 0))).map(|(_, geometry)| geometry)
    }

    pub(crate) fn extent(&self, number: u32) -> Result<Extent> {
        let entry = self.entry(number)?;
        entry.check(self.geometry(entry.dtype)?, number, self.entry_offset(number))
    }

    fn check_entries(&self, context: &Context<'_>) -> Result<(Entries, Numbering)> {
        let mut entries = Entries { plain: true, empty_tensors: 0 };
        let mut numbering = Numbering::new(context.header.streamed, self.buffers.len());
        // Most tensors have the dtype of the one before.
        let mut geometry = None;
        for number in 0..self.tensor_count() {
            let (at, entry) = (self.entry_offset(number), self.entry(number)?);
            let geometry = match geometry {
                Some((dtype, geometry)) if dtype == entry.dtype => geometry,
                _ => {
                    let found = self.known_geometry(&entry, number, at)?;
                    geometry = Some((entry.dtype, found));
                    found
                }
            };
            let extent = entry.check(geometry, number, at)?;
            if entry.buffer == NO_BUFFER {
                entries.empty_tensors += 1;
            } else {
                let fills = self.check_place(&entry, &extent, number, at)?;
                entries.plain &= fills && entry.buffer == number - entries.empty_tensors;
            }
            numbering.see(&entry, number, at);
        }
        Ok((entries, numbering))
    }

    fn known_geometry(&self, entry: &Entry<'_>, number: u32, at: u64) -> Result<Geometry> {
        if table_index(entry.dtype) >= self.dtypes.len() {
            let detail = format!("tensor {number} has dtype {}, the table has {}", entry.dtype, self.dtypes.len());
            return Err(Error::at(Code::TensorDtype, at, detail));
        }
        self.geometry(entry.dtype)
    }

    /// Refuses a tensor that is not inside a buffer it may view; whether it is the whole of it.
    fn check_place(&self, entry: &Entry<'_>, extent: &Extent, number: u32, at: u64) -> Result<bool> {
        let Some(buffer) = self.buffers.get(self.bytes, entry.buffer) else {
            let detail = format!("tensor {number} is in buffer {}, the table has {}", entry.buffer, self.buffers.len());
            return Err(Error::at(Code::TensorBuffer, at + 4, detail));
        };
        if entry.buffer >= self.buffers.viewable {
            return Err(Error::at(Code::BufferViewed, at + 4, format!("tensor {number} views auxiliary buffer {}", entry.buffer)));
        }
        let fits = holds(buffer.record.len, entry.offset, extent.span);
        if buffer.record.kind == KIND_TENSOR && !fits {
            let detail =
                format!("tensor {number} takes {} bytes from byte {} of a buffer of {}", extent.span, entry.offset, buffer.record.len);
            return Err(Error::at(Code::TensorExtent, at + 8, detail));
        }
        let fills = extent.dense && entry.offset == 0 && extent.span == buffer.record.len;
        Ok(fills || buffer.record.kind != KIND_TENSOR)
    }

    /// Refuses a tensor that is long bytes and not alone in its buffer; the walk has looked at the rest. A fault in front of
    /// it comes first.
    fn check_long_bytes(&self, walked: &walk::Walked, shared: &Bits) -> Result<()> {
        let is_shared = |number: u32| self.entry(number).is_ok_and(|entry| shared.contains(entry.buffer));
        let Some((number, at)) = walked.long_bytes.iter().find(|(number, _)| is_shared(*number)) else { return Ok(()) };
        match &walked.outcome {
            Err(error) if error.offset().is_some_and(|offset| offset < *at) => Ok(()),
            _ => Err(walk::not_long_bytes(*number, *at)),
        }
    }
}

/// Follows the numbering rules over the tensor table: first uses of dtypes, and in a planned file of buffers, ascend.
struct Numbering {
    streamed: bool,
    next_dtype: u32,
    next_buffer: u32,
    used: Bits,
    /// The first tensors that use a dtype, and a buffer, out of turn, with the offsets of their entries.
    bad_dtype: Option<(u32, u64)>,
    bad_buffer: Option<(u32, u64)>,
}

impl Numbering {
    fn new(streamed: bool, buffers: usize) -> Self {
        let used = Bits::below(if streamed { buffers } else { 0 });
        Self { streamed, next_dtype: 0, next_buffer: 0, used, bad_dtype: None, bad_buffer: None }
    }

    fn see(&mut self, entry: &Entry<'_>, number: u32, at: u64) {
        if entry.dtype > self.next_dtype {
            self.bad_dtype.get_or_insert((number, at));
        }
        self.next_dtype += u32::from(entry.dtype == self.next_dtype);
        if entry.buffer == NO_BUFFER {
            return;
        }
        if self.streamed {
            self.used.insert(entry.buffer);
            return;
        }
        if entry.buffer > self.next_buffer {
            self.bad_buffer.get_or_insert((number, at));
        }
        self.next_buffer += u32::from(entry.buffer == self.next_buffer);
    }

    fn finish(&self, tables: &Tables<'_>, at: u64) -> Result<()> {
        if let Some((number, at)) = self.bad_dtype {
            return Err(Error::at(Code::DtypeOrder, at, format!("tensor {number} uses a dtype before one with a lower number is used")));
        }
        if table_index(self.next_dtype) != tables.dtypes.len() {
            return Err(Error::at(Code::DtypeOrder, at, format!("no tensor uses dtype {}", self.next_dtype)));
        }
        if let Some((number, at)) = self.bad_buffer {
            return Err(Error::at(
                Code::BufferOrder,
                at + 4,
                format!("tensor {number} uses a buffer before one with a lower number is used"),
            ));
        }
        let unused = if self.streamed {
            (0..tables.buffers.viewable).find(|b| !self.used.contains(*b))
        } else {
            Some(self.next_buffer).filter(|b| *b < tables.buffers.viewable)
        };
        match unused {
            None => Ok(()),
            Some(b) => Err(Error::at(Code::BufferUnused, at, format!("no tensor views buffer {b}"))),
        }
    }
}

/// The dtype table: offsets of its records.
fn dtype_table<'a>(index: Input<'a>, input: Input<'a>) -> Parsed<'a, Vec<u32>> {
    let (mut rest, n) = count(dtype::MIN_RECORD)(input)?;
    let mut offsets = Vec::with_capacity(table_index(n));
    for _ in 0..n {
        offsets.push(u32::try_from(rest.offset - index.offset).unwrap_or(u32::MAX));
        rest = DType::parse(rest)?.0;
    }
    check_distinct(index, &offsets).or_else(refuse)?;
    Ok((rest, offsets))
}

fn check_distinct(index: Input<'_>, offsets: &[u32]) -> Result<()> {
    let name = |offset: &u32| {
        let record = &index.bytes[table_index(*offset)..];
        &record[10..10 + usize::from(record[9])]
    };
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable_by_key(|offset| (name(offset), *offset));
    match sorted.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
        None => Ok(()),
        Some(pair) => {
            let detail = format!("dtype \"{}\" is in the table twice", name(&pair[0]).escape_ascii());
            Err(Error::at(Code::DtypeDuplicate, index.offset + u64::from(pair[1]), detail))
        }
    }
}

/// The stated index offset and file length must be what the buffers' lengths lead to.
fn check_length(tables: &Tables<'_>, context: &Context<'_>) -> Result<()> {
    let regions = crate::frame::Regions::after(tables.buffers.end(), context.header);
    let stated_at = if context.header.streamed { context.header.file_len - 64 } else { 0 };
    match regions {
        Some(r) if context.header.streamed && r.last_index != context.header.index_offset => {
            let detail =
                format!("the index begins at byte {}, the buffers' lengths put it at {}", context.header.index_offset, r.last_index);
            Err(Error::at(Code::IndexOffset, stated_at + 24, detail))
        }
        Some(r) if r.file_len == context.header.file_len => Ok(()),
        _ => {
            let sum = regions.map_or("more than 2^63-1".to_owned(), |r| r.file_len.to_string());
            let detail = format!("the stated file length is {}, the parts add up to {sum}", context.header.file_len);
            Err(Error::at(Code::FileLayout, stated_at + 16, detail))
        }
    }
}

impl walk::Tensors for Tables<'_> {
    fn count(&self) -> u32 {
        self.tensor_count()
    }

    fn is_long_bytes(&self, number: u32) -> bool {
        let Ok(entry) = self.entry(number) else { return false };
        let Some(buffer) = self.buffers.get(self.bytes, entry.buffer) else { return false };
        let len = match (entry.dims.to_vec().as_slice(), entry.strides) {
            ([len], None) => *len,
            _ => return false,
        };
        let Some(dtype) = self.dtypes.get(table_index(entry.dtype)) else { return false };
        let dtype = finish(DType::parse(Input::new(&self.bytes[table_index(*dtype)..], 0)));
        let is_u8 = dtype.is_ok_and(|(_, dtype)| dtype == DType::U8);
        let whole = buffer.record.kind != KIND_TENSOR || buffer.record.len == len;
        is_u8 && entry.offset == 0 && whole && len > crate::bytes::from_usize(MAX_INLINE_BYTES)
    }
}
