//! Python objects → values. Types are matched exactly; what is not known here is `adapt`'s to say.

use std::collections::HashMap;
use std::ops::Range;

use cairnfile::{DType, Dict, Place, Value};
use numpy::PyArrayDescrMethods;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::error::raise;
use crate::named::Named;
use crate::raw::Raw;
use crate::{converted, keys, memory};

/// Deeper than the format allows, so that the plan says where; far from the end of the stack.
const MAX_DEPTH: u32 = 140;

/// Values and the objects whose memory they view, which live as long.
pub(crate) struct Encoded {
    // Dropped before what it borrows from.
    pub(crate) value: Value<'static>,
    _keep: Vec<Py<PyAny>>,
}

/// Encodes `object`. `adapt(object)` returns something that is known here, or NotImplemented.
pub(crate) fn encode(object: &Bound<'_, PyAny>, adapt: &Bound<'_, PyAny>, copy: bool) -> PyResult<Encoded> {
    let mut encoder = Encoder { adapt, keep: Vec::new(), adapted: HashMap::new(), sources: HashMap::new() };
    let value = encoder.value(object, 1).map_err(|refusal| refusal.raise(object.py()))?;
    if !copy {
        converted::check(encoder.sources.into_values(), &value).map_err(|e| raise(object.py(), &e))?;
    }
    Ok(Encoded { value, _keep: encoder.keep })
}

/// What was raised, and the way to it from the innermost container outwards.
struct Refusal {
    raised: PyErr,
    path: Vec<Place>,
}

impl From<PyErr> for Refusal {
    fn from(raised: PyErr) -> Self {
        Self { raised, path: Vec::new() }
    }
}

impl Refusal {
    fn under(mut self, place: Place) -> Self {
        self.path.push(place);
        self
    }

    /// The exception with the address in front of its message.
    fn raise(self, py: Python<'_>) -> PyErr {
        let kind = self.raised.get_type(py);
        if !kind.is(py.get_type::<PyTypeError>()) && !kind.is(py.get_type::<PyValueError>()) {
            return self.raised;
        }
        let mut address = String::new();
        self.path.iter().rev().for_each(|place| place.push_to(&mut address));
        let place = if address.is_empty() { "the root".to_owned() } else { format!("{address:?}") };
        let located = PyErr::from_type(kind, format!("at {place}: {}", self.raised.value(py)));
        located.set_cause(py, self.raised.cause(py));
        located
    }
}

type Refused<T> = Result<T, Refusal>;

struct Encoder<'a, 'py> {
    adapt: &'a Bound<'py, PyAny>,
    keep: Vec<Py<PyAny>>,
    /// What `adapt` made of an object, so that what was tied stays tied; `keep` has the objects.
    adapted: HashMap<usize, Value<'static>>,
    /// The memory that adapters converted tensors from, by the address of what came of it.
    sources: HashMap<usize, Range<usize>>,
}

impl<'py> Encoder<'_, 'py> {
    fn value(&mut self, object: &Bound<'py, PyAny>, depth: u32) -> Refused<Value<'static>> {
        if depth > MAX_DEPTH {
            return Err(PyValueError::new_err("values nest deeper than 128, or contain themselves").into());
        }
        if let Ok(text) = object.cast_exact::<PyString>() {
            let text = text.to_cow().map_err(|_| PyValueError::new_err("a str has a lone surrogate, which UTF-8 cannot spell"))?;
            return Ok(Value::Str(text.into_owned().into()));
        }
        if memory::is_array(object) {
            return self.array(object, depth);
        }
        if let Ok(dict) = object.cast_exact::<PyDict>() {
            return self.dict(dict, depth);
        }
        if let Ok(list) = object.cast_exact::<PyList>() {
            return self.list(list, depth);
        }
        if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            return self.items(tuple.iter(), depth).map(Value::Tuple);
        }
        match scalar(object)? {
            Some(value) => Ok(value),
            None => self.other(object, depth),
        }
    }

    fn array(&mut self, object: &Bound<'py, PyAny>, depth: u32) -> Refused<Value<'static>> {
        let array = memory::array(object);
        match native(&array) {
            Some(dtype) => Ok(Value::Tensor(array.tensor(dtype, object).map_err(|e| raise(object.py(), &e))?)),
            None => self.adapt(object, depth),
        }
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>, depth: u32) -> Refused<Value<'static>> {
        let mut out = Dict::with_capacity(dict.len());
        // Copies of the entries: `adapt` runs code, which may change the dict. (Of keys and items, not of pairs: these would
        // be as many new objects for the garbage collector to look through.)
        for (key, item) in dict.keys().iter().zip(dict.values()) {
            let key = keys::encode(&key).ok_or_else(|| wrong_key(&key))?;
            let value = self.value(&item, depth + 1).map_err(|refusal| refusal.under(Place::Key(key.clone())))?;
            out.insert(key, value);
        }
        Ok(Value::Dict(out))
    }

    fn list(&mut self, list: &Bound<'py, PyList>, depth: u32) -> Refused<Value<'static>> {
        self.items(list.iter(), depth).map(Value::List)
    }

    fn items(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>, depth: u32) -> Refused<Vec<Value<'static>>> {
        let each = |(n, item)| self.value(&item, depth + 1).map_err(|refusal| refusal.under(Place::Position(n)));
        items.enumerate().map(each).collect()
    }

    /// What neither Python nor NumPy bring along.
    fn other(&mut self, object: &Bound<'py, PyAny>, depth: u32) -> Refused<Value<'static>> {
        if let Ok(bytes) = object.cast_exact::<PyBytes>() {
            let long = bytes.as_bytes().len() > cairnfile::hard_limits::MAX_INLINE_BYTES;
            let slice = if long { memory::long_bytes(bytes, &mut self.keep).into() } else { bytes.as_bytes().to_vec().into() };
            return Ok(Value::Bytes(slice));
        }
        if let Ok(raw) = object.cast_exact::<Raw>() {
            let made = raw.get().tensor().span().map_or(0, |span| span.as_ptr().addr());
            self.sources.extend(raw.get().source().map(|(start, len)| (made, start..start.saturating_add(len))));
            return Ok(Value::Tensor(raw.get().tensor().clone()));
        }
        if let Ok(named) = object.cast_exact::<Named>() {
            let value = self.value(named.get().value().bind(object.py()), depth + 1)?;
            let named = cairnfile::Named::new(named.get().name(), value).map_err(|e| raise(object.py(), &e))?;
            return Ok(Value::Named(named));
        }
        self.adapt(object, depth)
    }

    fn adapt(&mut self, object: &Bound<'py, PyAny>, depth: u32) -> Refused<Value<'static>> {
        let id = object.as_ptr().addr();
        if let Some(known) = self.adapted.get(&id) {
            return Ok(known.clone());
        }
        let adapted = self.adapt.call1((object,))?;
        if adapted.is(object.py().NotImplemented()) || adapted.is(object) {
            return Err(unknown(object).into());
        }
        let value = self.value(&adapted, depth + u32::from(memory::is_array(&adapted)))?;
        if matches!(value, Value::Tensor(_)) {
            self.keep.push(object.clone().unbind());
            self.adapted.insert(id, value.clone());
        }
        Ok(value)
    }
}

/// The value of an object that is one of Python's own scalars.
fn scalar(object: &Bound<'_, PyAny>) -> PyResult<Option<Value<'static>>> {
    if object.is_none() {
        return Ok(Some(Value::Null));
    }
    if let Ok(b) = object.cast_exact::<PyBool>() {
        return Ok(Some(Value::Bool(b.is_true())));
    }
    if let Ok(number) = object.cast_exact::<PyInt>() {
        return integer(number).map(Some);
    }
    if let Ok(number) = object.cast_exact::<PyFloat>() {
        return Ok(Some(Value::Float(number.value())));
    }
    if let Ok(number) = object.cast_exact::<PyComplex>() {
        return Ok(Some(Value::Complex(number.real(), number.imag())));
    }
    Ok(None)
}

fn integer(number: &Bound<'_, PyInt>) -> PyResult<Value<'static>> {
    if let Ok(small) = number.extract::<i64>() {
        return Ok(Value::Int(small));
    }
    let bits: u64 = number.call_method0("bit_length")?.extract()?;
    let keywords = PyDict::new(number.py());
    keywords.set_item("signed", true)?;
    let digits = number.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&keywords))?.cast_into::<PyBytes>()?;
    Value::integer(digits.as_bytes()).map_err(|e| raise(number.py(), &e))
}

/// The dtype of an array whose memory is that of a tensor: NumPy's own numbers in the byte order of the format.
fn native(array: &memory::Array<'_>) -> Option<DType> {
    let descr = &array.descr;
    // User-defined types have numbers from 256.
    if descr.num() > 23 || (descr.byteorder() != b'|' && descr.byteorder() != LITTLE) {
        return None;
    }
    Some(match (descr.kind(), descr.itemsize()) {
        (b'b', 1) => DType::BOOL,
        (b'i', 1) => DType::I8,
        (b'i', 2) => DType::I16,
        (b'i', 4) => DType::I32,
        (b'i', 8) => DType::I64,
        (b'u', 1) => DType::U8,
        (b'u', 2) => DType::U16,
        (b'u', 4) => DType::U32,
        (b'u', 8) => DType::U64,
        (b'f', 2) => DType::F16,
        (b'f', 4) => DType::F32,
        (b'f', 8) => DType::F64,
        (b'c', 8) => DType::C64,
        (b'c', 16) => DType::C128,
        _ => return None,
    })
}

/// How NumPy names little-endian numbers on this host.
const LITTLE: u8 = if cfg!(target_endian = "little") { b'=' } else { b'<' };

fn wrong_key(key: &Bound<'_, PyAny>) -> Refusal {
    let kind = key.get_type();
    let shown = key.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
    PyTypeError::new_err(format!("dict key {shown} is a {kind}; keys are str (without lone surrogates), int of 64 bits or bytes")).into()
}

fn unknown(object: &Bound<'_, PyAny>) -> PyErr {
    let kind = object.get_type().fully_qualified_name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("an object of type {kind} cannot be kept; convert it, or teach cairnfile with cairnfile.register"))
}

/// A dict with str keys and without tensors, for metadata.
pub(crate) fn metadata(object: &Bound<'_, PyAny>, adapt: &Bound<'_, PyAny>) -> PyResult<Dict<'static>> {
    let encoded = encode(object, adapt, true)?;
    match owned(&encoded.value) {
        Value::Dict(dict) => Ok(dict),
        _ => Err(PyTypeError::new_err("metadata is a dict with str keys")),
    }
}

/// `value` without anything borrowed.
fn owned(value: &Value<'static>) -> Value<'static> {
    match value {
        Value::Bytes(bytes) => Value::Bytes(bytes.to_vec().into()),
        Value::List(items) => Value::List(items.iter().map(owned).collect()),
        Value::Tuple(items) => Value::Tuple(items.iter().map(owned).collect()),
        Value::Dict(dict) => Value::Dict(dict.iter().map(|(key, item)| (key.clone(), owned(item))).collect::<Dict<'_>>()),
        other => other.clone(),
    }
}
