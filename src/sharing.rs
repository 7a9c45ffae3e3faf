//! Which tensors share a buffer: the rule a reader checks and the algorithm a writer runs. `Spec §7.8, §13.3`.

use std::hash::BuildHasher;

use crate::bits::Bits;
use crate::buffer::KIND_TENSOR;
use crate::bytes::table_index;
use crate::entry::NO_BUFFER;
use crate::error::{Code, Error, Result};
use crate::hash::KeyedState;
use crate::index::{Entries, Tables};
use crate::keys;
use crate::layout::has_partial_group;
use crate::memory;
use crate::place;

/// Where a tensor lies: its buffer, its offset there, and its number.
pub(crate) type Placed = (u32, u64, u32);

/// Refuses equal entries. Returns the tensors that may share a buffer, by place.
pub(crate) fn check_distinct(tables: &Tables<'_>, entries: &Entries) -> Result<Vec<Placed>> {
    let mut placed = suspects(tables, entries);
    placed.sort_unstable();
    let same_place = placed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|same| same.len() > 1);
    match same_place.filter_map(|same| equal_entries(tables, same)).min_by_key(|(_, second)| *second) {
        None => Ok(placed),
        Some((first, second)) => {
            let detail = format!("tensors {first} and {second} have equal entries");
            Err(Error::at(Code::TensorDuplicate, tables.entry_offset(second), detail))
        }
    }
}

/// The first of tensors at one place that an earlier one equals, behind that one: by keyed hashes, where those are equal by bytes.
fn equal_entries(tables: &Tables<'_>, same: &[Placed]) -> Option<(u32, u32)> {
    let number = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let entry = |word: u64| tables.entry_bytes(number(word));
    let hash = |number: u32| KeyedState.hash_one(tables.entry_bytes(number)) & !u64::from(u32::MAX) | u64::from(number);
    let mut words: Vec<u64> = same.iter().map(|(.., number)| hash(*number)).collect();
    keys::sort(&mut words, u64::BITS, false);
    let same_hash = words.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|same| same.len() > 1);
    let first = same_hash.filter_map(|same| {
        same.sort_unstable_by(|a, b| entry(*a).cmp(entry(*b)).then(a.cmp(b)));
        let equal = same.windows(2).filter(|pair| entry(pair[0]) == entry(pair[1]));
        equal.map(|pair| (number(pair[0]), number(pair[1]))).min_by_key(|(_, second)| *second)
    });
    first.min_by_key(|(_, second)| *second)
}

/// Refuses buffers that their tensors do not cover as one overlapping chain; `placed` is what [`check_distinct`]
/// returned. Returns the buffers that more than one tensor views.
pub(crate) fn check_groups(tables: &Tables<'_>, placed: &[Placed]) -> Result<Bits> {
    let mut shared = Bits::below(if placed.is_empty() { 0 } else { tables.buffers.len() });
    for group in placed.chunk_by(|a, b| a.0 == b.0) {
        let (buffer, ..) = group[0];
        if buffer == NO_BUFFER {
            continue;
        }
        check_group(tables, buffer, group)?;
        if group.len() > 1 {
            shared.insert(buffer);
        }
    }
    Ok(shared)
}

/// The tensors that can break a rule: none in the common file, where each tensor is alone and fills its buffer.
fn suspects(tables: &Tables<'_>, entries: &Entries) -> Vec<Placed> {
    let count = match (entries.plain, entries.empty_tensors) {
        (true, 0 | 1) => return Vec::new(),
        (true, empty) => empty,
        (false, _) => tables.tensor_count(),
    };
    let place = |number| tables.entry(number).map_or((NO_BUFFER, 0, number), |entry| (entry.buffer, entry.offset, number));
    let mut placed = Vec::with_capacity(table_index(count));
    placed.extend((0..tables.tensor_count()).map(place).filter(|(buffer, ..)| !entries.plain || *buffer == NO_BUFFER));
    placed
}

/// One buffer and its tensors, by offset.
fn check_group(tables: &Tables<'_>, buffer: u32, group: &[Placed]) -> Result<()> {
    let record = tables.buffers.get(tables.bytes, buffer).map(|b| b.record);
    let Some(record) = record.filter(|record| record.kind == KIND_TENSOR) else { return Ok(()) };
    let mut covered = 0;
    for (_, offset, number) in group {
        let extent = tables.extent(*number)?;
        if !extent.dense {
            continue;
        }
        let chained = if covered == 0 { *offset == 0 } else { *offset < covered };
        if !chained {
            let detail = format!("no dense tensor joins byte {covered} of buffer {buffer} to tensor {number}");
            return Err(Error::at(Code::ViewCover, tables.entry_offset(*number) + 8, detail));
        }
        covered = covered.max(offset + extent.span);
    }
    if covered != record.len {
        let detail = format!("the dense tensors of buffer {buffer} cover {covered} of its {} bytes", record.len);
        return Err(Error::at(Code::ViewCover, tables.entry_offset(group[0].2), detail));
    }
    if group.len() > 1 { check_partial(tables, buffer, group) } else { Ok(()) }
}

fn check_partial(tables: &Tables<'_>, buffer: u32, group: &[Placed]) -> Result<()> {
    for (.., number) in group {
        let entry = tables.entry(*number)?;
        if has_partial_group(tables.geometry(entry.dtype)?, entry.dims.iter()) {
            let detail = format!("tensor {number} ends within a group and is not alone in buffer {buffer}");
            return Err(Error::at(Code::ViewPartial, tables.entry_offset(*number), detail));
        }
    }
    Ok(())
}

/// Where a tensor to be written lies in memory, and how.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// Address space: tensors of different ones never meet.
    pub(crate) space: u64,
    /// First byte and end of the elements.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) align: u64,
    /// Ends within a group, so nothing may share its last byte.
    pub(crate) partial: bool,
    pub(crate) form: Form,
    /// Extents above 1 and their strides in bytes, without sign, largest last; empty where strides are not explicit.
    pub(crate) axes: Box<[(u64, u64)]>,
}

impl Leaf {
    /// Without bytes: takes no part in any group, wherever it points.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether other leaves may have bytes of this one.
    fn has_place(&self) -> bool {
        !self.is_empty() && self.form != Form::Alone
    }

    fn range(&self) -> Range {
        (self.space, self.start, self.end)
    }
}

/// What a tensor's strides allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Fills its range: can hold a buffer together.
    Dense,
    /// Leaves holes: needs dense tensors around it.
    Strided,
    /// Strides that cannot be stored.
    Illegal,
    /// Always in a buffer of its own: bytes have no identity.
    Alone,
}

/// The outcome: which buffer each leaf goes to and where in it.
pub(crate) struct Groups(Option<Grouped>);

/// Groups of leaves that are not all alone.
struct Grouped {
    /// For each leaf, its group and its offset in bytes; a loose leaf has a group of its own and is written row-major.
    place: Vec<(usize, u64)>,
    loose: Vec<bool>,
    /// What each group covers.
    ranges: Vec<Range>,
}

/// The bytes that one chain of overlapping dense leaves covers: space, first byte and end.
pub(crate) type Range = (u64, u64, u64);

impl Groups {
    /// Whether every leaf is the whole of its group, which has its number.
    pub(crate) fn each_alone(&self) -> bool {
        self.0.is_none()
    }

    /// The group of a leaf and its offset in it, in bytes.
    pub(crate) fn place(&self, leaf: usize) -> (usize, u64) {
        self.0.as_ref().map_or((leaf, 0), |groups| groups.place[leaf])
    }

    /// Whether a leaf is written row-major, in a group of its own.
    pub(crate) fn is_loose(&self, leaf: usize) -> bool {
        self.0.as_ref().is_some_and(|groups| groups.loose[leaf])
    }

    /// What a group of `leaves` covers.
    pub(crate) fn range(&self, leaves: &[Leaf], group: usize) -> Range {
        self.0.as_ref().map_or_else(|| leaves[group].range(), |groups| groups.ranges[group])
    }

    /// What each group covers.
    pub(crate) fn ranges(&self, leaves: &[Leaf]) -> impl ExactSizeIterator<Item = Range> + Clone {
        let count = self.0.as_ref().map_or(leaves.len(), |groups| groups.ranges.len());
        (0..count).map(move |group| self.range(leaves, group))
    }
}

/// Whether no byte belongs to two of `leaves`; and those, ascending, that another one may equal: it begins at the same byte,
/// or neither has any.
pub(crate) fn look(leaves: &[Leaf]) -> (bool, Vec<u32>) {
    let mut suspects: Vec<u32> = Vec::new();
    let mut number = 0..u32::MAX;
    suspects.extend(number.by_ref().zip(leaves).filter(|(_, leaf)| leaf.is_empty()).map(|(i, _)| i));
    if suspects.len() == 1 {
        suspects.clear();
    }
    // Memory is often handed out in the order in which it is saved.
    let mut rising = leaves.iter().filter(|leaf| leaf.has_place());
    let mut last = (0, 0);
    if rising.all(|leaf| std::mem::replace(&mut last, (leaf.space, leaf.end)) <= (leaf.space, leaf.start)) {
        return (true, suspects);
    }
    let order = by_address(leaves, |_| true);
    for same in order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|same| same.len() > 1) {
        suspects.extend(same.iter().map(|(.., i)| i));
    }
    suspects.sort_unstable();
    let meet = |a: &(u64, u64, u32), b: &(u64, u64, u32)| a.0 == b.0 && b.1 < leaves[table_index(a.2)].end;
    (!order.windows(2).any(|pair| meet(&pair[0], &pair[1])), suspects)
}

/// Groups `leaves`, which may be known to be `apart`, into buffers. `Err` holds two leaves that would lose their sharing.
pub(crate) fn group(leaves: &[Leaf], apart: bool, unshare: bool) -> std::result::Result<Groups, (usize, usize)> {
    if apart && leaves.iter().all(|leaf| leaf.is_empty() || matches!(leaf.form, Form::Dense | Form::Alone)) {
        return Ok(Groups(None));
    }
    let order = by_address(leaves, |leaf| leaf.form == Form::Dense);
    let mut chains: Vec<Range> = memory::room(order.len());
    for (space, start, i) in order.iter().copied() {
        let end = leaves[table_index(i)].end;
        match chains.last_mut() {
            Some(chain) if chain.0 == space && start < chain.2 => chain.2 = chain.2.max(end),
            _ => chains.push((space, start, end)),
        }
    }
    let strided = join_strided(leaves, &chains);
    let outcome = settle(leaves, chains, &order, &strided);
    if !unshare {
        match meeting(leaves, &outcome.loose) {
            None => {}
            Some(pair) => return Err(pair),
        }
    }
    Ok(Groups(Some(outcome)))
}

/// The numbers of the leaves that are `wanted` and have a place, each behind what it is sorted by: space and address.
fn by_address(leaves: &[Leaf], wanted: impl Fn(&Leaf) -> bool) -> Vec<(u64, u64, u32)> {
    let found = (0u32..).zip(leaves).filter(|(_, leaf)| leaf.has_place() && wanted(leaf));
    let mut order = memory::room(leaves.len());
    order.extend(found.map(|(i, leaf)| (leaf.space, leaf.start, i)));
    order.sort_unstable();
    order
}

/// A strided leaf joins the one chain that contains its range. Returns chains and leaves, by chain.
fn join_strided(leaves: &[Leaf], chains: &[Range]) -> Vec<(usize, usize)> {
    let mut joined = Vec::new();
    for (i, leaf) in leaves.iter().enumerate().filter(|(_, leaf)| leaf.form == Form::Strided) {
        let after = chains.partition_point(|(space, start, _)| (*space, *start) <= (leaf.space, leaf.start));
        let Some(c) = after.checked_sub(1) else { continue };
        if chains[c].0 == leaf.space && leaf.end <= chains[c].2 {
            joined.push((c, i));
        }
    }
    joined.sort_unstable();
    joined
}

/// Dissolves the chains that cannot be stored and gives every leaf its place. The dense leaves in `order` come chain by
/// chain, and so do the `strided` ones.
fn settle(leaves: &[Leaf], mut chains: Vec<Range>, mut order: &[(u64, u64, u32)], mut strided: &[(usize, usize)]) -> Grouped {
    const NOWHERE: usize = usize::MAX;
    let mut place = vec![(NOWHERE, 0); leaves.len()];
    let (mut number, mut kept) = (0, 0);
    chains.retain(|(space, chain, end)| {
        let (dense, other_dense) = order.split_at(order.iter().take_while(|(s, start, _)| s == space && start < end).count());
        let (joined, other_strided) = strided.split_at(strided.iter().take_while(|(c, _)| *c == number).count());
        (order, strided, number) = (other_dense, other_strided, number + 1);
        let members = || dense.iter().map(|(_, _, i)| table_index(*i)).chain(joined.iter().map(|(_, i)| *i));
        let alone = dense.len() + joined.len() == 1;
        let storable = alone || members().all(|i| (leaves[i].start - chain).is_multiple_of(leaves[i].align) && !leaves[i].partial);
        if storable {
            members().for_each(|i| place[i] = (kept, leaves[i].start - chain));
            kept += 1;
        }
        storable
    });
    let mut loose = vec![false; leaves.len()];
    for (i, leaf) in leaves.iter().enumerate() {
        if place[i].0 == NOWHERE {
            loose[i] = leaf.form != Form::Alone && !leaf.is_empty();
            place[i] = (chains.len(), 0);
            chains.push((leaf.space, leaf.start, leaf.end));
        }
    }
    Grouped { place, loose, ranges: chains }
}

/// A loose leaf and another one whose elements may be the same bytes.
fn meeting(leaves: &[Leaf], loose: &[bool]) -> Option<(usize, usize)> {
    if !loose.contains(&true) {
        return None;
    }
    let mut open: Vec<usize> = Vec::new();
    for i in by_address(leaves, |_| true).into_iter().map(|(.., i)| table_index(i)) {
        let leaf = &leaves[i];
        open.retain(|o| leaves[*o].space == leaf.space && leaves[*o].end > leaf.start);
        let meets = |o: &&usize| (loose[**o] || loose[i]) && !apart(&leaves[**o], leaf);
        if let Some(o) = open.iter().find(meets) {
            return Some(((*o).min(i), (*o).max(i)));
        }
        open.push(i);
    }
    None
}

/// Whether two leaves whose ranges overlap provably have no byte in common: both repeat at the same largest stride,
/// and modulo it the rest of each lies in disjoint ranges, as the column slices of one matrix do.
fn apart(a: &Leaf, b: &Leaf) -> bool {
    let (Some((_, step)), Some((_, other))) = (a.axes.last(), b.axes.last()) else { return false };
    let inner = |leaf: &Leaf| (leaf.end - leaf.start).checked_sub(leaf.axes.last().map_or(0, |(dim, stride)| (dim - 1) * stride));
    let (Some(a_len), Some(b_len)) = (inner(a), inner(b)) else { return false };
    step == other && place::apart(*step, a.start, a_len, b.start, b_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(leaves: &[Leaf], unshare: bool) -> std::result::Result<Grouped, (usize, usize)> {
        group(leaves, look(leaves).0, unshare).map(|groups| groups.0.unwrap())
    }

    fn leaf(start: u64, end: u64, form: Form) -> Leaf {
        Leaf { space: 0, start, end, align: 4, partial: false, form, axes: Box::default() }
    }

    #[test]
    fn overlapping_is_one_group_and_touching_is_two() {
        let leaves = [leaf(0, 8, Form::Dense), leaf(4, 16, Form::Dense), leaf(16, 20, Form::Dense), leaf(4, 12, Form::Strided)];
        let groups = groups(&leaves, false).unwrap();
        assert_eq!(groups.place, [(0, 0), (0, 4), (1, 0), (0, 4)]);
        assert!(!groups.loose.contains(&true));
    }

    #[test]
    fn what_never_meets_is_alone_in_any_order() {
        let leaves = [leaf(8, 16, Form::Dense), leaf(0, 0, Form::Dense), leaf(0, 8, Form::Dense), leaf(0, 9, Form::Alone)];
        assert_eq!(look(&leaves), (true, vec![]));
        let groups = group(&leaves, true, false).unwrap();
        assert!(groups.each_alone() && groups.place(2) == (2, 0) && groups.range(&leaves, 2) == (0, 0, 8));
        let space = Leaf { space: 1, ..leaf(8, 10, Form::Dense) };
        assert_eq!(look(&[leaf(0, 9, Form::Dense), space]), (true, vec![]));
    }

    #[test]
    fn those_that_may_be_one_are_found() {
        let leaves = [leaf(8, 16, Form::Dense), leaf(0, 0, Form::Dense), leaf(8, 12, Form::Strided), leaf(9, 9, Form::Dense)];
        assert_eq!(look(&leaves), (false, vec![0, 1, 2, 3]));
        assert_eq!(look(&[leaf(0, 8, Form::Dense), leaf(4, 12, Form::Dense)]), (false, vec![]));
        assert_eq!(look(&[leaf(4, 12, Form::Dense), leaf(0, 8, Form::Dense)]), (false, vec![]));
    }

    #[test]
    fn a_strided_view_without_its_base_is_loose() {
        let groups = groups(&[leaf(0, 100, Form::Strided)], false).unwrap();
        assert_eq!((groups.place, groups.loose), (vec![(0, 0)], vec![true]));
    }

    #[test]
    fn a_bridge_over_two_groups_would_lose_its_sharing() {
        let leaves = [leaf(0, 8, Form::Dense), leaf(8, 16, Form::Dense), leaf(4, 12, Form::Strided)];
        assert_eq!(groups(&leaves, false).err(), Some((0, 2)));
        assert_eq!(groups(&leaves, true).unwrap().loose, [false, false, true]);
    }

    #[test]
    fn column_slices_are_apart() {
        let column = |start, end| Leaf { axes: Box::new([(2, 4), (3, 24)]), ..leaf(start, end, Form::Strided) };
        let qkv = [column(0, 56), column(8, 64), column(16, 72)];
        assert_eq!(groups(&qkv, false).unwrap().loose, [true; 3]);
        let overlapping = [column(0, 56), column(4, 60)];
        assert!(groups(&overlapping, false).is_err());
    }

    #[test]
    fn misaligned_and_partial_members_dissolve_a_group() {
        let bytes = Leaf { align: 1, ..leaf(0, 20, Form::Dense) };
        assert!(groups(&[bytes.clone(), leaf(2, 6, Form::Dense)], false).is_err());
        let partial = Leaf { partial: true, align: 1, ..leaf(0, 4, Form::Dense) };
        assert!(groups(&[bytes, partial], false).is_err());
    }
}
