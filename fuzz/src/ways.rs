//! One file by three ways: bytes in memory, positioned reads, a mapping.

use std::cell::RefCell;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, OpenOptions, Report, Result, Value};
use tempfile::NamedTempFile;

/// A name for what a call gave: of an error its code and place, of a success what `show` says.
fn told<T>(outcome: &Result<T>, show: impl Fn(&T) -> String) -> String {
    match outcome {
        Ok(found) => show(found),
        Err(error) => format!("{} at {:?}", error.code(), error.offset()),
    }
}

fn faults(report: &Report) -> String {
    let of = |f: &cairnfile::Fault| format!("{} {:?} {:?} {:?} {:?}", f.error.code(), f.error.offset(), f.buffer, f.block, f.tensors);
    format!("{} blocks, {} bytes: {:?}", report.blocks, report.bytes, report.faults.iter().map(of).collect::<Vec<_>>())
}

/// Everything there is to see, but for the bytes of tensors, and the loaded root.
fn look<'c>(cairn: &'c Result<Cairn<'_>>) -> (Vec<String>, Option<Value<'c>>) {
    let mut seen = vec![told(cairn, |cairn| format!("{cairn:?} {:?}", cairn.dtypes()))];
    let Ok(cairn) = cairn else { return (seen, None) };
    seen.push(told(&cairn.verify(&|_| Ok(())), faults));
    for tensor in cairn.tensors() {
        let read = tensor.read();
        seen.push(told(&read, |read| format!("{tensor:?} {:?} {:?}", tensor.file_range().unwrap(), read.byte_strides())));
        let whole: Vec<_> = tensor.shape().unwrap().iter().map(|dim| dim / 3..*dim).collect();
        let part = tensor.slice(&whole);
        seen.push(told(&part, |part| format!("{part:?} {:?}", part.row_major_bytes().unwrap())));
    }
    let loaded = cairn.load();
    seen.push(told(&loaded, |_| "loads".to_owned()));
    let (copy, view) = (cairn.load_copy(), loaded);
    seen.push(told(&copy, |copy| format!("{}", view.as_ref().is_ok_and(|view| view == copy))));
    (seen, view.ok())
}

/// Where files are in memory, if the system has such a place.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// A new file that only this process sees.
pub fn new_file() -> NamedTempFile {
    NamedTempFile::new_in(folder()).expect("a temporary file")
}

thread_local! {
    /// One file for all inputs: making one and taking it away costs more than what is done with it.
    static KEPT: RefCell<NamedTempFile> = RefCell::new(new_file());
}

fn with_file(data: &[u8], then: impl FnOnce(&Path)) {
    KEPT.with_borrow_mut(|file| {
        // Emptied first, so that nothing of another input can be left.
        file.as_file().set_len(0).expect("a file of this process");
        file.rewind().expect("a file of this process");
        file.write_all(data).expect("room for a temporary file");
        then(file.path());
    });
}

pub fn agree(data: &[u8]) {
    let options = OpenOptions::new().threads(1);
    with_file(data, |path| {
        let bytes = options.from_bytes(data);
        let file = options.open(path);
        // SAFETY: the file is this thread's own and changes when the next input comes, after `map` is gone.
        #[allow(unsafe_code)]
        let map = unsafe { options.map(path) };
        let (expected, value) = look(&bytes);
        for (way, cairn) in [("reads", &file), ("mapping", &map)] {
            let (seen, found) = look(cairn);
            assert_eq!(expected, seen, "by {way}");
            assert!(value == found, "by {way}: {found:?} instead of {value:?}");
        }
    });
}
