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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupClass, Storage};

    #[test]
    fn unused_bits_are_those_above_the_last_element() {
        // Four elements of six bits in three bytes.
        let geometry = Geometry { class: GroupClass::Packed, elements: 4, bytes: 3 };
        let bad = |count, last: [u8; 3]| unused_bits(geometry, count, &last);
        assert_eq!((bad(3, [0xFF, 0xFF, 3]), bad(7, [0xFF, 0xFF, 4]), bad(3, [0, 0, 0x80])), (None, Some(2), Some(2)));
        assert_eq!((bad(1, [0x3F, 0, 0]), bad(1, [0x40, 0, 0]), bad(5, [0, 1, 1]), bad(1, [0, 0, 1])), (None, Some(0), Some(1), Some(2)));
        assert_eq!((bad(2, [0xFF, 0x0F, 0]), bad(2, [0xFF, 0x10, 0])), (None, Some(1)));
        assert_eq!((bad(4, [0xFF; 3]), bad(0, [0xFF; 3])), (None, None));
    }

    #[test]
    fn the_first_bad_bool_is_reported() {
        let bytes = Storage::borrowed(&[1, 0, 9, 1, 7, 0, 5, 5]);
        let fault = |shape: &[u64], strides: &[i64]| {
            let tensor = Tensor::view(DType::BOOL, shape, Some(strides), bytes.clone(), 0).unwrap();
            check_elements(&tensor).map_err(|(code, at, why)| (code, at, why.contains(" is 7,")))
        };
        assert_eq!(fault(&[2, 2], &[3, 1]), Err((Code::BoolValue, 4, true)));
        assert_eq!(fault(&[3, 2], &[3, 1]), Err((Code::BoolValue, 4, true)));
        assert_eq!(fault(&[2], &[3]), Ok(()));
    }
}
