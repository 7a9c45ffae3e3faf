//! An open file, the front door to everything behind header and index. `Spec §12`.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blocks::Verified;
use crate::buffer::{Buffer, KIND_TENSOR};
use crate::bytes::{table_index, to_usize};
use crate::dtype::{DType, Geometry};
use crate::entry::{Entry, NO_BUFFER, Row};
use crate::error::{Code, Error, Result};
use crate::extension;
use crate::frame;
use crate::header::{self, Header, Role};
use crate::index::Index;
use crate::layout::{self, Extent};
use crate::limits::{HEADER_LEN, Limits};
use crate::load;
use crate::node::ValueRef;
use crate::parity::Parity;
use crate::slice;
use crate::source::Source;
use crate::tensor::{Storage, Tensor};
use crate::tree::Value;

/// An open file.
///
/// ```
/// use cairnfile::{Cairn, Tensor, Value};
/// let path = std::env::temp_dir().join("cairnfile-doc-open.cairn");
/// let value = Value::from(vec![Value::from(1i64), Tensor::from_vec(&[3], vec![1u8, 2, 3]).unwrap().into()]);
/// cairnfile::save(&path, &value).unwrap();
/// let cairn = Cairn::open(&path).unwrap();
/// let tensor = cairn.tensor("/1").unwrap().read().unwrap();
/// assert_eq!(tensor.as_slice::<u8>().unwrap(), [1, 2, 3]);
/// # std::fs::remove_file(path).unwrap();
/// ```
pub struct Cairn<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) header: Header,
    /// The index: where it lies in bytes that were given, and its bytes where they are read from a file.
    pub(crate) index_range: Range<usize>,
    pub(crate) index_bytes: Vec<u8>,
    pub(crate) index: Index,
    pub(crate) verified: Verified,
    pub(crate) limits: Limits,
    pub(crate) spent: AtomicU64,
    pub(crate) threads: Option<usize>,
}

impl<'a> Cairn<'a> {
    pub(crate) fn index_bytes(&self) -> &[u8] {
        match self.source {
            Source::Bytes(bytes) => &bytes[self.index_range.clone()],
            Source::File { .. } | Source::Map(..) => &self.index_bytes,
        }
    }

    /// The trailer of a planned file, checked against the header.
    pub(crate) fn planned_trailer(&self) -> Result<Header> {
        let at = self.header.file_len - HEADER_LEN;
        let trailer = Header::parse(&header::array(&self.source.get(at, HEADER_LEN)?), at, Role::PlannedTrailer)?;
        self.header.check_trailer(&trailer, at)?;
        let expected = self.last_index();
        if trailer.index_offset != expected {
            let detail = format!("the trailer puts the second index at byte {}, it is at {expected}", trailer.index_offset);
            return Err(Error::at(Code::TrailerMismatch, at + 24, detail));
        }
        Ok(trailer)
    }

    /// Where the index at the end of the file begins.
    pub(crate) fn last_index(&self) -> u64 {
        let regions = frame::Regions::after(self.index.buffers.end(), &self.header);
        regions.map_or(self.header.index_offset, |r| r.last_index)
    }

    /// The root value.
    pub fn root(&self) -> ValueRef<'_> {
        ValueRef::new(self, self.index.root)
    }

    /// The metadata: a dict with str keys, without tensors.
    pub fn metadata(&self) -> ValueRef<'_> {
        ValueRef::new(self, self.index.metadata)
    }

    /// The value at `address`, a JSON Pointer such as `/model/encoder/0`; `""` is the root.
    ///
    /// # Errors
    /// `address` or `not-found`.
    pub fn get(&self, address: &str) -> Result<ValueRef<'_>> {
        self.root().at_address(address)
    }

    /// The tensor at `address`.
    ///
    /// # Errors
    /// `address`, `not-found`, or `wrong-type` if something else is there.
    pub fn tensor(&self, address: &str) -> Result<TensorRef<'_>> {
        let value = self.get(address)?;
        value.tensor()?.ok_or_else(|| Error::new(Code::WrongType, format!("{address:?} is not a tensor")))
    }

    /// The tensors of the file, each once, in the order of their numbers.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorRef<'_>> {
        (0..table_index(self.index.tensor_count())).map(|i| TensorRef::new(self, u32::try_from(i).unwrap_or(u32::MAX)))
    }

    /// The whole root value. Tensors view the file where it is in memory, and one fresh copy of each buffer where it
    /// is not; every byte is verified.
    ///
    /// # Errors
    /// Any level V refusal; `budget` above the caller's limit of memory.
    pub fn load(&self) -> Result<Value<'_>> {
        load::value(self.root())
    }

    /// The whole root value in memory of its own.
    ///
    /// # Errors
    /// As [`Cairn::load`].
    pub fn load_copy(&self) -> Result<Value<'static>> {
        load::owned(self.root())
    }

    /// Length of the file, in bytes.
    pub fn file_len(&self) -> u64 {
        self.header.file_len
    }

    /// Length of the index, in bytes.
    pub fn index_len(&self) -> u64 {
        self.header.index_len
    }

    /// Bytes of a block, each of which has a checksum of its own.
    pub fn block_size(&self) -> u64 {
        self.header.block_size()
    }

    /// Whether the file was written as a stream, its index at the end.
    pub fn is_streamed(&self) -> bool {
        self.header.streamed
    }

    /// How many buffers hold the tensors' bytes.
    pub fn buffer_count(&self) -> usize {
        self.index.buffers.len()
    }

    /// How many blocks the buffers are cut into.
    pub fn block_count(&self) -> u32 {
        self.index.buffers.blocks()
    }

    /// The dtypes of the file, in the order of their numbers.
    pub fn dtypes(&self) -> Vec<DType> {
        (0..).map_while(|n| self.index.dtype(self.index_bytes(), n).ok().cloned()).collect()
    }

    /// The extensions of the file, as (tag, payload).
    pub fn extensions(&self) -> impl Iterator<Item = (u32, &[u8])> {
        extension::frames(self.index_bytes()).map(|frame| (frame.tag, frame.payload))
    }

    /// The share of the data, in ten-thousandths, that the parity in the file can compute again; `None` where it has none, or none
    /// of use. See [`crate::WriteOptions::parity`].
    pub fn parity(&self) -> Option<u16> {
        Parity::of(&self.index, self.index_bytes()).ok().flatten().map(|(parity, _)| parity.scheme.share())
    }

    /// Charges `bytes` of memory to the caller's limit.
    pub(crate) fn charge(&self, bytes: u64) -> Result<()> {
        let total = self.spent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if total > self.limits.memory {
            return Err(crate::limits::over("the reads of this file take", total, self.limits.memory));
        }
        Ok(())
    }
}

impl fmt::Debug for Cairn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cairn of {} bytes with {} tensors in {} buffers", self.file_len(), self.index.tensor_count(), self.buffer_count())
    }
}

/// A tensor in an open file: what the index says, and the way to its bytes.
#[derive(Clone, Copy)]
pub struct TensorRef<'c> {
    pub(crate) cairn: &'c Cairn<'c>,
    number: u32,
}

impl<'c> TensorRef<'c> {
    pub(crate) fn new(cairn: &'c Cairn<'c>, number: u32) -> Self {
        Self { cairn, number }
    }

    pub(crate) fn entry(&self) -> Result<Entry<'c>> {
        self.cairn.index.entry(self.cairn.index_bytes(), self.number)
    }

    /// What the index says about the tensor, read once.
    pub(crate) fn spec(&self) -> Result<Spec<'c>> {
        let entry = self.entry()?;
        Ok(Spec { entry, dtype: self.cairn.index.dtype(self.cairn.index_bytes(), entry.dtype)? })
    }

    pub(crate) fn extent(&self) -> Result<Extent> {
        self.spec()?.extent()
    }

    /// The number of the tensor in the table; equal numbers are tied tensors.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The element type.
    ///
    /// # Errors
    /// None for a file that `open` accepted, as for every accessor without a section of its own here.
    pub fn dtype(&self) -> Result<&'c DType> {
        self.cairn.index.dtype(self.cairn.index_bytes(), self.entry()?.dtype)
    }

    /// Extent of each axis, in elements.
    ///
    /// # Errors
    /// As [`TensorRef::dtype`].
    pub fn shape(&self) -> Result<Vec<u64>> {
        Ok(self.entry()?.dims.to_vec())
    }

    /// Strides in elements, 0 on axes of extent at most 1; `None` when row-major.
    ///
    /// # Errors
    /// As [`TensorRef::dtype`].
    pub fn strides(&self) -> Result<Option<Vec<u64>>> {
        Ok(self.entry()?.strides.map(|s| s.to_vec()))
    }

    /// Bytes of the elements.
    ///
    /// # Errors
    /// As [`TensorRef::dtype`].
    pub fn byte_len(&self) -> Result<u64> {
        Ok(self.extent()?.len)
    }

    /// Number of the buffer that the tensor views; `None` without bytes.
    ///
    /// # Errors
    /// As [`TensorRef::dtype`].
    pub fn buffer(&self) -> Result<Option<u32>> {
        Ok(Some(self.entry()?.buffer).filter(|b| *b != NO_BUFFER))
    }

    /// The bytes of the file from the first to the last element's end; empty without bytes.
    ///
    /// # Errors
    /// `buffer-kind` if the buffer's bytes are not the tensor's.
    pub fn file_range(&self) -> Result<Range<u64>> {
        match self.place()? {
            None => Ok(0..0),
            Some((buffer, range)) => Ok(buffer.start + range.start..buffer.start + range.end),
        }
    }

    /// The bytes of the file that are the tensor's alone or with others, and whether its elements are in them: of a buffer that
    /// only an extension can read, all are its own. The tensor has a buffer.
    pub(crate) fn held(&self, entry: &Entry<'_>, geometry: Geometry) -> Result<(Range<u64>, bool)> {
        let buffer = self.cairn.index.buffer(self.cairn.index_bytes(), entry.buffer)?;
        let readable = buffer.record.kind == KIND_TENSOR;
        let (offset, len) = if readable { (entry.offset, extent_of(entry, geometry)?.span) } else { (0, buffer.record.len) };
        let start = buffer.start.saturating_add(offset);
        Ok((start..start.saturating_add(len), readable))
    }

    /// The buffer and the tensor's span in it; refuses a kind of buffer that only an extension can read.
    pub(crate) fn place(&self) -> Result<Option<(Buffer, Range<u64>)>> {
        self.place_of(&self.spec()?)
    }

    /// The buffer of a tensor; refuses a kind of buffer that only an extension can read.
    pub(crate) fn buffer_of(&self, entry: &Entry<'_>) -> Result<Option<Buffer>> {
        if entry.buffer == NO_BUFFER {
            return Ok(None);
        }
        let buffer = self.cairn.index.buffer(self.cairn.index_bytes(), entry.buffer)?;
        if buffer.record.kind != KIND_TENSOR {
            let detail = format!("tensor {} is in a buffer of kind {}: use a newer reader", self.number, buffer.record.kind);
            return Err(Error::at(Code::BufferKind, buffer.start, detail));
        }
        Ok(Some(buffer))
    }

    /// As [`TensorRef::place`], of a spec that was read already.
    pub(crate) fn place_of(&self, spec: &Spec<'c>) -> Result<Option<(Buffer, Range<u64>)>> {
        let Some(buffer) = self.buffer_of(&spec.entry)? else { return Ok(None) };
        let start = spec.entry.offset;
        Ok(Some((buffer, start..start + spec.extent()?.span)))
    }

    /// The tensor: a view of the file where it is in memory, a copy where it is not; verified either way.
    ///
    /// # Errors
    /// `block-crc`, `tail-bits` or `bool-value` for damage; `buffer-kind`; `budget`; `io`.
    pub fn read(&self) -> Result<Tensor<'c>> {
        let spec = self.spec()?;
        let Some((buffer, range)) = self.place_of(&spec)? else { return spec.over(Storage::borrowed(&[]), 0) };
        let (storage, skipped) = load::span(self.cairn, &buffer, range.clone())?;
        let tensor = spec.over(storage, range.start - skipped)?;
        crate::content::check(self, &tensor)?;
        Ok(tensor)
    }

    /// The span's bytes as they lie in memory, without verifying them; `None` where the file is not in memory.
    ///
    /// # Errors
    /// `buffer-kind`.
    pub fn bytes_unchecked(&self) -> Result<Option<&'c [u8]>> {
        let range = self.file_range()?;
        let Some(bytes) = self.cairn.source.memory() else { return Ok(None) };
        let range = to_usize(range.start)?..to_usize(range.end)?;
        Ok(bytes.get(range))
    }

    /// Rows `range` of the first axis; see [`TensorRef::slice`].
    ///
    /// # Errors
    /// As [`TensorRef::slice`].
    pub fn rows(&self, range: Range<u64>) -> Result<Tensor<'c>> {
        let mut ranges: Vec<_> = self.entry()?.dims.iter().map(|dim| 0..dim).collect();
        match ranges.first_mut() {
            Some(first) => *first = range,
            None => return Err(Error::new(Code::OutOfRange, "a tensor without axes has no rows")),
        }
        self.slice(&ranges)
    }

    /// The elements in a range of each axis. Only the blocks they lie in are read and verified.
    ///
    /// Where the elements lie together and are whole bytes, the result is a view of what [`TensorRef::read`] would view;
    /// otherwise it is a row-major copy.
    ///
    /// # Errors
    /// `out-of-range` if a range is not inside its axis, there is not one for each axis, or the last one of a
    /// block-class dtype is not in whole groups; otherwise as [`TensorRef::read`].
    pub fn slice(&self, ranges: &[Range<u64>]) -> Result<Tensor<'c>> {
        slice::read(self, ranges)
    }

    /// Strides in elements, row-major ones spelled out.
    pub(crate) fn full_strides(&self) -> Result<Vec<u64>> {
        let entry = self.entry()?;
        Ok(entry.strides.map_or_else(|| layout::row_major_strides(&entry.dims.to_vec()), |s| s.to_vec()))
    }
}

/// What the index says about a tensor.
pub(crate) struct Spec<'c> {
    pub(crate) entry: Entry<'c>,
    dtype: &'c DType,
}

/// The extent of an entry that `open` has checked.
fn extent_of(entry: &Entry<'_>, geometry: Geometry) -> Result<Extent> {
    entry.extent(geometry).map_err(|_| Error::new(Code::TensorSize, "an entry changed after it was checked"))
}

impl<'c> Spec<'c> {
    fn extent(&self) -> Result<Extent> {
        extent_of(&self.entry, self.dtype.geometry())
    }

    /// The tensor over `storage`, whose byte `offset` is its first element's.
    pub(crate) fn over<'s>(&self, storage: Storage<'s>, offset: u64) -> Result<Tensor<'s>> {
        let strides = self.entry.strides.map(Row::iter);
        Tensor::with_element_strides(self.dtype.clone(), self.entry.dims.iter(), strides, storage, offset)
    }
}

impl fmt::Debug for TensorRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dtype, shape) = (self.dtype().map_err(|_| fmt::Error)?, self.shape().map_err(|_| fmt::Error)?);
        write!(f, "tensor {} {dtype}{shape:?}", self.number)
    }
}

impl<'c> ValueRef<'c> {
    /// The tensor that this value is, through any type names; `None` if it is something else.
    ///
    /// # Errors
    /// None for a file that `open` accepted.
    pub fn tensor(self) -> Result<Option<TensorRef<'c>>> {
        use crate::node::Node;
        match self.node()? {
            Node::Tensor(tensor) | Node::LongBytes(tensor) => Ok(Some(tensor)),
            Node::Named(_, value) => value.tensor(),
            _ => Ok(None),
        }
    }

    /// The value and everything below it; tensors as [`Cairn::load`] loads them.
    ///
    /// # Errors
    /// As [`Cairn::load`].
    pub fn load(self) -> Result<Value<'c>> {
        load::value(self)
    }
}
