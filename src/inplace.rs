//! Writing in place: the producer computes straight into the file's pages. `Spec §13.1`.

use std::collections::HashMap;
use std::path::Path;

use memmap2::MmapMut;

use crate::blocks::blocks_of;
use crate::buffer::{Buffer, BufferRecord, KIND_TENSOR};
use crate::bytes::{table_index, to_usize};
use crate::checksum::crc32;
use crate::content;
use crate::durable::Replacement;
use crate::error::{Code, Error, Result};
use crate::limits::HEADER_LEN;
use crate::memory::{self, Aligned};
use crate::plan::{Content, Plan, PlannedBuffer, Promise};
use crate::tensor::{Element, Storage, Tensor};
use crate::write::Sink;

/// The file of a [`Plan`] while its tensors are being produced. Dropped before [`InPlace::commit`] it leaves nothing
/// behind, and the old file as it was.
///
/// ```
/// use cairnfile::{DType, Plan, Tensor, Value, WriteOptions};
/// let path = std::env::temp_dir().join("cairnfile-doc-inplace.cairn");
/// let squares = Tensor::reserved(DType::U64, &[1000]).unwrap();
/// let value = Value::from(squares.clone());
/// let mut file = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
/// for (i, x) in (0..).zip(file.slice_mut::<u64>(&squares).unwrap()) {
///     *x = i * i;
/// }
/// file.commit().unwrap();
/// let cairn = cairnfile::Cairn::open(&path).unwrap();
/// assert_eq!(cairn.tensor("").unwrap().read().unwrap().as_slice::<u64>().unwrap()[31], 961);
/// # std::fs::remove_file(path).unwrap();
/// ```
pub struct InPlace {
    replacement: Replacement,
    memory: Memory,
    /// The plan without anything that borrows the values.
    plan: Plan<'static>,
    /// The buffers of each reserved storage: first byte in the storage and number, ascending. Several where the
    /// tensors over one storage only touch or lie apart.
    reserved: HashMap<u64, Vec<(u64, u32)>>,
}

enum Memory {
    /// The file's own pages.
    Map(MmapMut),
    /// Where blocks cannot be allocated ahead, a mapped write could end in SIGBUS: the bytes are kept and written.
    Heap(Aligned),
}

impl Memory {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Map(map) => map,
            Self::Heap(memory) => memory.as_mut(),
        }
    }
}

impl Plan<'_> {
    /// Creates the file under a temporary name beside `path` with all its blocks allocated, copies in the tensors
    /// that have bytes, and hands it out to be filled.
    ///
    /// # Errors
    /// `io`; a full disk is an error here, not later.
    pub fn create(self, path: impl AsRef<Path>) -> Result<InPlace> {
        let replacement = Replacement::create(path.as_ref(), self.file_len())?;
        let mut memory = if replacement.allocated {
            Memory::Map(memory::map_private_temporary(replacement.file(), self.file_len())?)
        } else {
            Memory::Heap(Aligned::zeroed(self.file_len())?)
        };
        let mut reserved: HashMap<u64, Vec<(u64, u32)>> = HashMap::new();
        for (number, buffer) in (0u32..).zip(&self.buffers) {
            match buffer.content {
                Content::Reserved(space, first) => reserved.entry(space).or_default().push((first, number)),
                // Parity has no bytes yet.
                _ => {
                    let mut at = to_usize(buffer.start)?;
                    let bytes = memory.bytes();
                    buffer.each_slice(|slice| {
                        bytes[at..at + slice.len()].copy_from_slice(slice);
                        at += slice.len();
                        Ok(())
                    })?;
                }
            }
        }
        reserved.values_mut().for_each(|buffers| buffers.sort_unstable());
        Ok(InPlace { replacement, memory, plan: self.without_values(), reserved })
    }

    fn without_values(self) -> Plan<'static> {
        // All bytes are in the file from now on.
        let buffers = self.buffers.into_iter().map(|b| PlannedBuffer { start: b.start, len: b.len, content: Content::Piece(&[]) });
        Plan {
            buffers: buffers.collect(),
            options: self.options,
            promises: self.promises,
            index: self.index,
            crcs_at: self.crcs_at,
            header: self.header,
            regions: self.regions,
            parity: self.parity,
        }
    }
}

impl InPlace {
    /// Length of the file, in bytes.
    pub fn file_len(&self) -> u64 {
        self.plan.file_len()
    }

    /// The bytes of a reserved tensor from its first to its last element, in the file.
    ///
    /// # Errors
    /// `not-found` if the tensor is not a reserved one of the plan.
    pub fn tensor_mut(&mut self, tensor: &Tensor<'_>) -> Result<&mut [u8]> {
        let missing = || Error::new(Code::NotFound, "the tensor is not a reserved one of this plan");
        if tensor.storage().bytes().is_some() {
            return Err(missing());
        }
        if tensor.byte_len() == 0 {
            return Ok(&mut []);
        }
        let (space, _) = tensor.storage().address();
        let buffers = self.reserved.get(&space).ok_or_else(missing)?;
        let (first, end) = tensor.byte_range();
        let before = buffers.partition_point(|(begin, _)| *begin <= first).checked_sub(1).ok_or_else(missing)?;
        let (begin, number) = buffers[before];
        let buffer = &self.plan.buffers[table_index(number)];
        if end > begin + buffer.len {
            return Err(missing());
        }
        let range = to_usize(buffer.start + (first - begin))?..to_usize(buffer.start + (end - begin))?;
        Ok(&mut self.memory.bytes()[range])
    }

    /// The elements of a reserved row-major tensor, in the file.
    ///
    /// # Errors
    /// As [`InPlace::tensor_mut`]; `wrong-type` if the dtype is not `T`'s or the tensor is not row-major.
    pub fn slice_mut<T: Element>(&mut self, tensor: &Tensor<'_>) -> Result<&mut [T]> {
        if *tensor.dtype() != T::DTYPE || !tensor.is_row_major() {
            return Err(Error::new(Code::WrongType, format!("{tensor:?} is not row-major {}", T::DTYPE)));
        }
        let bytes = self.tensor_mut(tensor)?;
        bytemuck::try_cast_slice_mut(bytes).map_err(|e| Error::new(Code::WrongType, format!("the file's bytes cannot be viewed: {e}")))
    }

    /// All reserved buffers at once, in the order of `storages`, so that threads can fill them side by side.
    ///
    /// # Errors
    /// `not-found` if a storage is not a reserved one of the plan that its tensors cover as one chain, or is given
    /// twice.
    pub fn storages_mut(&mut self, storages: &[Storage<'_>]) -> Result<Vec<&mut [u8]>> {
        let mut wanted: HashMap<u32, usize> = HashMap::new();
        for (i, storage) in storages.iter().enumerate() {
            let whole = |(first, number): (u64, u32)| first == 0 && self.plan.buffers[table_index(number)].len == storage.len();
            let buffer = match self.reserved.get(&storage.address().0).map(Vec::as_slice) {
                Some([buffer]) if whole(*buffer) => Some(buffer.1),
                _ => None,
            };
            let fresh = buffer.is_some_and(|b| wanted.insert(b, i).is_none());
            if !fresh {
                return Err(Error::new(
                    Code::NotFound,
                    format!("storage {i} is not a reserved one of this plan and whole in it, or given twice"),
                ));
            }
        }
        let mut found: Vec<Option<&mut [u8]>> = storages.iter().map(|_| None).collect();
        let (mut rest, mut at) = (self.memory.bytes(), 0);
        for (number, buffer) in (0u32..).zip(&self.plan.buffers) {
            let (_, after) = std::mem::take(&mut rest).split_at_mut(to_usize(buffer.start)? - at);
            let (bytes, after) = after.split_at_mut(to_usize(buffer.len)?);
            (rest, at) = (after, to_usize(buffer.start + buffer.len)?);
            if let Some(i) = wanted.get(&number) {
                found[*i] = Some(bytes);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Computes the checksums, writes index, trailer and header, and puts the file in place as [`Plan::save`] does.
    ///
    /// # Errors
    /// As [`Plan::save`]; `bool-value` and `tail-bits` if an element that was produced breaks a rule.
    pub fn commit(self) -> Result<()> {
        let Self { mut replacement, mut memory, mut plan, .. } = self;
        let bytes = memory.bytes();
        check_promises(&plan.promises, &plan, bytes)?;
        plan.protect_file(bytes)?;
        let crcs = checksums(&plan, bytes)?;
        plan.seal(&crcs);
        let (header, trailer) = plan.ends();
        put(bytes, plan.regions.last_index, &plan.index)?;
        put(bytes, plan.regions.trailer, &trailer)?;
        put(bytes, HEADER_LEN, &plan.index)?;
        put(bytes, 0, &header)?;
        match memory {
            // Dirty pages of a mapping belong to the file: fsync writes them.
            Memory::Map(map) => drop(map),
            Memory::Heap(heap) => replacement.write_at(0, heap.as_ref())?,
        }
        replacement.commit(plan.options.durable, &|_| Ok(()))
    }
}

fn put(file: &mut [u8], offset: u64, bytes: &[u8]) -> Result<()> {
    let start = to_usize(offset)?;
    file[start..start + bytes.len()].copy_from_slice(bytes);
    Ok(())
}

fn check_promises(promises: &[Promise], plan: &Plan<'_>, bytes: &[u8]) -> Result<()> {
    for promise in promises {
        let buffer = &plan.buffers[table_index(promise.buffer)];
        let start = to_usize(buffer.start)?;
        let storage = Storage::borrowed(&bytes[start..start + to_usize(buffer.len)?]);
        let (dtype, strides) = (promise.dtype.clone(), promise.strides.as_ref().map(|s| s.iter().copied()));
        let tensor = Tensor::with_element_strides(dtype, promise.shape.iter().copied(), strides, storage, promise.offset)?;
        content::check_elements(&tensor).map_err(|(code, _, why)| Error::new(code, format!("{:?}: {why}", promise.address)))?;
    }
    Ok(())
}

/// The checksums of all blocks, on all cores.
fn checksums(plan: &Plan<'_>, bytes: &[u8]) -> Result<Vec<u32>> {
    let log2 = plan.options.block_log2;
    let mut blocks = Vec::new();
    for (number, planned) in (0u32..).zip(&plan.buffers) {
        let record = BufferRecord { len: planned.len, kind: KIND_TENSOR, owner: 0 };
        let first_block = u32::try_from(blocks.len()).map_err(|_| Error::new(Code::IndexLimit, "too many blocks"))?;
        let buffer = Buffer { number, start: planned.start, record, first_block };
        blocks.extend(blocks_of(&buffer, log2, 0..planned.len));
    }
    let mut crcs = vec![0; blocks.len()];
    let work: Vec<_> = blocks.into_iter().zip(&mut crcs).collect();
    crate::parallel::try_for_each(plan.options.threads, work, |(block, crc)| {
        let start = to_usize(block.start)?;
        *crc = crc32(&bytes[start..start + to_usize(block.len)?]);
        Ok(())
    })?;
    Ok(crcs)
}
