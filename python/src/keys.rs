//! Dict keys: str, int and bytes, matched exactly.

use cairnfile::Key;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

/// The key that `object` is; None for what Cairn does not take as a key.
pub(crate) fn encode(object: &Bound<'_, PyAny>) -> Option<Key> {
    if let Ok(text) = object.cast_exact::<PyString>() {
        return text.to_cow().ok().map(|text| Key::Str(text.into_owned()));
    }
    if let Ok(number) = object.cast_exact::<PyInt>() {
        return number.extract().ok().map(Key::Int);
    }
    object.cast_exact::<PyBytes>().ok().map(|bytes| Key::Bytes(bytes.as_bytes().to_vec()))
}

/// `key` as a Python object.
pub(crate) fn decode<'py>(py: Python<'py>, key: &Key) -> PyResult<Bound<'py, PyAny>> {
    Ok(match key {
        Key::Str(text) => PyString::new(py, text).into_any(),
        Key::Int(number) => number.into_pyobject(py)?.into_any(),
        Key::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
    })
}
