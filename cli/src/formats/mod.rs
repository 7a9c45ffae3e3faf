//! Files of other formats as Cairn values and back. Each reader takes the whole file as a slice, gives tensors that
//! view it, and refuses what it cannot keep; each writer refuses what its format cannot hold.

pub(crate) mod flat;
pub(crate) mod npy;
pub(crate) mod npz;
pub(crate) mod safetensors;

use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::Deref;
use std::path::Path;

use cairnfile::{Class, Code, Dict, Error, Value};
use indicatif::ProgressBar;
use memmap2::Mmap;

use crate::common::{Failure, Outcome};

/// What `convert` reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Cairn.
    Cairn,
    /// safetensors.
    Safetensors,
    /// One NumPy array.
    Npy,
    /// A zip of NumPy arrays.
    Npz,
}

impl Format {
    /// The name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cairn => "Cairn",
            Self::Safetensors => "safetensors",
            Self::Npy => ".npy",
            Self::Npz => ".npz",
        }
    }

    /// The format that the name of an output asks for.
    pub(crate) fn of_name(path: &Path) -> Option<Self> {
        let suffix = path.extension()?.to_str()?.to_ascii_lowercase();
        <Self as clap::ValueEnum>::from_str(&suffix, true).ok()
    }

    /// The format of an input, by its first bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        let known = cairnfile::sniff(bytes);
        if bytes.starts_with(b"\x89CAIRN") || bytes.starts_with(&cairnfile::MAGIC) {
            return Ok(Self::Cairn);
        }
        if bytes.starts_with(b"\x93NUMPY") {
            return Ok(Self::Npy);
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            return Ok(Self::Npz);
        }
        if safetensors::is_likely(bytes) {
            return Ok(Self::Safetensors);
        }
        let what = known.map_or("of no format that is known here".to_owned(), |name| format!("{name}, which convert does not read"));
        Err(refused(format!("the file is {what}: it reads Cairn, safetensors, .npy and .npz")))
    }
}

/// What a file of any format holds.
pub(crate) struct Document<'a> {
    /// The tensors.
    pub(crate) root: Value<'a>,
    /// The metadata beside them.
    pub(crate) metadata: Dict<'static>,
}

/// A file whose bytes do not follow its format.
pub(crate) fn refused(text: impl Into<String>) -> Failure {
    Failure::message(Class::Malformed, text)
}

/// Something that is fine but that the target cannot hold, or that Cairn cannot keep.
pub(crate) fn unsupported(text: impl Into<String>) -> Failure {
    Failure::message(Class::Unsupported, text)
}

/// The same failure with `place` in front of its sentence.
pub(crate) fn within(place: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Message { class, text } => Failure::Message { class, text: format!("{place}: {text}") },
        Failure::Refused(error) => Failure::Refused(error.context(place)),
        other => other,
    }
}

/// The bytes of a file that is only read.
pub(crate) enum Input {
    /// Mapped: no copy.
    Mapped(Mmap),
    /// An empty file, which cannot be mapped.
    Empty,
}

impl Input {
    /// Maps the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("cannot read {}", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        Self::map(&file).map_err(failed)
    }

    /// Maps an open file.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self::Empty);
        }
        crate::mapping::file(file).map(Self::Mapped)
    }
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Empty => &[],
        }
    }
}

/// Replaces the file at `path` with what `write` writes, durably, or leaves it as it was.
pub(crate) fn replace(path: &Path, bar: &ProgressBar, write: impl FnOnce(&mut Progressed<'_>) -> Outcome) -> Outcome {
    let mut failure = None;
    let replaced = cairnfile::replace(path, |file| {
        let mut out = Progressed { file, bar };
        write(&mut out).map_err(|found| {
            let stop = Error::new(Code::Unrepresentable, "the output was not written");
            failure = Some(found);
            stop
        })
    });
    match failure {
        Some(Failure::Output(error)) => Err(Failure::io(format!("cannot write {}", path.display()), error)),
        Some(failure) => Err(failure),
        None => replaced.map_err(crate::common::in_file(path)),
    }
}

/// A file that moves a progress bar.
pub(crate) struct Progressed<'f> {
    file: &'f mut File,
    bar: &'f ProgressBar,
}

impl Progressed<'_> {
    /// The file itself.
    pub(crate) fn file(&mut self) -> &mut File {
        self.file
    }
}

/// Most bytes of one write, so that the bar moves.
const CALL: usize = 8 << 20;

impl Write for Progressed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(&bytes[..bytes.len().min(CALL)])?;
        self.bar.inc(u64::try_from(n).unwrap_or(u64::MAX));
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Progressed<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_by_content() {
        let of = |bytes: &[u8]| Format::of_bytes(bytes).map_err(|f| f.to_string());
        assert_eq!(of(&cairnfile::MAGIC), Ok(Format::Cairn));
        assert_eq!(of(b"\x93NUMPY\x01\0"), Ok(Format::Npy));
        assert_eq!(of(b"PK\x05\x06"), Ok(Format::Npz));
        assert_eq!(of(b"\x02\0\0\0\0\0\0\0{}"), Ok(Format::Safetensors));
        assert_eq!(of(b"\x03\0\0\0\0\0\0\0 {}"), Ok(Format::Safetensors));
        assert!(of(b"GGUF\x03\0\0\0").unwrap_err().contains("GGUF"));
        assert!(of(b"").unwrap_err().contains("no format"));
    }

    #[test]
    fn outputs_by_name() {
        let of = |name: &str| Format::of_name(Path::new(name));
        assert_eq!(
            [of("a.cairn"), of("a.SafeTensors"), of("a.npy"), of("b.npz")].map(Option::unwrap),
            [Format::Cairn, Format::Safetensors, Format::Npy, Format::Npz]
        );
        assert_eq!([of("a"), of("a.bin"), of(".npy")], [None, None, None]);
    }
}
