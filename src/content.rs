//! Rules on the elements themselves: bool bytes and the tail bits of packed tensors. `Spec §8.3`.

use std::borrow::Cow;
use std::ops::Range;

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

/// The error of a tensor with a bool byte of `value` at `at`.
pub(crate) fn bad_bool(number: u32, at: u64, value: u8) -> Error {
    Error::at(Code::BoolValue, at, format!("tensor {number}: a bool byte is {value}, not 0 or 1"))
}

/// Looks for bytes above 1 in ranges that begin one behind the other, and at each byte once.
pub(crate) struct Sweep<R> {
    read: R,
    /// Up to where it has looked, and the byte above 1 that stopped it there.
    at: u64,
    found: Option<u8>,
}

/// Bytes that a sweep reads at a time.
const STRETCH: u64 = 1 << 16;

impl<'m, R: FnMut(u64, u64) -> Result<Cow<'m, [u8]>>> Sweep<R> {
    /// Over the bytes that `read` gives for an offset and a length.
    pub(crate) fn new(read: R) -> Self {
        Self { read, at: 0, found: None }
    }

    /// The first byte above 1 in `range`, which begins no earlier than the one before.
    pub(crate) fn first_above_one(&mut self, range: Range<u64>) -> Result<Option<(u64, u8)>> {
        if self.at < range.start {
            (self.at, self.found) = (range.start, None);
        }
        while self.found.is_none() && self.at < range.end {
            let bytes = (self.read)(self.at, STRETCH.min(range.end - self.at))?;
            let bad = if all_bools(&bytes) { None } else { bytes.iter().position(|b| *b > 1) };
            self.found = bad.map(|i| bytes[i]);
            self.at += from_usize(bad.unwrap_or(bytes.len()));
        }
        Ok(self.found.filter(|_| self.at < range.end).map(|value| (self.at, value)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_finds_the_first_and_reads_once() {
        let mut bytes = vec![1u8; 300_000];
        bytes[100_000] = 7;
        bytes[200_000] = 255;
        let mut read = 0;
        let mut sweep = Sweep::new(|at, len| {
            read += len;
            let at = usize::try_from(at).unwrap_or(0);
            Ok(Cow::Borrowed(&bytes[at..][..usize::try_from(len).unwrap_or(0)]))
        });
        let (first, second) = (Some((100_000, 7)), Some((200_000, 255)));
        for (range, found) in [
            (0..100_000, None),
            (0..100_001, first),
            (5..300_000, first),
            (100_000..100_001, first),
            (100_001..200_000, None),
            (100_002..200_001, second),
            (200_000..300_000, second),
            (200_001..300_000, None),
            (299_999..300_000, None),
        ] {
            assert_eq!(sweep.first_above_one(range.clone()).unwrap(), found, "{range:?}");
        }
        // What stands behind a byte above 1 in its stretch is read again.
        assert!(read < 300_000 + 2 * STRETCH, "{read}");
    }
}
