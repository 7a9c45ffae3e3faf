//! Writing a plan: the buffers front to back with their checksums, then index, trailer and header.

use std::io::Write;
use std::path::Path;

use crate::bytes::{from_usize, to_usize};
use crate::checksum::{Crc, crc32};
use crate::durable::Replacement;
use crate::error::{Code, Error, Result};
use crate::limits::HEADER_LEN;
use crate::options::WriteOptions;
use crate::parallel::{Progress, lane};
use crate::place::{block_count, block_total, place};
use crate::plan::{Content, Plan, PlannedBuffer};
use crate::tree::Value;

/// Bytes of one write call: large ones are fast, and a checksum of what is about to be written finds it in the cache.
const CALL: usize = 4 << 20;
/// A slice of at least this many bytes is written from where it lies; shorter ones are collected.
const DIRECT: usize = 1 << 20;

/// [`DIRECT`] as a length in the file.
const DIRECT_LEN: u64 = 1 << 20;
/// From this many bytes on another core computes the checksums: starting it takes as long as checking a MiB.
const BESIDE: u64 = 4 << 20;

/// Where a plan is written to, in ascending order but for the header.
pub(crate) trait Sink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
}

/// A file in memory, as long as it will be.
struct Memory<'m>(&'m mut [u8]);

/// For checksums alone.
struct Nowhere;

impl Sink for Nowhere {
    fn write_at(&mut self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl Sink for Memory<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let start = to_usize(offset)?;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Anything that only takes bytes in order; gaps become zeros.
pub(crate) struct Forward<W> {
    pub(crate) writer: W,
    pub(crate) at: u64,
}

impl<W: Write> Sink for Forward<W> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let failed = |e| Error::io("cannot write", e);
        let gap = to_usize(offset - self.at)?;
        self.writer.write_all(&vec![0; gap]).map_err(failed)?;
        self.writer.write_all(bytes).map_err(failed)?;
        self.at = offset + from_usize(bytes.len());
        Ok(())
    }
}

/// The checksums of a buffer's blocks while its bytes go by.
pub(crate) struct BlockCrcs {
    block: u64,
    filled: u64,
    hasher: Crc,
    done: Vec<u32>,
}

impl BlockCrcs {
    pub(crate) fn new(log2: u8) -> Self {
        Self { block: 1 << log2, filled: 0, hasher: Crc::new(), done: Vec::new() }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.block - self.filled).unwrap_or(usize::MAX);
            let (head, rest) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(head);
            self.filled += from_usize(head.len());
            if self.filled == self.block {
                self.end_block();
            }
            bytes = rest;
        }
    }

    fn end_block(&mut self) {
        self.done.push(self.hasher.clone().finalize());
        // A new one would look for the processor's features again.
        self.hasher.reset();
        self.filled = 0;
    }

    /// Ends a buffer, whose last block may be short.
    pub(crate) fn end_buffer(&mut self) {
        if self.filled > 0 {
            self.end_block();
        }
    }

    pub(crate) fn into_inner(self) -> Vec<u32> {
        self.done
    }
}

/// Collects small slices and the gaps between them into large calls.
struct Collector<'s> {
    sink: &'s mut dyn Sink,
    pending: Vec<u8>,
    /// Where what is pending begins.
    at: u64,
    progress: Progress<'s>,
}

impl Collector<'_> {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = self.at + from_usize(self.pending.len());
        let gap = if self.pending.is_empty() { 0 } else { to_usize(offset.saturating_sub(end))? };
        if bytes.len() >= DIRECT || self.pending.len() + gap + bytes.len() > CALL {
            self.flush()?;
        }
        if bytes.len() >= DIRECT {
            self.sink.write_at(offset, bytes)?;
            return (self.progress)(from_usize(bytes.len()));
        }
        if self.pending.is_empty() {
            self.at = offset;
        } else {
            self.pending.resize(self.pending.len() + gap, 0);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.sink.write_at(self.at, &self.pending)?;
            (self.progress)(from_usize(self.pending.len()))?;
        }
        self.pending.clear();
        Ok(())
    }
}

/// Bytes that are to be checked, and the places for the checksums of their blocks.
enum Unchecked<'p, 'v> {
    /// Whole buffers, each one piece of memory.
    Buffers(&'p [PlannedBuffer<'v>], &'p mut [u32]),
    /// Part of a buffer that begins with a block.
    Bytes(&'p [u8], &'p mut [u32]),
}

impl Unchecked<'_, '_> {
    fn check(self, log2: u8) {
        match self {
            Self::Bytes(bytes, crcs) => bytes.chunks(1 << log2).zip(crcs).for_each(|(block, crc)| *crc = crc32(block)),
            Self::Buffers(buffers, crcs) => {
                let blocks = buffers.iter().filter_map(PlannedBuffer::piece).flat_map(|bytes| bytes.chunks(1 << log2));
                blocks.zip(crcs).for_each(|(block, crc)| *crc = crc32(block));
            }
        }
    }
}

/// Parts in front of a slice of checksums.
fn take_front<'p>(crcs: &mut &'p mut [u32], count: u64) -> Result<&'p mut [u32]> {
    let (front, rest) = std::mem::take(crcs).split_at_mut(to_usize(count)?);
    *crcs = rest;
    Ok(front)
}

impl<'v> Plan<'v> {
    /// Writes all buffers, in order, and returns the checksums of their blocks, which another core computes meanwhile.
    fn write_buffers(&self, sink: &mut dyn Sink, progress: Progress<'_>) -> Result<Vec<u32>> {
        let log2 = self.options.block_log2;
        let blocks = block_total(self.buffers.iter().map(|b| b.len), log2);
        let mut crcs = vec![0; to_usize(blocks)?];
        let mut collector = Collector { sink, pending: Vec::new(), at: 0, progress };
        let beside = self.data_len() >= BESIDE;
        lane(
            self.options.threads,
            beside,
            |part: Unchecked<'_, 'v>| part.check(log2),
            |put| {
                let (mut rest, mut crcs) = (&self.buffers[..], &mut crcs[..]);
                while let Some(first) = rest.first() {
                    let (run, after) = rest.split_at(small_run(rest).max(1));
                    let crcs = take_front(&mut crcs, block_total(run.iter().map(|b| b.len), log2))?;
                    match first.piece() {
                        Some(bytes) if first.len >= DIRECT_LEN => write_large(first.start, bytes, (log2, crcs), put, &mut collector)?,
                        Some(_) => {
                            put(Unchecked::Buffers(run, crcs));
                            run.iter().try_for_each(|b| collector.put(b.start, b.piece().unwrap_or(&[])))?;
                        }
                        None => write_pieces(first, (log2, crcs), &mut collector)?,
                    }
                    rest = after;
                }
                collector.flush()
            },
        )?;
        Ok(crcs)
    }

    /// Writes the whole file to `sink`; the header last, where the order is free.
    fn write_to(mut self, sink: &mut dyn Sink, progress: Progress<'_>) -> Result<()> {
        self.protect()?;
        let crcs = self.write_buffers(sink, progress)?;
        self.seal(&crcs);
        let (header, trailer) = self.ends();
        sink.write_at(self.regions.last_index, &self.index)?;
        sink.write_at(self.regions.trailer, &trailer)?;
        sink.write_at(HEADER_LEN, &self.index)?;
        sink.write_at(0, &header)
    }

    /// The file in memory.
    ///
    /// # Errors
    /// `unrepresentable` if a tensor is reserved; `host-size` if the file does not fit memory.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        let mut memory = vec![0; to_usize(self.file_len())?];
        self.fill(&mut memory, &|_| Ok(()))?;
        Ok(memory)
    }

    /// Writes the file into `memory`, [`Plan::file_len`] zero bytes.
    ///
    /// # Errors
    /// `out-of-range` for another length; `unrepresentable` if a tensor is reserved; what `progress` returns.
    pub fn fill(self, memory: &mut [u8], progress: Progress<'_>) -> Result<()> {
        if from_usize(memory.len()) != self.file_len() {
            return Err(Error::new(Code::OutOfRange, format!("the file takes {} bytes, the memory has {}", self.file_len(), memory.len())));
        }
        self.write_to(&mut Memory(memory), progress)
    }

    /// Writes the same bytes as [`Plan::save`] to anything that takes them in order. The checksums stand in front of the
    /// data, so the values are gone over twice: they must not change meanwhile.
    ///
    /// ```
    /// # use cairnfile::{Plan, Value, WriteOptions};
    /// let (value, mut written) = (Value::from("text"), Vec::new());
    /// Plan::new(&value, &WriteOptions::new()).unwrap().write(&mut written, &|_| Ok(())).unwrap();
    /// assert_eq!(written, cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap());
    /// ```
    ///
    /// # Errors
    /// `io` from the writer; `unrepresentable` if a tensor is reserved; what `progress` returns.
    pub fn write(mut self, writer: impl Write, progress: Progress<'_>) -> Result<()> {
        self.protect()?;
        let crcs = self.write_buffers(&mut Nowhere, &|_| Ok(()))?;
        self.seal(&crcs);
        let (header, trailer) = self.ends();
        let mut sink = Forward { writer, at: 0 };
        sink.write_at(0, &header)?;
        sink.write_at(HEADER_LEN, &self.index)?;
        self.write_buffers(&mut sink, progress)?;
        sink.write_at(self.regions.last_index, &self.index)?;
        sink.write_at(self.regions.trailer, &trailer)?;
        sink.writer.flush().map_err(|e| Error::io("cannot write", e))
    }

    /// Writes the file to `path`, replacing it whole: after this returns, the new file survives a power cut; before,
    /// the old one does. `progress` is called with bytes done, and with 0 before the old file is replaced; pass `&|_| Ok(())`
    /// for none.
    ///
    /// # Errors
    /// `io` leaves the old file as it was; `durability-unknown` means that the new one is visible, but that its
    /// directory could not be synced; `unrepresentable` if a tensor is reserved (see [`Plan::create`]).
    pub fn save(self, path: impl AsRef<Path>, progress: Progress<'_>) -> Result<()> {
        let durable = self.options.durable;
        let mut replacement = Replacement::create(path.as_ref(), self.file_len())?;
        if durable {
            replacement.begin_early();
        }
        self.write_to(&mut replacement, progress)?;
        replacement.commit(durable, progress)
    }

    /// Writes a streamed file to anything that takes bytes in order.
    fn stream(mut self, writer: impl Write) -> Result<()> {
        let mut sink = Forward { writer, at: 0 };
        let (header, _) = self.ends();
        sink.write_at(0, &header)?;
        let crcs = self.write_buffers(&mut sink, &|_| Ok(()))?;
        self.seal(&crcs);
        sink.write_at(self.regions.last_index, &self.index)?;
        sink.write_at(self.regions.trailer, &self.ends().1)?;
        sink.writer.flush().map_err(|e| Error::io("cannot write", e))
    }
}

/// How many buffers at the front are small and of one piece, up to the bytes of one call.
fn small_run(buffers: &[PlannedBuffer<'_>]) -> usize {
    let mut total = 0;
    let fits = |b: &&PlannedBuffer<'_>| {
        total += b.len;
        b.len < DIRECT_LEN && total <= from_usize(CALL) && b.piece().is_some()
    };
    buffers.iter().take_while(fits).count()
}

/// A buffer that is one slice of memory, from where it lies.
fn write_large<'p, 'v>(
    start: u64,
    bytes: &'p [u8],
    (log2, mut crcs): (u8, &'p mut [u32]),
    put: &mut dyn FnMut(Unchecked<'p, 'v>),
    collector: &mut Collector<'_>,
) -> Result<()> {
    let mut offset = start;
    for call in bytes.chunks(CALL) {
        // A call is whole blocks, but for the last one of the buffer.
        let blocks = block_count(from_usize(call.len()), log2);
        put(Unchecked::Bytes(call, take_front(&mut crcs, blocks)?));
        collector.put(offset, call)?;
        offset += from_usize(call.len());
    }
    Ok(())
}

/// A buffer that is gathered from several places, checked on the way.
fn write_pieces(buffer: &PlannedBuffer<'_>, (log2, out): (u8, &mut [u32]), collector: &mut Collector<'_>) -> Result<()> {
    let mut crcs = BlockCrcs::new(log2);
    let mut offset = buffer.start;
    buffer.each_slice(|bytes| {
        for call in bytes.chunks(CALL) {
            crcs.feed(call);
            collector.put(offset, call)?;
            offset += from_usize(call.len());
        }
        Ok(())
    })?;
    crcs.end_buffer();
    out.copy_from_slice(&crcs.into_inner());
    Ok(())
}

impl<'v> PlannedBuffer<'v> {
    /// The bytes, where they are one slice of memory.
    pub(crate) fn piece(&self) -> Option<&'v [u8]> {
        match self.content {
            Content::Piece(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Hands out the bytes of the buffer in order.
    pub(crate) fn each_slice(&self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &self.content {
            Content::Piece(bytes) => visit(bytes),
            Content::Pieces(pieces) => pieces.iter().try_for_each(|bytes| visit(bytes)),
            Content::Elements(tensor) => {
                let mut outcome = Ok(());
                let mut pending = Vec::with_capacity(CALL.min(to_usize(self.len)?));
                tensor.gather(|run| {
                    if outcome.is_ok() && pending.len() + run.len() > CALL {
                        outcome = visit(&pending);
                        pending.clear();
                    }
                    if outcome.is_ok() && run.len() > CALL {
                        outcome = visit(run);
                    } else {
                        pending.extend_from_slice(run);
                    }
                });
                outcome?;
                visit(&pending)
            }
            Content::Parity(bytes) => visit(bytes),
            Content::Reserved(..) => {
                Err(Error::new(Code::Unrepresentable, "a reserved tensor has no bytes yet: create the plan's file and fill it"))
            }
        }
    }
}

/// Saves `value` to `path`, durably and with the default options; see [`Plan::save`].
///
/// ```
/// use cairnfile::{Tensor, Value};
/// let path = std::env::temp_dir().join("cairnfile-doc-save.cairn");
/// let value = Value::from(Tensor::from_vec(&[2], vec![1.0f32, 2.0]).unwrap());
/// cairnfile::save(&path, &value).unwrap();
/// assert_eq!(cairnfile::load(&path).unwrap(), value);
/// # std::fs::remove_file(path).unwrap();
/// ```
///
/// # Errors
/// As [`Plan::new`] and [`Plan::save`].
pub fn save(path: impl AsRef<Path>, value: &Value<'_>) -> Result<()> {
    save_with(path, value, &WriteOptions::new())
}

/// Saves `value` to `path` with `options`.
///
/// # Errors
/// As [`Plan::new`] and [`Plan::save`].
pub fn save_with(path: impl AsRef<Path>, value: &Value<'_>, options: &WriteOptions) -> Result<()> {
    Plan::new(value, options)?.save(path, &|_| Ok(()))
}

/// The file that `value` and `options` make, in memory.
///
/// # Errors
/// As [`Plan::new`] and [`Plan::into_bytes`].
pub fn to_bytes(value: &Value<'_>, options: &WriteOptions) -> Result<Vec<u8>> {
    Plan::new(value, options)?.into_bytes()
}

/// Writes `value` as a streamed file to anything that takes bytes in order, such as a socket or a pipe.
///
/// # Errors
/// As [`Plan::new`]; `io` from the writer.
pub fn stream_to(writer: impl Write, value: &Value<'_>, options: &WriteOptions) -> Result<()> {
    Plan::streamed(value, options)?.stream(writer)
}

/// Where the next buffer of `len` bytes goes in a stream that has come to `at`.
pub(crate) fn next_start(at: u64, len: u64) -> Result<u64> {
    place(at, len).ok_or_else(|| Error::new(Code::BufferLength, "the buffers would end past 2^63-1"))
}
