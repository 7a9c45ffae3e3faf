//! The tree of values → its encoding, the tensors in it, and which of those are one. `Spec §9, §13.2`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::address;
use crate::bytes::{from_usize, table_index, to_u32};
use crate::content;
use crate::error::{Code, Error, Result};
use crate::hash::{HashedState, KeyedState};
use crate::keys::Key;
use crate::layout::{self, has_partial_group};
use crate::limits::{MAX_DEPTH, MAX_INLINE_BYTES, MAX_PATH_LEN};
use crate::memory;
use crate::sharing::{self, Form, Leaf};
use crate::tensor::Tensor;
use crate::tree::{Dict, Value};
use crate::value::{self, BYTES_NAME};

/// The metadata as they stand in the index.
pub(crate) fn encode_metadata(metadata: &Dict<'_>) -> Result<Vec<u8>> {
    let mut collector = Collector { metadata: true, ..Collector::default() };
    if let Some((key, _)) = metadata.iter().find(|(key, _)| key.as_str().is_none()) {
        return Err(Error::new(Code::Metadata, format!("metadata key {key} is not a str")));
    }
    collector.dict(metadata, 1, 0)?;
    Ok(collector.out)
}

/// What stands behind a tensor number.
#[derive(Clone, Copy)]
pub(crate) enum Source<'v> {
    Tensor(&'v Tensor<'v>),
    Bytes(&'v [u8]),
}

/// The tree, encoded, and its tensors by their numbers.
pub(crate) struct Collected<'v> {
    pub(crate) root: &'v Value<'v>,
    pub(crate) encoded: Vec<u8>,
    pub(crate) sources: Vec<Source<'v>>,
    pub(crate) leaves: Vec<Leaf>,
    /// Whether no byte belongs to two leaves.
    pub(crate) apart: bool,
    /// Reserved tensors whose elements have rules, ascending, and their addresses.
    pub(crate) addresses: Vec<(usize, String)>,
}

/// Encodes `root`, numbers its tensors by first appearance and checks their elements.
pub(crate) fn collect<'v>(root: &'v Value<'v>) -> Result<Collected<'v>> {
    let mut collector = Collector::default();
    collector.value(root, 1, 0)?;
    let (apart, suspects) = sharing::look(&collector.leaves);
    let ties = collector.ties(&suspects);
    let Collector { out: encoded, sources, leaves, places, addresses, .. } = collector;
    let mut collected = Collected { root, encoded, sources, leaves, apart, addresses };
    if !ties.is_empty() {
        collected.unite(&ties, &places);
    }
    collected.check_elements()?;
    Ok(collected)
}

impl Collected<'_> {
    /// Gives leaves that are an earlier one its number, and the others those that are left. `ties` are pairs of a leaf
    /// and the first one that it is, ascending.
    fn unite(&mut self, ties: &[(u32, u32)], places: &[u32]) {
        let is_tied = |leaf: usize| ties.binary_search_by_key(&leaf, |(later, _)| table_index(*later)).is_ok();
        self.addresses.retain(|(leaf, _)| !is_tied(*leaf));
        let mut ties = ties.iter().peekable();
        let mut numbers: Vec<u32> = Vec::with_capacity(places.len());
        let mut next = 0;
        for (leaf, place) in (0u32..).zip(places) {
            let number = match ties.next_if(|(later, _)| *later == leaf) {
                Some((_, first)) => numbers[table_index(*first)],
                None => {
                    let number = next;
                    next += 1;
                    self.sources[table_index(number)] = self.sources[table_index(leaf)];
                    self.leaves.swap(table_index(number), table_index(leaf));
                    number
                }
            };
            numbers.push(number);
            value::set_tensor(&mut self.encoded, *place, number);
        }
        self.sources.truncate(table_index(next));
        self.leaves.truncate(table_index(next));
        self.addresses.iter_mut().for_each(|(leaf, _)| *leaf = table_index(numbers[*leaf]));
    }

    /// Refuses elements that break a rule.
    fn check_elements(&self) -> Result<()> {
        for source in &self.sources {
            if let Source::Tensor(tensor) = source
                && content::has_rules(tensor.dtype(), tensor.shape())
                && tensor.storage().bytes().is_some()
            {
                content::check_elements(tensor)
                    .map_err(|(code, _, why)| Error::new(code, format!("{:?}: {why}", address_of(self.root, tensor))))?;
            }
        }
        Ok(())
    }

    /// What to call tensor `number` in a message.
    pub(crate) fn locate(&self, number: usize) -> String {
        match self.sources[number] {
            Source::Tensor(tensor) => format!("{:?} ({tensor:?})", address_of(self.root, tensor)),
            Source::Bytes(bytes) => format!("{number} ({} bytes)", bytes.len()),
        }
    }
}

/// The address of `wanted`, a tensor of `root`.
#[cold]
fn address_of(root: &Value<'_>, wanted: &Tensor<'_>) -> String {
    let mut path = Vec::new();
    find(root, wanted, &mut path);
    address(&path)
}

/// Leaves in `path` the steps to `wanted`, if it is in `value`.
fn find<'v>(value: &'v Value<'_>, wanted: &Tensor<'_>, path: &mut Vec<Step<'v>>) -> bool {
    let mut enter = |step, item| {
        path.push(step);
        let found = find(item, wanted, path);
        if !found {
            path.pop();
        }
        found
    };
    match value {
        Value::Tensor(tensor) => std::ptr::eq(std::ptr::from_ref(tensor).cast::<()>(), std::ptr::from_ref(wanted).cast()),
        Value::Named(named) => find(named.value(), wanted, path),
        Value::List(items) | Value::Tuple(items) => items.iter().enumerate().any(|(i, item)| enter(Step::Position(i), item)),
        Value::Dict(dict) => dict.iter().any(|(key, item)| enter(Step::Key(key), item)),
        _ => false,
    }
}

/// A step of the path to a value, for messages.
#[derive(Clone, Copy)]
enum Step<'v> {
    Position(usize),
    Key(&'v Key),
}

fn address(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Position(n) => address::push_position(&mut text, *n),
            Step::Key(key) => address::push_key(&mut text, key),
        }
    }
    text
}

/// Encodes the tree. Each leaf is given the next number, as if none were tied.
#[derive(Default)]
struct Collector<'v> {
    out: Vec<u8>,
    sources: Vec<Source<'v>>,
    leaves: Vec<Leaf>,
    /// Where in `out` the number of each leaf stands.
    places: Vec<u32>,
    addresses: Vec<(usize, String)>,
    path: Vec<Step<'v>>,
    metadata: bool,
}

impl<'v> Collector<'v> {
    #[cold]
    fn refuse(&self, code: Code, why: &str) -> Error {
        let part = if self.metadata { "metadata " } else { "" };
        Error::new(code, format!("{part}{:?}: {why}", address(&self.path)))
    }

    fn value(&mut self, value: &'v Value<'v>, depth: u32, path: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.refuse(Code::DepthLimit, &format!("values nest deeper than {MAX_DEPTH}")));
        }
        match value {
            Value::Null => self.out.push(value::NULL),
            Value::Bool(false) => self.out.push(value::FALSE),
            Value::Bool(true) => self.out.push(value::TRUE),
            Value::Int(n) => value::put_int(&mut self.out, *n),
            Value::BigInt(n) => value::put_bytes(&mut self.out, value::BIGINT, n.to_le_bytes())?,
            Value::Float(x) => value::put_float(&mut self.out, *x),
            Value::Complex(re, im) => value::put_complex(&mut self.out, *re, *im),
            Value::Str(text) => value::put_bytes(&mut self.out, value::STR, text.as_bytes())?,
            Value::Bytes(bytes) if bytes.len() > MAX_INLINE_BYTES => self.long_bytes(bytes, depth)?,
            Value::Bytes(bytes) => value::put_bytes(&mut self.out, value::BYTES, bytes)?,
            Value::List(items) => self.items(value::LIST, items, depth, path)?,
            Value::Tuple(items) => self.items(value::TUPLE, items, depth, path)?,
            Value::Dict(dict) => self.dict(dict, depth, path)?,
            Value::Named(named) => {
                value::put_bytes(&mut self.out, value::NAMED, named.name().as_bytes())?;
                self.value(named.value(), depth + 1, path)?;
            }
            Value::Tensor(tensor) => self.tensor(tensor)?,
        }
        Ok(())
    }

    /// Makes room for as many tensors, where they are many.
    fn expect(&mut self, items: usize) {
        if items < 1 << 14 || self.metadata {
            return;
        }
        self.leaves.reserve(items);
        self.sources.reserve(items);
        self.places.reserve(items);
        self.out.reserve(items * 16);
        memory::prefer_huge(self.leaves.as_ptr(), self.leaves.capacity());
        memory::prefer_huge(self.sources.as_ptr(), self.sources.capacity());
        memory::prefer_huge(self.out.as_ptr(), self.out.capacity());
    }

    fn items(&mut self, tag: u8, items: &'v [Value<'v>], depth: u32, path: u32) -> Result<()> {
        let start = value::begin_container(&mut self.out, tag, items.len())?;
        self.expect(items.len());
        for (i, item) in items.iter().enumerate() {
            self.path.push(Step::Position(i));
            self.value(item, depth + 1, path)?;
            self.path.pop();
        }
        value::end_container(&mut self.out, start)
    }

    fn dict(&mut self, dict: &'v Dict<'v>, depth: u32, path: u32) -> Result<()> {
        let start = value::begin_container(&mut self.out, value::DICT, dict.len())?;
        self.expect(dict.len());
        for (key, item) in dict.iter() {
            self.path.push(Step::Key(key));
            let path = from_usize(key.path_len()).saturating_add(path.into());
            let Some(path) = u32::try_from(path).ok().filter(|p| *p <= MAX_PATH_LEN) else {
                return Err(self.refuse(Code::PathLimit, &format!("the keys along the path take {path} bytes, the most is {MAX_PATH_LEN}")));
            };
            key.encode(&mut self.out)?;
            self.value(item, depth + 1, path)?;
            self.path.pop();
        }
        value::end_container(&mut self.out, start)
    }

    fn tensor(&mut self, tensor: &'v Tensor<'v>) -> Result<()> {
        if self.metadata {
            return Err(self.refuse(Code::Metadata, "metadata cannot contain tensors"));
        }
        if tensor.storage().bytes().is_none() && content::has_rules(tensor.dtype(), tensor.shape()) {
            self.addresses.push((self.sources.len(), address(&self.path)));
        }
        self.add(Source::Tensor(tensor), leaf(tensor))
    }

    fn add(&mut self, source: Source<'v>, leaf: Leaf) -> Result<()> {
        let number = to_u32(self.sources.len(), "tensors")?;
        self.places.push(to_u32(self.out.len(), "the bytes of the tree")?);
        value::put_tensor(&mut self.out, number);
        self.sources.push(source);
        self.leaves.push(leaf);
        Ok(())
    }

    /// The leaves among `suspects`, ascending, that are an earlier one, with the first that they are.
    fn ties(&self, suspects: &[u32]) -> Vec<(u32, u32)> {
        let mut known: HashMap<u64, u32, HashedState> = HashMap::default();
        let mut ties = Vec::new();
        for leaf in suspects {
            let Source::Tensor(tensor) = self.sources[table_index(*leaf)] else { continue };
            let mut hash = identity_hash(tensor);
            // Hashes are all that is kept: where two tensors have the same, the second takes the next free one.
            let first = loop {
                let first = *known.entry(hash).or_insert(*leaf);
                if first == *leaf || matches!(self.sources[table_index(first)], Source::Tensor(other) if are_one(other, tensor)) {
                    break first;
                }
                hash = hash.wrapping_add(1);
            };
            if first != *leaf {
                ties.push((*leaf, first));
            }
        }
        ties
    }

    fn long_bytes(&mut self, bytes: &'v [u8], depth: u32) -> Result<()> {
        if self.metadata {
            return Err(self.refuse(Code::Metadata, &format!("bytes in metadata take at most {MAX_INLINE_BYTES}")));
        }
        if depth == MAX_DEPTH {
            return Err(self.refuse(Code::DepthLimit, &format!("long bytes are a named tensor and nest deeper than {MAX_DEPTH}")));
        }
        value::put_bytes(&mut self.out, value::NAMED, BYTES_NAME.as_bytes())?;
        let leaf =
            Leaf { space: 0, start: 0, end: from_usize(bytes.len()), align: 1, partial: false, form: Form::Alone, axes: Box::default() };
        self.add(Source::Bytes(bytes), leaf)
    }
}

/// Where a tensor's first element lies; all tensors without bytes are at one place.
fn home(tensor: &Tensor<'_>) -> (u64, u64) {
    let (space, base) = if tensor.byte_len() == 0 { return (0, 0) } else { tensor.storage().address() };
    (space, base + tensor.offset())
}

/// Strides in bytes, 0 on axes of extent at most 1; `None` when row-major or empty.
fn normal_byte_strides(tensor: &Tensor<'_>) -> Option<Vec<i64>> {
    let strides = tensor.byte_strides().filter(|_| !tensor.is_row_major())?;
    Some(strides.iter().zip(tensor.shape()).map(|(stride, dim)| if *dim <= 1 { 0 } else { *stride }).collect())
}

/// Equal for tensors that are one.
fn identity_hash(tensor: &Tensor<'_>) -> u64 {
    let mut hasher = KeyedState.build_hasher();
    let (space, address) = home(tensor);
    tensor.dtype().hash(&mut hasher);
    [space, address].iter().chain(tensor.shape()).for_each(|n| hasher.write_u64(*n));
    normal_byte_strides(tensor).iter().for_each(|strides| strides.hash(&mut hasher));
    hasher.finish()
}

/// Leaves of the same dtype, shape, layout and place are one tensor.
fn are_one(a: &Tensor<'_>, b: &Tensor<'_>) -> bool {
    home(a) == home(b) && a.dtype() == b.dtype() && a.shape() == b.shape() && normal_byte_strides(a) == normal_byte_strides(b)
}

fn leaf(tensor: &Tensor<'_>) -> Leaf {
    let geometry = tensor.dtype().geometry();
    let form = match tensor.normal_strides() {
        Ok(None) => Form::Dense,
        Ok(Some(strides)) => match layout::strided(geometry, tensor.shape(), &strides) {
            Ok(extent) if extent.dense => Form::Dense,
            Ok(_) => Form::Strided,
            Err(_) => Form::Illegal,
        },
        Err(_) => Form::Illegal,
    };
    let (space, base) = tensor.storage().address();
    let (first, end) = tensor.byte_range();
    let partial = has_partial_group(geometry, tensor.shape().iter().copied());
    Leaf { space, start: base + first, end: base + end, align: geometry.alignment(), partial, form, axes: axes(tensor) }
}

/// Extents above 1 and strides in bytes without sign, by stride; only needed where strides are explicit.
fn axes(tensor: &Tensor<'_>) -> Box<[(u64, u64)]> {
    let Some(strides) = tensor.byte_strides() else { return Box::default() };
    let mut axes: Vec<_> =
        tensor.shape().iter().copied().zip(strides.iter().map(|s| s.unsigned_abs())).filter(|(dim, _)| *dim > 1).collect();
    axes.sort_unstable_by_key(|(dim, stride)| (*stride, *dim));
    axes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Storage};

    #[test]
    fn tensors_are_one_where_nothing_tells_them_apart() {
        let storages = [Storage::shared(vec![1; 16]), Storage::shared(vec![1; 16])];
        let view = |storage: usize, dtype: DType, shape: &[u64], stride: i64, offset| {
            Tensor::view(dtype, shape, (stride > 0).then_some(&[stride]), storages[storage].clone(), offset).unwrap()
        };
        let one = view(0, DType::U8, &[2], 3, 4);
        assert!(are_one(&one, &view(0, DType::U8, &[2], 3, 4)) && are_one(&one, &one.clone()));
        let others = [
            view(1, DType::U8, &[2], 3, 4),
            view(0, DType::I8, &[2], 3, 4),
            view(0, DType::U8, &[3], 3, 4),
            view(0, DType::U8, &[2], 2, 4),
            view(0, DType::U8, &[2], 0, 4),
            view(0, DType::U8, &[2], 3, 5),
        ];
        for other in &others {
            assert!(!are_one(&one, other) && !are_one(other, &one), "{other:?}");
            assert_ne!(identity_hash(&one), identity_hash(other));
        }
    }
}
