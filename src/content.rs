//! Rules on the elements themselves: bool bytes and the tail bits of packed tensors. `Spec §8.3`.

use crate::bytes::from_usize;
use crate::dtype::DType;
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
    let (Some(bits), Some(last)) =
        (geometry.element_bits(), tensor.span().and_then(|s| s.rchunks(crate::bytes::table_index(geometry.bytes)).next()))
    else {
        return Ok(());
    };
    // The last group holds `used` bits; all above are unused.
    let elements = u64::from(geometry.elements);
    let used = match tensor.element_count() % elements {
        0 => return Ok(()),
        n => n * u64::from(bits),
    };
    let unused = |i: usize| match used.saturating_sub(from_usize(i) * 8) {
        0 => 0xFF,
        n if n >= 8 => 0,
        n => 0xFFu8 << n,
    };
    match last.iter().enumerate().find(|(i, b)| *b & unused(*i) != 0) {
        None => Ok(()),
        Some((i, _)) => {
            let at = tensor.byte_len() - u64::from(geometry.bytes) + from_usize(i);
            Err((Code::TailBits, at, "the unused bits of its last group are not zero".to_owned()))
        }
    }
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

/// Folds chunks, which compiles to vector code, before looking for a culprit.
fn all_bools(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, b| all | b) <= 1)
}
