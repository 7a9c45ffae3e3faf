//! Saving: to a path, to bytes, to anything with `write`.

use std::io;
use std::path::PathBuf;

use cairnfile::{Plan, WriteOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::encode::{self, Encoded};
use crate::error::raise;
use crate::watch;

/// How to save.
#[derive(FromPyObject)]
pub(crate) struct How<'py> {
    /// `adapt(object)`: something that is known here in place of a framework's object.
    adapt: Bound<'py, PyAny>,
    metadata: Option<Bound<'py, PyAny>>,
    /// Whether tensors that cannot stay tied are copied.
    copy: bool,
    durable: bool,
    block_size: Option<u64>,
    /// Ten-thousandths.
    parity: u16,
}

impl How<'_> {
    fn options(&self) -> PyResult<WriteOptions> {
        let mut options = WriteOptions::new().unshare(self.copy).durable(self.durable).parity(self.parity);
        if let Some(metadata) = &self.metadata {
            options = options.metadata(encode::metadata(metadata, &self.adapt)?);
        }
        if let Some(size) = self.block_size {
            let fits = size.is_power_of_two() && (4096..=4 << 20).contains(&size);
            let log2 = u8::try_from(size.trailing_zeros()).ok().filter(|_| fits);
            options = options.block_log2(log2.ok_or_else(|| PyValueError::new_err("block_size is a power of two from 4096 to 4194304"))?);
        }
        Ok(options)
    }
}

fn plan<'v>(py: Python<'_>, encoded: &'v Encoded, options: &WriteOptions) -> PyResult<Plan<'v>> {
    py.detach(|| Plan::new(&encoded.value, options)).map_err(|e| raise(py, &e))
}

#[pyfunction]
#[pyo3(signature = (object, path, how, progress))]
pub(crate) fn save(
    py: Python<'_>,
    object: &Bound<'_, PyAny>,
    path: PathBuf,
    how: How<'_>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let options = how.options()?;
    let encoded = encode::encode(object, &how.adapt, how.copy)?;
    let plan = plan(py, &encoded, &options)?;
    watch::run(py, plan.data_len(), progress, |tick| plan.save(&path, tick))
}

#[pyfunction]
#[pyo3(signature = (object, how))]
pub(crate) fn dumps<'py>(py: Python<'py>, object: &Bound<'py, PyAny>, how: How<'py>) -> PyResult<Bound<'py, PyBytes>> {
    let options = how.options()?;
    let encoded = encode::encode(object, &how.adapt, how.copy)?;
    let plan = plan(py, &encoded, &options)?;
    let len = usize::try_from(plan.file_len()).map_err(|_| PyValueError::new_err("the file does not fit memory"))?;
    PyBytes::new_with(py, len, |memory| watch::run(py, plan.data_len(), None, |tick| plan.fill(memory, tick)))
}

#[pyfunction]
#[pyo3(signature = (object, writer, how, progress))]
pub(crate) fn write(
    py: Python<'_>,
    object: &Bound<'_, PyAny>,
    writer: Bound<'_, PyAny>,
    how: How<'_>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let options = how.options()?;
    let encoded = encode::encode(object, &how.adapt, how.copy)?;
    let plan = plan(py, &encoded, &options)?;
    let total = plan.data_len();
    let (mut done, mut raised) = (0u64, None);
    let tick = |n: u64| -> PyResult<()> {
        done = done.saturating_add(n);
        progress.map_or(Ok(()), |f| f.call1((done.min(total), total)).map(drop))
    };
    let sink = Writer { writer, tick, raised: &mut raised };
    let outcome = plan.write(sink, &|_| Ok(()));
    match (raised, outcome) {
        (Some(raised), _) => Err(raised),
        (None, outcome) => outcome.map_err(|e| raise(py, &e)),
    }
}

/// A Python object with `write(bytes)`; what it raises is kept, since a writer of this side can only fail.
struct Writer<'a, 'py, F> {
    writer: Bound<'py, PyAny>,
    tick: F,
    raised: &'a mut Option<PyErr>,
}

impl<F: FnMut(u64) -> PyResult<()>> io::Write for Writer<'_, '_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let py = self.writer.py();
        let written = self.writer.call_method1("write", (PyBytes::new(py, bytes),)).and_then(|written| {
            // Raw files may take less; others return None or the length.
            let taken = if written.is_none() { bytes.len() } else { written.extract()? };
            (self.tick)(u64::try_from(taken).unwrap_or(0))?;
            Ok(taken.min(bytes.len()))
        });
        written.map_err(|raised| {
            *self.raised = Some(raised);
            io::Error::other("the file object raised")
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
