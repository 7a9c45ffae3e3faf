//! Two tensors of equal dtype and shape: by stored checksums, then by bytes.

use std::ops::Range;

use cairnfile::element::decode;
use cairnfile::{Cairn, DType, GroupClass, Tensor, TensorRef};

use crate::common::Failure;
use crate::print::number;
use crate::show::hex;

/// How the elements of two tensors differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// How many units differ, and of how many.
    pub(crate) differing: u64,
    pub(crate) total: u64,
    /// `element`, or `group` where elements cannot be told apart.
    pub(crate) unit: &'static str,
    /// Where the first differing unit is, and its values.
    pub(crate) first: Vec<u64>,
    pub(crate) a: String,
    pub(crate) b: String,
}

/// Whether the stored checksums say that the bytes are equal; `None` if they cannot be compared.
pub(crate) fn by_checksum(a: (&Cairn<'_>, &TensorRef<'_>), b: (&Cairn<'_>, &TensorRef<'_>)) -> Result<Option<bool>, Failure> {
    if a.0.block_size() != b.0.block_size() || a.1.strides()? != b.1.strides()? {
        return Ok(None);
    }
    Ok(match (a.0.block_checksums(a.1)?, b.0.block_checksums(b.1)?) {
        (Some(a), Some(b)) => Some(a == b),
        _ => None,
    })
}

/// Most bytes of each tensor that are held at a time.
const CHUNK: u64 = 32 << 20;

/// Compares element by element, some rows at a time.
pub(crate) fn by_bytes(a: &TensorRef<'_>, b: &TensorRef<'_>) -> Result<Option<Difference>, Failure> {
    let (dtype, shape) = (a.dtype()?, a.shape()?);
    let mut counter = Counter::new(dtype, &shape);
    match chunks(dtype, &shape, a.byte_len()?) {
        None => counter.add(0, &a.read()?, &b.read()?)?,
        Some((cells, rows)) => {
            for range in rows {
                counter.add(range.start * cells, &a.rows(range.clone())?, &b.rows(range)?)?;
            }
        }
    }
    Ok(counter.finish(&shape))
}

/// Elements of a row, and ranges of rows of about [`CHUNK`] bytes; `None` for what is read in one go.
fn chunks(dtype: &DType, shape: &[u64], len: u64) -> Option<(u64, impl Iterator<Item = Range<u64>>)> {
    let rows = *shape.first()?;
    let sliceable = match dtype.geometry().class {
        GroupClass::Scalar => true,
        GroupClass::Block => shape.len() > 1,
        GroupClass::Packed => false,
    };
    if len <= CHUNK || !sliceable || rows == 0 {
        return None;
    }
    let step = (CHUNK / len.div_ceil(rows)).max(1);
    let starts = (0..rows.div_ceil(step)).map(move |i| i * step);
    Some((shape[1..].iter().product(), starts.map(move |start| start..(start + step).min(rows))))
}

struct Counter<'d> {
    dtype: &'d DType,
    /// Elements of one unit, and bytes of one group.
    unit: u64,
    width: usize,
    total: u64,
    differing: u64,
    first: Option<(u64, String, String)>,
}

impl<'d> Counter<'d> {
    fn new(dtype: &'d DType, shape: &[u64]) -> Self {
        let geometry = dtype.geometry();
        let apart = geometry.class == GroupClass::Scalar || decode(dtype, &[0; 16], 0).is_some();
        let unit = if apart { 1 } else { u64::from(geometry.elements) };
        let total = shape.iter().product::<u64>().div_ceil(unit);
        Self { dtype, unit, width: usize::try_from(geometry.bytes).unwrap_or(1), total, differing: 0, first: None }
    }

    /// Counts the differing units of a part that begins at element `start`.
    fn add(&mut self, start: u64, a: &Tensor<'_>, b: &Tensor<'_>) -> Result<(), Failure> {
        let (a_bytes, b_bytes) = (a.row_major_bytes()?, b.row_major_bytes()?);
        if a_bytes == b_bytes {
            return Ok(());
        }
        let elements = u64::from(self.dtype.geometry().elements);
        let pairs = a_bytes.chunks(self.width).zip(b_bytes.chunks(self.width));
        for (group, (x, y)) in (0u64..).zip(pairs).filter(|(_, (x, y))| x != y) {
            let first = start + group * elements;
            if elements > 1 && self.unit == 1 {
                self.add_packed(first, x, y);
            } else {
                self.note(first / self.unit, x, y, 0);
            }
        }
        Ok(())
    }

    /// The elements of one packed group.
    fn add_packed(&mut self, first: u64, x: &[u8], y: &[u8]) {
        for i in 0..u64::from(self.dtype.geometry().elements) {
            if decode(self.dtype, x, i) != decode(self.dtype, y, i) {
                self.note(first + i, x, y, i);
            }
        }
    }

    /// Counts a unit: element `index` of the groups `x` and `y`.
    fn note(&mut self, unit: u64, x: &[u8], y: &[u8], index: u64) {
        self.differing += 1;
        if self.first.is_none() {
            self.first = Some((unit, self.text(x, index), self.text(y, index)));
        }
    }

    fn text(&self, group: &[u8], index: u64) -> String {
        decode(self.dtype, group, index).map_or_else(|| hex(group), |n| number(self.dtype, n))
    }

    fn finish(self, shape: &[u64]) -> Option<Difference> {
        let (at, a, b) = self.first?;
        let (unit, first) = if self.unit == 1 { ("element", position(at, shape)) } else { ("group", vec![at]) };
        // Different bits that read the same, such as two NaNs, are told apart by the count alone.
        Some(Difference { differing: self.differing, total: self.total, unit, first, a, b })
    }
}

/// The indices of row-major element `at`.
fn position(mut at: u64, shape: &[u64]) -> Vec<u64> {
    let mut indices: Vec<u64> = shape.iter().rev().map(|dim| (at % dim.max(&1), at /= dim.max(&1)).0).collect();
    indices.reverse();
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_row_major() {
        assert_eq!(position(17, &[2, 3, 4]), [1, 1, 1]);
        assert_eq!(position(0, &[]), Vec::<u64>::new());
    }
}
