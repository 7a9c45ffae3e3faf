//! Open files and the handles to what is in them: nothing is read before it is asked for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cairnfile::{Cairn, Limits, Node, OpenOptions, Picked, Place, ValueRef};
use pyo3::exceptions::{PyIndexError, PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::decode::{Decoder, Hooks, Maker, Pause, scalar};
use crate::error::raise;
use crate::{keys, memory, watch};

fn options(max_memory: Option<u64>) -> OpenOptions {
    OpenOptions::new().limits(Limits { memory: max_memory.unwrap_or(u64::MAX), ..Limits::default() })
}

/// What `load` takes besides the file.
struct Loading<'a, 'py> {
    hooks: &'a Bound<'py, PyAny>,
    only: Option<Only>,
    mmap: bool,
    progress: Option<&'a Bound<'py, PyAny>>,
}

/// One address, whose value is wanted as it is, or patterns.
#[derive(FromPyObject)]
pub(crate) enum Only {
    Address(String),
    Patterns(Vec<String>),
}

#[pyfunction]
#[pyo3(signature = (path, hooks, only, mmap, max_memory, progress))]
pub(crate) fn load<'py>(
    py: Python<'py>,
    path: PathBuf,
    hooks: &Bound<'py, PyAny>,
    only: Option<Only>,
    mmap: bool,
    max_memory: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = options(max_memory);
    let cairn = watch::briefly(py, || options.open(&path))?;
    read(py, &cairn, &Loading { hooks, only, mmap, progress })
}

#[pyfunction]
#[pyo3(signature = (data, hooks, only, max_memory, progress))]
pub(crate) fn loads<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyBytes>,
    hooks: &Bound<'py, PyAny>,
    only: Option<Only>,
    max_memory: Option<u64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (options, bytes) = (options(max_memory), data.as_bytes());
    let cairn = watch::briefly(py, || options.from_bytes(bytes))?;
    read(py, &cairn, &Loading { hooks, only, mmap: false, progress })
}

fn read<'py>(py: Python<'py>, cairn: &Cairn<'_>, how: &Loading<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let hooks: Hooks<'py> = how.hooks.extract()?;
    let picked = match &how.only {
        None => Ok(Picked::Whole(cairn.root())),
        Some(Only::Address(address)) if !address.contains(['*', '?', '\\']) => cairn.get(address).map(Picked::Whole),
        Some(Only::Address(pattern)) => cairn.pick(&[pattern]),
        Some(Only::Patterns(patterns)) => cairn.pick(patterns),
    };
    let picked = picked.map_err(|e| raise(py, &e))?;
    let values = picked.values();
    let total =
        if how.progress.is_some() || cairn.file_len() > watch::LONG { cairn.bytes_under(&values).map_err(|e| raise(py, &e))? } else { 0 };
    let mmap = how.mmap;
    let loaded = watch::run(py, total, how.progress, |tick| {
        if mmap { memory::fetch_mapped(cairn, &values, tick) } else { cairn.fetch_copy(&values, tick) }
    })?;
    let _pause = Pause::for_objects(py, cairn.tensors().len())?;
    Decoder::new(Maker::new(py, &hooks, None), cairn, loaded).picked(&picked)
}

/// Opens the file at `path`.
#[pyfunction]
#[pyo3(signature = (path, hooks, mmap, max_memory))]
pub(crate) fn open(py: Python<'_>, path: PathBuf, hooks: Py<PyAny>, mmap: bool, max_memory: Option<u64>) -> PyResult<File> {
    let options = options(max_memory);
    let cairn = Arc::new(watch::briefly(py, || if mmap { memory::map(&options, &path) } else { options.open(&path) })?);
    Ok(File { cairn: Mutex::new(Some(cairn)), path, hooks, mmap })
}

/// An open file. Its metadata and the places of its tensors are known; data is read when it is asked for.
#[pyclass(module = "cairnfile._cairnfile", frozen, subclass)]
pub(crate) struct File {
    cairn: Mutex<Option<Arc<Cairn<'static>>>>,
    #[pyo3(get)]
    path: PathBuf,
    #[pyo3(get)]
    hooks: Py<PyAny>,
    #[pyo3(get)]
    mmap: bool,
}

impl File {
    fn cairn(&self) -> PyResult<Arc<Cairn<'static>>> {
        let cairn = self.cairn.lock().unwrap_or_else(PoisonError::into_inner);
        cairn.clone().ok_or_else(|| PyValueError::new_err("the file is closed"))
    }

    fn owner(&self, py: Python<'_>) -> PyResult<Owner> {
        Ok(Owner { cairn: self.cairn()?, hooks: self.hooks.clone_ref(py) })
    }
}

#[pymethods]
impl File {
    /// The value at `address`: a handle for containers and tensors, the value itself for all else.
    fn at<'py>(&self, py: Python<'py>, address: &str) -> PyResult<Bound<'py, PyAny>> {
        self.owner(py)?.at(py, address.to_owned())
    }

    /// Whether something is at `address`.
    fn has(&self, address: &str) -> PyResult<bool> {
        Ok(self.cairn()?.get(address).is_ok())
    }

    /// Addresses of all tensors, in order; a tied tensor has several.
    fn addresses(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let (cairn, mut found) = (self.cairn()?, Vec::new());
        let visited = cairn.root().visit(&mut String::new(), &mut |address, value| {
            if let Node::Tensor(_) = value.node()? {
                found.push(address.to_owned());
            }
            Ok(())
        });
        visited.map_err(|e| raise(py, &e))?;
        Ok(found)
    }

    /// The metadata: a dict with str keys.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let cairn = self.cairn()?;
        load_value(py, &cairn, cairn.metadata(), self.hooks.bind(py))
    }

    /// Loads the root, the value at an address, or what patterns match; mapped copy-on-write if `mmap`.
    #[pyo3(signature = (only=None, progress=None, mmap=false))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        only: Option<Only>,
        progress: Option<&Bound<'py, PyAny>>,
        mmap: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        read(py, &*self.cairn()?, &Loading { hooks: self.hooks.bind(py), only, mmap, progress })
    }

    /// Checks every byte; returns the faults as dicts, none for an intact file.
    #[pyo3(signature = (progress=None))]
    fn verify<'py>(&self, py: Python<'py>, progress: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyList>> {
        let cairn = self.cairn()?;
        let report = watch::run(py, cairn.file_len(), progress, |tick| cairn.verify(tick))?;
        let faults = report.faults.iter().map(|fault| {
            let row = PyDict::new(py);
            row.set_item("code", fault.error.code().name())?;
            row.set_item("class_name", fault.error.class().name())?;
            row.set_item("offset", fault.error.offset())?;
            row.set_item("message", fault.error.to_string())?;
            row.set_item("addresses", &fault.tensors)?;
            row.set_item("touched", fault.touched)?;
            Ok(row)
        });
        PyList::new(py, faults.collect::<PyResult<Vec<_>>>()?)
    }

    /// Length of the file, in bytes.
    #[getter]
    fn nbytes(&self) -> PyResult<u64> {
        Ok(self.cairn()?.file_len())
    }

    /// Bytes of a block, each of which has a checksum of its own.
    #[getter]
    fn block_size(&self) -> PyResult<u64> {
        Ok(self.cairn()?.block_size())
    }

    /// Whether the file was written as a stream, its index at the end.
    #[getter]
    fn streamed(&self) -> PyResult<bool> {
        Ok(self.cairn()?.is_streamed())
    }

    /// Whether the file was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.cairn().is_err()
    }

    /// Closes the file; handles that were taken from it go on working.
    fn close(&self) {
        drop(self.cairn.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A file and how its values become objects; what handles have in common.
struct Owner {
    cairn: Arc<Cairn<'static>>,
    hooks: Py<PyAny>,
}

impl Owner {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { cairn: Arc::clone(&self.cairn), hooks: self.hooks.clone_ref(py) }
    }

    fn value(&self, py: Python<'_>, address: &str) -> PyResult<ValueRef<'_>> {
        self.cairn.get(address).map_err(|e| raise(py, &e))
    }

    fn at<'py>(&self, py: Python<'py>, address: String) -> PyResult<Bound<'py, PyAny>> {
        let value = self.value(py, &address)?;
        self.handle(py, value, address)
    }

    /// A handle for containers and tensors, the value itself for all else.
    fn handle<'py>(&self, py: Python<'py>, value: ValueRef<'_>, address: String) -> PyResult<Bound<'py, PyAny>> {
        let node = value.node().map_err(|e| raise(py, &e))?;
        match &node {
            Node::Tensor(tensor) => {
                let handle = LazyTensor { owner: self.clone_ref(py), number: tensor.number(), address };
                Ok(Bound::new(py, handle)?.into_any())
            }
            Node::List(_) | Node::Tuple(_) | Node::Dict(_) => Ok(Bound::new(py, Group { owner: self.clone_ref(py), address })?.into_any()),
            Node::Named(_, inner) if matches!(inner.node(), Ok(Node::Dict(_))) => {
                Ok(Bound::new(py, Group { owner: self.clone_ref(py), address })?.into_any())
            }
            Node::Named(..) | Node::LongBytes(_) => load_value(py, &self.cairn, value, self.hooks.bind(py)),
            _ => scalar(py, node),
        }
    }
}

fn load_value<'py>(py: Python<'py>, cairn: &Cairn<'_>, value: ValueRef<'_>, hooks: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let hooks: Hooks<'py> = hooks.extract()?;
    let loaded = watch::run(py, 0, None, |tick| cairn.fetch_copy(&[value], tick))?;
    Decoder::new(Maker::new(py, &hooks, None), cairn, loaded).value(value)
}

/// A dict, list or tuple of an open file.
#[pyclass(module = "cairnfile._cairnfile", frozen)]
pub(crate) struct Group {
    owner: Owner,
    /// Where it is in the file.
    #[pyo3(get)]
    address: String,
}

impl Group {
    fn value(&self, py: Python<'_>) -> PyResult<ValueRef<'_>> {
        self.owner.value(py, &self.address)
    }

    fn address_of(&self, place: &Place) -> String {
        let mut address = self.address.clone();
        place.push_to(&mut address);
        address
    }

    fn node(&self, py: Python<'_>) -> PyResult<Node<'_>> {
        let node = self.value(py)?.node().map_err(|e| raise(py, &e))?;
        match node {
            Node::Named(_, inner) => inner.node().map_err(|e| raise(py, &e)),
            other => Ok(other),
        }
    }
}

#[pymethods]
impl Group {
    /// `"dict"`, `"list"` or `"tuple"`.
    #[getter]
    fn kind(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(match self.node(py)? {
            Node::Dict(_) => "dict",
            Node::Tuple(_) => "tuple",
            _ => "list",
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(match self.node(py)? {
            Node::Dict(len) | Node::List(len) | Node::Tuple(len) => len,
            _ => 0,
        })
    }

    /// Keys of a dict, positions of a list or tuple.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys = self.value(py)?.items().map(|(place, _)| match place {
            Place::Key(key) => keys::decode(py, &key),
            Place::Position(n) => Ok(n.into_pyobject(py)?.into_any()),
        });
        PyList::new(py, keys.collect::<PyResult<Vec<_>>>()?)
    }

    /// Handles or values of the items.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let values = self.value(py)?.items().map(|(place, item)| self.owner.handle(py, item, self.address_of(&place)));
        PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)
    }

    /// Pairs of key (or position) and handle or value.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let (keys, values) = (self.keys(py)?, self.values(py)?);
        let pairs = keys.iter().zip(values.iter()).map(|(key, value)| PyTuple::new(py, [key, value]));
        PyList::new(py, pairs.collect::<PyResult<Vec<_>>>()?)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let items = if let Node::Dict(_) = self.node(py)? { self.keys(py)? } else { self.values(py)? };
        Ok(items.try_iter()?.into_any())
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(key) = keys::encode(key) else { return Ok(false) };
        Ok(matches!(self.node(py)?, Node::Dict(_)) && self.value(py)?.get(key).is_some())
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let place = match self.node(py)? {
            Node::Dict(_) => Place::Key(keys::encode(key).ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))?),
            Node::List(len) | Node::Tuple(len) => Place::Position(position(key, len)?),
            _ => return Err(PyTypeError::new_err("not a container")),
        };
        let missing = matches!(&place, Place::Key(key) if self.value(py)?.get(key.clone()).is_none());
        if missing {
            return Err(PyKeyError::new_err(key.clone().unbind()));
        }
        self.owner.at(py, self.address_of(&place))
    }

    /// Loads everything below.
    fn load<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        load_value(py, &self.owner.cairn, self.value(py)?, self.owner.hooks.bind(py))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<cairnfile.Group {:?}: {} of {}>", self.address, self.kind(py)?, self.__len__(py)?))
    }
}

/// A position as Python counts: negative ones from the end.
fn position(key: &Bound<'_, PyAny>, len: usize) -> PyResult<usize> {
    let at: i64 = key.extract()?;
    let wrapped = if at < 0 { i64::try_from(len).unwrap_or(i64::MAX) + at } else { at };
    let inside = usize::try_from(wrapped).ok().filter(|at| *at < len);
    inside.ok_or_else(|| PyIndexError::new_err(format!("position {at} of a list of {len}")))
}

/// A tensor of an open file. Reading it, or a part of it, checks the blocks under what is read.
#[pyclass(module = "cairnfile._cairnfile", frozen, subclass)]
pub(crate) struct LazyTensor {
    owner: Owner,
    number: u32,
    /// Where it is in the file.
    #[pyo3(get)]
    address: String,
}

impl LazyTensor {
    fn tensor(&self) -> PyResult<cairnfile::TensorRef<'_>> {
        let number = usize::try_from(self.number).unwrap_or(usize::MAX);
        self.owner.cairn.tensors().nth(number).ok_or_else(|| PyIndexError::new_err("no such tensor"))
    }
}

#[pymethods]
impl LazyTensor {
    /// Equal numbers in one file are one tensor.
    #[getter]
    fn number(&self) -> u32 {
        self.number
    }

    /// Name of the element type, as in SPEC.md §10.
    #[getter]
    fn dtype_name(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.tensor()?.dtype().map_err(|e| raise(py, &e))?.name().to_owned())
    }

    /// The dtype of the array that is read, or None where there is none.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let dtype = self.tensor()?.dtype().map_err(|e| raise(py, &e))?;
        let geometry = dtype.geometry();
        self.owner.hooks.bind(py).call_method1("dtype", (dtype.name(), geometry.class.name(), geometry.elements, geometry.bytes))
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tensor()?.shape().map_err(|e| raise(py, &e))?)
    }

    /// Bytes that the elements take row-major.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> PyResult<u64> {
        self.tensor()?.byte_len().map_err(|e| raise(py, &e))
    }

    /// Where the file has the bytes from the first to the last element's end; (0, 0) without elements.
    #[getter]
    fn file_range(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let range = self.tensor()?.file_range().map_err(|e| raise(py, &e))?;
        Ok((range.start, range.end))
    }

    #[getter]
    fn ndim(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.tensor()?.shape().map_err(|e| raise(py, &e))?.len())
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().owner.hooks.bind(slf.py()).call_method1("index", (slf, key))
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(slf: &Bound<'py, Self>, dtype: Option<Bound<'py, PyAny>>, copy: Option<bool>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().owner.hooks.bind(slf.py()).call_method1("array", (slf, dtype, copy))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let shape = self.tensor()?.shape().map_err(|e| raise(py, &e))?;
        let first = shape.first().ok_or_else(|| PyTypeError::new_err("len() of a tensor without axes"))?;
        usize::try_from(*first).map_err(|_| PyValueError::new_err("the first axis is longer than this machine can count"))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<cairnfile.LazyTensor {:?}: {} of shape {}>", self.address, self.dtype_name(py)?, self.shape(py)?.repr()?))
    }

    /// The elements in `ranges`, (start, stop) for each axis; all of them for None.
    #[pyo3(signature = (ranges=None))]
    fn read<'py>(&self, py: Python<'py>, ranges: Option<Vec<(u64, u64)>>) -> PyResult<Bound<'py, PyAny>> {
        let tensor = self.tensor()?;
        let bytes = tensor.byte_len().map_err(|e| raise(py, &e))?;
        let ranges: Option<Vec<_>> = ranges.map(|ranges| ranges.into_iter().map(|(start, stop)| start..stop).collect());
        let read = watch::run(py, if ranges.is_some() { 0 } else { bytes }, None, |_| match &ranges {
            Some(ranges) => tensor.slice(ranges),
            None => tensor.read(),
        })?;
        let (read, file) = memory::extend(read, &self.owner.cairn);
        let hooks: Hooks<'py> = self.owner.hooks.bind(py).extract()?;
        Maker::new(py, &hooks, Some(&file)).object(&read, None)
    }

    /// The whole tensor in memory that may be written to: verified, and mapped copy-on-write.
    fn read_mapped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let hooks: Hooks<'py> = self.owner.hooks.extract(py)?;
        let value = self.owner.value(py, &self.address)?;
        let bytes = self.nbytes(py)?;
        let loaded = watch::run(py, bytes, None, |tick| memory::fetch_mapped(&self.owner.cairn, &[value], tick))?;
        Decoder::new(Maker::new(py, &hooks, None), &self.owner.cairn, loaded).value(value)
    }
}
