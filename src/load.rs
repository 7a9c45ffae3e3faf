//! Loading values: buffers are brought in once, in parallel and verified; tensors are views of them.

use std::ops::Range;

use crate::blocks::{blocks_of, widen};
use crate::buffer::{Buffer, KIND_TENSOR};
use crate::bytes::{table_index, to_usize};
use crate::error::{Code, Error, Result};
use crate::memory::Aligned;
use crate::node::{Node, ValueRef};
use crate::read::{Cairn, TensorRef};
use crate::tensor::{Storage, Tensor};
use crate::tiles::{self, Tile};
use crate::tree::{Dict, Named, Value};

/// Buffers that follow each other are loaded into one allocation up to this size.
const RUN: u64 = 4 << 20;

/// The verified bytes of `range` of a buffer, and at which byte of the buffer they begin.
pub(crate) fn span<'c>(cairn: &'c Cairn<'c>, buffer: &Buffer, range: Range<u64>) -> Result<(Storage<'c>, u64)> {
    if let Some(memory) = cairn.source.memory() {
        cairn.verify_in_memory(memory, blocks_of(buffer, cairn.header.block_log2, range.clone()))?;
        let bytes = &memory[to_usize(buffer.start + range.start)?..to_usize(buffer.start + range.end)?];
        return Ok((Storage::borrowed(bytes), range.start));
    }
    let log2 = cairn.header.block_log2;
    let wide = widen(buffer, log2, &range);
    let first = buffer.first_block + u32::try_from(wide.start >> log2).unwrap_or(u32::MAX);
    let end = buffer.first_block + u32::try_from(wide.end.div_ceil(1 << log2)).unwrap_or(u32::MAX);
    let memory = copies(cairn, vec![Run { start: buffer.start + wide.start, end: buffer.start + wide.end, blocks: first..end }])?;
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
fn copies(cairn: &Cairn<'_>, runs: Vec<Run>) -> Result<Vec<Storage<'static>>> {
    cairn.charge(runs.iter().map(|run| run.end - run.start).fold(0, u64::saturating_add))?;
    let mut memory = runs.iter().map(|run| Aligned::zeroed(run.end - run.start)).collect::<Result<Vec<_>>>()?;
    let mut work = Vec::new();
    for (run, memory) in runs.iter().zip(&mut memory) {
        let mut rest = memory.as_mut();
        for tile in tiles::cut(cairn, run.blocks.clone(), run.start) {
            let (out, after) = rest.split_at_mut(to_usize(tile.end - tile.start)?);
            work.push((tile, out));
            rest = after;
        }
    }
    crate::parallel::try_for_each(cairn.threads, work, |(tile, out): (Tile, &mut [u8])| {
        cairn.source.read(tile.start, out)?;
        tile.check(cairn, out)
    })?;
    Ok(memory.into_iter().map(Storage::shared).collect())
}

/// Loads `value`; tensors view the file where it is in memory.
pub(crate) fn value(value: ValueRef<'_>) -> Result<Value<'_>> {
    let mut loader = Loader::new(value.cairn);
    loader.need(value)?;
    match value.cairn.source.memory() {
        Some(memory) => loader.borrow(memory)?,
        None => loader.copy()?,
    }
    loader.build(value)
}

/// Loads `value` into memory of its own.
pub(crate) fn owned(value: ValueRef<'_>) -> Result<Value<'static>> {
    let mut loader: Loader<'_, 'static> = Loader::new(value.cairn);
    loader.need(value)?;
    loader.copy()?;
    loader.build(value)
}

struct Loader<'c, 's> {
    cairn: &'c Cairn<'c>,
    needed: Vec<u32>,
    /// Storage of each needed buffer and the byte of the storage where the buffer begins.
    storages: Vec<Option<(Storage<'s>, u64)>>,
    /// Tensors that were built, so that ties stay ties and contents are checked once.
    tensors: Vec<Option<Tensor<'s>>>,
}

impl<'c, 's> Loader<'c, 's> {
    fn new(cairn: &'c Cairn<'c>) -> Self {
        let storages = vec![None; cairn.buffer_count()];
        Self { cairn, needed: Vec::new(), storages, tensors: vec![None; table_index(cairn.index.tensor_count())] }
    }

    /// Notes the buffers under `value`, ascending and once each.
    fn need(&mut self, value: ValueRef<'c>) -> Result<()> {
        self.note(value)?;
        self.needed.sort_unstable();
        self.needed.dedup();
        Ok(())
    }

    fn note(&mut self, value: ValueRef<'c>) -> Result<()> {
        match value.node()? {
            Node::Tensor(tensor) | Node::LongBytes(tensor) => {
                if let Some((buffer, _)) = tensor.place()? {
                    self.needed.push(buffer.number);
                }
                Ok(())
            }
            Node::Named(_, inner) => self.note(inner),
            Node::List(_) | Node::Tuple(_) | Node::Dict(_) => value.items().try_for_each(|(_, item)| self.note(item)),
            _ => Ok(()),
        }
    }

    fn buffer(&self, number: u32) -> Result<Buffer> {
        self.cairn.index.buffer(self.cairn.index_bytes(), number)
    }

    fn copy(&mut self) -> Result<()> {
        let mut runs: Vec<Run> = Vec::new();
        let mut places = Vec::with_capacity(self.needed.len());
        for number in self.needed.clone() {
            let buffer = self.buffer(number)?;
            if buffer.record.kind != KIND_TENSOR {
                continue;
            }
            let end = buffer.start + buffer.record.len;
            let next_block = self.cairn.index.buffers.first_block(number + 1);
            match runs.last_mut() {
                Some(run) if run.blocks.end == buffer.first_block && end - run.start <= RUN => {
                    (run.end, run.blocks.end) = (end, next_block);
                }
                _ => runs.push(Run { start: buffer.start, end, blocks: buffer.first_block..next_block }),
            }
            let run = runs.len() - 1;
            places.push((number, run, buffer.start - runs[run].start));
        }
        let memory = copies(self.cairn, runs)?;
        for (number, run, offset) in places {
            self.storages[table_index(number)] = Some((memory[run].clone(), offset));
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: TensorRef<'c>) -> Result<Tensor<'s>> {
        let slot = table_index(tensor.number());
        if let Some(built) = &self.tensors[slot] {
            return Ok(built.clone());
        }
        let built = match tensor.place()? {
            None => tensor.over(Storage::borrowed(&[]), 0)?,
            Some((buffer, range)) => {
                let storage = self.storages[table_index(buffer.number)].clone();
                let (storage, offset) = storage.ok_or_else(|| Error::new(Code::NotFound, "a buffer was not loaded"))?;
                tensor.over(storage, offset + range.start)?
            }
        };
        crate::content::check(&tensor, &built)?;
        self.tensors[slot] = Some(built.clone());
        Ok(built)
    }

    /// `value` with scalars in memory of their own and tensors over the storages.
    fn build(&mut self, value: ValueRef<'c>) -> Result<Value<'s>> {
        Ok(match value.node()? {
            Node::Str(text) => Value::Str(text.to_owned().into()),
            Node::Bytes(bytes) => Value::Bytes(bytes.to_owned().into()),
            Node::LongBytes(tensor) => Value::Bytes(self.tensor(tensor)?.row_major_bytes()?.into_owned().into()),
            Node::Tensor(tensor) => Value::Tensor(self.tensor(tensor)?),
            Node::List(_) => Value::List(self.items(value)?),
            Node::Tuple(_) => Value::Tuple(self.items(value)?),
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

    fn items(&mut self, value: ValueRef<'c>) -> Result<Vec<Value<'s>>> {
        value.items().map(|(_, item)| self.build(item)).collect()
    }

    fn dict(&mut self, value: ValueRef<'c>, len: usize) -> Result<Dict<'s>> {
        let mut dict = Dict::with_capacity(len);
        for (place, item) in value.items() {
            if let crate::node::Place::Key(key) = place {
                dict.insert(key, self.build(item)?);
            }
        }
        Ok(dict)
    }
}

impl<'c> Loader<'c, 'c> {
    fn borrow(&mut self, memory: &'c [u8]) -> Result<()> {
        let mut buffers = Vec::with_capacity(self.needed.len());
        for number in self.needed.clone() {
            let buffer = self.buffer(number)?;
            let (start, end) = (to_usize(buffer.start)?, to_usize(buffer.start + buffer.record.len)?);
            self.storages[table_index(number)] = Some((Storage::borrowed(&memory[start..end]), 0));
            buffers.push(buffer);
        }
        let log2 = self.cairn.header.block_log2;
        let blocks = buffers.iter().flat_map(|buffer| blocks_of(buffer, log2, 0..buffer.record.len));
        self.cairn.verify_in_memory(memory, blocks)
    }
}
