//! What tensors of a file share, by address, so that two files can be compared.

use std::collections::HashMap;

use cairnfile::{Cairn, TensorRef};

use crate::common::Failure;

/// The first address of each tensor and of each buffer's bytes.
pub(crate) struct Ties {
    first: HashMap<u32, String>,
    /// Address of the first tensor in a buffer.
    base: HashMap<u32, String>,
}

type Side<'s, 'c> = (&'c Cairn<'c>, &'s Ties, &'s TensorRef<'c>);

impl Ties {
    /// Walks the root of `cairn` once.
    pub(crate) fn of(cairn: &Cairn<'_>) -> Result<Self, Failure> {
        let mut ties = Self { first: HashMap::new(), base: HashMap::new() };
        cairn.root().visit(&mut String::new(), &mut |address, value| {
            let Some(tensor) = value.tensor()? else { return Ok(()) };
            ties.first.entry(tensor.number()).or_insert_with(|| address.to_owned());
            if let Some(buffer) = tensor.buffer()? {
                ties.base.entry(buffer).or_insert_with(|| address.to_owned());
            }
            Ok(())
        })?;
        Ok(ties)
    }

    /// How the sharing of the tensors at `address` differs, told from both sides; `None` if it does not. What the
    /// other file lacks is no difference of sharing.
    pub(crate) fn compare<'c>(a: Side<'_, 'c>, b: Side<'_, 'c>, address: &str) -> Result<Option<(String, String)>, Failure> {
        let (only_a, only_b) = (Self::lost(a, b, address)?, Self::lost(b, a, address)?);
        if only_a.is_none() && only_b.is_none() {
            return Ok(None);
        }
        let text = |lost: Option<String>| lost.unwrap_or_else(|| "not shared so".to_owned());
        Ok(Some((text(only_a), text(only_b))))
    }

    /// What the tensor of side `a` shares that the one of side `b` does not.
    fn lost((own, ties, tensor): Side<'_, '_>, (other, _, twin): Side<'_, '_>, address: &str) -> Result<Option<String>, Failure> {
        let at = |there: &str| other.get(there).ok().and_then(|v| v.tensor().ok().flatten());
        let first = ties.first.get(&tensor.number()).filter(|first| *first != address);
        if let Some((first, partner)) = first.and_then(|f| Some((f, at(f)?))) {
            return Ok((partner.number() != twin.number()).then(|| format!("same tensor as {first}")));
        }
        let Some(buffer) = tensor.buffer()? else { return Ok(None) };
        let base = ties.base.get(&buffer).filter(|base| *base != address);
        if let Some((base, partner)) = base.and_then(|f| Some((f, at(f)?))) {
            let start = |t: &TensorRef<'_>| t.file_range().map_or(0, |range| i128::from(range.start));
            let distance = own.tensor(base).map(|own_base| start(tensor) - start(&own_base))?;
            let same = partner.buffer()? == twin.buffer()? && distance == start(twin) - start(&partner);
            return Ok((!same).then(|| format!("shares memory with {base} at byte {distance}")));
        }
        Ok(None)
    }
}
