//! Replacing a file whole, so that at any instant the old or the new one survives. `Spec §13.4`.
//!
//! temporary in the same directory → allocate → write → fsync → rename → fsync of the directory

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::bytes::from_usize;
use crate::error::{Error, Result};
use crate::parallel::Progress;
use crate::write::Sink;

/// How the names of temporaries end; before it come a dot, the target's name, a dot and random letters.
const SUFFIX: &str = ".cairn-tmp";

/// Bytes after which the disk is told to begin: a durable save then waits for the rest of them, not for all.
const BEGIN: u64 = 16 << 20;

/// A new file that takes the place of another when it is complete. Dropped before that, it leaves nothing behind.
pub(crate) struct Replacement {
    temporary: NamedTempFile,
    target: PathBuf,
    /// Every block of the file is on the disk already: mapped writes cannot run out of space.
    pub(crate) allocated: bool,
    /// Up to where the disk was told to begin; `None` where nobody will wait for it.
    begun: Option<u64>,
}

impl Replacement {
    /// A temporary of `len` zero bytes beside `path`.
    pub(crate) fn create(path: &Path, len: u64) -> Result<Self> {
        let target = resolve(path)?;
        let directory = directory(&target);
        let prefix = prefix(&target);
        sweep(directory, &prefix);
        let failed = |e| Error::io(format!("cannot create a temporary file beside {}", path.display()), e);
        let temporary = locked_temporary(directory, &prefix).map_err(failed)?;
        if let Ok(old) = fs::metadata(&target) {
            keep_permissions(temporary.as_file(), &old).map_err(|e| Error::io("cannot copy the file's permissions", e))?;
        }
        let allocated =
            allocate(temporary.as_file(), len).map_err(|e| Error::io(format!("cannot allocate {len} bytes for {}", path.display()), e))?;
        Ok(Self { temporary, target, allocated, begun: None })
    }

    /// Has the disk begin with what is written while more is: for a file that will be committed durably.
    pub(crate) fn begin_early(&mut self) {
        self.begun = Some(0);
    }

    pub(crate) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Puts the file in place; with `durable`, only when it would survive a power cut, and returns when its name
    /// would too. `progress` is asked in between, so that a save can be stopped until the old file is gone.
    pub(crate) fn commit(self, durable: bool, progress: Progress<'_>) -> Result<()> {
        let name = self.target.display().to_string();
        if durable {
            self.file().sync_all().map_err(|e| Error::io(format!("cannot sync {name}"), e))?;
        }
        progress(0)?;
        let directory = directory(&self.target).to_owned();
        self.temporary.persist(&self.target).map_err(|e| Error::io(format!("cannot replace {name}"), e.error))?;
        if durable {
            sync_directory(&directory)
                .map_err(|e| Error::durability(format!("{name} is replaced, but its directory could not be synced"), e))?;
        }
        Ok(())
    }
}

impl Sink for Replacement {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(self.file(), bytes, offset).map_err(|e| Error::io(format!("cannot write {}", self.target.display()), e))?;
        let end = offset + from_usize(bytes.len());
        if let Some(begun) = self.begun.filter(|begun| end.saturating_sub(*begun) >= BEGIN) {
            start_writeback(self.file(), begun, end - begun);
            self.begun = Some(end);
        }
        Ok(())
    }
}

/// Replaces the file at `path` with what `write` writes, durably: what [`crate::save`] does, for bytes of any kind.
///
/// # Errors
/// `io`, or what `write` returns; the old file is as it was.
pub fn replace(path: impl AsRef<Path>, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let mut replacement = Replacement::create(path.as_ref(), 0)?;
    write(replacement.temporary.as_file_mut())?;
    replacement.commit(true, &|_| Ok(()))
}

/// Follows a symlink to the file that is meant, and refuses what is not a regular file.
fn resolve(path: &Path) -> Result<PathBuf> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(path.to_owned()) };
    let target = if metadata.is_symlink() {
        fs::canonicalize(path).map_err(|e| Error::io(format!("cannot follow {}", path.display()), e))?
    } else {
        path.to_owned()
    };
    match fs::metadata(&target) {
        Ok(found) if !found.is_file() => {
            let kind = if found.is_dir() { "a directory" } else { "not a regular file" };
            Err(Error::io(format!("cannot replace {}", path.display()), std::io::Error::other(kind)))
        }
        _ => Ok(target),
    }
}

fn directory(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `.name.`, shortened so that the temporary's name fits where the target's does.
fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_else(|| OsStr::new("")).to_string_lossy();
    let short: String = name.chars().take(40).collect();
    format!(".{short}.")
}

/// Gives `file` the owner, the group and the mode of `old`. Where the group cannot be kept, the new one may do no more than
/// anybody could: its members were not meant.
#[cfg(unix)]
fn keep_permissions(file: &File, old: &fs::Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let new = file.metadata()?;
    let mut mode = old.mode() & 0o7777;
    let same = (new.uid(), new.gid()) == (old.uid(), old.gid());
    if !same && fchown(file, Some(old.uid()), Some(old.gid())).is_err() {
        // Any of its groups an owner may choose.
        let group = new.gid() == old.gid() || fchown(file, None, Some(old.gid())).is_ok();
        mode &= if group { 0o777 } else { 0o707 | (mode & 0o7) << 3 };
    }
    if new.mode() & 0o7777 == mode { Ok(()) } else { file.set_permissions(fs::Permissions::from_mode(mode)) }
}

#[cfg(not(unix))]
fn keep_permissions(file: &File, old: &fs::Metadata) -> std::io::Result<()> {
    file.set_permissions(old.permissions())
}

/// A fresh temporary that is locked and has not been swept before it was.
fn locked_temporary(directory: &Path, prefix: &str) -> std::io::Result<NamedTempFile> {
    loop {
        let mut builder = Builder::new();
        builder.prefix(prefix).suffix(SUFFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder.tempfile_in(directory)?;
        // A sweeper that came between has the lock and is about to remove the file, or has removed it. Where locks are not
        // supported nothing is ever swept.
        let swept = matches!(temporary.as_file().try_lock(), Err(TryLockError::WouldBlock)) || !temporary.path().exists();
        if !swept {
            return Ok(temporary);
        }
    }
}

/// Removes what interrupted saves of the same target left behind; live ones hold a lock.
fn sweep(directory: &Path, prefix: &str) {
    for name in names(directory) {
        let stray = name.to_str().and_then(|n| n.strip_prefix(prefix)?.strip_suffix(SUFFIX)).is_some_and(|random| !random.contains('.'));
        let path = directory.join(&name);
        if stray && let Some(locked) = lock_abandoned(&path) {
            // Removed under the lock: its maker may have just made it, and would take the lock as a sign that it stays.
            let _ = fs::remove_file(path);
            drop(locked);
        }
    }
}

/// The names in a directory, as far as they can be read. (The standard library's iterator panics where closing fails.)
#[cfg(unix)]
fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt;
    let entries = File::open(directory).ok().and_then(|directory| rustix::fs::Dir::new(directory).ok());
    let name = |entry: rustix::io::Result<rustix::fs::DirEntry>| entry.ok().map(|entry| entry.file_name().to_owned().into_bytes());
    entries.into_iter().flatten().map_while(name).map(std::ffi::OsString::from_vec).collect()
}

#[cfg(not(unix))]
fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

/// The file at `path`, locked, if nobody else has it locked.
fn lock_abandoned(path: &Path) -> Option<File> {
    let regular = fs::symlink_metadata(path).is_ok_and(|m| m.is_file());
    let file = regular.then(|| File::options().write(true).open(path).ok()).flatten()?;
    file.try_lock().is_ok().then_some(file)
}

/// Gives `file` its length and, where the file system can, all its blocks: a full disk is an error here.
#[cfg(unix)]
fn allocate(file: &File, len: u64) -> std::io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    if len == 0 {
        return Ok(false);
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, len)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(len).map(|()| false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(unix))]
fn allocate(file: &File, len: u64) -> std::io::Result<bool> {
    file.set_len(len).map(|()| false)
}

/// Has the system start writing these bytes to the disk. Only advice: whether they arrived is for fsync to say.
///
/// What is asked for is that the pages be dropped; Linux begins to write the dirty ones and drops none of those.
fn start_writeback(file: &File, offset: u64, len: u64) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, len);
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Directories cannot be synced; a rename is durable when the file system's log is.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = &bytes[n..];
        offset += crate::bytes::from_usize(n);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_bare_name_is_in_this_directory() {
        assert_eq!(["a", "b/a", "/a", "../a"].map(|path| directory(Path::new(path))), [".", "b", "/", ".."].map(Path::new));
    }

    #[test]
    fn the_old_file_stays_until_commit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cairn");
        fs::write(&path, "old").unwrap();
        let mut replacement = Replacement::create(&path, 3).unwrap();
        replacement.write_at(0, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(replacement);
        assert_eq!(names(directory.path()), ["a.cairn"]);
        let mut replacement = Replacement::create(&path, 3).unwrap();
        replacement.write_at(0, b"new").unwrap();
        replacement.commit(true, &|_| Ok(())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["a.cairn"]);
    }

    #[test]
    fn strays_are_swept_unless_live_or_foreign() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cairn");
        let live = Replacement::create(&path, 10).unwrap();
        for stray in [".a.cairn.x1.cairn-tmp", ".b.cairn.x1.cairn-tmp", "a.cairn.x1.cairn-tmp"] {
            fs::write(directory.path().join(stray), "").unwrap();
        }
        drop(Replacement::create(&path, 10).unwrap());
        let live_name = live.temporary.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut expected = vec![live_name, ".b.cairn.x1.cairn-tmp".to_owned(), "a.cairn.x1.cairn-tmp".to_owned()];
        expected.sort();
        assert_eq!(names(directory.path()), expected);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_are_kept() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Replacement::create(&link, 3).unwrap().commit(false, &|_| Ok(())).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), [0; 3]);
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(Replacement::create(directory.path(), 3).is_err());
    }
}
