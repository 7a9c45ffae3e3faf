//! Whether a value came back: its parts, and which bytes are shared.

use std::collections::{HashMap, HashSet};

use cairnfile::{Tensor, Value};

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

/// The address of every byte of the elements, in row-major order.
fn addresses(tensor: &Tensor<'_>) -> Vec<usize> {
    if tensor.byte_len() == 0 {
        return vec![];
    }
    let base = tensor.storage().bytes().unwrap().as_ptr().addr() as i64 + tensor.offset() as i64;
    let Some(strides) = tensor.byte_strides() else {
        return (0..tensor.byte_len() as i64).map(|i| (base + i) as usize).collect();
    };
    let mut starts = vec![base];
    for (dim, stride) in tensor.shape().iter().zip(strides) {
        starts = starts.iter().flat_map(|start| (0..*dim as i64).map(move |i| start + i * stride)).collect();
    }
    let width = i64::from(tensor.dtype().geometry().bytes);
    starts.iter().flat_map(|start| (0..width).map(move |i| (start + i) as usize)).collect()
}

/// Whether two different tensors have ranges with a byte in common.
pub fn any_ranges_meet(tensors: &[&Tensor<'_>]) -> bool {
    let mut seen = HashSet::new();
    let mut ranges = vec![];
    for tensor in tensors {
        let bytes = addresses(tensor);
        if let (Some(first), Some(last)) = (bytes.iter().min(), bytes.iter().max()) {
            let range = (*first, *last);
            if seen.insert((tensor.dtype().clone(), tensor.shape().to_vec(), bytes)) {
                ranges.push(range);
            }
        }
    }
    ranges.sort_unstable();
    let mut end = 0;
    ranges.into_iter().any(|(first, last)| {
        let meets = first <= end;
        end = end.max(last);
        meets
    })
}

/// Two bytes of tensors that were one byte are one byte again (unless they may be unshared), and no others are.
pub fn sharing(before: &Value<'_>, after: &Value<'_>, unshare: bool) {
    let (before, after) = (tensors(before), tensors(after));
    let mut seen = HashMap::new();
    let mut forth: HashMap<usize, (usize, usize)> = HashMap::new();
    let mut back: HashMap<usize, usize> = HashMap::new();
    for (number, (a, b)) in before.iter().zip(&after).enumerate() {
        let (old, new) = (addresses(a), addresses(b));
        if let Some(first) = seen.insert((a.dtype().clone(), a.shape().to_vec(), old.clone()), new.clone()) {
            assert_eq!(first, new, "tied tensors came apart: {a:?}");
            continue;
        }
        for (old, new) in old.into_iter().zip(new) {
            let (known, by) = *forth.entry(old).or_insert((new, number));
            // Within one tensor, an element under several indices is written under each.
            assert!(known == new || by == number || unshare, "sharing lost: {a:?} and {:?}", before[by]);
            assert_eq!(*back.entry(new).or_insert(old), old, "sharing made up: {a:?}");
        }
    }
}
