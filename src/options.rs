//! How to write: what is not in the value itself.

use crate::limits::DEFAULT_BLOCK_LOG2;
use crate::tree::Dict;

/// How to write. One value, one set of options: one file, byte for byte.
///
/// ```
/// use cairnfile::{Dict, Value, WriteOptions};
/// let options = WriteOptions::new().metadata(Dict::from_iter([("license", "MIT")]));
/// let bytes = cairnfile::to_bytes(&Value::Null, &options).unwrap();
/// let cairn = cairnfile::Cairn::from_bytes(&bytes).unwrap();
/// assert_eq!(cairn.metadata().items().count(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub(crate) metadata: Dict<'static>,
    pub(crate) block_log2: u8,
    pub(crate) threads: Option<usize>,
    pub(crate) unshare: bool,
    pub(crate) durable: bool,
    pub(crate) parity: u16,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { metadata: Dict::new(), block_log2: DEFAULT_BLOCK_LOG2, threads: None, unshare: false, durable: true, parity: 0 }
    }
}

impl WriteOptions {
    /// No metadata, the default block size, sharing kept, durable.
    pub fn new() -> Self {
        Self::default()
    }

    /// A dict with str keys and without tensors, kept beside the root.
    #[must_use]
    pub fn metadata(mut self, metadata: Dict<'static>) -> Self {
        self.metadata = metadata;
        self
    }

    /// The block size as a power of two, 12 to 22. Part of the file's identity.
    #[must_use]
    pub fn block_log2(mut self, log2: u8) -> Self {
        self.block_log2 = log2;
        self
    }

    /// How many threads compute checksums; the bytes do not depend on it. A save has one beside the thread that writes, a
    /// commit of a file that was filled in place ([`crate::InPlace::commit`]) uses them all.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Write a view that cannot keep its sharing as a copy of its elements, instead of refusing (`sharing-lost`).
    #[must_use]
    pub fn unshare(mut self, unshare: bool) -> Self {
        self.unshare = unshare;
        self
    }

    /// Adds parity by which `share` ten-thousandths of the data, wherever they are damaged, can be computed again: 200 for 2 %. The
    /// file grows by as much; `cairn repair` and [`crate::repair::Repair::heal`] use it, all other readers pass over it. Planning takes
    /// memory for it, and for buffers that are gathered from several places. 0, the default, adds none; nor does a value without data.
    #[must_use]
    pub fn parity(mut self, share: u16) -> Self {
        self.parity = share;
        self
    }

    /// Whether `save` waits until the file survives a power cut (default: yes). Replacing is atomic either way.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }
}
