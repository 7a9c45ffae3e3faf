//! .npy: one array, a header that is a Python dict literal before its bytes.

mod header;

use std::borrow::Cow;
use std::io::Write;

use cairnfile::{DType, GroupClass, Storage, Tensor};

use self::header::Header;
use super::{refused, unsupported};
use crate::common::{Failure, Outcome};

/// The types of NumPy that Cairn registers.
const DTYPES: [(&str, DType); 14] = [
    ("b1", DType::BOOL),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
    ("f2", DType::F16),
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("c8", DType::C64),
    ("c16", DType::C128),
];

/// All other types are carried as private ones called this and NumPy's own name.
const PRIVATE: &str = "numpy.";

/// An element type as the file spells it.
struct Descr {
    dtype: DType,
    /// Bytes whose order is to be turned around, 1 for none.
    swap: usize,
}

impl Descr {
    /// `text` as in `<f4`, `|S3` or `>M8[ns]`: byte order, kind, size.
    fn parse(text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| unsupported(format!("array of NumPy type {text:?}: {why}"));
        let (order, name) = text.split_at_checked(1).ok_or_else(|| refuse("it has no kind"))?;
        if name.starts_with('O') {
            return Err(refuse("it holds Python objects, which are pickled code"));
        }
        let (unit, item) = unit_and_item(name).ok_or_else(|| refuse("it is not a type that is known here"))?;
        let known = DTYPES.iter().find(|(known, _)| *known == name).map(|(_, dtype)| dtype.clone());
        let dtype = match known {
            Some(dtype) => dtype,
            None => DType::private(&format!("{PRIVATE}{name}"), GroupClass::Scalar, 1, item).map_err(|e| refuse(e.detail()))?,
        };
        match order {
            "<" => Ok(Self { dtype, swap: 1 }),
            ">" if unit > 8 => Err(refuse("the extended floats of big-endian machines have another form")),
            ">" => Ok(Self { dtype, swap: unit }),
            "|" if unit == 1 => Ok(Self { dtype, swap: 1 }),
            _ => Err(refuse("it does not say its byte order")),
        }
    }

    /// How NumPy spells `dtype`.
    fn text(dtype: &DType) -> Result<String, Failure> {
        let known = DTYPES.iter().find(|(_, ours)| ours == dtype).map(|(name, _)| *name);
        let private = || {
            dtype.name().strip_prefix(PRIVATE).filter(|name| unit_and_item(name).is_some_and(|(_, item)| item == dtype.geometry().bytes))
        };
        let Some(name) = known.or_else(private) else {
            return Err(unsupported(format!("a tensor of dtype {dtype} cannot be held by a .npy file")));
        };
        let ordered = unit_and_item(name).is_some_and(|(unit, _)| unit > 1);
        Ok(format!("{}{name}", if ordered { '<' } else { '|' }))
    }
}

/// Bytes of a number whose byte order matters, and bytes of an element.
fn unit_and_item(name: &str) -> Option<(usize, u32)> {
    let (kind, rest) = name.split_at_checked(1)?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (size, suffix) = rest.split_at(digits);
    // NumPy writes no leading zeros; accepting them would give one type two names.
    let size: u32 = size.parse().ok().filter(|n: &u32| n.to_string() == size)?;
    let span = suffix.strip_prefix('[').and_then(|s| s.strip_suffix(']'));
    let dated = suffix.is_empty() || span.is_some_and(|s| s.bytes().all(|b| b.is_ascii_alphanumeric()));
    let unit = match kind {
        "b" | "i" | "u" | "f" if suffix.is_empty() => usize::try_from(size).ok()?,
        "c" if suffix.is_empty() && size.is_multiple_of(2) => usize::try_from(size / 2).ok()?,
        "m" | "M" if dated && size == 8 => 8,
        "U" if suffix.is_empty() => return Some((4, size.checked_mul(4)?)),
        "S" | "V" if suffix.is_empty() => 1,
        _ => return None,
    };
    Some((unit, size))
}

/// The array in `storage`, which is a whole file: a view of it, unless its bytes are in the other order.
pub(crate) fn read(storage: Storage<'_>) -> Result<Tensor<'_>, Failure> {
    let bytes = storage.bytes().unwrap_or(&[]);
    let header = Header::parse(bytes)?;
    let descr = Descr::parse(&header.descr)?;
    let data = bytes.get(header.len..).unwrap_or(&[]);
    let len = array_len(&header.shape, descr.dtype.geometry().bytes).ok_or_else(|| refused("the array's shape is too large"))?;
    let found = u64::try_from(data.len()).unwrap_or(u64::MAX);
    if len != found {
        let what = if found < len { "it was cut short" } else { "something was appended" };
        return Err(refused(format!("the array takes {len} bytes, the file has {found}: {what}")));
    }
    if descr.dtype == DType::BOOL {
        check_bools(data)?;
    }
    let strides = (header.fortran && len > 0).then(|| column_strides(&header.shape, descr.dtype.geometry().bytes));
    let (storage, offset) = match descr.swap {
        1 => (storage.clone(), u64::try_from(header.len).unwrap_or(u64::MAX)),
        unit => (Storage::shared(swapped(data, unit)), 0),
    };
    Ok(Tensor::view(descr.dtype, &header.shape, strides.as_deref(), storage, offset)?)
}

fn array_len(shape: &[u64], item: u32) -> Option<u64> {
    let product = shape.iter().try_fold(u64::from(item), |n, dim| n.checked_mul((*dim).max(1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

fn check_bools(data: &[u8]) -> Outcome {
    match data.iter().position(|b| *b > 1) {
        None => Ok(()),
        Some(at) => Err(refused(format!("bool element {at} is the byte {}, not 0 or 1", data[at]))),
    }
}

fn swapped(data: &[u8], unit: usize) -> Vec<u8> {
    let mut swapped = data.to_vec();
    swapped.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
    swapped
}

/// Strides in bytes of a column-major array.
fn column_strides(shape: &[u64], item: u32) -> Vec<i64> {
    let mut stride = i64::from(item);
    let next = |dim: &u64| {
        let this = stride;
        stride = stride.saturating_mul(i64::try_from(*dim).unwrap_or(i64::MAX));
        this
    };
    shape.iter().map(next).collect()
}

/// Whether the elements lie column-major without holes, and not row-major too.
fn is_column_major(tensor: &Tensor<'_>) -> bool {
    let Some(strides) = tensor.byte_strides().filter(|_| !tensor.is_row_major()) else { return false };
    let expected = column_strides(tensor.shape(), tensor.dtype().geometry().bytes);
    tensor.shape().iter().zip(strides.iter().zip(expected)).all(|(dim, (stride, expected))| *dim <= 1 || *stride == expected)
}

/// Whether a file keeps how the elements lie in memory.
pub(crate) fn keeps_layout(tensor: &Tensor<'_>) -> bool {
    tensor.is_row_major() || is_column_major(tensor)
}

/// Writes the file of `tensor`, as NumPy does. Column-major arrays stay so, other strides become row-major.
pub(crate) fn write(out: &mut dyn Write, tensor: &Tensor<'_>) -> Result<(), Failure> {
    let fortran = is_column_major(tensor);
    let descr = Descr::text(tensor.dtype())?;
    out.write_all(&header::encode(&descr, fortran, tensor.shape()))?;
    let bytes = match tensor.span() {
        Some(span) if fortran => Cow::Borrowed(span),
        _ => tensor.row_major_bytes()?,
    };
    Ok(out.write_all(&bytes)?)
}

#[cfg(test)]
mod tests;
