//! The arithmetic of files and shapes at 8 bits, where all inputs can be tried: the very files of `src`, compiled with a
//! smaller word. Overflow panics here as it would there. `prove` shows the same of 64 bits; see README.md.
#![allow(clippy::useless_conversion, missing_docs, clippy::unwrap_used, clippy::panic, dead_code, unreachable_pub)]

#[path = "../../src/layout.rs"]
mod layout;
#[path = "../../src/place.rs"]
mod place;

mod files;
mod shapes;
mod values;

/// The limits of the format, scaled down.
mod limits {
    pub(crate) type Word = u8;
    pub(crate) const MAX_LEN: u8 = 127;
    pub(crate) const HEADER_LEN: u8 = 4;
    pub(crate) const PART_ALIGN: u8 = 4;
    pub(crate) const LARGE_ALIGN: u8 = 16;
    pub(crate) const LARGE_BUFFER: u8 = 32;
    pub(crate) const MIN_INDEX_LEN: u8 = 3;
    pub(crate) const MIN_SHARD_LOG2: u8 = 2;
    pub(crate) const MAX_SHARDS: u8 = 8;
    pub(crate) const WHOLE_SHARE: u8 = 20;
}

/// Geometries as the real ones, with groups of fewer bytes.
mod dtype {
    pub use cairnfile::GroupClass;

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Geometry {
        pub(crate) class: GroupClass,
        pub(crate) elements: u8,
        pub(crate) bytes: u8,
    }
}
