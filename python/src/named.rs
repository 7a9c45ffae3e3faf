//! A value with the name of a type that this side does not know.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// A value with the name of the type it came from, where that type is not known here: data and a name, never code.
///
/// `cairnfile.register` makes a name known. Saved again, it is the same value.
#[pyclass(module = "cairnfile", frozen)]
pub(crate) struct Named {
    #[pyo3(get)]
    name: String,
    #[pyo3(get)]
    value: Py<PyAny>,
}

#[pymethods]
impl Named {
    #[new]
    fn new(name: String, value: Py<PyAny>) -> Self {
        Self { name, value }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("cairnfile.Named({:?}, {})", self.name, self.value.bind(py).repr()?))
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, Self>) -> PyResult<bool> {
        let other = other.get();
        Ok(self.name == other.name && self.value.bind(py).eq(&other.value)?)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (py, this) = (slf.py(), slf.get());
        let arguments = PyTuple::new(py, [this.name.clone().into_pyobject(py)?.into_any(), this.value.bind(py).clone()])?;
        PyTuple::new(py, [slf.get_type().into_any(), arguments.into_any()])
    }
}

impl Named {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn value(&self) -> &Py<PyAny> {
        &self.value
    }
}
