//! What the machine itself takes: the same bytes through the bare system calls.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use cairn_benches::Workload;
use memmap2::{Advice, Mmap, MmapMut};
use rustix::fs::{FallocateFlags, fallocate};

/// One call: large ones are fast.
pub(crate) const CALL: usize = 4 << 20;

/// Allocates, then writes in large calls; small tensors are collected into one.
pub(crate) fn write(path: &Path, workload: &Workload) -> io::Result<File> {
    let mut file = File::create(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, workload.bytes())?;
    let mut pending = Vec::with_capacity(CALL);
    for (_, _, bytes) in &workload.tensors {
        if pending.len() + bytes.len() > CALL {
            file.write_all(&pending)?;
            pending.clear();
        }
        if bytes.len() >= 1 << 20 { bytes.chunks(CALL).try_for_each(|c| file.write_all(c))? } else { pending.extend_from_slice(bytes) }
    }
    file.write_all(&pending)?;
    Ok(file)
}

/// Writes `len` bytes past the page cache, from memory that is aligned for it, and has them on the disk.
pub(crate) fn write_direct(path: &Path, len: u64) -> io::Result<()> {
    const O_DIRECT: i32 = 0x4000;
    let block = MmapMut::map_anon(16 << 20)?;
    let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(O_DIRECT).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, len)?;
    for i in 0..len / (16 << 20) {
        file.write_all_at(&block, i * (16 << 20))?;
    }
    file.sync_all()
}

/// Memory in huge pages, filled by `threads` threads.
pub(crate) fn read(path: &Path, threads: usize) -> io::Result<MmapMut> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut memory = MmapMut::map_anon(len.max(1))?;
    memory.advise(Advice::HugePage)?;
    let part = len.div_ceil(threads).next_multiple_of(2 << 20);
    std::thread::scope(|scope| {
        let parts = memory.chunks_mut(part).enumerate();
        let work: Vec<_> = parts.map(|(i, bytes)| (i * part, bytes)).collect();
        let file = &file;
        let running: Vec<_> = work.into_iter().map(|(at, bytes)| scope.spawn(move || read_part(file, bytes, at))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
    })?;
    Ok(memory)
}

fn read_part(file: &File, bytes: &mut [u8], at: usize) -> io::Result<()> {
    bytes.chunks_mut(CALL).enumerate().try_for_each(|(i, call)| file.read_exact_at(call, (at + i * CALL) as u64))
}

/// Maps `path`, which nobody changes.
pub(crate) fn map(path: &Path) -> io::Result<Mmap> {
    // SAFETY: the benches' own files do not change while they are mapped.
    #[allow(unsafe_code)]
    unsafe {
        Mmap::map(&File::open(path)?)
    }
}

/// Looks at every byte.
pub(crate) fn touch(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word))).wrapping_add(rest.iter().map(|b| u64::from(*b)).sum())
}

/// Touches and frees as much memory as the next operation wants: what the host took back is slow to get. In small pages
/// and then in huge ones, which are not the same memory: else what comes after small pages finds its huge ones slow.
pub(crate) fn prime(len: u64) {
    let len = usize::try_from(len).unwrap_or(0).max(1);
    for advice in [Advice::NoHugePage, Advice::HugePage] {
        let mut memory = MmapMut::map_anon(len).unwrap();
        memory.advise(advice).unwrap();
        memory.iter_mut().step_by(4096).for_each(|b| *b = 1);
    }
}

/// Has the system forget the pages of a file that is on the disk.
pub(crate) fn forget(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}
