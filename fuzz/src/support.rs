//! The parts of `tests/support` that fuzzing needs; the rest of it wants dependencies of its own.
#![allow(unused_imports)]

#[path = "../../tests/support/raw.rs"]
pub mod raw;
#[path = "../../tests/support/rewrite.rs"]
mod rewrite;

pub use raw::resign;
pub use rewrite::rewrite;
