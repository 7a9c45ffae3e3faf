//! The rules on elements of what was loaded, each tensor once and bools together. `Spec §8.3`.

use std::borrow::Cow;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::bits::Bits;
use crate::bools::{self, Ahead, BadBools, First};
use crate::content;
use crate::dtype::DType;
use crate::entry::Entry;
use crate::error::Result;
use crate::read::{Cairn, TensorRef};
use crate::tensor::Tensor;

/// The bytes of the file from an offset on that lie together in memory.
pub(crate) type Bytes<'b> = &'b dyn Fn(u64) -> &'b [u8];

/// Which tensors were checked.
pub(crate) struct Checks {
    done: Mutex<Bits>,
    /// The bool tensors whose bytes are in memory.
    bools: Bits,
    /// Found when one of them is first taken; `None` if they cannot be looked at together.
    bad: OnceLock<Option<BadBools>>,
}

impl Checks {
    /// For tensors of numbers below `bound`.
    pub(crate) fn of(bound: usize) -> Self {
        Self { done: Mutex::new(Bits::below(bound)), bools: Bits::below(bound), bad: OnceLock::new() }
    }

    /// Notes that the bytes of `tensor`, whose entry is `entry`, will be in memory.
    pub(crate) fn note(&mut self, tensor: &TensorRef<'_>, entry: &Entry<'_>) -> Result<()> {
        if *tensor.cairn.index.dtype(tensor.cairn.index_bytes(), entry.dtype)? == DType::BOOL {
            self.bools.insert(tensor.number());
        }
        Ok(())
    }

    /// Refuses `tensor`, whose elements are `built`, if they break a rule.
    pub(crate) fn check(&self, tensor: &TensorRef<'_>, built: &Tensor<'_>, bytes: Bytes<'_>) -> Result<()> {
        if !content::has_rules(built.dtype(), built.shape()) {
            return Ok(());
        }
        let done = || self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if !done().contains(tensor.number()) {
            match if self.bools.contains(tensor.number()) { self.bad_bools(tensor.cairn, bytes) } else { None } {
                Some(bad) => check_bools(tensor, bad, bytes)?,
                None => content::check(tensor, built)?,
            }
            done().insert(tensor.number());
        }
        Ok(())
    }

    fn bad_bools(&self, cairn: &Cairn<'_>, bytes: Bytes<'_>) -> Option<&BadBools> {
        let find = || {
            let ranges = self.bools.iter().map(|number| TensorRef::new(cairn, number).file_range());
            let mut ranges = ranges.collect::<Result<Vec<_>>>()?;
            ranges.sort_unstable_by_key(|range| range.start);
            BadBools::find(ranges.into_iter(), &mut Ahead::new(|at| Ok(Cow::Borrowed(bytes(at)))))
        };
        self.bad.get_or_init(|| find().ok()).as_ref()
    }
}

fn check_bools(tensor: &TensorRef<'_>, bad: &BadBools, bytes: Bytes<'_>) -> Result<()> {
    let (number, range) = (tensor.number(), tensor.file_range()?);
    match bad.first_of(tensor, &range)? {
        First::None => Ok(()),
        First::At(at) => Err(content::bad_bool(number, at, bytes(at).first().copied().unwrap_or(0))),
        First::Unknown => Err(bools::too_many_steps(number, range.start)),
    }
}
