//! .npz: a zip of .npy files, one a name.

use std::borrow::Cow;
use std::io::{Cursor, Read, Seek, Write};

use cairnfile::{Dict, Storage, Tensor, Value, crc32};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::flat::Entry;
use super::{Document, npy, refused, unsupported, within};
use crate::common::{Failure, Outcome};

const SUFFIX: &str = ".npy";

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// The arrays of a file by name, in the order of its directory; stored ones are views of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Document<'_>, Failure> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(&e))?;
    if archive.has_duplicate_names() {
        return Err(refused("two members of the .npz file have the same name"));
    }
    if archive.has_overlapping_entries().map_err(|e| broken(&e))? {
        return Err(refused("two members of the .npz file overlap"));
    }
    let mut root = Dict::new();
    for i in 0..archive.len() {
        let (name, tensor) = member(bytes, &mut archive, i)?;
        if root.insert(name.as_str(), tensor).is_some() {
            return Err(refused(format!("two members of the .npz file have the name {name:?}")));
        }
    }
    Ok(Document { root: Value::from(root), metadata: Dict::new() })
}

/// Array `i` and its name.
fn member<'a>(bytes: &'a [u8], archive: &mut Archive<'a>, i: usize) -> Result<(String, Tensor<'a>), Failure> {
    let mut file = archive.by_index(i).map_err(|e| broken(&e))?;
    let full = file.name().map_err(|e| broken(&e))?.into_owned();
    let Some(name) = full.strip_suffix(SUFFIX) else { return Err(foreign(&full)) };
    let named = |failure| within(&format!("array {name:?}"), failure);
    let storage = match file.compression() {
        CompressionMethod::Stored => stored(bytes, file.data_start(), file.size(), file.crc32()).map(Storage::borrowed),
        _ => {
            // Grows with what is really there; the stated size is only a bound.
            let mut inflated = Vec::new();
            let limit = file.size().saturating_add(1);
            let read = (&mut file).take(limit).read_to_end(&mut inflated);
            read.map(|_| Storage::shared(inflated)).map_err(|e| refused(format!("the zip member is damaged: {e}")))
        }
    };
    let tensor = storage.and_then(npy::read).map_err(named)?;
    Ok((name.to_owned(), tensor))
}

/// The bytes of a member that is not compressed.
fn stored(bytes: &[u8], start: Option<u64>, len: u64, crc: u32) -> Result<&[u8], Failure> {
    let range = start.and_then(|start| Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(len)?).ok()?));
    let member = range.and_then(|range| bytes.get(range)).ok_or_else(|| refused("the zip member reaches past the end of the file"))?;
    let found = crc32(member);
    if found != crc {
        return Err(refused(format!("the zip member is damaged: its checksum is {found:08x}, the directory states {crc:08x}")));
    }
    Ok(member)
}

/// Zip archives of others.
fn foreign(name: &str) -> Failure {
    let what = if name.ends_with("/data.pkl") || name == "data.pkl" {
        "it was written by torch.save, which convert does not read"
    } else if name.ends_with(".weights.h5") {
        "it is a .keras file, which convert does not read"
    } else {
        "the members of a .npz file are called *.npy"
    };
    refused(format!("the zip archive has a member {name:?}: {what}"))
}

fn broken(error: &ZipError) -> Failure {
    match error {
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) | ZipError::InvalidPassword => {
            unsupported(format!("the .npz file cannot be read: {error}"))
        }
        error => refused(format!("the .npz file is broken: {error}")),
    }
}

/// Writes `entries`, in order; `compress` deflates them.
pub(crate) fn write(out: impl Write + Seek, entries: &[Entry<'_>], compress: bool) -> Outcome {
    let method = if compress { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    // No clock: equal arrays give equal files.
    let options = SimpleFileOptions::default().compression_method(method).last_modified_time(zip::DateTime::default());
    let mut zip = ZipWriter::new(out);
    for entry in entries {
        // The header takes a few hundred bytes more; zip64 costs a few where it is not needed.
        let large = entry.tensor.byte_len() > u64::from(u32::MAX) - (1 << 20);
        zip.start_file(format!("{}{SUFFIX}", entry.name), options.large_file(large)).map_err(unwritten)?;
        npy::write(&mut zip, entry.tensor).map_err(|failure| within(&format!("{:?}", entry.name), failure))?;
    }
    zip.finish().map_err(unwritten)?;
    Ok(())
}

fn unwritten(error: ZipError) -> Failure {
    match error {
        ZipError::Io(error) => Failure::Output(error),
        error => unsupported(Cow::from(format!("the .npz file cannot be written: {error}"))),
    }
}
