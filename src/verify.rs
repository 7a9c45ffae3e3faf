//! Checking every byte of a file. `Spec §12.3`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use crate::bools::{self, Ahead, BadBools, First, STRETCH};
use crate::bytes::{from_usize, table_index};
use crate::content;
use crate::entry::NO_BUFFER;
use crate::error::{Code, Error, Result};
use crate::frame::data_start;
use crate::layout::{element_count, has_partial_group};
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
    /// All faults, by offset. Of the bool bytes of one block that are neither 0 nor 1 the first; a fault with code `budget` where
    /// overlapping strided bools cannot be told from the bytes between them in reasonable time.
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

/// What the index says of all tensors.
struct Survey {
    /// The bytes of the file that each one holds.
    spans: Vec<Range<u64>>,
    /// The bool tensors, and those that end within a group.
    bools: Vec<u32>,
    partial: Vec<u32>,
    /// How many only an extension can read.
    unsupported: u64,
}

impl Survey {
    fn span(&self, number: u32) -> Range<u64> {
        self.spans[table_index(number)].clone()
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
        let mut survey = self.survey()?;
        self.verify_content(&mut survey, &mut faults)?;
        let touched = self.name_tensors(&survey, &mut faults)?;
        faults.sort_by_key(|fault| fault.error.offset());
        Ok(Report { blocks: blocks.into(), bytes: self.header.file_len, faults, unsupported: survey.unsupported, touched })
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

    fn survey(&self) -> Result<Survey> {
        let spans = Vec::with_capacity(self.tensors().len());
        let mut survey = Survey { spans, bools: Vec::new(), partial: Vec::new(), unsupported: 0 };
        for tensor in self.tensors() {
            let entry = tensor.entry()?;
            if entry.buffer == NO_BUFFER {
                survey.spans.push(0..0);
                continue;
            }
            let (geometry, is_bool) = self.index.element(self.index_bytes(), entry.dtype)?;
            let (span, readable) = tensor.held(&entry, geometry)?;
            survey.spans.push(span);
            if !readable {
                survey.unsupported += 1;
            } else if is_bool {
                survey.bools.push(tensor.number());
            } else if has_partial_group(geometry, entry.dims.iter()) {
                survey.partial.push(tensor.number());
            }
        }
        Ok(survey)
    }

    /// Rules on elements, in the tensors whose blocks are intact.
    fn verify_content(&self, survey: &mut Survey, faults: &mut Vec<Fault>) -> Result<()> {
        let damage = Places::new(faults.iter().filter_map(Fault::range).zip(0..));
        // What a damaged block holds is reported as that.
        let mut bools = std::mem::take(&mut survey.bools);
        bools.retain(|number| damage.touching(survey.span(*number)).next().is_none());
        for number in &survey.partial {
            if damage.touching(survey.span(*number)).next().is_none() {
                faults.extend(self.tail_fault(*number, survey.span(*number).end)?);
            }
        }
        self.verify_bools(bools, survey, faults)
    }

    /// The rule on the last group of tensor `number`, which ends at `end`.
    fn tail_fault(&self, number: u32, end: u64) -> Result<Option<Fault>> {
        let entry = TensorRef::new(self, number).entry()?;
        let (geometry, _) = self.index.element(self.index_bytes(), entry.dtype)?;
        let at = end.saturating_sub(geometry.bytes.into());
        let last = self.source.get(at, geometry.bytes.into())?;
        let bad = content::unused_bits(geometry, element_count(entry.dims.iter()).unwrap_or(0), &last);
        let fault = |i| Fault { buffer: Some(entry.buffer), len: 1, ..Fault::new(content::tail_bits(number, at + from_usize(i))) };
        Ok(bad.map(fault))
    }

    /// The rule on bools: the bytes of all of them once. A block is one fault, however many tensors view its bytes.
    fn verify_bools(&self, mut bools: Vec<u32>, survey: &Survey, faults: &mut Vec<Fault>) -> Result<()> {
        bools.sort_unstable_by_key(|number| (survey.span(*number).start, *number));
        let mut file = Ahead::new(|at| self.source.get(at, STRETCH.min(self.header.file_len.saturating_sub(at))));
        let bad = BadBools::find(bools.iter().map(|number| survey.span(*number)), &mut file)?;
        // By block: the first bad byte with the first of its tensors, and the last byte.
        let (mut found, mut unknown) = (BTreeMap::new(), None);
        for number in bools.into_iter().filter(|_| !bad.is_empty()) {
            let tensor = TensorRef::new(self, number);
            match bad.first_of(&tensor, &survey.span(number))? {
                First::None => {}
                First::At(at) => {
                    let (first, last) = found.entry(self.block_around(&tensor, at)?).or_insert(((at, number), at));
                    (*first, *last) = ((at, number).min(*first), at.max(*last));
                }
                First::Unknown => unknown = unknown.or(Some(number)),
            }
        }
        for ((buffer, _), ((at, number), last)) in found {
            let value = file.at(at)?.first().copied().unwrap_or(0);
            faults.push(Fault { buffer: Some(buffer), len: last - at + 1, ..Fault::new(content::bad_bool(number, at, value)) });
        }
        // One for all of them: that they are many is what is wrong.
        faults.extend(unknown.map(|number| Fault::new(bools::too_many_steps(number, survey.span(number).start))));
        Ok(())
    }

    /// The buffer of `tensor`, and the block of it that byte `at` of the file is in.
    fn block_around(&self, tensor: &TensorRef<'_>, at: u64) -> Result<(u32, u64)> {
        let buffer = self.index.buffer(self.index_bytes(), tensor.entry()?.buffer)?;
        Ok((buffer.number, at.saturating_sub(buffer.start) >> self.header.block_log2))
    }

    /// Fills in the addresses of the tensors that faults touch: the first for every fault before the others for any, as many
    /// as [`Fault::tensors`] says. Returns how many tensors are touched.
    fn name_tensors(&self, survey: &Survey, faults: &mut [Fault]) -> Result<u64> {
        let places = Places::new(faults.iter().enumerate().filter_map(|(i, fault)| Some((fault.range()?, i))));
        if places.is_empty() {
            return Ok(0);
        }
        let spans = || survey.spans.iter().cloned();
        for (fault, count) in faults.iter_mut().zip(places.counts(spans())) {
            fault.touched = count;
        }
        let mut room = self.header.file_len / 2 + (16 << 10);
        let mut firsts: Vec<(usize, usize)> = places.firsts(spans()).into_iter().zip(0..).filter_map(|(t, i)| Some((t?, i))).collect();
        firsts.sort_unstable();
        let mut firsts = firsts.into_iter().peekable();
        self.each_tensor(&mut |address, number| {
            while let Some((_, i)) = firsts.next_if(|(first, _)| *first == number) {
                if take(&mut room, 2, address) {
                    faults[i].address = Some(address.to_owned());
                    faults[i].tensors.push(address.to_owned());
                }
            }
            firsts.peek().is_some()
        })?;
        let touched = |number: &usize| places.touching(survey.spans[*number].clone()).next().is_some();
        let last = (0..survey.spans.len()).rev().find(touched);
        if faults.iter().any(|fault| fault.touched > 1) {
            self.each_tensor(&mut |address, number| {
                for i in places.touching(survey.spans[number].clone()) {
                    if faults[i].tensors.first().is_some_and(|first| first != address) && take(&mut room, 1, address) {
                        faults[i].tensors.push(address.to_owned());
                    }
                }
                room > 0 && last > Some(number)
            })?;
        }
        Ok(from_usize((0..survey.spans.len()).filter(touched).count()))
    }

    /// Calls `visit` with the first address of each tensor and its number, in the order of numbers, until it returns false.
    fn each_tensor(&self, visit: &mut dyn FnMut(&str, usize) -> bool) -> Result<()> {
        let (mut next, mut more) = (0, true);
        let walked = self.root().visit(&mut String::new(), &mut |address, value| {
            match value.tensor()? {
                Some(tensor) if tensor.number() == next => {
                    next += 1;
                    more = visit(address, table_index(tensor.number()));
                }
                _ => {}
            }
            if more { Ok(()) } else { Err(Error::new(Code::NotFound, "")) }
        });
        if more { walked } else { Ok(()) }
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
