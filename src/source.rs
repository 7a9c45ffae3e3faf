//! Where the bytes of a file come from: a slice, a mapping, or positioned reads.

use std::borrow::Cow;
use std::fs::File;
use std::mem::MaybeUninit;

use memmap2::Mmap;

use crate::bytes::{from_usize, to_usize};
use crate::error::{Code, Error, Result};
use crate::memory::{self, Part};

/// A file's bytes, in one of three ways with the same contents.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    /// With the file, whose length is looked at before the mapping is.
    Map(Mmap, File),
    File {
        file: File,
        len: u64,
    },
}

impl Source<'_> {
    pub(crate) fn file(file: File) -> Result<Self> {
        let len = file.metadata().map_err(|e| Error::io("cannot stat the file", e))?.len();
        Ok(Self::File { file, len })
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => from_usize(bytes.len()),
            Self::Map(map, _) => from_usize(map.len()),
            Self::File { len, .. } => *len,
        }
    }

    /// All bytes, where they are in memory.
    pub(crate) fn memory(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Map(map, _) => Some(map),
            Self::File { .. } => None,
        }
    }

    /// Refuses a mapped file that is not as long as it was: reading behind its end would raise SIGBUS. This catches the file
    /// that was cut short before; one that is cut short meanwhile breaks the contract of mapping. (Having the system bring
    /// in the pages, which then fails instead, takes a quarter more time.)
    pub(crate) fn check_mapped_len(&self) -> Result<()> {
        match self {
            Self::Map(map, file) => check_len(file, from_usize(map.len())),
            Self::Bytes(_) | Self::File { .. } => Ok(()),
        }
    }

    /// `len` bytes from `offset`; a copy only where they are not in memory.
    pub(crate) fn get(&self, offset: u64, len: u64) -> Result<Cow<'_, [u8]>> {
        self.check_mapped_len()?;
        match self.memory() {
            Some(bytes) => slice(bytes, offset, len).map(Cow::Borrowed),
            None => self.copy(offset, to_usize(len)?).map(Cow::Owned),
        }
    }

    /// A copy of `len` bytes from `offset`, read from the file where there is one.
    pub(crate) fn copy(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut copy = memory::room(len);
        match self {
            Self::File { file, .. } | Self::Map(_, file) => {
                read_vec(file, &mut copy, len, offset).map_err(|e| read_error(e, offset))?;
                check_len(file, self.len())?;
            }
            Self::Bytes(bytes) => copy.extend_from_slice(slice(bytes, offset, from_usize(len))?),
        }
        Ok(copy)
    }

    /// Fills `part` with the bytes from `offset`.
    pub(crate) fn fill<'m>(&self, mut offset: u64, part: Part<'m>) -> Result<&'m mut [u8]> {
        match self {
            Self::File { file, len } => {
                let filled = part.fill(|room| {
                    let read = read_some(file, room, offset).map_err(|e| read_error(e, offset))?;
                    offset += from_usize(read.len());
                    Ok(read)
                })?;
                check_len(file, *len)?;
                Ok(filled)
            }
            Self::Bytes(_) | Self::Map(..) => {
                self.check_mapped_len()?;
                let len = from_usize(part.len());
                part.copy_from(slice(self.memory().unwrap_or(&[]), offset, len)?)
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

/// The next bytes of the file; none of them to be asked again.
#[cfg(unix)]
fn read_some<'m>(file: &File, room: &'m mut [MaybeUninit<u8>], offset: u64) -> std::io::Result<&'m mut [u8]> {
    match rustix::io::pread(file, room, offset) {
        Ok(([], _)) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        Ok((read, _)) => Ok(read),
        Err(rustix::io::Errno::INTR) => Ok(&mut []),
        Err(e) => Err(e.into()),
    }
}

/// Appends `len` bytes of the file to `out`, which has room for them.
#[cfg(unix)]
fn read_vec(file: &File, out: &mut Vec<u8>, len: usize, offset: u64) -> std::io::Result<()> {
    while out.len() < len {
        let at = offset + from_usize(out.len());
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, rustix::buffer::spare_capacity(out), at))?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    // The allocator may have given more room than was asked for.
    out.truncate(len);
    Ok(())
}

#[cfg(windows)]
fn read_some<'m>(file: &File, room: &'m mut [MaybeUninit<u8>], offset: u64) -> std::io::Result<&'m mut [u8]> {
    let room = memory::zeros(room);
    match std::os::windows::fs::FileExt::seek_read(file, room, offset) {
        Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => Ok(&mut room[..n]),
        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(&mut []),
        Err(e) => Err(e),
    }
}

#[cfg(windows)]
fn read_vec(file: &File, out: &mut Vec<u8>, len: usize, mut offset: u64) -> std::io::Result<()> {
    out.resize(len, 0);
    let mut rest = &mut out[..];
    while !rest.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, rest, offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => (rest, offset) = (&mut rest[n..], offset + from_usize(n)),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
