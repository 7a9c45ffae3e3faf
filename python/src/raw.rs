//! A tensor as bytes in memory: what adapters hand in, and what comes back where no array type fits.

use cairnfile::{DType, GroupClass, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::raise;
use crate::memory;

/// A tensor by its bytes: for element types that NumPy lacks, such as `q4_0` or a private one.
///
/// Parameters
/// ----------
/// dtype : str
///     Name of the element type, as in SPEC.md §10 (`"bf16"`), or a private one with a dot.
/// shape : sequence of int
///     Extent of each axis, in elements.
/// data : numpy.ndarray
///     One axis of `uint8`, contiguous: the memory that the tensor views. Tensors over one array share it.
/// strides : sequence of int, optional
///     Bytes from one element to the next along each axis; row-major if left out.
/// offset : int
///     Byte of `data` where the first element lies.
/// geometry : (str, int, int), optional
///     Class (`"scalar"`, `"packed"`, `"block"`), elements and bytes per group; needed for a private dtype only.
#[pyclass(module = "cairnfile", frozen)]
pub(crate) struct Raw {
    tensor: Tensor<'static>,
    /// The array, or whatever keeps the memory alive.
    #[pyo3(get)]
    data: Py<PyAny>,
    source: Option<(usize, usize)>,
}

type GeometryTuple = (String, u32, u32);

#[pymethods]
impl Raw {
    #[new]
    #[pyo3(signature = (dtype, shape, data, strides=None, offset=0, geometry=None))]
    fn new(
        dtype: &str,
        shape: Vec<u64>,
        data: Bound<'_, PyAny>,
        strides: Option<Vec<i64>>,
        offset: u64,
        geometry: Option<GeometryTuple>,
    ) -> PyResult<Self> {
        let py = data.py();
        let wrong = || PyTypeError::new_err("data is a numpy.ndarray of uint8 with one axis, contiguous");
        let array = if memory::is_array(&data) { memory::array(&data) } else { return Err(wrong()) };
        if !array.is_bytes() {
            return Err(wrong());
        }
        let memory = array.tensor(DType::U8, &data).map_err(|e| raise(py, &e))?;
        let dtype = find(py, dtype, geometry)?;
        let tensor = Tensor::view(dtype, &shape, strides.as_deref(), memory.storage().clone(), offset).map_err(|e| raise(py, &e))?;
        Ok(Self { tensor, data: data.unbind(), source: None })
    }

    /// For adapters: the elements of `array` as a tensor of another dtype with elements as long. `source` is the address
    /// and length of the memory that the array was converted from, if it was.
    #[staticmethod]
    #[pyo3(signature = (array, dtype, geometry=None, source=None))]
    fn of_array(array: Bound<'_, PyAny>, dtype: &str, geometry: Option<GeometryTuple>, source: Option<(usize, usize)>) -> PyResult<Self> {
        let py = array.py();
        let fields =
            if memory::is_array(&array) { memory::array(&array) } else { return Err(PyTypeError::new_err("not a numpy.ndarray")) };
        let dtype = find(py, dtype, geometry)?;
        if usize::try_from(dtype.geometry().bytes).ok() != Some(fields.itemsize()) || dtype.geometry().class != GroupClass::Scalar {
            return Err(PyValueError::new_err(format!("elements of {} bytes are not of dtype {dtype}", fields.itemsize())));
        }
        let tensor = fields.tensor(dtype, &array).map_err(|e| raise(py, &e))?;
        Ok(Self { tensor, data: array.unbind(), source })
    }

    /// For adapters: `nbytes` bytes at `address`, the first element's, which `owner` keeps alive and which do not move.
    #[staticmethod]
    #[pyo3(signature = (dtype, shape, address, nbytes, owner, strides=None, source=None))]
    fn from_address(
        dtype: &str,
        shape: Vec<u64>,
        address: usize,
        nbytes: usize,
        owner: Bound<'_, PyAny>,
        strides: Option<Vec<i64>>,
        source: Option<(usize, usize)>,
    ) -> PyResult<Self> {
        let py = owner.py();
        let storage = memory::foreign(address, nbytes, owner.clone().unbind());
        let tensor = Tensor::view(find(py, dtype, None)?, &shape, strides.as_deref(), storage, 0).map_err(|e| raise(py, &e))?;
        Ok(Self { tensor, data: owner.unbind(), source })
    }

    /// Name of the element type.
    #[getter]
    fn dtype(&self) -> &str {
        self.tensor.dtype().name()
    }

    /// Class, elements and bytes per group of the element type.
    #[getter]
    fn geometry(&self) -> (&'static str, u32, u32) {
        let geometry = self.tensor.dtype().geometry();
        (geometry.class.name(), geometry.elements, geometry.bytes)
    }

    /// Extent of each axis, in elements.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tensor.shape())
    }

    /// Bytes from one element to the next along each axis; None when row-major.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.tensor.byte_strides().map(|strides| PyTuple::new(py, strides)).transpose()
    }

    /// Byte of the memory where the first element lies.
    #[getter]
    fn offset(&self) -> u64 {
        self.tensor.offset()
    }

    /// Bytes that the elements take row-major.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.tensor.byte_len()
    }

    /// The elements' bytes, row-major.
    fn tobytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyBytes>> {
        Ok(pyo3::types::PyBytes::new(py, &self.tensor.row_major_bytes().map_err(|e| raise(py, &e))?))
    }

    fn __eq__(&self, other: &Bound<'_, Self>) -> bool {
        self.tensor == other.get().tensor
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<cairnfile.Raw {} of shape {}>", self.tensor.dtype(), self.shape(py)?.repr()?))
    }
}

impl Raw {
    /// A tensor that was read, and its memory as an array of bytes.
    pub(crate) fn read(tensor: &Tensor<'static>, data: Bound<'_, PyAny>) -> Self {
        Self { tensor: tensor.clone(), data: data.unbind(), source: None }
    }

    pub(crate) fn tensor(&self) -> &Tensor<'static> {
        &self.tensor
    }

    /// Address and length of the memory that this was converted from.
    pub(crate) fn source(&self) -> Option<(usize, usize)> {
        self.source
    }
}

/// The dtype called `name`, registered or of the given geometry.
fn find(py: Python<'_>, name: &str, geometry: Option<GeometryTuple>) -> PyResult<DType> {
    match (DType::from_name(name), geometry) {
        (Some(dtype), None) => Ok(dtype),
        (None, None) => Err(PyValueError::new_err(format!("{name:?} is no registered dtype; a private one needs its geometry"))),
        (_, Some((class, elements, bytes))) => {
            let class = [GroupClass::Scalar, GroupClass::Packed, GroupClass::Block].into_iter().find(|c| c.name() == class);
            let class = class.ok_or_else(|| PyValueError::new_err("the class of a dtype is scalar, packed or block"))?;
            DType::private(name, class, elements, bytes).map_err(|e| raise(py, &e))
        }
    }
}
