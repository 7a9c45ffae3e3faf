//! Hard limits of the format (`Spec §16`) and the caller's [`Limits`].

use crate::error::{Code, Error, Result};

/// What offsets and lengths in a file are: the arithmetic is tested at fewer bits, too.
pub(crate) type Word = u64;

/// Bytes of the header, and of the trailer.
pub const HEADER_LEN: u64 = 64;
/// Every part of a file begins at a multiple of this.
pub const PART_ALIGN: u64 = 64;
/// A buffer of at least [`LARGE_BUFFER`] bytes begins at a multiple of this.
pub const LARGE_ALIGN: u64 = 4096;
/// The stored length from which a buffer is placed at [`LARGE_ALIGN`].
pub const LARGE_BUFFER: u64 = 65_536;
/// Longest file, buffer and tensor, in bytes.
pub const MAX_LEN: u64 = i64::MAX as u64;
/// The shortest file: a streamed `null`.
pub const MIN_FILE_LEN: u64 = 192;
/// Longest index, in bytes.
pub const MAX_INDEX_LEN: u64 = (1 << 29) - 8;
/// Shortest index: four zero counts, an empty dict and `null`.
pub const MIN_INDEX_LEN: u64 = 26;
/// Smallest block, as a power of two.
pub const MIN_BLOCK_LOG2: u8 = 12;
/// Largest block, as a power of two.
pub const MAX_BLOCK_LOG2: u8 = 22;
/// The block size that writers use unless told otherwise, as a power of two.
pub const DEFAULT_BLOCK_LOG2: u8 = 18;
/// Smallest shard of the parity extension, as a power of two.
pub(crate) const MIN_SHARD_LOG2: u8 = 9;
/// Most shards that the parity extension cuts a file's data into.
pub(crate) const MAX_SHARDS: u64 = 32_768;
/// Parts that shares of parity are counted in.
pub(crate) const WHOLE_SHARE: u64 = 10_000;
/// Most axes of a tensor.
pub const MAX_RANK: usize = 64;
/// Longest dtype name and type name, in bytes.
pub const MAX_NAME_LEN: usize = 255;
/// Most bytes of one dtype group.
pub const MAX_GROUP_BYTES: u32 = 65_535;
/// Deepest nesting of values; the root is 1.
pub const MAX_DEPTH: u32 = 128;
/// Most key bytes along any path.
pub const MAX_PATH_LEN: u32 = 4096;
/// Longest inline bytes value; longer ones are a tensor named `bytes`.
pub const MAX_INLINE_BYTES: usize = 65_536;
/// Longest big int, in bytes.
pub const MAX_BIGINT_BYTES: usize = 8192;

/// What a caller is willing to spend on one file; the defaults allow all that the format allows.
///
/// ```
/// use cairnfile::{Limits, OpenOptions, Value, WriteOptions};
/// let bytes = cairnfile::to_bytes(&Value::from("a long string"), &WriteOptions::new()).unwrap();
/// let tight = OpenOptions::new().limits(Limits { index_bytes: 30, ..Limits::default() });
/// assert_eq!(tight.from_bytes(&bytes).unwrap_err().code().name(), "budget");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest index that is read, in bytes.
    pub index_bytes: u64,
    /// Most tensors in the table.
    pub tensors: u32,
    /// Most bytes of memory that all reads of this file together may allocate for tensor data.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { index_bytes: MAX_INDEX_LEN, tensors: u32::MAX, memory: u64::MAX }
    }
}

impl Limits {
    pub(crate) fn check_index(&self, len: u64) -> Result<()> {
        if len > self.index_bytes {
            return Err(over("the index takes", len, self.index_bytes));
        }
        Ok(())
    }

    pub(crate) fn check_tensors(&self, count: u32) -> Result<()> {
        if count > self.tensors {
            return Err(over("the number of tensors is", count.into(), self.tensors.into()));
        }
        Ok(())
    }
}

pub(crate) fn over(what: &str, found: u64, allowed: u64) -> Error {
    Error::new(Code::Budget, format!("{what} {found}, the caller allows {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_what_is_still_allowed() {
        let limits = Limits { index_bytes: 30, tensors: 2, ..Limits::default() };
        assert!(limits.check_index(30).is_ok() && limits.check_tensors(2).is_ok());
        assert_eq!(limits.check_index(31).unwrap_err().to_string(), "the index takes 31, the caller allows 30 [limit: budget, SPEC §16]");
        assert_eq!(limits.check_tensors(3).unwrap_err().code(), Code::Budget);
    }
}
