//! What the tests share: a builder of Cairn files that checks nothing, and a catalogue of files made with it.
//!
//! * [`raw`] writes any bytes in the shape of the layout. It is written from SPEC.md alone and uses nothing of the
//!   crate, so a rule that the crate's writer and reader both misread still shows.
//! * [`cases`] lists files that every reader accepts and files that every reader refuses, one fault each.
//!
//! ```ignore
//! let mut file = RawFile { root: list(&[int(1), tensor(0)]), ..RawFile::new() };
//! file.dtypes.push(RawDtype::scalar("f32", 4));
//! file.buffers.push(RawBuffer::new(vec![0; 8]));
//! file.tensors.push(RawTensor::new(0, 0, 0, &[2]));
//! let bytes = file.on_header(|header| header.version = 2).build();
//! ```

// Each test binary uses a part of this, and a test may panic; the numbers cast here are the builder's own.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod cases;
pub mod example;
pub mod hostile;
pub mod parity;
pub mod raw;
mod rewrite;
pub mod strategies;

pub use cases::{Case, Expect, OPAQUE_TENSOR, accepted, rejected};
pub use raw::{RawBuffer, RawDtype, RawExtension, RawFile, RawTensor, crc32, resign};
pub use rewrite::{options, rewrite};
