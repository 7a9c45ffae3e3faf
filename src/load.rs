//! Loading values: buffers are brought in once, in parallel and verified; tensors are views of them.

use std::ops::Range;

use crate::bits::Bits;
use crate::blocks::{blocks_of, numbers_of};
use crate::buffer::Buffer;
use crate::bytes::{table_index, to_usize};
use crate::checks::Checks;
use crate::error::{Code, Error, Result};
use crate::keys::Key;
use crate::memory::{Aligned, Blank, Part};
use crate::node::{Node, ValueRef};
use crate::parallel::{Progress, join};
use crate::place::widen;
use crate::read::{Cairn, TensorRef};
use crate::source::Source;
use crate::tensor::{Storage, Tensor};
use crate::tiles::{self, Tile};
use crate::tree::{Dict, Named, Value};
use crate::value::RawKey;

/// Buffers that follow each other are loaded into one allocation up to this size.
const RUN: u64 = 4 << 20;

/// So many items of a container are built by two cores.
const MANY: usize = 1 << 13;

/// The verified bytes of `range` of a buffer, and at which byte of the buffer they begin.
pub(crate) fn span<'c>(cairn: &'c Cairn<'c>, buffer: &Buffer, range: Range<u64>) -> Result<(Storage<'c>, u64)> {
    if let Some(memory) = cairn.source.memory() {
        cairn.verify_in_memory(memory, blocks_of(buffer, cairn.header.block_log2, range.clone()))?;
        let bytes = &memory[to_usize(buffer.start + range.start)?..to_usize(buffer.start + range.end)?];
        return Ok((Storage::borrowed(bytes), range.start));
    }
    let log2 = cairn.header.block_log2;
    let wide = widen(buffer.record.len, log2, &range);
    let blocks = numbers_of(buffer, log2, &wide);
    let run = Run { start: buffer.start + wide.start, end: buffer.start + wide.end, blocks };
    let memory = copies(cairn, &[run], Blank::new, &|_| Ok(()))?;
    let storage = memory.into_iter().next().unwrap_or_else(|| Storage::borrowed(&[]));
    Ok((storage, wide.start))
}

/// Part of the file that is loaded into one allocation.
struct Run {
    start: u64,
    end: u64,
    blocks: Range<u32>,
}

/// Reads and verifies `runs`, each into memory of its own, on all cores.
fn copies(cairn: &Cairn<'_>, runs: &[Run], blank: fn(u64) -> Result<Blank>, progress: Progress<'_>) -> Result<Vec<Storage<'static>>> {
    cairn.charge(runs.iter().map(|run| run.end - run.start).fold(0, u64::saturating_add))?;
    let mut memory = runs.iter().map(|run| blank(run.end - run.start)).collect::<Result<Vec<_>>>()?;
    let mut work = Vec::new();
    for (run, memory) in runs.iter().zip(&mut memory) {
        let mut rest = memory.part();
        for tile in tiles::cut(cairn, run.blocks.clone(), run.start) {
            let (out, after) = rest.split_at(to_usize(tile.end - tile.start)?);
            work.push((tile, out));
            rest = after;
        }
    }
    crate::parallel::try_for_each(cairn.threads, work, |(tile, out): (Tile, Part<'_>)| {
        tile.check(cairn, cairn.source.fill(tile.start, out)?)?;
        progress(tile.end - tile.start)
    })?;
    memory.into_iter().map(|memory| memory.finish().map(Storage::owned)).collect()
}

/// Reads and verifies `runs` without keeping them.
fn check(cairn: &Cairn<'_>, runs: &[Run], progress: Progress<'_>) -> Result<()> {
    let tiles: Vec<Tile> = runs.iter().flat_map(|run| tiles::cut(cairn, run.blocks.clone(), run.start)).collect();
    crate::parallel::try_for_each(cairn.threads, tiles, |tile| {
        tile.check(cairn, &cairn.source.get(tile.start, tile.end - tile.start)?)?;
        progress(tile.end - tile.start)
    })
}

/// Loads `value`; tensors view the file where it is in memory.
pub(crate) fn value(value: ValueRef<'_>) -> Result<Value<'_>> {
    value.cairn.fetch(&[value], &|_| Ok(()))?.value(value)
}

/// Loads `value` into memory of its own.
pub(crate) fn owned(value: ValueRef<'_>) -> Result<Value<'static>> {
    value.cairn.fetch_copy(&[value], &|_| Ok(()))?.value(value)
}

impl<'a> Cairn<'a> {
    /// Brings in the buffers under `values`, verified: slices of the file where it is in memory, copies where it is not.
    /// `progress` is called with bytes done; pass `&|_| Ok(())` for none.
    ///
    /// # Errors
    /// `block-crc` for damage; `budget`; `io`; what `progress` returns.
    pub fn fetch<'c>(&'c self, values: &[ValueRef<'c>], progress: Progress<'_>) -> Result<Loaded<'c, 'c>> {
        let mut loaded = Loaded::of(self, values)?;
        match self.source.memory() {
            Some(memory) => loaded.borrow(memory, progress)?,
            None => loaded.copy(progress)?,
        }
        Ok(loaded)
    }

    /// Copies the buffers under `values` into memory of their own, verified.
    ///
    /// # Errors
    /// As [`Cairn::fetch`].
    pub fn fetch_copy<'c>(&'c self, values: &[ValueRef<'c>], progress: Progress<'_>) -> Result<Loaded<'c, 'static>> {
        let mut loaded = Loaded::of(self, values)?;
        loaded.copy(progress)?;
        Ok(loaded)
    }

    /// Bytes of the buffers under `values`: what a fetch brings in.
    ///
    /// # Errors
    /// None for a file that `open` accepted.
    pub fn bytes_under<'c>(&'c self, values: &[ValueRef<'c>]) -> Result<u64> {
        Loaded::<'_, 'c>::of(self, values).map(|loaded| loaded.byte_len())
    }

    /// Verifies the buffers under `values` by reading them, then maps the file copy-on-write: pages come in when they
    /// are touched, and what is written to them never reaches the file. A file that was not opened by its path is copied.
    ///
    /// # Safety
    /// For as long as the result or a storage of it lives, nobody may truncate or change the file. Replacing it by
    /// rename, as this crate does, is fine.
    ///
    /// # Errors
    /// As [`Cairn::fetch`].
    #[allow(unsafe_code)]
    pub unsafe fn fetch_mapped<'c>(&'c self, values: &[ValueRef<'c>], progress: Progress<'_>) -> Result<Loaded<'c, 'static>> {
        let Source::File { file, len } = &self.source else { return self.fetch_copy(values, progress) };
        let mut loaded = Loaded::of(self, values)?;
        let runs = loaded.runs(u64::MAX)?;
        check(self, &runs, progress)?;
        // SAFETY: the caller's promise is the one that mapping needs.
        let storage = Storage::owned(unsafe { Aligned::copy_on_write(file, *len) }?);
        loaded.memory = Memory::Parts(vec![(0..*len, storage)]);
        Ok(loaded)
    }
}

/// The buffers under some values of a file, in memory and verified; tensors are views of them.
///
/// ```
/// use cairnfile::{Cairn, Tensor, Value, WriteOptions};
/// let value = Value::from(vec![Value::from(Tensor::from_vec(&[2], vec![1u8, 2]).unwrap()), Value::Null]);
/// let bytes = cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap();
/// let cairn = Cairn::from_bytes(&bytes).unwrap();
/// let loaded = cairn.fetch_copy(&[cairn.root()], &|_| Ok(())).unwrap();
/// assert_eq!(loaded.tensor(cairn.tensor("/0").unwrap()).unwrap().as_slice::<u8>().unwrap(), [1, 2]);
/// ```
pub struct Loaded<'c, 's> {
    cairn: &'c Cairn<'c>,
    /// The buffers under the values.
    needed: Bits,
    memory: Memory<'s>,
    checks: Checks,
}

/// Where the buffers of a [`Loaded`] are.
enum Memory<'s> {
    /// In the file, all of whose bytes these are.
    File(&'s [u8]),
    /// In parts of it, ascending.
    Parts(Vec<(Range<u64>, Storage<'s>)>),
}

impl<'c, 's> Loaded<'c, 's> {
    /// Notes the buffers under `values`.
    fn of(cairn: &'c Cairn<'c>, values: &[ValueRef<'c>]) -> Result<Self> {
        let needed = Bits::below(cairn.buffer_count());
        let checks = Checks::of(table_index(cairn.index.tensor_count()));
        let mut loaded = Self { cairn, needed, memory: Memory::Parts(Vec::new()), checks };
        if values.iter().any(|value| value.is_root()) {
            // Every tensor is under the root.
            cairn.tensors().try_for_each(|tensor| loaded.need(tensor))?;
        } else {
            values.iter().try_for_each(|value| loaded.note(*value))?;
        }
        Ok(loaded)
    }

    fn note(&mut self, value: ValueRef<'c>) -> Result<()> {
        match value.node()? {
            Node::Tensor(tensor) | Node::LongBytes(tensor) => self.need(tensor),
            Node::Named(_, inner) => self.note(inner),
            Node::List(_) | Node::Tuple(_) | Node::Dict(_) => value.raw_items().try_for_each(|(_, item)| self.note(item)),
            _ => Ok(()),
        }
    }

    fn need(&mut self, tensor: TensorRef<'c>) -> Result<()> {
        let entry = tensor.entry()?;
        if let Some(buffer) = tensor.buffer_of(&entry)? {
            self.needed.insert(buffer.number);
            self.checks.note(&tensor, &entry)?;
        }
        Ok(())
    }

    fn buffer(&self, number: u32) -> Result<Buffer> {
        self.cairn.index.buffer(self.cairn.index_bytes(), number)
    }

    /// The needed buffers as parts of the file of at most about `most` bytes, or one buffer.
    fn runs(&self, most: u64) -> Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        for number in self.needed.iter() {
            let buffer = self.buffer(number)?;
            let end = buffer.start + buffer.record.len;
            let next_block = self.cairn.index.buffers.first_block(number + 1);
            match runs.last_mut() {
                Some(run) if run.blocks.end == buffer.first_block && end - run.start <= most => {
                    (run.end, run.blocks.end) = (end, next_block);
                }
                _ => runs.push(Run { start: buffer.start, end, blocks: buffer.first_block..next_block }),
            }
        }
        Ok(runs)
    }

    fn copy(&mut self, progress: Progress<'_>) -> Result<()> {
        let runs = self.runs(RUN)?;
        let memory = copies(self.cairn, &runs, Blank::one_of_many, progress)?;
        self.memory = Memory::Parts(runs.iter().map(|run| run.start..run.end).zip(memory).collect());
        Ok(())
    }

    /// The memory of a buffer that was brought in, and its byte where the buffer begins.
    fn memory_of(&self, buffer: &Buffer) -> Option<(Storage<'s>, u64)> {
        if !self.needed.contains(buffer.number) {
            return None;
        }
        match &self.memory {
            Memory::File(bytes) => {
                let end = buffer.start.checked_add(buffer.record.len)?;
                let bytes = bytes.get(usize::try_from(buffer.start).ok()?..usize::try_from(end).ok()?)?;
                Some((Storage::borrowed(bytes), 0))
            }
            Memory::Parts(parts) => {
                let (range, storage) = parts.get(parts.partition_point(|(range, _)| range.end <= buffer.start))?;
                Some((storage.clone(), buffer.start.checked_sub(range.start)?))
            }
        }
    }

    /// Bytes of the buffers that were brought in.
    pub fn byte_len(&self) -> u64 {
        let len = |number| self.buffer(number).map_or(0, |buffer| buffer.record.len);
        self.needed.iter().map(len).fold(0, u64::saturating_add)
    }

    /// The memory of buffer `number` and the bytes of it that are the buffer's; `None` if it was not brought in.
    pub fn buffer_memory(&self, number: u32) -> Option<(Storage<'s>, Range<u64>)> {
        let buffer = self.buffer(number).ok()?;
        let (storage, start) = self.memory_of(&buffer)?;
        Some((storage, start..start.saturating_add(buffer.record.len)))
    }

    /// A tensor under one of the values. Tied leaves give the same tensor.
    ///
    /// # Errors
    /// `tail-bits` or `bool-value`; `not-found` for a tensor that is under none of the values.
    pub fn tensor(&self, tensor: TensorRef<'c>) -> Result<Tensor<'s>> {
        let spec = tensor.spec()?;
        let built = match tensor.buffer_of(&spec.entry)? {
            None => spec.over(Storage::borrowed(&[]), 0)?,
            Some(buffer) => {
                let (storage, start) = self.memory_of(&buffer).ok_or_else(|| Error::new(Code::NotFound, "a buffer was not loaded"))?;
                spec.over(storage, start + spec.entry.offset)?
            }
        };
        self.checks.check(&tensor, &built, &|at| self.bytes_from(at))?;
        Ok(built)
    }

    /// The bytes from `at` of the file on that lie together in memory.
    fn bytes_from(&self, at: u64) -> &[u8] {
        let (start, bytes) = match &self.memory {
            Memory::File(bytes) => (0, *bytes),
            Memory::Parts(parts) => match parts.get(parts.partition_point(|(range, _)| range.end <= at)) {
                Some((range, storage)) => (range.start, storage.bytes().unwrap_or(&[])),
                None => (0, &[][..]),
            },
        };
        at.checked_sub(start).and_then(|at| bytes.get(usize::try_from(at).ok()?..)).unwrap_or(&[])
    }

    /// `value`, which is one of the values or under one.
    ///
    /// # Errors
    /// As [`Loaded::tensor`].
    pub fn value(&self, value: ValueRef<'c>) -> Result<Value<'s>> {
        self.build(value)
    }

    /// `value` with scalars in memory of their own and tensors over the storages.
    fn build(&self, value: ValueRef<'c>) -> Result<Value<'s>> {
        Ok(match value.node()? {
            Node::Str(text) => Value::Str(text.to_owned().into()),
            Node::Bytes(bytes) => Value::Bytes(bytes.to_owned().into()),
            Node::LongBytes(tensor) => Value::Bytes(self.tensor(tensor)?.row_major_bytes()?.into_owned().into()),
            Node::Tensor(tensor) => Value::Tensor(self.tensor(tensor)?),
            Node::List(len) => Value::List(self.items(value, len)?),
            Node::Tuple(len) => Value::Tuple(self.items(value, len)?),
            Node::Dict(len) => Value::Dict(self.dict(value, len)?),
            Node::Named(name, inner) => Value::Named(Named::carried(name, self.build(inner)?)),
            Node::Null => Value::Null,
            Node::Bool(b) => Value::Bool(b),
            Node::Int(n) => Value::Int(n),
            Node::BigInt(n) => Value::BigInt(n),
            Node::Float(x) => Value::Float(x),
            Node::Complex(re, im) => Value::Complex(re, im),
        })
    }

    fn items(&self, value: ValueRef<'c>, len: usize) -> Result<Vec<Value<'s>>> {
        let item = |(_, item)| self.build(item);
        let (mut items, rest) = self.halves(
            len,
            |half| value.raw_items().take(half).map(item).collect::<Result<Vec<_>>>(),
            |half| value.raw_items().skip(half).map(item).collect::<Result<Vec<_>>>(),
        )?;
        items.extend(rest);
        Ok(items)
    }

    fn dict(&self, value: ValueRef<'c>, len: usize) -> Result<Dict<'s>> {
        let entry = |(key, item): (Option<RawKey<'c>>, _)| key.map(|key| self.build(item).map(|item| (Key::from(key), item)));
        let mut dict = Dict::with_capacity(len);
        let add = |entry: Result<(Key, Value<'s>)>| entry.map(|(key, item)| drop(dict.insert(key, item)));
        let ((), rest) = self.halves(
            len,
            |half| value.raw_items().take(half).filter_map(entry).try_for_each(add),
            |half| value.raw_items().skip(half).filter_map(entry).collect::<Result<Vec<_>>>(),
        )?;
        rest.into_iter().for_each(|(key, item)| drop(dict.insert(key, item)));
        Ok(dict)
    }

    /// Builds the first half of `len` items and the rest, on two cores where they are many; both get the number of the half.
    fn halves<A: Send, B: Send>(
        &self,
        len: usize,
        first: impl FnOnce(usize) -> Result<A> + Send,
        rest: impl FnOnce(usize) -> Result<B> + Send,
    ) -> Result<(A, B)> {
        let beside = len >= MANY && self.cairn.threads != Some(1);
        let half = if beside { len / 2 } else { len };
        let (first, rest) = join(beside, || first(half), || rest(half));
        Ok((first?, rest?))
    }
}

impl<'c> Loaded<'c, 'c> {
    fn borrow(&mut self, memory: &'c [u8], progress: Progress<'_>) -> Result<()> {
        self.memory = Memory::File(memory);
        let (index, log2) = (&self.cairn.index.buffers, self.cairn.header.block_log2);
        let buffers = self.needed.iter().filter_map(|number| index.get(self.cairn.index_bytes(), number));
        let blocks = buffers.flat_map(|buffer| blocks_of(&buffer, log2, 0..buffer.record.len));
        self.cairn.verify_in_memory(memory, blocks)?;
        progress(self.byte_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Value;

    fn saved() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cairn");
        let numbers = Tensor::from_vec(&[100_000], (0..100_000u32).collect()).unwrap();
        crate::write::save(&path, &Value::from(vec![Value::from(numbers), Value::Null])).unwrap();
        (directory, path)
    }

    #[test]
    fn progress_counts_and_stops_a_load() {
        let (_directory, path) = saved();
        let cairn = Cairn::open(&path).unwrap();
        let done = std::sync::atomic::AtomicU64::new(0);
        let count = |n| {
            done.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        let loaded = cairn.fetch_copy(&[cairn.root()], &count).unwrap();
        assert_eq!((done.into_inner(), loaded.byte_len()), (400_000, 400_000));
        let stop = |_| Err(Error::new(Code::Budget, "enough"));
        assert_eq!(cairn.fetch_copy(&[cairn.root()], &stop).err().map(|e| e.code()), Some(Code::Budget));
    }
}
