//! Where the bytes of a file come from: a slice, a mapping, or positioned reads.

use std::borrow::Cow;
use std::fs::File;

use memmap2::Mmap;

use crate::bytes::{from_usize, to_usize};
use crate::error::{Code, Error, Result};

/// A file's bytes, in one of three ways with the same contents.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    Map(Mmap),
    File { file: File, len: u64 },
}

impl Source<'_> {
    pub(crate) fn file(file: File) -> Result<Self> {
        let len = file.metadata().map_err(|e| Error::io("cannot stat the file", e))?.len();
        Ok(Self::File { file, len })
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => from_usize(bytes.len()),
            Self::Map(map) => from_usize(map.len()),
            Self::File { len, .. } => *len,
        }
    }

    /// All bytes, where they are in memory.
    pub(crate) fn memory(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Map(map) => Some(map),
            Self::File { .. } => None,
        }
    }

    /// `len` bytes from `offset`; a copy only where they are not in memory.
    pub(crate) fn get(&self, offset: u64, len: u64) -> Result<Cow<'_, [u8]>> {
        match self.memory() {
            Some(bytes) => slice(bytes, offset, len).map(Cow::Borrowed),
            None => {
                let mut copy = vec![0; to_usize(len)?];
                self.read(offset, &mut copy)?;
                Ok(Cow::Owned(copy))
            }
        }
    }

    /// Fills `out` with the bytes from `offset`.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        match self {
            Self::File { file, len } => {
                read_exact_at(file, out, offset).map_err(|e| read_error(e, offset))?;
                check_len(file, *len)
            }
            Self::Bytes(_) | Self::Map(_) => {
                out.copy_from_slice(slice(self.memory().unwrap_or(&[]), offset, from_usize(out.len()))?);
                Ok(())
            }
        }
    }
}

fn slice(bytes: &[u8], offset: u64, len: u64) -> Result<&[u8]> {
    let range = offset.checked_add(len).and_then(|end| Some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?));
    range
        .and_then(|range| bytes.get(range))
        .ok_or_else(|| Error::at(Code::Truncated, from_usize(bytes.len()), format!("{len} bytes from byte {offset} are not in the file")))
}

/// Refuses what was read from a file that is not as long any more as it was at open, and so not the same.
fn check_len(file: &File, len: u64) -> Result<()> {
    let now = file.metadata().map_err(|e| Error::io("cannot stat the file", e))?.len();
    if now != len {
        return Err(Error::at(Code::Changed, now.min(len), format!("the file had {len} bytes when it was opened and has {now} now")));
    }
    Ok(())
}

#[cold]
fn read_error(error: std::io::Error, offset: u64) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::at(Code::Changed, offset, "the file became shorter while it was open");
    }
    Error::io(format!("cannot read at byte {offset}"), error)
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind};
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(Error::from(ErrorKind::UnexpectedEof)),
            Ok(n) => {
                out = &mut out[n..];
                offset += from_usize(n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
