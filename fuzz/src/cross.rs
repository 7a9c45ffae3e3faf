//! One file from two.

use super::dice::Dice;
use super::parts::{Part, take_apart};
use super::support::raw::{self, NO_BUFFER, RawBuffer, RawFile};

/// The kind of buffers that no tensor views; they come last.
const AUXILIARY: u32 = 1;

/// As libFuzzer wants it: puts a file with parts of both into `out` and returns its size, 0 if there is none.
pub fn cross(first: &[u8], second: &[u8], out: &mut [u8], seed: u32) -> usize {
    let mut dice = Dice(seed.into());
    let (Some(mut file), Some(other)) = (take_apart(first), take_apart(second)) else { return 0 };
    match dice.below(8) {
        0 => file.root = other.root,
        1 => file.metadata = other.metadata,
        2 => file.extensions = other.extensions,
        3 => file.dtypes = other.dtypes,
        4 => bytes_of_another(&mut file.buffers, &other.buffers, &mut dice),
        _ => join(&mut file, other, &mut dice),
    }
    let file = file.build();
    let Some(room) = out.get_mut(..file.len()) else { return 0 };
    room.copy_from_slice(&file);
    file.len()
}

fn bytes_of_another(buffers: &mut [RawBuffer], others: &[RawBuffer], dice: &mut Dice) {
    if let (Some(buffer), Some(other)) = (dice.pick_mut(buffers), dice.pick(others)) {
        buffer.data = other.data;
    }
}

/// All of both: the tables one behind the other, and a root with both roots.
fn join(file: &mut RawFile, other: RawFile, dice: &mut Dice) {
    let Some(mut root) = Part::of(&other.root) else { return };
    shift(&mut root, file.tensors.len() as u32);
    let dtypes: Vec<u32> = other
        .dtypes
        .into_iter()
        .map(|dtype| {
            let known = file.dtypes.iter().position(|d| d.name == dtype.name);
            known.unwrap_or_else(|| (file.dtypes.len(), file.dtypes.push(dtype)).0) as u32
        })
        .collect();
    let buffers = file.buffers.iter().position(|b| b.kind == AUXILIARY).unwrap_or(file.buffers.len());
    let (auxiliary, viewed): (Vec<_>, Vec<_>) = other.buffers.into_iter().partition(|b| b.kind == AUXILIARY);
    file.buffers.splice(buffers..buffers, viewed);
    file.buffers.extend(auxiliary);
    for mut tensor in other.tensors {
        tensor.dtype = dtypes.get(tensor.dtype as usize).copied().unwrap_or(tensor.dtype);
        if tensor.buffer != NO_BUFFER {
            tensor.buffer = tensor.buffer.wrapping_add(buffers as u32);
        }
        file.tensors.push(tensor);
    }
    file.extensions.extend(other.extensions);
    file.extensions.sort_by_key(|extension| extension.tag);
    file.extensions.dedup_by_key(|extension| extension.tag);
    let both = [std::mem::take(&mut file.root), root.encode()];
    file.root = if dice.one_in(2) { raw::list(&both) } else { raw::tuple(&both) };
}

/// Makes room for `by` tensors in front of those that `part` refers to.
fn shift(part: &mut Part, by: u32) {
    match part {
        Part::Items(_, items) => items.iter_mut().for_each(|item| shift(item, by)),
        Part::Named(_, value) => shift(value, by),
        Part::Leaf(bytes) => {
            if let [raw::TENSOR, number @ ..] = &mut bytes[..]
                && let Some(number) = number.first_chunk_mut()
            {
                *number = u32::from_le_bytes(*number).wrapping_add(by).to_le_bytes();
            }
        }
    }
}
