//! Cairn: a versioned, checksummed container for tensors, lists and dicts. `SPEC.md` fixes the bytes; this crate is
//! its reference codec.
//!
//! Data flows one way, and so do the modules:
//!
//! ```text
//! reading   bytes → header → index → blocks → values      source · header · frame · index · blocks · load
//! writing   values → tensors → buffers → index → bytes    tree · sharing · plan · write | inplace | stream · durable
//! ```
//!
//! Save and load:
//!
//! ```
//! use cairnfile::{Dict, Tensor, Value};
//! # let path = std::env::temp_dir().join("cairnfile-doc-lib.cairn");
//! let weight = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0])?;
//! let state = Value::from(Dict::from_iter([("weight", Value::from(weight)), ("step", Value::from(1000i64))]));
//! cairnfile::save(&path, &state)?;
//! assert_eq!(cairnfile::load(&path)?, state);
//! # std::fs::remove_file(path).unwrap();
//! # Ok::<_, cairnfile::Error>(())
//! ```
//!
//! Open, and read what is wanted: opening costs the index, not the data.
//!
//! ```
//! # use cairnfile::{Cairn, Dict, Tensor, Value};
//! # let path = std::env::temp_dir().join("cairnfile-doc-lib2.cairn");
//! # let weight = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0])?;
//! # cairnfile::save(&path, &Value::from(Dict::from_iter([("weight", weight)])))?;
//! let cairn = Cairn::open(&path)?;
//! let row = cairn.tensor("/weight")?.rows(1..2)?;
//! assert_eq!(row.as_slice::<f32>()?, [3.0, 4.0]);
//! # std::fs::remove_file(path).unwrap();
//! # Ok::<_, cairnfile::Error>(())
//! ```
//!
//! No function panics on the contents of a file. What each step checks: `open` the header, the trailer and every
//! rule on the index; taking a tensor its blocks and elements; [`Cairn::verify`] every byte.
#![deny(unsafe_code)]

mod address;
mod bits;
mod blocks;
mod bools;
mod buffer;
mod bytes;
mod checks;
mod checksum;
mod collect;
mod content;
mod dtype;
mod durable;
pub mod element;
mod entry;
mod error;
mod extension;
mod frame;
mod hash;
mod header;
mod index;
mod inplace;
mod keys;
mod lattice;
mod layout;
mod limits;
mod load;
mod memory;
mod merge;
mod node;
mod open;
mod options;
mod parallel;
mod parity;
mod pattern;
mod pick;
mod place;
mod plan;
mod protect;
mod read;
pub mod repair;
mod sharing;
mod slice;
mod sniff;
mod source;
mod stream;
mod tensor;
mod tiles;
mod touched;
mod tree;
mod value;
mod verify;
mod walk;
mod write;

use std::path::Path;

pub use checksum::crc32;
pub use dtype::{DType, Geometry, GroupClass};
pub use durable::replace;
pub use error::{Class, Code, Error, Level, Result};
pub use header::{MAGIC, VERSION};
pub use inplace::InPlace;
pub use keys::Key;
pub use limits::Limits;
pub use load::Loaded;
pub use node::{Node, Place, ValueRef};
pub use open::OpenOptions;
pub use options::WriteOptions;
pub use parallel::Progress;
pub use pattern::Pattern;
pub use pick::Picked;
pub use plan::Plan;
pub use read::{Cairn, TensorRef};
pub use sniff::name as sniff;
pub use stream::StreamWriter;
pub use tensor::{Element, Storage, Tensor};
pub use tree::{BigInt, Dict, Named, Value};
pub use verify::{Fault, Report};
pub use write::{save, save_with, stream_to, to_bytes};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The limits of the format, for tests that hold SPEC.md against the code.
pub mod hard_limits {
    pub use crate::limits::*;
}

/// Loads the value in the file at `path` into memory of its own, every byte of it verified.
///
/// # Errors
/// As [`OpenOptions::open`] and [`Cairn::load`].
pub fn load(path: impl AsRef<Path>) -> Result<Value<'static>> {
    Cairn::open(path)?.load_copy()
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod layout_tests;

#[cfg(test)]
#[path = "place/tests.rs"]
mod place_tests;
