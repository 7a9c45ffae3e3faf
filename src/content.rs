//! Rules on the elements themselves: bool bytes and the tail bits of packed tensors. `Spec §8.3`.

use crate::bytes::{from_usize, table_index};
use crate::dtype::{DType, Geometry};
use crate::error::{Code, Error, Result};
use crate::layout::has_partial_group;
use crate::read::TensorRef;
use crate::tensor::Tensor;

/// Whether there is anything to check in tensors of this dtype and shape.
pub(crate) fn has_rules(dtype: &DType, shape: &[u64]) -> bool {
    *dtype == DType::BOOL || has_partial_group(dtype.geometry(), shape.iter().copied())
}

/// Refuses `tensor`, the elements of `source`, if they break a rule.
pub(crate) fn check(source: &TensorRef<'_>, tensor: &Tensor<'_>) -> Result<()> {
    if !has_rules(tensor.dtype(), tensor.shape()) {
        return Ok(());
    }
    let start = source.file_range()?.start;
    check_elements(tensor).map_err(|(code, at, detail)| Error::at(code, start + at, format!("tensor {}: {detail}", source.number())))
}

/// The rules on the elements of `tensor`; a fault has its code, its byte counted from the first element, and a
/// sentence.
pub(crate) fn check_elements(tensor: &Tensor<'_>) -> std::result::Result<(), (Code, u64, String)> {
    if *tensor.dtype() == DType::BOOL {
        return check_bools(tensor);
    }
    let geometry = tensor.dtype().geometry();
    let last = tensor.span().and_then(|span| span.rchunks(table_index(geometry.bytes)).next()).unwrap_or(&[]);
    match unused_bits(geometry, tensor.element_count(), last) {
        None => Ok(()),
        Some(i) => Err((Code::TailBits, tensor.byte_len() - u64::from(geometry.bytes) + from_usize(i), TAIL_BITS.to_owned())),
    }
}

const TAIL_BITS: &str = "the unused bits of its last group are not zero";

/// The error of a tensor with an unused bit in the byte at `at`.
pub(crate) fn tail_bits(number: u32, at: u64) -> Error {
    Error::at(Code::TailBits, at, format!("tensor {number}: {TAIL_BITS}"))
}

/// The byte of `last`, the last group of a tensor of `count` elements, in which an unused bit is not zero.
pub(crate) fn unused_bits(geometry: Geometry, count: u64, last: &[u8]) -> Option<usize> {
    // The last group holds `used` bits; all above are unused.
    let used = match count % u64::from(geometry.elements) {
        0 => return None,
        n => n * u64::from(geometry.element_bits()?),
    };
    let unused = |i: usize| match used.saturating_sub(from_usize(i) * 8) {
        0 => 0xFF,
        n if n >= 8 => 0,
        n => 0xFFu8 << n,
    };
    last.iter().enumerate().find(|(i, b)| *b & unused(*i) != 0).map(|(i, _)| i)
}

/// The error of a tensor with a bool byte of `value` at `at`.
pub(crate) fn bad_bool(number: u32, at: u64, value: u8) -> Error {
    Error::at(Code::BoolValue, at, format!("tensor {number}: a bool byte is {value}, not 0 or 1"))
}

fn check_bools(tensor: &Tensor<'_>) -> std::result::Result<(), (Code, u64, String)> {
    let mut bad = None;
    tensor.gather(|run| {
        if bad.is_none() && !all_bools(run) {
            bad = run.iter().position(|b| *b > 1).map(|i| (run[i], run.as_ptr().addr() + i));
        }
    });
    let Some((value, address)) = bad else { return Ok(()) };
    let first = tensor.span().map_or(0, |span| span.as_ptr().addr());
    Err((Code::BoolValue, from_usize(address.saturating_sub(first)), format!("a bool byte is {value}, not 0 or 1")))
}

/// Whether all are 0 or 1. Folds chunks, which compiles to vector code, before looking for a culprit.
pub(crate) fn all_bools(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, b| all | b) <= 1)
}
