//! Whether a value came back: its parts, and which bytes are shared.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use cairnfile::{GroupClass, Tensor, Value};

/// A value below `value`, and their number of levels.
fn children<'v, 'a>(value: &'v Value<'a>) -> Vec<&'v Value<'a>> {
    match value {
        Value::List(items) | Value::Tuple(items) => items.iter().collect(),
        Value::Dict(dict) => dict.iter().map(|(_, item)| item).collect(),
        Value::Named(named) => vec![named.value()],
        _ => vec![],
    }
}

pub fn depth(value: &Value<'_>) -> usize {
    1 + children(value).into_iter().map(depth).max().unwrap_or(0)
}

/// The tensors in preorder.
pub fn tensors<'v, 'a>(value: &'v Value<'a>) -> Vec<&'v Tensor<'a>> {
    match value {
        Value::Tensor(tensor) => vec![tensor],
        _ => children(value).into_iter().flat_map(tensors).collect(),
    }
}

/// Equal, but that a layout which cannot be stored has become row-major.
pub fn value(a: &Value<'_>, b: &Value<'_>) {
    if let (Value::Tensor(a), Value::Tensor(b)) = (a, b) {
        assert!(a.same_elements(b), "{a:?} came back as {b:?}");
        assert!(a == b || (b.is_row_major() && !a.is_row_major()), "{a:?} came back as {b:?}");
        return;
    }
    let (below_a, below_b) = (children(a), children(b));
    assert_eq!((a.type_word(), below_a.len()), (b.type_word(), below_b.len()));
    match (a, b) {
        (Value::Dict(a), Value::Dict(b)) => assert!(a.iter().map(|(key, _)| key).eq(b.iter().map(|(key, _)| key))),
        (Value::Named(a), Value::Named(b)) => assert_eq!(a.name(), b.name()),
        _ if below_a.is_empty() => assert!(a == b, "{a:?} came back as {b:?}"),
        _ => {}
    }
    below_a.into_iter().zip(below_b).for_each(|(a, b)| value(a, b));
}

/// Address of the first element, and strides in bytes of the axes of several: of one dtype and shape, tensors in the same place
/// are over the same bytes in the same order, and no others are.
fn place(tensor: &Tensor<'_>) -> (usize, Vec<i64>) {
    if tensor.byte_len() == 0 {
        return (0, vec![]);
    }
    let base = (tensor.storage().bytes().unwrap().as_ptr().addr() as u64 + tensor.offset()) as usize;
    let Some(strides) = tensor.byte_strides() else { return (base, row_major(tensor)) };
    (base, strides.iter().zip(tensor.shape()).map(|(stride, dim)| if *dim > 1 { *stride } else { 0 }).collect())
}

/// The strides that are not written down; of a dtype without any, none.
fn row_major(tensor: &Tensor<'_>) -> Vec<i64> {
    let geometry = tensor.dtype().geometry();
    if geometry.class != GroupClass::Scalar {
        return vec![];
    }
    let mut step = i64::from(geometry.bytes);
    let mut strides: Vec<_> = tensor.shape().iter().rev().map(|dim| (if *dim > 1 { step } else { 0 }, step *= *dim as i64).0).collect();
    strides.reverse();
    strides
}

/// The addresses of pieces of `width` bytes, a whole number of which is an element or, in a row-major tensor, all of them.
fn pieces(tensor: &Tensor<'_>, width: usize) -> Vec<usize> {
    let (base, _) = place(tensor);
    let Some(strides) = tensor.byte_strides() else { return (base..base + tensor.byte_len() as usize).step_by(width).collect() };
    let mut starts = vec![base as i64];
    for (dim, stride) in tensor.shape().iter().zip(strides) {
        starts = starts.iter().flat_map(|start| (0..*dim as i64).map(move |i| start + i * stride)).collect();
    }
    starts.into_iter().map(|start| start as usize).collect()
}

/// From the first to behind the last byte; the tensor has some.
fn range(tensor: &Tensor<'_>) -> Range<usize> {
    let (base, strides) = place(tensor);
    let Some(_) = tensor.byte_strides() else { return base..base + tensor.byte_len() as usize };
    let reach = |down: bool| {
        let steps = strides.iter().zip(tensor.shape()).map(|(stride, dim)| stride * (*dim as i64 - 1));
        steps.filter(|step| (*step < 0) == down).sum::<i64>()
    };
    let at = |step: i64| (base as i64 + step) as usize;
    at(reach(true))..at(reach(false)) + tensor.dtype().geometry().bytes as usize
}

/// Whether two different tensors have ranges with a byte in common.
pub fn any_ranges_meet(tensors: &[&Tensor<'_>]) -> bool {
    let mut seen = HashSet::new();
    let some = tensors.iter().filter(|tensor| tensor.byte_len() > 0);
    let mut ranges: Vec<_> =
        some.filter(|t| seen.insert((t.dtype(), t.shape(), place(t)))).map(|t| range(t)).map(|range| (range.start, range.end)).collect();
    ranges.sort_unstable();
    let mut before = 0;
    ranges.into_iter().any(|(start, end)| {
        let meets = start < before;
        before = before.max(end);
        meets
    })
}

/// Something about each byte of memory that tensors view.
struct Ground<T> {
    /// Starts and ends, ascending, and the number of the first byte.
    ranges: Vec<(Range<usize>, usize)>,
    cells: Vec<T>,
}

impl<T: Clone> Ground<T> {
    fn under(tensors: &[&Tensor<'_>], cell: T) -> Self {
        let mut parts: Vec<_> = tensors.iter().filter(|tensor| tensor.byte_len() > 0).map(|tensor| range(tensor)).collect();
        parts.sort_unstable_by_key(|part| part.start);
        let mut ranges: Vec<(Range<usize>, usize)> = vec![];
        let mut count = 0;
        for part in parts {
            match ranges.last_mut() {
                Some((last, first)) if part.start < last.end => {
                    last.end = last.end.max(part.end);
                    count = *first + last.len();
                }
                _ => {
                    ranges.push((part.clone(), count));
                    count += part.len();
                }
            }
        }
        Self { ranges, cells: vec![cell; count] }
    }

    /// What to add to the addresses of a tensor for the numbers of its cells.
    fn shift(&self, tensor: &Tensor<'_>) -> usize {
        let start = range(tensor).start;
        let (range, first) = &self.ranges[self.ranges.partition_point(|(range, _)| range.end <= start)];
        first.wrapping_sub(range.start)
    }
}

/// Two bytes of tensors that were one byte are one byte again (unless they may be unshared), and no others are.
pub fn sharing(before: &Value<'_>, after: &Value<'_>, unshare: bool) {
    let (before, after) = (tensors(before), tensors(after));
    let mut seen = HashMap::new();
    // By old address the new one, and the tensor that had it first; by new address the old one.
    let mut forth = Ground::under(&before, (0, 0));
    let mut back = Ground::under(&after, 0);
    for (number, (a, b)) in before.iter().zip(&after).enumerate() {
        let new = place(b);
        if let Some(first) = seen.insert((a.dtype(), a.shape(), place(a)), new.clone()) {
            assert_eq!(first, new, "tied tensors came apart: {a:?}");
            continue;
        }
        if a.byte_len() == 0 {
            continue;
        }
        let (forth_by, back_by) = (forth.shift(a), back.shift(b));
        let whole = a.byte_strides().is_none() && b.byte_strides().is_none();
        let width = if whole { a.byte_len() as usize } else { a.dtype().geometry().bytes as usize };
        let bytes = pieces(a, width).into_iter().zip(pieces(b, width)).flat_map(|(a, b)| (a..a + width).zip(b..b + width));
        for (old, new) in bytes {
            let known = &mut forth.cells[old.wrapping_add(forth_by)];
            if known.0 == 0 {
                *known = (new, number);
            }
            // Within one tensor, an element under several indices is written under each.
            assert!(known.0 == new || known.1 == number || unshare, "sharing lost: {a:?} and {:?}", before[known.1]);
            let from = &mut back.cells[new.wrapping_add(back_by)];
            if *from == 0 {
                *from = old;
            }
            assert_eq!(*from, old, "sharing made up: {a:?}");
        }
    }
}
