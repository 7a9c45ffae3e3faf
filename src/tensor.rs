//! Tensors in memory: dtype, shape, strides and the storage they view.

use std::borrow::Cow;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bytes::{from_usize, to_usize};
use crate::dtype::{DType, GroupClass};
use crate::error::{Code, Error, Result};
use crate::layout::{self, Shape};
use crate::limits::MAX_RANK;
use crate::memory;

/// Rust types whose slices are the bytes of a dtype.
pub trait Element: bytemuck::Pod + sealed::Sealed {
    /// The dtype with this type's bytes.
    const DTYPE: DType;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident,)*) => {
        $(impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
        })*
    };
}

elements! {
    i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    half::f16 => F16, half::bf16 => BF16, f32 => F32, f64 => F64,
    [half::f16; 2] => C32, [f32; 2] => C64, [f64; 2] => C128,
}

/// Memory that tensors view. Clones are the same storage: tensors that view it stay tied.
#[derive(Clone)]
pub struct Storage<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    Borrowed(&'a [u8]),
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync + 'a>),
    /// Memory that this crate allocated or mapped for a load.
    Owned(Arc<memory::Aligned>),
    /// Bytes that do not exist yet, and the number that no other reserved storage of this process has.
    Reserved {
        number: u64,
        len: u64,
    },
}

impl<'a> Storage<'a> {
    /// Memory that somebody else owns.
    pub fn borrowed(bytes: &'a [u8]) -> Self {
        Self(Repr::Borrowed(bytes))
    }

    /// Memory owned together by the tensors that view it. `owner` must give the same bytes every time.
    pub fn shared(owner: impl AsRef<[u8]> + Send + Sync + 'a) -> Self {
        Self(Repr::Shared(Arc::new(owner)))
    }

    /// Memory that was filled for a load.
    pub(crate) fn owned(memory: memory::Aligned) -> Self {
        Self(Repr::Owned(Arc::new(memory)))
    }

    /// `len` bytes that will be produced in the file itself, see [`crate::Plan`].
    pub fn reserved(len: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Repr::Reserved { number: NEXT.fetch_add(1, Ordering::Relaxed), len })
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Repr::Reserved { len, .. } => *len,
            _ => from_usize(self.bytes().map_or(0, <[u8]>::len)),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes; `None` for a reserved storage.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Borrowed(bytes) => Some(bytes),
            Repr::Shared(owner) => Some((**owner).as_ref()),
            Repr::Owned(memory) => Some((**memory).as_ref()),
            Repr::Reserved { .. } => None,
        }
    }

    /// The first byte of memory that a load filled ([`crate::Cairn::fetch_copy`], [`crate::Cairn::fetch_mapped`]), for
    /// language bindings that hand it out as arrays of their own. Writing through it is sound while this storage or a
    /// clone lives and nobody holds a reference to its bytes; the file is never written to.
    pub fn writable(&self) -> Option<NonNull<u8>> {
        match &self.0 {
            Repr::Owned(memory) => Some(memory.as_ptr()),
            _ => None,
        }
    }

    /// The address space and the address of the first byte: storages overlap when these do.
    pub(crate) fn address(&self) -> (u64, u64) {
        match &self.0 {
            Repr::Reserved { number, .. } => (*number, 0),
            _ => (0, self.bytes().map_or(0, |bytes| from_usize(bytes.as_ptr().addr()))),
        }
    }
}

impl fmt::Debug for Storage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Repr::Borrowed(_) => "borrowed",
            Repr::Shared(_) => "shared",
            Repr::Owned(_) => "owned",
            Repr::Reserved { .. } => "reserved",
        };
        write!(f, "{kind} storage of {} bytes", self.len())
    }
}

/// A tensor: a view of a [`Storage`].
///
/// ```
/// use cairnfile::Tensor;
/// let tensor = Tensor::from_vec(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
/// assert_eq!(tensor.shape(), [2, 3]);
/// assert_eq!(tensor.as_slice::<f32>().unwrap()[4], 5.0);
/// ```
#[derive(Clone)]
pub struct Tensor<'a> {
    dtype: DType,
    shape: Shape,
    /// Bytes from one element to the next along each axis; `None` when row-major.
    strides: Option<Box<[i64]>>,
    storage: Storage<'a>,
    /// Byte of the storage where the first element lies.
    offset: u64,
    /// Bytes the elements take row-major: what dtype and shape amount to.
    len: u64,
}

impl<'a> Tensor<'a> {
    /// A row-major tensor that is the whole of `storage`.
    ///
    /// # Errors
    /// `tensor-size`, `tensor-rank` or `tensor-groups` as SPEC.md §7.6 says; `tensor-extent` if the storage does not
    /// have exactly the tensor's length.
    pub fn new(dtype: DType, shape: &[u64], storage: Storage<'a>) -> Result<Self> {
        let tensor = Self::view(dtype, shape, None, storage, 0)?;
        if tensor.storage.len() != tensor.byte_len() {
            let detail = format!(
                "a {} tensor of shape {shape:?} takes {} bytes, the storage has {}",
                tensor.dtype,
                tensor.byte_len(),
                tensor.storage.len()
            );
            return Err(Error::new(Code::TensorExtent, detail));
        }
        Ok(tensor)
    }

    /// A view: `strides` in bytes (any sign, 0 to broadcast; `None` for row-major), the first element at byte
    /// `offset` of `storage`.
    ///
    /// # Errors
    /// As [`Tensor::new`]; `tensor-strides` for strides on a dtype that is not scalar or of another number than axes;
    /// `tensor-extent` if an element would lie outside the storage.
    pub fn view(dtype: DType, shape: &[u64], strides: Option<&[i64]>, storage: Storage<'a>, offset: u64) -> Result<Self> {
        Self::over(dtype, Shape::collect(shape.iter().copied()), strides.map(Box::from), storage, offset)
    }

    fn over(dtype: DType, shape: Shape, strides: Option<Box<[i64]>>, storage: Storage<'a>, offset: u64) -> Result<Self> {
        let mut tensor = Self { dtype, shape, strides, storage, offset, len: 0 };
        tensor.len = tensor.check_shape()?;
        tensor.check_place()?;
        Ok(tensor)
    }

    /// A view with the strides of the tensor table: in elements, 0 on axes of extent at most 1.
    pub(crate) fn with_element_strides(
        dtype: DType,
        shape: impl ExactSizeIterator<Item = u64>,
        strides: Option<impl Iterator<Item = u64>>,
        storage: Storage<'a>,
        offset: u64,
    ) -> Result<Self> {
        let width = i64::from(dtype.geometry().bytes);
        // Strides times bytes are below the span, which is below 2^63.
        let in_bytes = |stride: u64| i64::try_from(stride).unwrap_or(i64::MAX).saturating_mul(width);
        let strides = strides.map(|s| s.map(in_bytes).collect());
        Self::over(dtype, Shape::collect(shape), strides, storage, offset)
    }

    /// A row-major tensor over a slice of numbers, without a copy.
    ///
    /// # Errors
    /// `tensor-extent` if the slice does not have exactly the number of elements.
    pub fn from_slice<T: Element>(shape: &[u64], elements: &'a [T]) -> Result<Self> {
        Self::new(T::DTYPE, shape, Storage::borrowed(bytemuck::cast_slice(elements)))
    }

    /// A row-major tensor that owns its numbers.
    ///
    /// # Errors
    /// `tensor-extent` if the vector does not have exactly the number of elements.
    pub fn from_vec<T: Element + Send + Sync>(shape: &[u64], elements: Vec<T>) -> Result<Self> {
        Self::new(T::DTYPE, shape, Storage::shared(Numbers(elements)))
    }

    /// A row-major tensor whose bytes will be produced in the file itself, see [`crate::Plan`].
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn reserved(dtype: DType, shape: &[u64]) -> Result<Self> {
        let extent = layout::row_major(dtype.geometry(), shape.iter().copied()).map_err(|f| size_error(f, &dtype, shape))?;
        Self::new(dtype, shape, Storage::reserved(extent.len))
    }

    /// Refuses a shape that no tensor has; the bytes that its elements take.
    fn check_shape(&self) -> Result<u64> {
        if self.shape.len() > MAX_RANK {
            return Err(Error::new(Code::TensorRank, format!("a tensor has {} axes, the most is {MAX_RANK}", self.shape.len())));
        }
        let extent = layout::row_major(self.dtype.geometry(), self.shape.iter().copied());
        extent.map(|extent| extent.len).map_err(|f| size_error(f, &self.dtype, &self.shape))
    }

    /// Refuses strides that are not the dtype's or the shape's, and elements outside the storage.
    fn check_place(&self) -> Result<()> {
        if let Some(strides) = &self.strides {
            let scalar = self.dtype.geometry().class == GroupClass::Scalar;
            if !scalar || strides.len() != self.shape.len() {
                return Err(Error::new(
                    Code::TensorStrides,
                    format!("{} strides do not fit a {} tensor of shape {:?}", strides.len(), self.dtype, &*self.shape),
                ));
            }
        }
        let (first, end) = self.range().ok_or_else(|| self.outside())?;
        if first < 0 || end > i128::from(self.storage.len()) {
            return Err(self.outside());
        }
        Ok(())
    }

    fn outside(&self) -> Error {
        let detail = format!(
            "a {} tensor of shape {:?} at byte {} reaches outside a storage of {} bytes",
            self.dtype,
            &*self.shape,
            self.offset,
            self.storage.len()
        );
        Error::new(Code::TensorExtent, detail)
    }

    /// First byte and end of the elements in the storage.
    fn range(&self) -> Option<(i128, i128)> {
        let offset = i128::from(self.offset);
        let len = self.byte_len();
        let Some(strides) = self.strides.as_ref().filter(|_| len > 0) else {
            return Some((offset, offset + i128::from(len)));
        };
        let (mut first, mut last) = (offset, offset);
        for (dim, stride) in self.shape.iter().zip(&**strides) {
            let reach = i128::from(*dim - 1).checked_mul(i128::from(*stride))?;
            let end = if reach < 0 { &mut first } else { &mut last };
            *end = end.checked_add(reach)?;
        }
        Some((first, last.checked_add(i128::from(self.dtype.geometry().bytes))?))
    }

    /// First byte and end of the elements in the storage.
    pub(crate) fn byte_range(&self) -> (u64, u64) {
        // The constructor checked that both lie in the storage.
        let (first, end) = self.range().unwrap_or((0, 0));
        (u64::try_from(first).unwrap_or(0), u64::try_from(end).unwrap_or(0))
    }

    /// The element type.
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// Extent of each axis, in elements.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Bytes from one element to the next along each axis; `None` when row-major.
    pub fn byte_strides(&self) -> Option<&[i64]> {
        self.strides.as_deref()
    }

    /// The memory that is viewed.
    pub fn storage(&self) -> &Storage<'a> {
        &self.storage
    }

    /// Byte of the storage where the first element lies.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of elements.
    pub fn element_count(&self) -> u64 {
        layout::element_count(self.shape.iter().copied()).unwrap_or(0)
    }

    /// Bytes the elements take row-major.
    pub fn byte_len(&self) -> u64 {
        self.len
    }

    /// The strides' one spelling in elements, 0 on axes of extent at most 1: `None` if row-major (or empty), an error
    /// value if they are no whole number of elements or negative.
    pub(crate) fn normal_strides(&self) -> std::result::Result<Option<Vec<u64>>, NotWhole> {
        let Some(strides) = self.strides.as_ref().filter(|_| self.byte_len() > 0) else { return Ok(None) };
        let width = u64::from(self.dtype.geometry().bytes);
        let mut normal = Vec::with_capacity(strides.len());
        for (dim, stride) in self.shape.iter().zip(&**strides) {
            let stride = if *dim <= 1 { 0 } else { u64::try_from(*stride).map_err(|_| NotWhole)? };
            if stride % width != 0 {
                return Err(NotWhole);
            }
            normal.push(stride / width);
        }
        Ok(Some(normal).filter(|n| !layout::is_row_major(&self.shape, n)))
    }

    /// Whether the elements lie row-major without holes.
    pub fn is_row_major(&self) -> bool {
        matches!(self.normal_strides(), Ok(None))
    }

    /// The bytes from the first to the last element in memory; `None` for a reserved storage.
    pub fn span(&self) -> Option<&[u8]> {
        let (first, end) = self.range()?;
        self.storage.bytes()?.get(usize::try_from(first).ok()?..usize::try_from(end).ok()?)
    }

    /// The elements' bytes in row-major order; a copy only if they lie otherwise.
    ///
    /// # Errors
    /// `unrepresentable` for a reserved storage, which has no bytes yet.
    pub fn row_major_bytes(&self) -> Result<Cow<'_, [u8]>> {
        let reserved = || Error::new(Code::Unrepresentable, "a reserved tensor has no bytes yet");
        if self.is_row_major() {
            return self.span().map(Cow::Borrowed).ok_or_else(reserved);
        }
        self.storage.bytes().ok_or_else(reserved)?;
        let mut out = Vec::with_capacity(to_usize(self.byte_len())?);
        self.gather(|run| out.extend_from_slice(run));
        Ok(Cow::Owned(out))
    }

    /// Hands out the elements in row-major order, as the longest contiguous runs.
    pub(crate) fn gather(&self, mut visit: impl FnMut(&[u8])) {
        let bytes = self.storage.bytes().unwrap_or(&[]);
        if self.is_row_major() {
            return visit(self.span().unwrap_or(&[]));
        }
        let width = i128::from(self.dtype.geometry().bytes);
        let strides: Vec<i128> = self.byte_strides().unwrap_or(&[]).iter().map(|s| i128::from(*s)).collect();
        let (mut inner, mut run) = (self.shape.len(), width);
        while inner > 0 && (self.shape[inner - 1] <= 1 || strides[inner - 1] == run) {
            inner -= 1;
            run *= i128::from(self.shape[inner]);
        }
        let _ = layout::for_each_position(&self.shape[..inner], |position| {
            let at = position.iter().zip(&strides).fold(i128::from(self.offset), |at, (i, s)| at + i128::from(*i) * s);
            // In bounds: the constructor checked the first and the last byte.
            if let (Ok(start), Ok(end)) = (usize::try_from(at), usize::try_from(at + run)) {
                visit(&bytes[start..end]);
            }
            Ok::<_, std::convert::Infallible>(())
        });
    }

    /// The elements as numbers.
    ///
    /// # Errors
    /// `wrong-type` if the dtype is not `T`'s or the tensor is not row-major (see [`Tensor::row_major_bytes`]).
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        if self.dtype != T::DTYPE {
            return Err(Error::new(Code::WrongType, format!("the tensor is {}, not {}", self.dtype, T::DTYPE)));
        }
        match self.row_major_bytes()? {
            Cow::Borrowed(bytes) => memory::cast(bytes),
            Cow::Owned(_) => Err(Error::new(Code::WrongType, "the tensor is not row-major: copy it with row_major_bytes first")),
        }
    }

    /// The same tensor, row-major in memory of its own.
    ///
    /// # Errors
    /// As [`Tensor::row_major_bytes`].
    pub fn to_owned_row_major(&self) -> Result<Tensor<'static>> {
        let mut memory = memory::Blank::new(self.byte_len())?;
        memory.part().copy_from(&self.row_major_bytes()?)?;
        Tensor::new(self.dtype.clone(), &self.shape, Storage::owned(memory.finish()?))
    }

    /// The same elements, whatever the layout.
    pub fn same_elements(&self, other: &Tensor<'_>) -> bool {
        self.dtype == other.dtype
            && *self.shape == *other.shape
            && matches!((self.row_major_bytes(), other.row_major_bytes()), (Ok(a), Ok(b)) if a == b)
    }
}

/// Strides that are negative or no whole number of elements.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotWhole;

fn size_error(fault: layout::Fault, dtype: &DType, shape: &[u64]) -> Error {
    let code = match fault {
        layout::Fault::Size => Code::TensorSize,
        layout::Fault::Groups => Code::TensorGroups,
        layout::Fault::Strides => Code::TensorStrides,
    };
    Error::new(code, format!("a {dtype} tensor cannot have shape {shape:?}"))
}

/// Owned numbers seen as bytes.
struct Numbers<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Numbers<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Equal dtype, shape, layout and bytes. Whether tensors are tied is a property of the tree they stand in.
impl PartialEq for Tensor<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.normal_strides() == other.normal_strides() && self.same_elements(other)
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {}{:?}", self.dtype, &*self.shape)?;
        if let Some(strides) = &self.strides {
            write!(f, " byte strides {strides:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_bounded() {
        let bytes = [0u8; 24];
        let view = |strides: &[i64], offset| Tensor::view(DType::F32, &[2, 3], Some(strides), Storage::borrowed(&bytes), offset);
        assert!(view(&[12, 4], 0).is_ok());
        assert!(view(&[12, 4], 4).is_err());
        assert!(view(&[-12, 4], 12).is_ok());
        assert!(view(&[-12, 4], 0).is_err());
        assert!(view(&[i64::MAX, 4], 0).is_err());
        assert!(view(&[12], 0).is_err());
    }

    #[test]
    fn gather_follows_strides() {
        let numbers = [0u8, 1, 2, 3, 4, 5];
        let of = |shape: &[u64], strides: &[i64], offset| {
            Tensor::view(DType::U8, shape, Some(strides), Storage::borrowed(&numbers), offset)
                .unwrap()
                .row_major_bytes()
                .unwrap()
                .into_owned()
        };
        assert_eq!(of(&[3, 2], &[1, 3], 0), [0, 3, 1, 4, 2, 5]);
        assert_eq!(of(&[6], &[-1], 5), [5, 4, 3, 2, 1, 0]);
        assert_eq!(of(&[2, 2], &[0, 1], 4), [4, 5, 4, 5]);
        assert_eq!(of(&[0, 2], &[1, 1], 0), []);
    }

    #[test]
    fn normal_strides_have_one_spelling() {
        let bytes = [0u8; 24];
        let of = |shape: &[u64], strides: &[i64]| {
            Tensor::view(DType::F32, shape, Some(strides), Storage::borrowed(&bytes), 0).unwrap().normal_strides()
        };
        assert_eq!(of(&[2, 3], &[12, 4]), Ok(None));
        assert_eq!(of(&[1, 3], &[999, 4]), Ok(None));
        assert_eq!(of(&[2, 3], &[4, 8]), Ok(Some(vec![1, 2])));
        assert_eq!(of(&[2, 3], &[5, 1]), Err(NotWhole));
    }
}
