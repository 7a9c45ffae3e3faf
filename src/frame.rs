//! The regions of a file, which all follow from the header and the lengths of its parts. `Spec §5`.
//!
//! ```text
//! planned:   header │ index │ buffer │ buffer … │ index copy │ trailer
//! streamed:  header │         buffer │ buffer … │ index      │ trailer
//! ```

use crate::error::{Code, Error, Result};
use crate::header::Header;
use crate::limits::{HEADER_LEN, MAX_INDEX_LEN, MAX_LEN, MIN_FILE_LEN};
pub(crate) use crate::place::Regions;
use crate::place::{self, index_fits, regions};

impl Regions {
    /// The regions when the last buffer (or the part before it) ends at `end`; `None` past 2^63-1.
    pub(crate) fn after(end: u64, header: &Header) -> Option<Self> {
        regions(end, header.index_len)
    }
}

/// Where the first buffer may begin.
pub(crate) fn data_start(header: &Header) -> u64 {
    place::data_start(header.streamed, header.index_len)
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
    if !index_fits(header.index_offset, header.index_len, header.file_len) {
        let detail = format!("an index of {} bytes at byte {} does not fit the file", header.index_len, header.index_offset);
        return Err(Error::at(Code::IndexLength, at + 32, detail));
    }
    if header.index_offset < HEADER_LEN {
        return Err(Error::at(Code::IndexOffset, at + 24, "the index begins inside the header"));
    }
    Ok(())
}
