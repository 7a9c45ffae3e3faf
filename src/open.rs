//! Opening: bytes → header → index. `Spec §12.2`.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use crate::blocks::Verified;
use crate::bytes::to_usize;
use crate::checksum::{crc32, mismatch};
use crate::error::{Code, Error, Result};
use crate::frame;
use crate::header::{self, Header, Role};
use crate::index::{Context, Index};
use crate::limits::{HEADER_LEN, Limits};
use crate::memory;
use crate::read::Cairn;
use crate::source::Source;

/// How to open a file.
///
/// ```
/// use cairnfile::{OpenOptions, Value};
/// let bytes = cairnfile::to_bytes(&Value::Null, &cairnfile::WriteOptions::new()).unwrap();
/// let cairn = OpenOptions::new().check_trailer(false).from_bytes(&bytes).unwrap();
/// assert_eq!(cairn.load().unwrap(), Value::Null);
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    limits: Limits,
    understood: Vec<u32>,
    check_trailer: bool,
    threads: Option<usize>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), understood: Vec::new(), check_trailer: true, threads: None }
    }
}

impl OpenOptions {
    /// The defaults: no limits below the format's, no extensions, trailer checked, all cores.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the file may cost.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Tags of the extensions that the caller understands, beyond those this crate does (none yet).
    #[must_use]
    pub fn understand(mut self, tags: &[u32]) -> Self {
        self.understood = tags.to_vec();
        self
    }

    /// Whether opening a planned file looks at its trailer (default: yes). A reader of remote files may leave it to
    /// [`Cairn::verify`].
    #[must_use]
    pub fn check_trailer(mut self, check: bool) -> Self {
        self.check_trailer = check;
        self
    }

    /// How many threads read and check; the default is one a core.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Opens the file at `path` with positioned reads: safe whatever happens to the file meanwhile, and every copy is
    /// verified.
    ///
    /// # Errors
    /// `io` if the file cannot be read; otherwise every level O refusal of SPEC.md §15.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Cairn<'static>> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::io(format!("cannot open {}", path.display()), e))?;
        self.from_source(Source::file(file)?)
    }

    /// Maps the file at `path`: tensors are slices of the mapping, verified once, when first taken.
    ///
    /// # Safety
    /// For as long as the [`Cairn`] lives, nobody may truncate or change the file. Replacing it by rename, as this
    /// crate does, is fine. Bytes that change make verified data unverified. A file that shrinks raises SIGBUS when what is
    /// gone is looked at; its length is asked for whenever bytes are taken, so that one that shrank before is an error
    /// (`file-changed`). The index is read into memory and is safe from both.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    #[allow(unsafe_code)]
    pub unsafe fn map(&self, path: impl AsRef<Path>) -> Result<Cairn<'static>> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::io(format!("cannot open {}", path.display()), e))?;
        if file.metadata().map_err(|e| Error::io("cannot stat the file", e))?.len() == 0 {
            return self.from_source(Source::Bytes(&[]));
        }
        // SAFETY: the caller's promise is the one that mapping needs.
        self.from_source(Source::Map(unsafe { memory::map(&file) }?, file))
    }

    /// Reads a file that is already in memory, without a copy.
    ///
    /// # Errors
    /// Every level O refusal of SPEC.md §15.
    #[allow(clippy::wrong_self_convention)]
    pub fn from_bytes<'a>(&self, bytes: &'a [u8]) -> Result<Cairn<'a>> {
        self.from_source(Source::Bytes(bytes))
    }

    #[allow(clippy::wrong_self_convention)]
    fn from_source<'a>(&self, source: Source<'a>) -> Result<Cairn<'a>> {
        let header = self.header(&source)?;
        self.limits.check_index(header.index_len)?;
        // Of a mapping too: what was checked stays as it is, and is there, whatever becomes of the file.
        let index_bytes = match source {
            Source::Bytes(_) => Vec::new(),
            Source::File { .. } | Source::Map(..) => source.copy(header.index_offset, to_usize(header.index_len)?)?,
        };
        let bytes = match source {
            Source::Bytes(_) => source.get(header.index_offset, header.index_len)?,
            Source::File { .. } | Source::Map(..) => (&index_bytes).into(),
        };
        let computed = crc32(&bytes);
        if computed != header.index_crc {
            let detail = mismatch(Code::IndexCrc, header.index_crc, computed);
            let mended = if header.streamed { "" } else { "; `cairn repair` can restore it from the copy at the end" };
            return Err(Error::at(Code::IndexCrc, header.index_offset, detail + mended));
        }
        let data_start = frame::data_start(&header);
        let context = Context { header: &header, data_start, limits: &self.limits, understood: &self.understood, threads: self.threads };
        let index = Index::parse(&bytes, &context)?;
        let verified = Verified::new(index.buffers.blocks(), source.memory().is_some());
        let spent = AtomicU64::new(0);
        let index_range = to_usize(header.index_offset)?..to_usize(header.index_offset + header.index_len)?;
        let cairn = Cairn { source, header, index_range, index_bytes, index, verified, limits: self.limits, spent, threads: self.threads };
        if self.check_trailer && !header.streamed {
            cairn.planned_trailer()?;
        }
        Ok(cairn)
    }

    /// The header that knows the index: the first 64 bytes, or those at the end of a streamed file.
    fn header(&self, source: &Source<'_>) -> Result<Header> {
        let len = source.len();
        let start = source.get(0, len.min(HEADER_LEN))?;
        header::check_start(&start, len)?;
        let header = Header::parse(&header::array(&start), 0, Role::Header).map_err(|e| name_repair(e, source))?;
        if !header.streamed {
            frame::check_numbers(&header, 0, len)?;
            return Ok(header);
        }
        header.check_streamed_fields()?;
        if len < 2 * HEADER_LEN {
            return Err(Error::at(Code::TrailerMissing, len, "the file was streamed and ends before its trailer"));
        }
        let at = len - HEADER_LEN;
        let trailer = Header::parse(&header::array(&source.get(at, HEADER_LEN)?), at, Role::StreamedTrailer)?;
        header.check_trailer(&trailer, at)?;
        frame::check_numbers(&trailer, at, len)?;
        Ok(trailer)
    }
}

/// A damaged header whose trailer is intact is still an error, but one that can be mended.
fn name_repair(error: Error, source: &Source<'_>) -> Error {
    if error.code() != Code::HeaderCrc {
        return error;
    }
    let at = source.len().saturating_sub(HEADER_LEN);
    let trailer = source.get(at, HEADER_LEN).and_then(|t| Header::parse(&header::array(&t), at, Role::PlannedTrailer));
    match trailer {
        Ok(trailer) if trailer.file_len == source.len() => error.context("the trailer is intact, so `cairn repair` can restore the header"),
        _ => error,
    }
}

impl Cairn<'static> {
    /// Opens the file at `path` with the default options, see [`OpenOptions::open`].
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().open(path)
    }

    /// Maps the file at `path` with the default options, see [`OpenOptions::map`].
    ///
    /// # Safety
    /// As [`OpenOptions::map`]: nobody may truncate or change the file while the result lives.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    #[allow(unsafe_code)]
    pub unsafe fn map(path: impl AsRef<Path>) -> Result<Self> {
        // SAFETY: the contract is the same.
        unsafe { OpenOptions::new().map(path) }
    }
}

impl<'a> Cairn<'a> {
    /// Reads a file that is already in memory, without a copy.
    ///
    /// # Errors
    /// Every level O refusal of SPEC.md §15.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self> {
        OpenOptions::new().from_bytes(bytes)
    }
}
