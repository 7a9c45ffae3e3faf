//! The regions of a file, which all follow from the header and the lengths of its parts. `Spec §5`.
//!
//! ```text
//! planned:   header │ index │ buffer │ buffer … │ index copy │ trailer
//! streamed:  header │         buffer │ buffer … │ index      │ trailer
//! ```

use crate::bytes::align_up;
use crate::error::{Code, Error, Result};
use crate::header::Header;
use crate::limits::{HEADER_LEN, MAX_INDEX_LEN, MAX_LEN, MIN_FILE_LEN, MIN_INDEX_LEN, PART_ALIGN};

/// Where the parts behind the buffers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regions {
    /// The index copy of a planned file, the index of a streamed one.
    pub(crate) last_index: u64,
    pub(crate) trailer: u64,
    pub(crate) file_len: u64,
}

impl Regions {
    /// The regions when the last buffer (or the part before it) ends at `end`; `None` past 2^63-1.
    pub(crate) fn after(end: u64, header: &Header) -> Option<Self> {
        Self::with_index(end, header.index_len)
    }

    pub(crate) fn with_index(end: u64, index_len: u64) -> Option<Self> {
        let last_index = align_up(end, PART_ALIGN)?;
        let trailer = align_up(last_index.checked_add(index_len)?, PART_ALIGN)?;
        let file_len = trailer.checked_add(HEADER_LEN).filter(|len| *len <= MAX_LEN)?;
        Some(Self { last_index, trailer, file_len })
    }
}

/// Where the first buffer may begin.
pub(crate) fn data_start(header: &Header) -> u64 {
    if header.streamed { HEADER_LEN } else { HEADER_LEN + header.index_len }
}

/// Checks the numbers in `header` (of a streamed file: its trailer), found at `at`, against the file's real length.
pub(crate) fn check_numbers(header: &Header, at: u64, real_len: u64) -> Result<()> {
    if !(MIN_FILE_LEN..=MAX_LEN).contains(&header.file_len) {
        let detail = format!("the stated file length {} is outside {MIN_FILE_LEN} to 2^63-1", header.file_len);
        return Err(Error::at(Code::FileLength, at + 16, detail));
    }
    if header.file_len > real_len {
        let detail = format!("the file has {real_len} of the {} bytes it states: it was cut short", header.file_len);
        return Err(Error::at(Code::Truncated, real_len, detail));
    }
    if header.file_len < real_len {
        let detail = format!("the file has {real_len} bytes and states {}: something was appended", header.file_len);
        return Err(Error::at(Code::TrailingBytes, header.file_len, detail));
    }
    check_index_numbers(header, at)
}

fn check_index_numbers(header: &Header, at: u64) -> Result<()> {
    if header.index_len > MAX_INDEX_LEN {
        let detail = format!("the index takes {} bytes, the most is {MAX_INDEX_LEN}", header.index_len);
        return Err(Error::at(Code::IndexLimit, at + 32, detail));
    }
    if !header.streamed && header.index_offset != HEADER_LEN {
        let detail = format!("a planned file's index begins at byte {HEADER_LEN}, not at {}", header.index_offset);
        return Err(Error::at(Code::IndexOffset, at + 24, detail));
    }
    // The last index, its padding and the trailer end the file.
    let end = header.index_offset.checked_add(header.index_len).and_then(|end| align_up(end, PART_ALIGN));
    let fits = header.index_len >= MIN_INDEX_LEN && end.is_some_and(|end| end <= header.file_len - HEADER_LEN);
    if !fits {
        let detail = format!("an index of {} bytes at byte {} does not fit the file", header.index_len, header.index_offset);
        return Err(Error::at(Code::IndexLength, at + 32, detail));
    }
    if header.index_offset < HEADER_LEN {
        return Err(Error::at(Code::IndexOffset, at + 24, "the index begins inside the header"));
    }
    Ok(())
}
