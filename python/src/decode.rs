//! Values of a file → Python objects. Leaves that are one tensor become one object.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use cairnfile::{Cairn, DType, Loaded, Node, Picked, Place, Storage, Tensor, TensorRef, ValueRef};
use numpy::PyArrayDescr;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::error::raise;
use crate::keys;
use crate::memory::{self, Memory};
use crate::raw::Raw;

/// What the Python side hands in.
#[derive(FromPyObject)]
pub(crate) struct Hooks<'py> {
    /// `describe(name, class, elements, bytes)`: the numpy.dtype of a dtype, or None where NumPy has none.
    describe: Bound<'py, PyAny>,
    /// `make(dtype, geometry, shape, strides, data, offset, buffer)`: the array of a framework, or None to make NumPy's.
    make: Option<Bound<'py, PyAny>>,
    /// `unknown(raw)`: the object of a tensor whose dtype NumPy lacks.
    unknown: Bound<'py, PyAny>,
    /// `restore(name, value)`: the object of a named value.
    restore: Bound<'py, PyAny>,
}

/// Makes Python objects of tensors.
pub(crate) struct Maker<'h, 'py> {
    py: Python<'py>,
    hooks: &'h Hooks<'py>,
    /// A file has few dtypes, and most tensors have the first one.
    dtypes: Vec<Described<'py>>,
    /// Storages by the address of their first byte, and the last one of them: tensors that follow each other share it.
    memories: HashMap<usize, Bound<'py, Memory>>,
    last: Option<(usize, Bound<'py, Memory>)>,
    /// The file that storages borrow from, where they do.
    file: Option<&'h Arc<Cairn<'static>>>,
}

/// A dtype and what Python calls it.
#[derive(Clone)]
struct Described<'py> {
    dtype: DType,
    descr: Option<Bound<'py, PyArrayDescr>>,
    name: Bound<'py, PyString>,
    geometry: Bound<'py, PyTuple>,
}

impl<'h, 'py> Maker<'h, 'py> {
    pub(crate) fn new(py: Python<'py>, hooks: &'h Hooks<'py>, file: Option<&'h Arc<Cairn<'static>>>) -> Self {
        Self { py, hooks, dtypes: Vec::new(), memories: HashMap::new(), last: None, file }
    }

    /// The object of `tensor`, which views the buffer of a number, these bytes of its storage.
    pub(crate) fn object(&mut self, tensor: &Tensor<'static>, buffer: Option<(u32, Range<u64>)>) -> PyResult<Bound<'py, PyAny>> {
        let described = match self.dtypes.iter().find(|known| known.dtype == *tensor.dtype()) {
            Some(known) => known.clone(),
            None => self.describe(tensor.dtype())?,
        };
        let memory = self.memory(tensor.storage())?;
        if let Some(make) = &self.hooks.make {
            let made = self.make(make, &described, tensor, &memory, buffer)?;
            if !made.is_none() {
                return Ok(made);
            }
        }
        match described.descr {
            Some(descr) => memory::new_array(&memory, descr, tensor.shape(), tensor.byte_strides(), tensor.offset()),
            None => {
                let data = self.bytes(&memory, 0, tensor.storage().len())?;
                self.hooks.unknown.call1((Bound::new(self.py, Raw::read(tensor, data))?,))
            }
        }
    }

    fn describe(&mut self, dtype: &DType) -> PyResult<Described<'py>> {
        let geometry = dtype.geometry();
        let name = PyString::new(self.py, dtype.name());
        let geometry = (geometry.class.name(), geometry.elements, geometry.bytes).into_pyobject(self.py)?;
        let found = self.hooks.describe.call1((&name, geometry.get_item(0)?, geometry.get_item(1)?, geometry.get_item(2)?))?;
        let descr = if found.is_none() { None } else { Some(found.cast_into::<PyArrayDescr>()?) };
        let described = Described { dtype: dtype.clone(), descr, name, geometry };
        self.dtypes.push(described.clone());
        Ok(described)
    }

    fn memory(&mut self, storage: &Storage<'static>) -> PyResult<Bound<'py, Memory>> {
        let address = storage.bytes().map_or(0, |bytes| bytes.as_ptr().addr());
        if let Some((_, last)) = self.last.as_ref().filter(|(known, _)| *known == address) {
            return Ok(last.clone());
        }
        let memory = match self.memories.get(&address) {
            Some(known) => known.clone(),
            None => Bound::new(self.py, Memory::new(storage.clone(), self.file))?,
        };
        self.memories.insert(address, memory.clone());
        self.last = Some((address, memory.clone()));
        Ok(memory)
    }

    /// `len` bytes of `memory` from `start` on, as an array of uint8.
    fn bytes(&self, memory: &Bound<'py, Memory>, start: u64, len: u64) -> PyResult<Bound<'py, PyAny>> {
        memory::new_array(memory, numpy::dtype::<u8>(self.py), &[len], None, start)
    }

    fn make(
        &self,
        make: &Bound<'py, PyAny>,
        described: &Described<'py>,
        tensor: &Tensor<'_>,
        memory: &Bound<'py, Memory>,
        buffer: Option<(u32, Range<u64>)>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let shape = PyTuple::new(self.py, tensor.shape())?;
        let strides = tensor.byte_strides().map(|s| PyTuple::new(self.py, s)).transpose()?;
        // The rest of the memory belongs to other buffers.
        let (number, range) = buffer.map_or_else(|| (None, 0..tensor.storage().len()), |(number, range)| (Some(number), range));
        let start = range.start;
        let data = self.bytes(memory, start, range.end - start)?;
        make.call1((&described.name, &described.geometry, shape, strides, data, tensor.offset() - start, number))
    }
}

/// Keeps Python's garbage collector from looking, again and again, through the many objects of a load, none of which is
/// garbage.
pub(crate) struct Pause<'py>(Option<Bound<'py, PyAny>>);

impl<'py> Pause<'py> {
    /// A load of fewer objects is over before the collector comes often.
    const MANY: usize = 10_000;

    pub(crate) fn for_objects(py: Python<'py>, count: usize) -> PyResult<Self> {
        if count < Self::MANY {
            return Ok(Self(None));
        }
        let gc = py.import("gc")?.into_any();
        let enabled = gc.call_method0("isenabled")?.is_truthy()?;
        if enabled {
            gc.call_method0("disable")?;
        }
        Ok(Self(Some(gc).filter(|_| enabled)))
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Some(gc) = &self.0 {
            // It was enabled, and enabling it cannot fail.
            let _ = gc.call_method0("enable");
        }
    }
}

/// Builds the objects of values that were brought in.
pub(crate) struct Decoder<'c, 'h, 'py> {
    maker: Maker<'h, 'py>,
    loaded: Loaded<'c, 'static>,
    /// Objects of tensors, by number.
    objects: Vec<Option<Bound<'py, PyAny>>>,
}

impl<'c, 'h, 'py> Decoder<'c, 'h, 'py> {
    pub(crate) fn new(maker: Maker<'h, 'py>, cairn: &Cairn<'_>, loaded: Loaded<'c, 'static>) -> Self {
        Self { maker, loaded, objects: vec![None; cairn.tensors().len()] }
    }

    fn py(&self) -> Python<'py> {
        self.maker.py
    }

    pub(crate) fn picked(&mut self, picked: &Picked<'c>) -> PyResult<Bound<'py, PyAny>> {
        let (value, items) = match picked {
            Picked::Whole(value) => return self.value(*value),
            Picked::Part(value, items) => (*value, items),
        };
        let mut names = Vec::new();
        let container = unnamed(value, &mut names).map_err(|e| raise(self.py(), &e))?;
        if let Node::Dict(_) = container.node().map_err(|e| raise(self.py(), &e))? {
            let dict = PyDict::new(self.py());
            for (place, item) in items {
                if let Place::Key(key) = place {
                    dict.set_item(keys::decode(self.py(), key)?, self.picked(item)?)?;
                }
            }
            // A name that stands on a dict still fits a smaller one; all others would lose their form.
            return names.iter().rev().try_fold(dict.into_any(), |value, name| self.restore(name, value));
        }
        let items = items.iter().map(|(_, item)| self.picked(item)).collect::<PyResult<Vec<_>>>()?;
        match container.node().map_err(|e| raise(self.py(), &e))? {
            Node::Tuple(_) if names.is_empty() => Ok(PyTuple::new(self.py(), items)?.into_any()),
            _ => Ok(PyList::new(self.py(), items)?.into_any()),
        }
    }

    pub(crate) fn value(&mut self, value: ValueRef<'c>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        Ok(match value.node().map_err(|e| raise(py, &e))? {
            Node::Tensor(tensor) => self.tensor(tensor)?,
            Node::Str(text) => PyString::new(py, text).into_any(),
            Node::Dict(_) => self.dict(value)?,
            Node::List(_) => PyList::new(py, self.items(value)?)?.into_any(),
            Node::Tuple(_) => PyTuple::new(py, self.items(value)?)?.into_any(),
            Node::Named(name, inner) => {
                let inner = self.value(inner)?;
                self.restore(name, inner)?
            }
            Node::LongBytes(tensor) => {
                let tensor = self.loaded.tensor(tensor).map_err(|e| raise(py, &e))?;
                PyBytes::new(py, &tensor.row_major_bytes().map_err(|e| raise(py, &e))?).into_any()
            }
            node => scalar(py, node)?,
        })
    }

    fn restore(&self, name: &str, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.maker.hooks.restore.call1((name, value))
    }

    fn items(&mut self, value: ValueRef<'c>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        value.items().map(|(_, item)| self.value(item)).collect()
    }

    fn dict(&mut self, value: ValueRef<'c>) -> PyResult<Bound<'py, PyAny>> {
        let dict = PyDict::new(self.py());
        for (place, item) in value.items() {
            if let Place::Key(key) = place {
                dict.set_item(keys::decode(self.py(), &key)?, self.value(item)?)?;
            }
        }
        Ok(dict.into_any())
    }

    fn tensor(&mut self, tensor: TensorRef<'c>) -> PyResult<Bound<'py, PyAny>> {
        let slot = usize::try_from(tensor.number()).unwrap_or(usize::MAX);
        if let Some(Some(object)) = self.objects.get(slot) {
            return Ok(object.clone());
        }
        let py = self.py();
        let built = self.loaded.tensor(tensor).map_err(|e| raise(py, &e))?;
        // NumPy's arrays need the memory alone.
        let place = match &self.maker.hooks.make {
            None => None,
            Some(_) => {
                let buffer = tensor.buffer().map_err(|e| raise(py, &e))?;
                buffer.and_then(|number| Some((number, self.loaded.buffer_memory(number)?.1)))
            }
        };
        let object = self.maker.object(&built, place)?;
        if let Some(known) = self.objects.get_mut(slot) {
            *known = Some(object.clone());
        }
        Ok(object)
    }
}

/// The container under any names, and the names from the outside in.
fn unnamed<'c>(mut value: ValueRef<'c>, names: &mut Vec<&'c str>) -> cairnfile::Result<ValueRef<'c>> {
    while let Node::Named(name, inner) = value.node()? {
        names.push(name);
        value = inner;
    }
    Ok(value)
}

/// A value without items or tensors.
pub(crate) fn scalar<'py>(py: Python<'py>, node: Node<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match node {
        Node::Bool(b) => b.into_pyobject(py)?.to_owned().into_any(),
        Node::Int(number) => number.into_pyobject(py)?.into_any(),
        Node::BigInt(number) => {
            let keywords = PyDict::new(py);
            keywords.set_item("signed", true)?;
            let digits = PyBytes::new(py, number.to_le_bytes());
            py.get_type::<PyInt>().call_method("from_bytes", (digits, "little"), Some(&keywords))?
        }
        Node::Float(number) => PyFloat::new(py, number).into_any(),
        Node::Complex(re, im) => PyComplex::from_doubles(py, re, im).into_any(),
        Node::Str(text) => PyString::new(py, text).into_any(),
        Node::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        _ => py.None().into_bound(py),
    })
}
