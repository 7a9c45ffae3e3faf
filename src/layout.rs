//! The arithmetic of shapes and strides: pure, checked, and shared by reader and writer. `Spec §7.6, §7.7`.
//!
//! `tests/arithmetic` compiles this file at 8 bits and tries all inputs, and proves the lemmas at 64 bits.

use std::ops::Deref;

use crate::dtype::{Geometry, GroupClass};
use crate::limits::{MAX_LEN, Word};

/// The extents of a tensor's axes. Most tensors are vectors and matrices, and there may be very many of them: these
/// take no allocation.
#[derive(Clone)]
pub(crate) enum Shape {
    Few(u8, [Word; 2]),
    Many(Box<[Word]>),
}

impl Shape {
    pub(crate) fn collect(mut dims: impl ExactSizeIterator<Item = Word>) -> Self {
        let rank = match dims.len() {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => return Self::Many(dims.collect()),
        };
        Self::Few(rank, [dims.next().unwrap_or(0), dims.next().unwrap_or(0)])
    }
}

impl Deref for Shape {
    type Target = [Word];

    fn deref(&self) -> &[Word] {
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
    pub(crate) len: Word,
    /// Bytes from the first to the last element's end; above `len` when strides leave holes.
    pub(crate) span: Word,
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
pub(crate) fn element_count(dims: impl Iterator<Item = Word>) -> Option<Word> {
    bounded_count(dims).map(|(count, empty)| if empty { 0 } else { count })
}

/// The number of elements with empty axes counted as 1, and whether there is one.
fn bounded_count(dims: impl Iterator<Item = Word>) -> Option<(Word, bool)> {
    let mut product: Word = 1;
    let mut empty = false;
    for dim in dims {
        empty |= dim == 0;
        product = product.checked_mul(dim.max(1)).filter(|p| *p <= MAX_LEN)?;
    }
    Some((product, empty))
}

/// The extent of a row-major tensor.
pub(crate) fn row_major(geometry: Geometry, dims: impl Iterator<Item = Word> + Clone) -> Result<Extent, Fault> {
    let elements = Word::from(geometry.elements);
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
pub(crate) fn strided(geometry: Geometry, dims: &[Word], strides: &[Word]) -> Result<Extent, Fault> {
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
pub(crate) fn reach(dims: &[Word], strides: &[Word]) -> Option<(Word, bool)> {
    let mut axes: Vec<(Word, Word)> = strides.iter().copied().zip(dims.iter().copied()).filter(|(_, dim)| *dim > 1).collect();
    axes.sort_unstable();
    let (mut reach, mut product, mut dense): (Word, Word, bool) = (0, 1, true);
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
pub(crate) fn is_row_major(dims: &[Word], strides: &[Word]) -> bool {
    let mut expected: Word = 1;
    dims.iter().zip(strides).rev().all(|(dim, stride)| {
        let fits = *dim <= 1 || *stride == expected;
        expected = expected.saturating_mul((*dim).max(1));
        fits
    })
}

/// Row-major strides in elements; 0 on axes of extent at most 1.
pub(crate) fn row_major_strides(dims: &[Word]) -> Vec<Word> {
    let mut strides = vec![0; dims.len()];
    let mut step: Word = 1;
    for (stride, dim) in strides.iter_mut().zip(dims).rev() {
        if *dim > 1 {
            *stride = step;
        }
        step = step.saturating_mul((*dim).max(1));
    }
    strides
}

/// Whether a packed tensor ends within a group.
pub(crate) fn has_partial_group(geometry: Geometry, dims: impl Iterator<Item = Word>) -> bool {
    geometry.class == GroupClass::Packed && element_count(dims).is_some_and(|n| n % Word::from(geometry.elements) != 0)
}

/// Calls `visit` with every position along all axes but the innermost `inner`, in row-major order.
pub(crate) fn for_each_position<E>(dims: &[Word], mut visit: impl FnMut(&[Word]) -> Result<(), E>) -> Result<(), E> {
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
pub(crate) fn contiguous_suffix(dims: &[Word], strides: &[Word]) -> (usize, Word) {
    let mut run: Word = 1;
    let mut axis = dims.len();
    while axis > 0 && (dims[axis - 1] <= 1 || strides[axis - 1] == run) {
        axis -= 1;
        run = run.saturating_mul(dims[axis].max(1));
    }
    (axis, run)
}

/// Bytes from `start` for `count` elements of a row-major scalar or packed run, as (first byte, bytes).
pub(crate) fn element_bytes(geometry: Geometry, start: Word, count: Word) -> (Word, Word) {
    let (elements, bytes) = (Word::from(geometry.elements), Word::from(geometry.bytes));
    let first = start / elements;
    let end = (start + count).div_ceil(elements);
    (first * bytes, (end - first) * bytes)
}

/// The number of the element at `position`, from element `first` on: `position` is within the extents that `strides` are of.
pub(crate) fn element_at(first: Word, position: &[Word], strides: &[Word]) -> Word {
    position.iter().zip(strides).fold(first, |at, (i, stride)| at + i * stride)
}

/// The number of the last of the elements from `first` on with these extents, none of which is 0.
pub(crate) fn last_element(first: Word, dims: &[Word], strides: &[Word]) -> Word {
    dims.iter().zip(strides).fold(first, |at, (dim, stride)| at + (dim - 1) * stride)
}
