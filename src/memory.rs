//! The one file with unsafe code: mapping files. Memory for loads is here too, so that all of it is in one place.
#![allow(unsafe_code)]

use std::fs::File;
use std::ptr::NonNull;

use bytemuck::{Pod, Zeroable};
use memmap2::{Advice, Mmap, MmapMut};

use crate::bytes::to_usize;
use crate::error::{Code, Error, Result};

/// Maps `file` for reading.
///
/// # Safety
/// For as long as the mapping lives, nobody may truncate or change the file: the mapping is handed out as `&[u8]`,
/// whose bytes must not change, and reading past the end of a file that shrank raises SIGBUS.
pub(crate) unsafe fn map(file: &File) -> Result<Mmap> {
    // SAFETY: the caller promises that the file keeps its length and its bytes.
    unsafe { Mmap::map(file) }.map_err(|e| Error::io("cannot map the file", e))
}

/// Maps a fresh temporary file for writing.
///
/// The file was created by this process under a random name with exclusive access, has all its blocks allocated and
/// is locked, and nothing else in this crate writes to it while the mapping lives.
pub(crate) fn map_private_temporary(file: &File, len: u64) -> Result<MmapMut> {
    let len = to_usize(len)?;
    // SAFETY: the file is the private temporary described above; no one else knows its name, so no one truncates or
    // changes it, and its blocks are allocated, so a full disk cannot raise SIGBUS.
    unsafe { memmap2::MmapOptions::new().len(len).map_mut(file) }.map_err(|e| Error::io("cannot map the new file", e))
}

/// One cache line; a vector of them is aligned for every dtype.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Loads of at least this many bytes get pages of their own, huge ones where the system has them.
const HUGE: usize = 1 << 21;

/// Memory of one owner, aligned to 64 bytes, that is filled through `as_mut` and then viewed by tensors.
///
/// It keeps a raw pointer, so that whoever is the last to know of it may write to it without contradicting a reference.
pub(crate) struct Aligned {
    data: NonNull<u8>,
    len: usize,
    /// Owns the bytes at `data`; only its drop is used.
    _owner: Owner,
}

enum Owner {
    Lines(NonNull<[Line]>),
    Pages(#[allow(dead_code)] MmapMut),
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Self::Lines(lines) = self {
            // SAFETY: the pointer came from `Box::leak` and is freed once, here.
            drop(unsafe { Box::from_raw(lines.as_ptr()) });
        }
    }
}

// SAFETY: the memory has one owner and no ties to a thread; shared access through `&Aligned` only reads.
unsafe impl Send for Aligned {}
// SAFETY: as above.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// `len` zero bytes. Large ones come as huge pages: filling 4 KiB pages costs several times the copy itself.
    pub(crate) fn zeroed(len: u64) -> Result<Self> {
        let bytes = to_usize(len)?;
        if bytes < HUGE {
            let lines = NonNull::from(Box::leak(vec![Line::zeroed(); bytes.div_ceil(64)].into_boxed_slice()));
            return Ok(Self { data: lines.cast(), len: bytes, _owner: Owner::Lines(lines) });
        }
        let no_memory = |e| Error::io(format!("cannot allocate {len} bytes"), e);
        let pages = MmapMut::map_anon(bytes).map_err(no_memory)?;
        // Only advice: where it is not supported the pages are small.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(Advice::HugePage);
        Ok(Self::pages(pages))
    }

    /// The whole of `file`, copy-on-write: what is written to the memory never reaches the file.
    ///
    /// # Safety
    /// As [`map`].
    pub(crate) unsafe fn copy_on_write(file: &File, len: u64) -> Result<Self> {
        let len = to_usize(len)?;
        // SAFETY: the caller promises that the file keeps its length and its bytes.
        let pages = unsafe { memmap2::MmapOptions::new().len(len).map_copy(file) }.map_err(|e| Error::io("cannot map the file", e))?;
        Ok(Self::pages(pages))
    }

    fn pages(mut pages: MmapMut) -> Self {
        let len = pages.len();
        let data = NonNull::new(pages.as_mut_ptr()).unwrap_or(NonNull::<Line>::dangling().cast());
        Self { data, len, _owner: Owner::Pages(pages) }
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: `data` is valid for `len` initialised bytes, and `&mut self` means that nobody else looks at them.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }

    /// The first byte, for writing through once no reference to the memory is left.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        self.data
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `data` is valid for `len` initialised bytes; writers promise that no reference is left.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

/// `bytes` as numbers, if they are aligned for `T` and a whole number of them.
pub(crate) fn cast<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Result<&[T]> {
    bytemuck::try_cast_slice(bytes)
        .map_err(|e| Error::new(Code::WrongType, format!("{} bytes cannot be viewed as {}: {e}", bytes.len(), std::any::type_name::<T>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_exact() {
        for len in [0, 1, 63, 64, 65, 4096, HUGE as u64 - 1, HUGE as u64, HUGE as u64 + 1] {
            let mut memory = Aligned::zeroed(len).unwrap();
            assert_eq!(memory.as_ref().len() as u64, len);
            assert_eq!(memory.as_ref().as_ptr().addr() % 64, 0);
            assert!(memory.as_mut().iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn cast_checks_size_and_alignment() {
        let memory = Aligned::zeroed(64).unwrap();
        assert_eq!(cast::<f64>(memory.as_ref()).unwrap().len(), 8);
        assert!(cast::<f64>(&memory.as_ref()[..7]).is_err());
        assert!(cast::<f64>(&memory.as_ref()[1..9]).is_err());
    }

    #[test]
    fn a_mapped_file_reads_back() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        map_private_temporary(&file, 100).unwrap()[99] = 7;
        // SAFETY: the file is this test's own and does not change while mapped.
        let mapping = unsafe { map(&file) }.unwrap();
        assert_eq!((mapping.len(), mapping[99]), (100, 7));
    }
}
