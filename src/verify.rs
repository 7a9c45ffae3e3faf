//! Checking every byte of a file. `Spec §12.3`.

use std::ops::Range;
use std::sync::Mutex;

use crate::bytes::{from_usize, table_index};
use crate::content;
use crate::dtype::DType;
use crate::error::{Code, Error, Result};
use crate::frame::data_start;
use crate::limits::HEADER_LEN;
use crate::parallel::Progress;
use crate::read::{Cairn, TensorRef};
use crate::tiles::{self, Tile};
use crate::touched::Places;

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
    /// Tensors that faults touch.
    pub touched: u64,
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
    /// Addresses of the tensors that the fault touches, each once. Where addresses would take more memory than half the
    /// file and 16 KiB, as they can where many tensors overlap or keys are long, some are left out.
    pub tensors: Vec<String>,
    /// How many tensors the fault touches.
    pub touched: u64,
    len: u64,
}

impl Fault {
    fn new(error: Error) -> Self {
        Self { error, buffer: None, block: None, address: None, tensors: Vec::new(), touched: 0, len: 0 }
    }

    /// The bytes of a buffer that it concerns.
    fn range(&self) -> Option<Range<u64>> {
        let start = self.error.offset().filter(|_| self.buffer.is_some())?;
        Some(start..start.saturating_add(self.len))
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
        let touched = self.name_tensors(&mut faults)?;
        faults.sort_by_key(|fault| fault.error.offset());
        Ok(Report { blocks: blocks.into(), bytes: self.header.file_len, faults, unsupported, touched })
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
        let damage = Places::new(faults.iter().filter_map(Fault::range).zip(0..));
        let (mut unsupported, mut bools) = (0, Vec::new());
        for tensor in self.tensors() {
            let Some(buffer) = tensor.buffer()? else { continue };
            let range = match tensor.file_range() {
                Err(error) if error.code() == Code::BufferKind => {
                    unsupported += 1;
                    continue;
                }
                range => range?,
            };
            // What a damaged block holds is reported as that.
            if !content::has_rules(tensor.dtype()?, &tensor.shape()?) || damage.touching(range.clone()).next().is_some() {
                continue;
            }
            if *tensor.dtype()? == DType::BOOL {
                bools.push((range, tensor.number(), buffer));
            } else {
                faults.extend(self.element_fault(&tensor, buffer)?);
            }
        }
        self.verify_bools(bools, faults)?;
        Ok(unsupported)
    }

    /// The rule on bools, reading a byte that many of them view once.
    fn verify_bools(&self, mut bools: Vec<(Range<u64>, u32, u32)>, faults: &mut Vec<Fault>) -> Result<()> {
        bools.sort_unstable_by_key(|(range, number, _)| (range.start, *number));
        let mut sweep = content::Sweep::new(|at, len| self.source.get(at, len));
        for (range, number, buffer) in bools {
            let Some((at, value)) = sweep.first_above_one(range)? else { continue };
            let tensor = TensorRef::new(self, number)?;
            if tensor.strides()?.is_some() {
                // It may lie between the elements.
                faults.extend(self.element_fault(&tensor, buffer)?);
            } else {
                faults.push(Fault { buffer: Some(buffer), len: 1, ..Fault::new(content::bad_bool(number, at, value)) });
            }
        }
        Ok(())
    }

    fn element_fault(&self, tensor: &TensorRef<'_>, buffer: u32) -> Result<Option<Fault>> {
        match tensor.read() {
            Err(error) if matches!(error.code(), Code::BoolValue | Code::TailBits) => {
                Ok(Some(Fault { buffer: Some(buffer), len: 1, ..Fault::new(error) }))
            }
            // Damaged since.
            Err(error) if error.code() != Code::BlockCrc => Err(error),
            _ => Ok(None),
        }
    }

    /// Fills in the addresses of the tensors that faults touch: the first for every fault before the others for any, as many
    /// as [`Fault::tensors`] says. Returns how many tensors are touched.
    fn name_tensors(&self, faults: &mut [Fault]) -> Result<u64> {
        let places = Places::new(faults.iter().enumerate().filter_map(|(i, fault)| Some((fault.range()?, i))));
        if places.is_empty() {
            return Ok(0);
        }
        let spans = || self.tensors().map(|tensor| tensor.held().unwrap_or(0..0));
        for (fault, count) in faults.iter_mut().zip(places.counts(spans())) {
            fault.touched = count;
        }
        let mut firsts: Vec<(usize, usize)> = places.firsts(spans()).into_iter().zip(0..).filter_map(|(t, i)| Some((t?, i))).collect();
        firsts.sort_unstable();
        let mut firsts = firsts.into_iter().peekable();
        let mut room = self.header.file_len / 2 + (16 << 10);
        self.each_tensor(&mut |address, tensor| {
            while let Some((_, i)) = firsts.next_if(|(number, _)| *number == table_index(tensor.number())) {
                if take(&mut room, 2, address) {
                    faults[i].address = Some(address.to_owned());
                    faults[i].tensors.push(address.to_owned());
                }
            }
            Ok(())
        })?;
        self.each_tensor(&mut |address, tensor| {
            if room > 0 {
                for i in places.touching(tensor.held()?) {
                    if faults[i].tensors.first().is_some_and(|first| first != address) && take(&mut room, 1, address) {
                        faults[i].tensors.push(address.to_owned());
                    }
                }
            }
            Ok(())
        })?;
        Ok(from_usize(spans().filter(|span| places.touching(span.clone()).next().is_some()).count()))
    }

    /// Calls `visit` with every tensor and the first of its addresses, in the order of their numbers.
    fn each_tensor<'c>(&'c self, visit: &mut dyn FnMut(&str, TensorRef<'c>) -> Result<()>) -> Result<()> {
        let mut next = 0;
        self.root().visit(&mut String::new(), &mut |address, value| match value.tensor()? {
            Some(tensor) if tensor.number() == next => {
                next += 1;
                visit(address, tensor)
            }
            _ => Ok(()),
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

/// Whether `n` copies of `address` still fit into `room`; if not, nothing does.
fn take(room: &mut u64, n: u64, address: &str) -> bool {
    let left = room.checked_sub(n * from_usize(address.len() + size_of::<String>()));
    *room = left.unwrap_or(0);
    left.is_some()
}

fn check_zero(bytes: &[u8], start: u64, faults: &mut Vec<Fault>) {
    if let Some(i) = bytes.iter().position(|b| *b != 0) {
        let detail = format!("a padding byte is {:#04x}, not zero", bytes[i]);
        faults.push(Fault::new(Error::at(Code::Padding, start + from_usize(i), detail)));
    }
}
