//! Refusals as exceptions: one subclass of `CairnError` for each class, with code, offset and section.

use cairnfile::{Class, Code, Error};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

create_exception!(cairnfile, CairnError, PyException, "What Cairn refuses. Attributes: code, class_name, offset, section.");

/// Names of the subclasses, their second base and what they are for.
const SUBCLASSES: &[(Class, &str, &str)] = &[
    (Class::Truncated, "TruncatedError", "The file ends before it says it does."),
    (Class::Malformed, "MalformedError", "The bytes are not those of a Cairn file."),
    (Class::Corrupt, "CorruptError", "The file was damaged: a checksum does not match."),
    (Class::Invalid, "InvalidError", "The parts of the file contradict each other."),
    (Class::Unsupported, "UnsupportedError", "A newer or extended file: use a newer cairnfile."),
    (Class::Limit, "LimitError", "Above a limit of the format or of the caller."),
    (Class::Usage, "UsageError", "The call does not fit the file or the value."),
];

static TYPES: PyOnceLock<Vec<(&'static str, Py<PyType>)>> = PyOnceLock::new();

/// Adds the exceptions to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let base = py.get_type::<CairnError>();
    for name in ["code", "class_name", "offset", "section"] {
        base.setattr(name, py.None())?;
    }
    module.add("CairnError", &base)?;
    let mut types = Vec::new();
    let mut make = |name: &'static str, doc: &str, bases: &Bound<'_, PyTuple>| -> PyResult<()> {
        let namespace = PyDict::new(py);
        namespace.set_item("__doc__", doc)?;
        namespace.set_item("__module__", "cairnfile")?;
        let made = py.get_type::<PyType>().call1((name, bases, namespace))?.cast_into::<PyType>()?;
        module.add(name, &made)?;
        types.push((name, made.unbind()));
        Ok(())
    };
    for (class, name, doc) in SUBCLASSES {
        let second = (*class == Class::Usage).then(|| py.get_type::<PyValueError>());
        make(name, doc, &bases(py, &base, second)?)?;
    }
    let usage = module.getattr("UsageError")?.cast_into::<PyType>()?;
    make("NotFoundError", "Nothing is at the address.", &bases(py, &usage, Some(py.get_type::<PyKeyError>()))?)?;
    make(
        "SharingLostError",
        "Tensors share memory in a way that cannot be kept: save their base too, or pass copy=True.",
        &bases(py, &usage, None)?,
    )?;
    make(
        "DurabilityError",
        "The new file is in place, but may not survive a power cut.",
        &bases(py, &base, Some(py.get_type::<PyOSError>()))?,
    )?;
    TYPES.set(py, types).ok();
    module.getattr("NotFoundError")?.setattr("__str__", py.get_type::<PyException>().getattr("__str__")?)
}

fn bases<'py>(py: Python<'py>, first: &Bound<'py, PyType>, second: Option<Bound<'py, PyType>>) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, std::iter::once(first.clone()).chain(second).collect::<Vec<_>>())
}

fn type_name(error: &Error) -> Option<&'static str> {
    match error.code() {
        Code::NotFound => Some("NotFoundError"),
        Code::SharingLost => Some("SharingLostError"),
        Code::Durability => Some("DurabilityError"),
        _ => SUBCLASSES.iter().find(|(class, ..)| *class == error.class()).map(|(_, name, _)| *name),
    }
}

/// The exception for `error`: an `OSError` with its number where the system refused.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    if let (Code::Io, Some(source)) = (error.code(), error.io_error()) {
        // With a number Python picks the subclass: FileNotFoundError, PermissionError, …
        return match system_error(source) {
            Some(number) => PyOSError::new_err((number, format!("{}: {}", error.detail(), strip_number(&source.to_string())))),
            None => PyOSError::new_err(text),
        };
    }
    let found = type_name(error).and_then(|name| TYPES.get(py)?.iter().find(|(known, _)| *known == name).map(|(_, t)| t.bind(py).clone()));
    let exception = PyErr::from_type(found.unwrap_or_else(|| py.get_type::<CairnError>()), text);
    match describe(py, &exception, error) {
        Ok(()) => exception,
        Err(failed) => failed,
    }
}

fn describe(py: Python<'_>, exception: &PyErr, error: &Error) -> PyResult<()> {
    let value = exception.value(py);
    value.setattr("code", error.code().name())?;
    value.setattr("class_name", error.class().name())?;
    value.setattr("offset", error.offset())?;
    value.setattr("section", Some(error.section()).filter(|s| !s.is_empty()))
}

/// The system's number for `error`; for one that is wrapped and only kept its kind, POSIX's number for that.
fn system_error(error: &std::io::Error) -> Option<i32> {
    use std::io::ErrorKind as Kind;
    error.raw_os_error().or(match error.kind() {
        Kind::NotFound => Some(2),
        Kind::PermissionDenied => Some(13),
        Kind::AlreadyExists => Some(17),
        Kind::NotADirectory => Some(20),
        Kind::IsADirectory => Some(21),
        Kind::StorageFull => Some(28),
        Kind::ReadOnlyFilesystem => Some(30),
        _ => None,
    })
}

/// Rust ends the system's messages with ` (os error 2)`; Python begins them with the number.
fn strip_number(text: &str) -> String {
    text.split(" (os error").next().unwrap_or(text).to_owned()
}
