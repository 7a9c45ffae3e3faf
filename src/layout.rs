//! The arithmetic of shapes and strides: pure, checked, and shared by reader and writer. `Spec §7.6, §7.7`.

use std::ops::Deref;

use crate::dtype::{Geometry, GroupClass};
use crate::limits::MAX_LEN;

/// The extents of a tensor's axes. Most tensors are vectors and matrices, and there may be very many of them: these
/// take no allocation.
#[derive(Clone)]
pub(crate) enum Shape {
    Few(u8, [u64; 2]),
    Many(Box<[u64]>),
}

impl Shape {
    pub(crate) fn collect(mut dims: impl ExactSizeIterator<Item = u64>) -> Self {
        let rank = dims.len();
        if rank > 2 {
            return Self::Many(dims.collect());
        }
        let few = [dims.next().unwrap_or(0), dims.next().unwrap_or(0)];
        Self::Few(if rank == 2 { 2 } else { u8::from(rank == 1) }, few)
    }
}

impl Deref for Shape {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        match self {
            Self::Few(rank, dims) => &dims[..usize::from(*rank)],
            Self::Many(dims) => dims,
        }
    }
}

/// What a shape, dtype and strides amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes of the elements alone.
    pub(crate) len: u64,
    /// Bytes from the first to the last element's end; above `len` when strides leave holes.
    pub(crate) span: u64,
    /// No holes: the elements fill the span.
    pub(crate) dense: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Size,
    Groups,
    Strides,
}

/// The number of elements; `None` when it, with empty axes counted as 1, exceeds 2^63-1.
pub(crate) fn element_count(dims: impl Iterator<Item = u64>) -> Option<u64> {
    bounded_count(dims).map(|(count, empty)| if empty { 0 } else { count })
}

/// The number of elements with empty axes counted as 1, and whether there is one.
fn bounded_count(dims: impl Iterator<Item = u64>) -> Option<(u64, bool)> {
    let mut product = 1u64;
    let mut empty = false;
    for dim in dims {
        empty |= dim == 0;
        product = product.checked_mul(dim.max(1)).filter(|p| *p <= MAX_LEN)?;
    }
    Some((product, empty))
}

/// The extent of a row-major tensor.
pub(crate) fn row_major(geometry: Geometry, dims: impl Iterator<Item = u64> + Clone) -> Result<Extent, Fault> {
    let elements = u64::from(geometry.elements);
    let (bounded, empty) = bounded_count(dims.clone()).ok_or(Fault::Size)?;
    // Most elements are groups of their own; a division costs more than the rest of this.
    let groups = if elements == 1 { bounded } else { bounded.div_ceil(elements) };
    let bytes = groups.checked_mul(geometry.bytes.into());
    let bounded_len = bytes.filter(|b| *b <= MAX_LEN).ok_or(Fault::Size)?;
    if geometry.class == GroupClass::Block && dims.clone().last().is_none_or(|last| last % elements != 0) {
        return Err(Fault::Groups);
    }
    let len = if empty { 0 } else { bounded_len };
    Ok(Extent { len, span: len, dense: true })
}

/// The extent of a tensor with explicit strides in elements, which must be in their one legal spelling.
pub(crate) fn strided(geometry: Geometry, dims: &[u64], strides: &[u64]) -> Result<Extent, Fault> {
    let contiguous = row_major(geometry, dims.iter().copied())?;
    if geometry.class != GroupClass::Scalar || contiguous.len == 0 {
        return Err(Fault::Strides);
    }
    let canonical = dims.iter().zip(strides).all(|(dim, stride)| (*dim <= 1) == (*stride == 0));
    if !canonical || is_row_major(dims, strides) {
        return Err(Fault::Strides);
    }
    let (reach, dense) = reach(dims, strides).ok_or(Fault::Strides)?;
    let span = (reach + 1).checked_mul(geometry.bytes.into()).filter(|s| *s <= MAX_LEN).ok_or(Fault::Size)?;
    Ok(Extent { len: contiguous.len, span, dense })
}

/// The index of the last element and whether the elements are dense; `None` when two of them may coincide.
///
/// Axes of extent above 1, by stride: each stride must exceed what the axes before it reach together.
fn reach(dims: &[u64], strides: &[u64]) -> Option<(u64, bool)> {
    let mut axes: Vec<(u64, u64)> = strides.iter().copied().zip(dims.iter().copied()).filter(|(_, dim)| *dim > 1).collect();
    axes.sort_unstable();
    let (mut reach, mut product, mut dense) = (0u64, 1u64, true);
    for (stride, dim) in axes {
        if stride <= reach {
            return None;
        }
        dense &= stride == product;
        reach = (dim - 1).checked_mul(stride)?.checked_add(reach).filter(|r| *r < MAX_LEN)?;
        product = product.checked_mul(dim)?;
    }
    Some((reach, dense))
}

/// Whether strides in elements (0 on axes of extent at most 1) are those of a row-major tensor.
pub(crate) fn is_row_major(dims: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    dims.iter().zip(strides).rev().all(|(dim, stride)| {
        let fits = *dim <= 1 || *stride == expected;
        expected = expected.saturating_mul((*dim).max(1));
        fits
    })
}

/// Row-major strides in elements; 0 on axes of extent at most 1.
pub(crate) fn row_major_strides(dims: &[u64]) -> Vec<u64> {
    let mut strides = vec![0; dims.len()];
    let mut step = 1u64;
    for (stride, dim) in strides.iter_mut().zip(dims).rev() {
        if *dim > 1 {
            *stride = step;
        }
        step = step.saturating_mul((*dim).max(1));
    }
    strides
}

/// Whether a packed tensor ends within a group.
pub(crate) fn has_partial_group(geometry: Geometry, dims: impl Iterator<Item = u64>) -> bool {
    geometry.class == GroupClass::Packed && element_count(dims).is_some_and(|n| n % u64::from(geometry.elements) != 0)
}

/// How many blocks of `2^log2` bytes a buffer of `len` bytes is cut into.
pub(crate) fn block_count(len: u64, log2: u8) -> u64 {
    len.div_ceil(1 << log2)
}

/// Calls `visit` with every position along all axes but the innermost `inner`, in row-major order.
pub(crate) fn for_each_position<E>(dims: &[u64], mut visit: impl FnMut(&[u64]) -> Result<(), E>) -> Result<(), E> {
    if dims.contains(&0) {
        return Ok(());
    }
    let mut position = vec![0; dims.len()];
    loop {
        visit(&position)?;
        let mut axis = dims.len();
        loop {
            if axis == 0 {
                return Ok(());
            }
            axis -= 1;
            position[axis] += 1;
            if position[axis] < dims[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
}

/// Where axes from `axis` on are one contiguous run in elements: the length of the longest such suffix.
pub(crate) fn contiguous_suffix(dims: &[u64], strides: &[u64]) -> (usize, u64) {
    let mut run = 1u64;
    let mut axis = dims.len();
    while axis > 0 && (dims[axis - 1] <= 1 || strides[axis - 1] == run) {
        axis -= 1;
        run = run.saturating_mul(dims[axis].max(1));
    }
    (axis, run)
}

/// Bytes from `start` for `count` elements of a row-major scalar or packed run, as (first byte, bytes).
pub(crate) fn element_bytes(geometry: Geometry, start: u64, count: u64) -> (u64, u64) {
    let (elements, bytes) = (u64::from(geometry.elements), u64::from(geometry.bytes));
    let first = start / elements;
    let end = (start + count).div_ceil(elements);
    (first * bytes, (end - first) * bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn rm(dtype: &DType, dims: &[u64]) -> Result<Extent, Fault> {
        row_major(dtype.geometry(), dims.iter().copied())
    }

    #[test]
    fn sizes_by_class() {
        assert_eq!(rm(&DType::F32, &[2, 3]).unwrap().len, 24);
        assert_eq!(rm(&DType::F32, &[]).unwrap().len, 4);
        assert_eq!(rm(&DType::F32, &[0, 1 << 60]).unwrap().len, 0);
        assert_eq!(rm(&DType::F32, &[0, 1 << 61]), Err(Fault::Size));
        assert_eq!(rm(&DType::I4, &[3, 3]).unwrap().len, 5);
        assert_eq!(rm(&DType::F6_E2M3FN, &[5]).unwrap().len, 6);
        assert_eq!(rm(&DType::Q4_0, &[2, 64]).unwrap().len, 72);
        assert_eq!(rm(&DType::Q4_0, &[2, 33]), Err(Fault::Groups));
        assert_eq!(rm(&DType::Q4_0, &[]), Err(Fault::Groups));
        assert_eq!(rm(&DType::U8, &[1 << 32, 1 << 31]), Err(Fault::Size));
    }

    #[test]
    fn strides_by_rule() {
        let g = DType::F32.geometry();
        let of = |dims: &[u64], strides: &[u64]| strided(g, dims, strides);
        assert_eq!(of(&[2, 3], &[1, 2]).unwrap(), Extent { len: 24, span: 24, dense: true });
        assert_eq!(of(&[2, 3], &[4, 1]).unwrap(), Extent { len: 24, span: 28, dense: false });
        assert_eq!(of(&[2, 3], &[3, 1]), Err(Fault::Strides));
        assert_eq!(of(&[2, 3], &[2, 1]), Err(Fault::Strides));
        assert_eq!(of(&[2, 1], &[3, 1]), Err(Fault::Strides));
        assert_eq!(of(&[2, 2], &[0, 1]), Err(Fault::Strides));
        assert_eq!(of(&[2, 2], &[u64::MAX, 1]), Err(Fault::Strides));
    }

    /// Exhaustive over small shapes and strides: legal exactly when no two elements coincide, by the rule's own
    /// (sufficient) criterion, and the span is the true maximum.
    #[test]
    fn reach_agrees_with_enumeration() {
        for dims in [[2u64, 2, 2], [2, 3, 1], [3, 2, 2]] {
            for code in 0..512u64 {
                let strides = [code & 7, (code >> 3) & 7, code >> 6];
                let mut seen = std::collections::BTreeSet::new();
                let mut distinct = true;
                for_each_position(&dims, |p| {
                    let at: u64 = p.iter().zip(&strides).map(|(i, s)| i * s).sum();
                    distinct &= seen.insert(at);
                    Ok::<_, ()>(())
                })
                .unwrap();
                if let Some((last, dense)) = reach(&dims, &strides) {
                    assert!(distinct);
                    assert_eq!(seen.last(), Some(&last));
                    assert_eq!(dense, last + 1 == dims.iter().product::<u64>());
                }
            }
        }
    }
}
