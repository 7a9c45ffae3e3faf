//! Checking every byte of a file. `Spec §12.3`.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::bytes::from_usize;
use crate::content;
use crate::error::{Code, Error, Result};
use crate::frame::data_start;
use crate::limits::HEADER_LEN;
use crate::parallel::Progress;
use crate::read::{Cairn, TensorRef};
use crate::tiles::{self, Tile};

/// What [`Cairn::verify`] found.
#[derive(Debug)]
pub struct Report {
    /// Blocks that were checked.
    pub blocks: u64,
    /// Bytes that were checked.
    pub bytes: u64,
    /// All faults, by offset.
    pub faults: Vec<Fault>,
    /// Tensors that only an extension can read; their blocks are checked all the same.
    pub unsupported: u64,
}

impl Report {
    /// Whether every byte is as it was written.
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }
}

/// One fault and whom it concerns.
#[derive(Debug)]
pub struct Fault {
    /// Code and offset.
    pub error: Error,
    /// The buffer, if the fault is in one.
    pub buffer: Option<u32>,
    /// The block of that buffer, if the fault is a block's.
    pub block: Option<u32>,
    /// Address of the first tensor that the fault touches.
    pub address: Option<String>,
    /// Addresses of all tensors that the fault touches, each once.
    pub tensors: Vec<String>,
    len: u64,
}

impl Fault {
    fn new(error: Error) -> Self {
        Self { error, buffer: None, block: None, address: None, tensors: Vec::new(), len: 0 }
    }
}

impl Cairn<'_> {
    /// Checks every byte of the file: blocks, padding, element rules, trailer and second index. `progress` is called
    /// with bytes done; pass `&|_| Ok(())` for none.
    ///
    /// ```
    /// # use cairnfile::{Cairn, Tensor, Value, WriteOptions};
    /// let tensor = Tensor::from_vec(&[4], vec![1i32, 2, 3, 4]).unwrap();
    /// let mut bytes = cairnfile::to_bytes(&tensor.into(), &WriteOptions::new()).unwrap();
    /// assert!(Cairn::from_bytes(&bytes).unwrap().verify(&|_| Ok(())).unwrap().is_intact());
    /// let at = Cairn::from_bytes(&bytes).unwrap().tensor("").unwrap().file_range().unwrap().start;
    /// bytes[at as usize] ^= 1;
    /// let report = Cairn::from_bytes(&bytes).unwrap().verify(&|_| Ok(())).unwrap();
    /// assert_eq!(report.faults[0].error.code().name(), "block-crc");
    /// ```
    ///
    /// # Errors
    /// Only what keeps the file from being read, such as `io`; damage is in the report.
    pub fn verify(&self, progress: Progress<'_>) -> Result<Report> {
        let (mut faults, checked) = self.verify_blocks(progress)?;
        let blocks = self.index.buffers.blocks();
        self.verify_padding(checked, self.last_index(), &mut faults)?;
        self.verify_padding(self.last_index() + self.header.index_len, self.header.file_len - HEADER_LEN, &mut faults)?;
        if !self.header.streamed {
            self.verify_copy(&mut faults)?;
        }
        progress(self.header.file_len - checked)?;
        let unsupported = self.verify_content(&mut faults)?;
        self.name_tensors(&mut faults)?;
        faults.sort_by_key(|fault| fault.error.offset());
        Ok(Report { blocks: blocks.into(), bytes: self.header.file_len, faults, unsupported })
    }

    /// The faults of all blocks and the gaps before them, and where the last block ends: buffers without bytes have
    /// none, and may follow.
    fn verify_blocks(&self, progress: Progress<'_>) -> Result<(Vec<Fault>, u64)> {
        let start = data_start(&self.header);
        progress(start)?;
        let faults = Mutex::new(Vec::new());
        let tiles = tiles::cut(self, 0..self.index.buffers.blocks(), start);
        let end = tiles.last().map_or(start, |tile| tile.end);
        crate::parallel::try_for_each(self.threads, tiles, |tile| {
            let found = self.verify_tile(&tile)?;
            if let (false, Ok(mut faults)) = (found.is_empty(), faults.lock()) {
                faults.extend(found);
            }
            progress(tile.end - tile.start)
        })?;
        Ok((faults.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), end))
    }

    /// The faults of one tile: its blocks and the gaps before them.
    fn verify_tile(&self, tile: &Tile) -> Result<Vec<Fault>> {
        let bytes = self.source.get(tile.start, tile.end - tile.start)?;
        let mut faults = Vec::new();
        let mut gap = 0;
        tile.each(self, |block, range| {
            check_zero(&bytes[gap..range.start], tile.start + from_usize(gap), &mut faults);
            gap = range.end;
            if let Err(error) = self.check_block(&block, &bytes[range]) {
                faults.push(Fault { buffer: Some(block.buffer), block: Some(block.in_buffer), len: block.len, ..Fault::new(error) });
            }
            Ok(())
        })?;
        Ok(faults)
    }

    fn verify_padding(&self, start: u64, end: u64, faults: &mut Vec<Fault>) -> Result<()> {
        let bytes = self.source.get(start, end.saturating_sub(start))?;
        check_zero(&bytes, start, faults);
        Ok(())
    }

    /// The second index and the trailer of a planned file.
    fn verify_copy(&self, faults: &mut Vec<Fault>) -> Result<()> {
        let at = self.last_index();
        let copy = self.source.get(at, self.header.index_len)?;
        if let Some(i) = copy.iter().zip(self.index_bytes()).position(|(a, b)| a != b) {
            let crc = crate::checksum::crc32(&copy);
            let at = at + from_usize(i);
            faults.push(Fault::new(if crc == self.header.index_crc {
                Error::at(Code::IndexCopy, at, "the second index differs from the first, and both have the same checksum")
            } else {
                Error::at(Code::IndexCrc, at, "the second index is damaged; `cairn repair` can restore it from the first")
            }));
        }
        if let Err(error) = self.planned_trailer() {
            faults.push(Fault::new(error));
        }
        Ok(())
    }

    /// Rules on elements, in the tensors whose blocks are intact. Counts the tensors that only an extension can read.
    fn verify_content(&self, faults: &mut Vec<Fault>) -> Result<u64> {
        let mut unsupported = 0;
        for tensor in self.tensors() {
            let Some(buffer) = tensor.buffer()? else { continue };
            if matches!(tensor.place(), Err(error) if error.code() == Code::BufferKind) {
                unsupported += 1;
                continue;
            }
            if !content::has_rules(tensor.dtype()?, &tensor.shape()?) {
                continue;
            }
            match tensor.read() {
                Err(error) if matches!(error.code(), Code::BoolValue | Code::TailBits) => {
                    faults.push(Fault { buffer: Some(buffer), len: 1, ..Fault::new(error) });
                }
                // Reported as a damaged block already.
                Err(error) if error.code() != Code::BlockCrc => return Err(error),
                _ => {}
            }
        }
        Ok(unsupported)
    }

    /// Fills in the addresses of the tensors that faults touch.
    fn name_tensors(&self, faults: &mut [Fault]) -> Result<()> {
        let mut by_buffer: HashMap<u32, Vec<usize>> = HashMap::new();
        for (i, fault) in faults.iter().enumerate() {
            if let Some(buffer) = fault.buffer {
                by_buffer.entry(buffer).or_default().push(i);
            }
        }
        if by_buffer.is_empty() {
            return Ok(());
        }
        let mut touched: HashMap<u32, Vec<usize>> = HashMap::new();
        for tensor in self.tensors() {
            for i in tensor.buffer()?.and_then(|b| by_buffer.get(&b)).into_iter().flatten() {
                if touches(&tensor, &faults[*i])? {
                    touched.entry(tensor.number()).or_default().push(*i);
                }
            }
        }
        self.root().visit(&mut String::new(), &mut |address, value| {
            let Some(tensor) = value.tensor()? else { return Ok(()) };
            for i in touched.remove(&tensor.number()).unwrap_or_default() {
                faults[i].address.get_or_insert_with(|| address.to_owned());
                faults[i].tensors.push(address.to_owned());
            }
            Ok(())
        })
    }

    /// The stored checksums of a tensor's bytes, if it is the whole of a buffer: two such tensors of equal dtype,
    /// shape, strides and block size have equal bytes, but for a chance of 2^-32 a block, exactly when these are
    /// equal.
    ///
    /// # Errors
    /// None for a file that `open` accepted.
    pub fn block_checksums(&self, tensor: &TensorRef<'_>) -> Result<Option<Vec<u32>>> {
        let Some((buffer, range)) = tensor.place()? else { return Ok(None) };
        if range != (0..buffer.record.len) || !tensor.extent()?.dense {
            return Ok(None);
        }
        let blocks = crate::blocks::blocks_of(&buffer, self.header.block_log2, range);
        Ok(Some(blocks.map(|block| self.index.buffers.crc(self.index_bytes(), block.number)).collect()))
    }
}

fn touches(tensor: &TensorRef<'_>, fault: &Fault) -> Result<bool> {
    let Some(at) = fault.error.offset() else { return Ok(false) };
    match tensor.file_range() {
        Ok(range) => Ok(range.start < at + fault.len && at < range.end),
        // A buffer that only an extension can read: the whole of it is the tensor's.
        Err(error) if error.code() == Code::BufferKind => Ok(true),
        Err(error) => Err(error),
    }
}

fn check_zero(bytes: &[u8], start: u64, faults: &mut Vec<Fault>) {
    if let Some(i) = bytes.iter().position(|b| *b != 0) {
        let detail = format!("a padding byte is {:#04x}, not zero", bytes[i]);
        faults.push(Fault::new(Error::at(Code::Padding, start + from_usize(i), detail)));
    }
}
