//! Mending what a file has twice: header, index, trailer and padding; and tensor data, where the file has parity.
//! `Spec §12.6`.
//!
//! Nothing here reads or writes a file: [`plan`] asks for bytes and answers with bytes.

use std::ops::Range;

use crate::bytes::from_usize;
use crate::checksum::{crc32, mismatch};
use crate::error::{Class, Code, Error, Result};
use crate::frame::{self, Regions};
use crate::header::{self, Header, Role};
use crate::index::{Context, Index};
use crate::limits::{HEADER_LEN, Limits, MIN_FILE_LEN};
use crate::merge::merge;
use crate::parallel::Progress;
use crate::parity::heal::Patient;
pub use crate::parity::heal::{Healing, ReadInto, WriteAt};
use crate::place::copy_offset;

/// Gives `len` bytes from an offset of the damaged file.
pub type ReadAt<'r> = &'r dyn Fn(u64, u64) -> Result<Vec<u8>>;

/// Bytes that belong at an offset of the file and are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where they belong.
    pub offset: u64,
    /// All bytes of the part.
    pub bytes: Vec<u8>,
    /// The part: `header`, `index`, `index copy`, `trailer` or `padding`.
    pub what: &'static str,
}

/// What makes a file whole again, but for its tensor data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Length of the mended file: beyond it something was appended, up to it something is missing.
    pub file_len: u64,
    /// What is to be written, by offset; patches do not overlap.
    pub patches: Vec<Patch>,
    parity: std::result::Result<Option<Box<Patient>>, &'static str>,
}

impl Repair {
    /// Whether a file of `file_len` bytes needs nothing of it.
    pub fn is_empty(&self, file_len: u64) -> bool {
        self.patches.is_empty() && self.file_len == file_len
    }

    /// Looks for damage of the tensor data by the file's parity, checking each shard. `read` fills memory from an offset of the file,
    /// with zeros where it has no bytes. `None` for a file without parity.
    ///
    /// # Errors
    /// `unrepresentable` if the parity in the file is of no use; what `read` and `progress` return.
    pub fn examine(&self, read: ReadInto<'_>, progress: Progress<'_>) -> Result<Option<Healing>> {
        self.patient()?.map(|patient| patient.examine(read, progress)).transpose()
    }

    /// Computes the damaged shards from the others, if [`Healing::is_possible`], and hands them to `write`: tensor data and parity.
    /// `read` reads the same file, and is asked again for what was written.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use cairnfile::{Tensor, WriteOptions, repair};
    /// let tensor = Tensor::from_vec(&[5000], vec![7u8; 5000]).unwrap();
    /// let whole = cairnfile::to_bytes(&tensor.into(), &WriteOptions::new().parity(2000)).unwrap();
    /// let file = RefCell::new(whole.clone());
    /// file.borrow_mut()[1500..2000].fill(0);
    /// let repair = repair::plan(&|at, len| Ok(file.borrow()[at as usize..][..len as usize].to_vec()), whole.len() as u64).unwrap();
    /// let read = |at: u64, memory: &mut [u8]| Ok(memory.copy_from_slice(&file.borrow()[at as usize..][..memory.len()]));
    /// let mut write = |at: u64, bytes: &[u8]| Ok(file.borrow_mut()[at as usize..][..bytes.len()].copy_from_slice(bytes));
    /// let damage = repair.examine(&read, &|_| Ok(())).unwrap().unwrap();
    /// assert!(damage.is_possible() && !damage.is_empty());
    /// repair.heal(&damage, &read, &mut write).unwrap();
    /// assert_eq!(file.into_inner(), whole);
    /// ```
    ///
    /// # Errors
    /// `unrepresentable` if the damage is more than the parity can undo; `block-crc` if what was computed does not have the
    /// checksum that it must have, and then the file is not to be used; what `read` and `write` return.
    pub fn heal(&self, damage: &Healing, read: ReadInto<'_>, write: WriteAt<'_>) -> Result<()> {
        match self.patient()? {
            Some(patient) if damage.is_possible() => patient.heal(damage, read, write),
            _ => Err(Error::new(Code::Unrepresentable, "the damage is more than the parity in the file can undo")),
        }
    }

    fn patient(&self) -> Result<Option<&Patient>> {
        let useless = |why: &&'static str| Error::new(Code::Unrepresentable, format!("the parity in the file is of no use: {why}"));
        self.parity.as_ref().map(Option::as_deref).map_err(useless)
    }
}

/// Finds what must be rewritten in a file of `file_len` bytes. Whether the tensor data is intact is not looked at:
/// [`crate::Cairn::verify`] of the mended file says.
///
/// ```
/// use cairnfile::{Value, WriteOptions, repair};
/// let whole = cairnfile::to_bytes(&Value::from(5i64), &WriteOptions::new()).unwrap();
/// let mut bytes = whole.clone();
/// bytes[20] ^= 1;
/// let read = |at: u64, len: u64| Ok(bytes[at as usize..(at + len) as usize].to_vec());
/// let repair = repair::plan(&read, bytes.len() as u64).unwrap();
/// assert_eq!((repair.patches[0].what, &repair.patches[0].bytes[..]), ("header", &whole[..64]));
/// ```
///
/// # Errors
/// The error that `open` gives, where no intact header or trailer leads to an intact index; `truncated` where tensor
/// data is missing; `trailer-mismatch` where header and trailer lead to two different indexes, both intact; what
/// `read_at` returns.
pub fn plan(read_at: ReadAt<'_>, file_len: u64) -> Result<Repair> {
    Damaged { read_at, len: file_len, all_data: true }.plan()
}

/// As [`plan`], where tensor data may be missing too: what makes the file one that can be opened, so that what is intact of
/// its data can be taken. Missing bytes are to be zeros, which the checksums of their blocks will not match. A streamed
/// file's trailer is looked for in front of what was appended.
///
/// ```
/// use cairnfile::{Tensor, WriteOptions, repair};
/// let tensor = Tensor::from_vec(&[100], vec![1u8; 100]).unwrap();
/// let whole = cairnfile::to_bytes(&tensor.into(), &WriteOptions::new()).unwrap();
/// let cut = &whole[..whole.len() / 2];
/// let read = |at: u64, len: u64| Ok(cut[at as usize..(at + len) as usize].to_vec());
/// assert!(repair::plan(&read, cut.len() as u64).is_err());
/// assert_eq!(repair::structure(&read, cut.len() as u64).unwrap().file_len, whole.len() as u64);
/// ```
///
/// # Errors
/// As [`plan`], but for missing data.
pub fn structure(read_at: ReadAt<'_>, file_len: u64) -> Result<Repair> {
    let file = Damaged { read_at, len: file_len, all_data: false };
    let outcome = file.plan();
    if let Err(error) = &outcome
        && error.class() != Class::Unsupported
        && let Some(len) = file.end_of_streamed()?
    {
        return Damaged { len, ..file }.plan();
    }
    outcome
}

impl Damaged<'_> {
    fn plan(&self) -> Result<Repair> {
        let (file, file_len) = (self, self.len);
        let header = file.header()?;
        let trailer = file.trailer();
        match (header, trailer) {
            (_, Err(error)) if error.class() == Class::Unsupported => Err(error),
            (Ok(header), _) if !header.streamed => file.planned(header, file.other_view(&header)),
            (Ok(header), Ok(trailer)) => header.check_trailer(&trailer, file_len - HEADER_LEN).and_then(|()| file.streamed(&trailer)),
            (_, Ok(trailer)) if trailer.streamed => file.streamed(&trailer),
            (_, Ok(trailer)) => file.planned(Header { trailer: false, index_offset: HEADER_LEN, ..trailer }, None),
            (Ok(_), Err(error)) => Err(error.context("a streamed file has one index, and its trailer alone says where it is")),
            (Err(error), Err(_)) if error.code() == Code::Magic => Err(error),
            (Err(error), Err(_)) => Err(error.context("neither header nor trailer is intact")),
        }
    }

    /// The length of a streamed file with something behind it, found by its trailer.
    fn end_of_streamed(&self) -> Result<Option<u64>> {
        const STEP: u64 = 1 << 20;
        let mut end = self.len & !(HEADER_LEN - 1);
        while end >= MIN_FILE_LEN {
            let start = end.saturating_sub(STEP);
            let bytes = self.get(start, end - start)?;
            // Trailers lie at multiples of their length.
            let (candidates, _) = bytes.as_chunks::<64>();
            for (i, candidate) in candidates.iter().enumerate().rev() {
                let at = start + from_usize(i) * HEADER_LEN;
                let trailer = Header::parse(candidate, at, Role::StreamedTrailer);
                if at > 0 && trailer.is_ok_and(|t| t.streamed && t.trailer && t.file_len == at + HEADER_LEN) {
                    return Ok(Some(at + HEADER_LEN));
                }
            }
            end = start;
        }
        Ok(None)
    }
}

struct Damaged<'r> {
    read_at: ReadAt<'r>,
    len: u64,
    /// Whether tensor data must be there.
    all_data: bool,
}

/// An index whose checksum is right, and what it says.
struct Found {
    header: Header,
    bytes: Vec<u8>,
    index: Index,
}

impl Found {
    fn patient(&self) -> std::result::Result<Option<Box<Patient>>, &'static str> {
        Ok(Patient::of(&self.index, &self.bytes)?.map(Box::new))
    }
}

impl Damaged<'_> {
    /// As much of a range as the file has.
    fn get(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        match self.len.saturating_sub(offset).min(len) {
            0 => Ok(Vec::new()),
            len => (self.read_at)(offset, len),
        }
    }

    /// The header; the outer error is one that no repair gets around.
    fn header(&self) -> Result<Result<Header>> {
        let bytes = self.get(0, HEADER_LEN)?;
        let Ok(array) = <[u8; 64]>::try_from(bytes.as_slice()) else {
            header::check_start(&bytes, self.len)?;
            return Err(Error::at(Code::TooShort, self.len, "the file ends inside its header"));
        };
        match Header::parse(&array, 0, Role::Header) {
            Err(error) if error.class() == Class::Unsupported => Err(error),
            Ok(header) if header.streamed => Ok(header.check_streamed_fields().map(|()| header)),
            parsed => Ok(parsed),
        }
    }

    fn trailer(&self) -> Result<Header> {
        if self.len < MIN_FILE_LEN {
            return Err(Error::at(Code::TooShort, self.len, "the file is too short to end with a trailer"));
        }
        let at = self.len - HEADER_LEN;
        let bytes = self.get(at, HEADER_LEN)?;
        let array =
            <[u8; 64]>::try_from(bytes.as_slice()).map_err(|_| Error::new(Code::Changed, "the file became shorter while it was open"))?;
        let trailer = Header::parse(&array, at, Role::StreamedTrailer)?;
        frame::check_numbers(
            &Header { index_offset: if trailer.streamed { trailer.index_offset } else { HEADER_LEN }, ..trailer },
            at,
            self.len,
        )?;
        Ok(trailer)
    }

    /// What the trailer of a planned file says where that is not what its header says.
    fn other_view(&self, header: &Header) -> Option<Header> {
        let trailer = self.trailer().ok()?;
        header.check_trailer(&trailer, 0).err()?;
        Some(Header { trailer: false, index_offset: HEADER_LEN, ..trailer }).filter(|t| !t.streamed)
    }

    fn planned(&self, header: Header, other: Option<Header>) -> Result<Repair> {
        let found = match (self.find(header), other.map(|other| self.find(other))) {
            (Ok(_), Some(Ok(_))) => {
                let detail = "header and trailer lead to two different indexes, both intact: this is no damage that a repair can undo";
                return Err(Error::at(Code::TrailerMismatch, self.len - HEADER_LEN, detail));
            }
            (Err(_), Some(Ok(found))) | (Ok(found), _) => found,
            (Err(error), _) => return Err(error),
        };
        self.check_data(&found)?;
        let Some(regions) = Regions::after(found.index.buffers.end(), &found.header) else {
            return Err(Error::new(Code::FileLayout, "the parts add up to more than 2^63-1 bytes"));
        };
        let trailer = Header { trailer: true, index_offset: regions.last_index, ..found.header };
        let mut repair = Repair { file_len: regions.file_len, patches: Vec::new(), parity: found.patient() };
        self.compare(&mut repair, 0, &found.header.encode(), "header")?;
        self.compare(&mut repair, HEADER_LEN, &found.bytes, "index")?;
        self.compare(&mut repair, regions.last_index, &found.bytes, "index copy")?;
        self.compare(&mut repair, regions.trailer, &trailer.encode(), "trailer")?;
        self.finish(repair, &found, regions, HEADER_LEN + found.header.index_len)
    }

    fn streamed(&self, trailer: &Header) -> Result<Repair> {
        let bytes = self.get(trailer.index_offset, trailer.index_len)?;
        let computed = crc32(&bytes);
        if computed != trailer.index_crc {
            let detail = mismatch(Code::IndexCrc, trailer.index_crc, computed) + "; a streamed file has no other";
            return Err(Error::at(Code::IndexCrc, trailer.index_offset, detail));
        }
        let found = parse(*trailer, bytes)?;
        let Some(regions) = Regions::after(found.index.buffers.end(), trailer) else {
            return Err(Error::new(Code::FileLayout, "the parts add up to more than 2^63-1 bytes"));
        };
        let mut repair = Repair { file_len: regions.file_len, patches: Vec::new(), parity: found.patient() };
        self.compare(&mut repair, 0, &Header::streamed(trailer.block_log2).encode(), "header")?;
        self.finish(repair, &found, regions, HEADER_LEN)
    }

    /// The index of a planned file, from the front or from the end.
    fn find(&self, header: Header) -> Result<Found> {
        // The file may have lost its end or have something appended: the real length is not asked.
        frame::check_numbers(&header, 0, header.file_len)?;
        let mut copies = Vec::new();
        for offset in [Some(HEADER_LEN), copy_offset(header.index_len, header.file_len)].into_iter().flatten() {
            let bytes = self.get(offset, header.index_len)?;
            if from_usize(bytes.len()) == header.index_len && crc32(&bytes) == header.index_crc {
                return parse(header, bytes);
            }
            copies.push(bytes);
        }
        if let [first, second] = &copies[..]
            && from_usize(first.len()) == header.index_len
            && let Some(merged) = merge(first, second, header.index_crc)
        {
            return parse(header, merged);
        }
        if self.len < header.file_len {
            frame::check_numbers(&header, 0, self.len)?;
        }
        let detail = format!("neither copy of the index has the checksum {:08x} that the header states", header.index_crc);
        Err(Error::at(Code::IndexCrc, HEADER_LEN, detail))
    }

    /// Refuses a file that ends before its tensor data does.
    fn check_data(&self, found: &Found) -> Result<()> {
        let end = found.index.buffers.end();
        if self.all_data && self.len < end {
            let detail = format!("the file has {} bytes, its tensor data ends at {end}: what is missing is stored once", self.len);
            return Err(Error::at(Code::Truncated, self.len, detail));
        }
        Ok(())
    }

    fn compare(&self, repair: &mut Repair, offset: u64, expected: &[u8], what: &'static str) -> Result<()> {
        if self.get(offset, from_usize(expected.len()))? != expected {
            repair.patches.push(Patch { offset, bytes: expected.to_vec(), what });
        }
        Ok(())
    }

    /// Adds the patches of the padding and sorts all.
    fn finish(&self, mut repair: Repair, found: &Found, regions: Regions, data_start: u64) -> Result<Repair> {
        let mut end = data_start;
        for number in 0..from_usize(found.index.buffers.len()) {
            let buffer = found.index.buffer(&found.bytes, u32::try_from(number).unwrap_or(u32::MAX))?;
            self.check_zero(&mut repair, end..buffer.start)?;
            end = buffer.start + buffer.record.len;
        }
        self.check_zero(&mut repair, end..regions.last_index)?;
        self.check_zero(&mut repair, regions.last_index + found.header.index_len..regions.trailer)?;
        repair.patches.sort_by_key(|patch| patch.offset);
        Ok(repair)
    }

    fn check_zero(&self, repair: &mut Repair, gap: Range<u64>) -> Result<()> {
        let len = usize::try_from(gap.end.saturating_sub(gap.start)).unwrap_or(0);
        self.compare(repair, gap.start, &vec![0; len], "padding")
    }
}

fn parse(header: Header, bytes: Vec<u8>) -> Result<Found> {
    let context =
        Context { header: &header, data_start: frame::data_start(&header), limits: &Limits::default(), understood: &[], threads: None };
    let index = Index::parse(&bytes, &context)?;
    Ok(Found { header, bytes, index })
}

#[cfg(test)]
mod tests;
