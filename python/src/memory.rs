//! The one file with unsafe code: memory of Python objects seen from here, memory of loads seen from Python, mappings,
//! and the threads that a fork leaves behind.
#![allow(unsafe_code)]

use std::path::Path;
use std::ptr;
use std::sync::Arc;

use cairnfile::{Cairn, DType, Loaded, OpenOptions, Progress, Result, Storage, Tensor, ValueRef};
use numpy::npyffi::{self, NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, PyArrayObject, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray};
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rayon::ThreadPool;

/// Loads NumPy's interface, so that a missing NumPy is an ImportError here and not a panic later.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    py.import("numpy").map(drop)
}

/// The threads behind `pool`.
pub(crate) fn pool(pool: *mut ThreadPool) -> &'static ThreadPool {
    // SAFETY: `watch` publishes only pointers from `Box::into_raw` and never frees a published one.
    unsafe { &*pool }
}

/// Frees threads that were never published.
pub(crate) fn free_pool(pool: *mut ThreadPool) {
    // SAFETY: the pointer came from `Box::into_raw` and nobody else has seen it.
    drop(unsafe { Box::from_raw(pool) });
}

/// Bytes that a Python object keeps alive.
struct Foreign {
    data: *const u8,
    len: usize,
    _owner: Py<PyAny>,
}

// SAFETY: the bytes belong to a Python object that this keeps alive and are only read. Whoever changes them from another
// thread during a save gets a file of some mixture, as the documentation of `save` says.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl AsRef<[u8]> for Foreign {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: whoever made this saw that the owner has `len` bytes at `data` for as long as it lives.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// `len` bytes at `address`, which `owner` keeps alive. The Python side of an adapter vouches for the address, as it
/// does for every pointer that it hands to a C library.
pub(crate) fn foreign(address: usize, len: usize, owner: Py<PyAny>) -> Storage<'static> {
    if len == 0 {
        return Storage::borrowed(&[]);
    }
    Storage::shared(Foreign { data: ptr::with_exposed_provenance(address), len, _owner: owner })
}

/// The bytes of a `bytes` object, which cannot change, for as long as `keep` holds the object.
pub(crate) fn long_bytes(bytes: &Bound<'_, PyBytes>, keep: &mut Vec<Py<PyAny>>) -> &'static [u8] {
    keep.push(bytes.clone().into_any().unbind());
    let slice = bytes.as_bytes();
    // SAFETY: the encoder drops the values it made before `keep`, which holds the immutable object.
    unsafe { std::slice::from_raw_parts(slice.as_ptr(), slice.len()) }
}

/// Whether `object` is exactly a `numpy.ndarray`, not of a subclass.
pub(crate) fn is_array(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is alive and the interpreter's lock is held.
    unsafe { npyffi::PyArray_CheckExact(object.py(), object.as_ptr()) != 0 }
}

/// The fields of an array's structure.
pub(crate) struct Array<'py> {
    pub(crate) descr: Bound<'py, PyArrayDescr>,
    pub(crate) shape: Vec<u64>,
    /// Bytes from one element to the next; None when row-major.
    pub(crate) strides: Option<Vec<i64>>,
    data: *const u8,
}

/// Reads the structure of `array`, for which [`is_array`] holds.
pub(crate) fn array<'py>(array: &Bound<'py, PyAny>) -> Array<'py> {
    let fields = array.as_ptr().cast::<PyArrayObject>();
    // SAFETY: the caller saw that this is an array; its shape and strides have `nd` entries (or are null when it is 0).
    unsafe {
        let fields = &(*fields).fields;
        let axes = usize::try_from(fields.nd).unwrap_or(0);
        let list = |start: *const npy_intp| if axes == 0 { &[][..] } else { std::slice::from_raw_parts(start, axes) };
        let shape = list(fields.dimensions).iter().map(|n| u64::try_from(*n).unwrap_or(0)).collect();
        let row_major = fields.flags & NPY_ARRAY_C_CONTIGUOUS != 0;
        let strides = (!row_major).then(|| list(fields.strides).iter().map(|n| i64::try_from(*n).unwrap_or(0)).collect());
        let descr = Bound::from_borrowed_ptr(array.py(), fields.descr.cast()).cast_into_unchecked();
        Array { descr, shape, strides, data: fields.data.cast_const().cast() }
    }
}

impl Array<'_> {
    /// Whether this is one axis of bytes without gaps.
    pub(crate) fn is_bytes(&self) -> bool {
        numpy::dtype::<u8>(self.descr.py()).is(&self.descr) && self.shape.len() == 1 && self.strides.is_none()
    }

    /// Bytes of an element.
    pub(crate) fn itemsize(&self) -> usize {
        self.descr.itemsize()
    }

    /// The array as a tensor of `dtype`, whose elements are as long as the array's; `owner` keeps the memory alive.
    pub(crate) fn tensor(&self, dtype: DType, owner: &Bound<'_, PyAny>) -> Result<Tensor<'static>> {
        if self.shape.contains(&0) {
            return Tensor::new(dtype, &self.shape, Storage::borrowed(&[]));
        }
        let (mut low, mut high) = (0i64, i64::try_from(self.descr.itemsize()).unwrap_or(i64::MAX));
        match &self.strides {
            None => high = self.shape.iter().fold(high, |len, dim| len.saturating_mul(i64::try_from(*dim).unwrap_or(i64::MAX))),
            Some(strides) => {
                for (dim, stride) in self.shape.iter().zip(strides) {
                    let reach = i64::try_from(dim - 1).unwrap_or(i64::MAX).saturating_mul(*stride);
                    let end = if reach < 0 { &mut low } else { &mut high };
                    *end = end.saturating_add(reach);
                }
            }
        }
        let before = usize::try_from(-low).unwrap_or(0);
        let len = usize::try_from(high - low).unwrap_or(0);
        let storage = foreign(self.data.expose_provenance() - before, len, owner.clone().unbind());
        Tensor::view(dtype, &self.shape, self.strides.as_deref(), storage, u64::try_from(before).unwrap_or(0))
    }
}

/// Keeps the memory of a load alive for the arrays that view it.
#[pyclass(module = "cairnfile._cairnfile", frozen)]
pub(crate) struct Memory {
    storage: Storage<'static>,
    /// The mapped file that the storage borrows from, if it does.
    _file: Option<Arc<Cairn<'static>>>,
}

impl Memory {
    /// `storage`, and the file that it borrows from, if it does.
    pub(crate) fn new(storage: Storage<'static>, file: Option<&Arc<Cairn<'static>>>) -> Self {
        Self { storage, _file: file.cloned() }
    }

    pub(crate) fn storage(&self) -> &Storage<'static> {
        &self.storage
    }
}

/// A tensor that was taken from `file` and may borrow from it, with the file that must be kept as long, as [`Memory`]
/// does.
pub(crate) fn extend(tensor: Tensor<'_>, file: &Arc<Cairn<'static>>) -> (Tensor<'static>, Arc<Cairn<'static>>) {
    // SAFETY: the tensor borrows at most from the file, which does not move and lives as long as the `Arc` beside it.
    (unsafe { std::mem::transmute::<Tensor<'_>, Tensor<'static>>(tensor) }, Arc::clone(file))
}

/// An array of `shape` whose first element is byte `offset` of `memory`: writable where the memory is a load's own.
///
/// `strides` are in bytes; the caller has them from a tensor over this memory, so every element is inside.
pub(crate) fn new_array<'py>(
    memory: &Bound<'py, Memory>,
    descr: Bound<'py, PyArrayDescr>,
    shape: &[u64],
    strides: Option<&[i64]>,
    offset: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let py = memory.py();
    let storage = memory.get().storage();
    let too_large = |_| PyMemoryError::new_err("the tensor is larger than this machine can address");
    let offset = usize::try_from(offset).map_err(too_large)?;
    let mut dims = shape.iter().map(|n| npy_intp::try_from(*n)).collect::<std::result::Result<Vec<_>, _>>().map_err(too_large)?;
    let strides = strides.map(|s| s.iter().map(|n| npy_intp::try_from(*n)).collect::<std::result::Result<Vec<_>, _>>()).transpose();
    let mut strides = strides.map_err(too_large)?;
    let axes = i32::try_from(dims.len()).map_err(too_large)?;
    let empty = shape.contains(&0) || storage.is_empty();
    let (data, flags) = match (storage.writable(), storage.bytes()) {
        // NumPy allocates for an array without bytes.
        _ if empty => (ptr::null_mut(), 0),
        (Some(data), _) => (data.as_ptr(), NPY_ARRAY_WRITEABLE),
        (None, Some(bytes)) => (bytes.as_ptr().cast_mut(), 0),
        (None, None) => return Err(PyValueError::new_err("the tensor has no bytes yet")),
    };
    // SAFETY: the tensor that `shape`, `strides` and `offset` come from was checked to lie inside the storage, whose bytes
    // live as long as `memory`, which becomes the array's base. Memory that only may be read is not made writable. The
    // descriptor's reference is given away; the others are checked for null.
    unsafe {
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            PyUntypedArray::type_object_raw(py),
            descr.into_ptr().cast(),
            axes,
            dims.as_mut_ptr(),
            if empty { ptr::null_mut() } else { strides.as_mut().map_or(ptr::null_mut(), |s| s.as_mut_ptr()) },
            if empty { ptr::null_mut() } else { data.wrapping_add(offset).cast() },
            flags,
            ptr::null_mut(),
        );
        let array = Bound::from_owned_ptr_or_err(py, array)?;
        if !empty && PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), memory.clone().into_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(array)
    }
}

/// Maps `path`; the documentation of `cairnfile.open` hands the contract on: nobody truncates or changes the file.
pub(crate) fn map(options: &OpenOptions, path: &Path) -> Result<Cairn<'static>> {
    // SAFETY: the caller of `cairnfile.open(…, mmap=True)` promises it.
    unsafe { options.map(path) }
}

/// Verifies and maps what is under `values` copy-on-write; the documentation of `cairnfile.load` hands the contract on.
pub(crate) fn fetch_mapped<'c>(cairn: &'c Cairn<'c>, values: &[ValueRef<'c>], progress: Progress<'_>) -> Result<Loaded<'c, 'static>> {
    // SAFETY: the caller of `cairnfile.load(…, mmap=True)` promises it.
    unsafe { cairn.fetch_mapped(values, progress) }
}
