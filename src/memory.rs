//! The one file with unsafe code: mapping files, and memory that is filled before anyone looks at it.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::fs::File;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(all(target_os = "linux", not(miri)))]
use memmap2::Advice;
use memmap2::{Mmap, MmapMut};

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

/// What memory is aligned to: a cache line, and every dtype.
const ALIGN: usize = 64;

/// A huge page.
const HUGE: usize = 1 << 21;

/// From this many bytes on memory for one tensor comes from the system, and goes back to it. Below, the allocator may have
/// some that was touched before: fresh pages cost more than what is done with them.
const MAPPED: usize = 32 << 20;

/// Asks for huge pages for the `count` items of `room` that are about to be filled, where they are many: they cost a
/// fraction of what as many small pages do. Only advice; it changes no byte.
pub(crate) fn prefer_huge<T>(room: *const T, count: usize) {
    // Miri knows no such call.
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let start = room.cast::<u8>().cast_mut();
        let (first, bytes) = (start.align_offset(HUGE), count.saturating_mul(size_of::<T>()));
        if let Some(pages) = bytes.checked_sub(first).map(|bytes| bytes / HUGE).filter(|pages| *pages > 0) {
            // SAFETY: this advice is about which pages are used and leaves every byte as it is, whoever owns it.
            let _ = unsafe { rustix::mm::madvise(start.wrapping_add(first).cast(), pages * HUGE, rustix::mm::Advice::LinuxHugepage) };
        }
    }
    #[cfg(any(not(target_os = "linux"), miri))]
    let _ = (room, count);
}

/// An empty vector with room for `count` items, in huge pages where that is much.
pub(crate) fn room<T>(count: usize) -> Vec<T> {
    let items = Vec::with_capacity(count);
    prefer_huge(items.as_ptr(), count);
    items
}

/// Memory that is not filled yet: nobody can look at it before it is.
pub(crate) struct Blank {
    memory: Aligned,
    filled: AtomicUsize,
}

impl Blank {
    /// Room for `len` bytes, of the allocator if they are not very many.
    pub(crate) fn new(len: u64) -> Result<Self> {
        Self::mapped_from(len, MAPPED)
    }

    /// Room for `len` bytes beside others: mappings that follow each other are one, in huge pages from end to end.
    pub(crate) fn one_of_many(len: u64) -> Result<Self> {
        Self::mapped_from(len, HUGE)
    }

    fn mapped_from(len: u64, least: usize) -> Result<Self> {
        let bytes = to_usize(len)?;
        let memory = if bytes < least { Aligned::allocated(bytes)? } else { Aligned::mapped(bytes)? };
        Ok(Self { memory, filled: AtomicUsize::new(0) })
    }

    /// All of it, to be filled in parts.
    pub(crate) fn part(&mut self) -> Part<'_> {
        // Were it filled twice, the number of bytes would say nothing.
        self.filled = AtomicUsize::new(0);
        // SAFETY: `data` is valid for `len` bytes, which need not be initialised, and `&mut self` means that nobody else
        // looks at them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.memory.data.cast().as_ptr(), self.memory.len) };
        Part { bytes, filled: &self.filled }
    }

    /// The memory, once every part of it is filled.
    pub(crate) fn finish(self) -> Result<Aligned> {
        // Every byte is in one part, parts count themselves only when they are filled, and all of them are gone.
        if self.filled.into_inner() != self.memory.len {
            return Err(Error::new(Code::Unrepresentable, "memory was not filled"));
        }
        Ok(self.memory)
    }
}

/// Part of a [`Blank`].
pub(crate) struct Part<'m> {
    bytes: &'m mut [MaybeUninit<u8>],
    filled: &'m AtomicUsize,
}

impl<'m> Part<'m> {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The first `n` bytes, and the rest.
    pub(crate) fn split_at(self, n: usize) -> (Self, Self) {
        let (head, rest) = self.bytes.split_at_mut(n);
        (Self { bytes: head, filled: self.filled }, Self { bytes: rest, filled: self.filled })
    }

    /// Fills the part: `next` gets what is not filled yet and returns the first bytes of it, which it has filled; none to be
    /// asked again.
    pub(crate) fn fill(self, mut next: impl FnMut(&mut [MaybeUninit<u8>]) -> Result<&mut [u8]>) -> Result<&'m mut [u8]> {
        let mut done = 0;
        while done < self.bytes.len() {
            let rest = &mut self.bytes[done..];
            let (start, room) = (rest.as_ptr().addr(), rest.len());
            let filled = next(rest)?;
            // A slice of bytes is initialised, and this one is the front of the rest.
            if !filled.is_empty() && (filled.len() > room || filled.as_ptr().addr() != start) {
                return Err(Error::new(Code::Unrepresentable, "memory was not filled from the front"));
            }
            done += filled.len();
        }
        self.filled.fetch_add(done, Ordering::Relaxed);
        // SAFETY: the slices that `next` returned were initialised and lie one behind the other from the first byte to the
        // last one.
        Ok(unsafe { &mut *(std::ptr::from_mut(self.bytes) as *mut [u8]) })
    }

    /// Fills the part with `bytes`, as many as it has.
    pub(crate) fn copy_from(self, bytes: &[u8]) -> Result<&'m mut [u8]> {
        if bytes.len() != self.bytes.len() {
            return Err(Error::new(Code::OutOfRange, format!("{} bytes for a room of {}", bytes.len(), self.bytes.len())));
        }
        self.fill(|room| {
            // SAFETY: bytes that are initialised are bytes that need not be.
            room.copy_from_slice(unsafe { &*(std::ptr::from_ref(bytes) as *const [MaybeUninit<u8>]) });
            // SAFETY: every byte was just written.
            Ok(unsafe { &mut *(std::ptr::from_mut(room) as *mut [u8]) })
        })
    }
}

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
    Allocator(NonNull<u8>, Layout),
    Pages(#[allow(dead_code)] MmapMut),
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Self::Allocator(data, layout) = self {
            // SAFETY: the memory came from the allocator with this layout and is freed once, here.
            unsafe { std::alloc::dealloc(data.as_ptr(), *layout) };
        }
    }
}

// SAFETY: the memory has one owner and no ties to a thread; shared access through `&Aligned` only reads.
unsafe impl Send for Aligned {}
// SAFETY: as above.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// `len` zero bytes.
    pub(crate) fn zeroed(len: u64) -> Result<Self> {
        let bytes = to_usize(len)?;
        if bytes < MAPPED {
            let mut blank = Blank::new(len)?;
            blank.part().fill(|room| Ok(zeros(room)))?;
            return blank.finish();
        }
        Self::mapped(bytes)
    }

    /// `len` bytes of the allocator that are yet to be initialised, in huge pages where some fit.
    ///
    /// They are aligned here: what an allocator gives back for an alignment of its own choice it can give out again, but
    /// for a larger one it often takes fresh memory.
    fn allocated(len: usize) -> Result<Self> {
        let layout = Layout::from_size_align(len.saturating_add(ALIGN), 16).map_err(|_| no_memory(len))?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { std::alloc::alloc(layout) }).ok_or_else(|| no_memory(len))?;
        let pad = start.align_offset(ALIGN);
        if pad > ALIGN {
            return Err(no_memory(len));
        }
        // SAFETY: `len` bytes from there on are inside the allocation, which has room for the padding.
        let data = unsafe { start.add(pad) };
        prefer_huge(data.as_ptr(), len);
        Ok(Self { data, len, _owner: Owner::Allocator(start, layout) })
    }

    /// Zero bytes in pages of their own, huge ones where the system has them.
    fn mapped(len: usize) -> Result<Self> {
        let pages = MmapMut::map_anon(len).map_err(|e| Error::io(format!("cannot allocate {len} bytes"), e))?;
        // Only advice: where it is not supported the pages are small.
        #[cfg(all(target_os = "linux", not(miri)))]
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
        let data = NonNull::new(pages.as_mut_ptr()).unwrap_or(NonNull::dangling());
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

#[cold]
fn no_memory(len: usize) -> Error {
    Error::io(format!("cannot allocate {len} bytes"), std::io::ErrorKind::OutOfMemory.into())
}

/// Fills `room` with zeros.
pub(crate) fn zeros(room: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    room.fill(MaybeUninit::new(0));
    // SAFETY: every byte was just written.
    unsafe { &mut *(std::ptr::from_mut(room) as *mut [u8]) }
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
        let (huge, mapped) = (HUGE as u64, MAPPED as u64);
        // Miri would look at each byte for minutes.
        let most = if cfg!(miri) { 4096 } else { u64::MAX };
        for len in [0, 1, 63, 64, 65, 4096, huge - 1, huge, huge + 1, mapped - 1, mapped, mapped + 1].into_iter().filter(|len| *len <= most)
        {
            let mut memory = Aligned::zeroed(len).unwrap();
            assert_eq!(memory.as_ref().len() as u64, len);
            assert_eq!(memory.as_ref().as_ptr().addr() % 64, 0);
            assert!(memory.as_mut().iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn memory_is_filled_before_it_is_seen() {
        let mut blank = Blank::new(10).unwrap();
        let (head, tail) = blank.part().split_at(4);
        assert_eq!((head.len(), tail.copy_from(b"456789").unwrap().len()), (4, 6));
        assert!(blank.finish().is_err());
        let mut blank = Blank::new(10).unwrap();
        let (head, tail) = blank.part().split_at(4);
        assert!(tail.copy_from(b"4567").is_err());
        // In steps, and not from the front.
        assert_eq!(head.fill(|room| Ok(zeros(&mut room[..1]))).unwrap(), [0; 4]);
        assert!(blank.part().fill(|room| Ok(zeros(&mut room[1..]))).is_err());
        blank.part().copy_from(b"0123456789").unwrap();
        assert_eq!(blank.finish().unwrap().as_ref(), b"0123456789");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes under Miri")]
    fn much_room_is_only_advice() {
        let mut room = room::<u64>(1 << 20);
        room.extend(0..1 << 20);
        assert_eq!(room.iter().sum::<u64>(), ((1 << 20) - 1) << 19);
    }

    #[test]
    fn cast_checks_size_and_alignment() {
        let memory = Aligned::zeroed(64).unwrap();
        assert_eq!(cast::<f64>(memory.as_ref()).unwrap().len(), 8);
        assert!(cast::<f64>(&memory.as_ref()[..7]).is_err());
        assert!(cast::<f64>(&memory.as_ref()[1..9]).is_err());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no files")]
    fn a_mapped_file_reads_back() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        map_private_temporary(&file, 100).unwrap()[99] = 7;
        // SAFETY: the file is this test's own and does not change while mapped.
        let mapping = unsafe { map(&file) }.unwrap();
        assert_eq!((mapping.len(), mapping[99]), (100, 7));
    }
}
