//! The one file of the command with unsafe code: mapping the files that are only read.
//!
//! Nothing in this process writes to a file while it is mapped, and every output is a new file that is renamed into
//! place. A user who truncates an input while a command reads it loses that command to SIGBUS; one who changes it gets
//! a copy of what it became.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use cairnfile::Cairn;
use memmap2::Mmap;

/// Maps a Cairn file, so that tensors taken from it one by one keep what they share, without a copy.
pub(crate) fn cairn(path: &Path) -> cairnfile::Result<Cairn<'static>> {
    // SAFETY: as the head of this file says.
    unsafe { Cairn::map(path) }
}

/// Maps a file that is not empty.
pub(crate) fn file(file: &File) -> io::Result<Mmap> {
    // SAFETY: as the head of this file says.
    unsafe { Mmap::map(file) }
}
