//! The extension module `cairnfile._cairnfile`: Python objects to Cairn values and back.
//!
//! ```text
//! saving    objects → encode (adapt) → values → save
//! loading   file → decode (make, restore) → objects
//! ```
//!
//! What an object of a framework or a type's name means is Python's to say, in three functions that are handed in:
//! `adapt` turns an object into what is known here, `make` a tensor into an array, `restore` a named value into an
//! object. `memory` has all unsafe code.
#![deny(unsafe_code)]

mod converted;
mod decode;
mod encode;
mod error;
mod file;
mod keys;
mod memory;
mod named;
mod raw;
mod save;
mod watch;

use pyo3::prelude::*;

/// The shell command `cairn`, with `arguments` as in `sys.argv`; returns its exit code.
#[pyfunction]
fn run_command(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| cairn_cli::run(arguments))
}

/// The signature of a foreign file format that `head`, the first bytes of a file, begins with; else None.
#[pyfunction]
fn sniff(head: &[u8]) -> Option<&'static str> {
    cairnfile::sniff(head)
}

/// Every registered dtype: name, class, elements and bytes per group.
#[pyfunction]
fn dtypes() -> Vec<(String, &'static str, u32, u32)> {
    let row = |dtype: cairnfile::DType| {
        let geometry = dtype.geometry();
        (dtype.name().to_owned(), geometry.class.name(), geometry.elements, geometry.bytes)
    };
    cairnfile::DType::registered().map(row).collect()
}

#[pymodule(gil_used = true)]
fn _cairnfile(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    error::add(module)?;
    module.add_class::<raw::Raw>()?;
    module.add_class::<named::Named>()?;
    module.add_class::<file::File>()?;
    module.add_class::<file::Group>()?;
    module.add_class::<file::LazyTensor>()?;
    module.add_function(wrap_pyfunction!(save::save, module)?)?;
    module.add_function(wrap_pyfunction!(save::dumps, module)?)?;
    module.add_function(wrap_pyfunction!(save::write, module)?)?;
    module.add_function(wrap_pyfunction!(file::open, module)?)?;
    module.add_function(wrap_pyfunction!(file::load, module)?)?;
    module.add_function(wrap_pyfunction!(file::loads, module)?)?;
    module.add_function(wrap_pyfunction!(watch::forget_threads, module)?)?;
    module.add_function(wrap_pyfunction!(run_command, module)?)?;
    module.add_function(wrap_pyfunction!(sniff, module)?)?;
    module.add_function(wrap_pyfunction!(dtypes, module)?)?;
    memory::prepare(module.py())
}
