//! Whatever is written comes back: bit for bit, with its sharing, by every way of writing and of reading.
//!
//! `PROPTEST_CASES=2000 cargo test --release --test roundtrip` for a long run.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use cairnfile::{Cairn, Code, DType, Dict, GroupClass, Key, Named, Node, Place, Plan, Storage, StreamWriter, Tensor, Value, WriteOptions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use support::strategies::{self, config};

fn map(path: &std::path::Path) -> Cairn<'static> {
    // SAFETY: the file is this test's own and does not change while it is mapped.
    unsafe { Cairn::map(path) }.unwrap()
}

fn intact(cairn: &Cairn<'_>) -> bool {
    cairn.verify(&|_| Ok(())).unwrap().is_intact()
}

/// A fresh directory and a path in it.
fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("value.cairn");
    (directory, path)
}

/// The metadata, as a value.
fn metadata(cairn: &Cairn<'_>) -> Value<'static> {
    let value = cairn.metadata().load().unwrap();
    let bytes = cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap();
    Cairn::from_bytes(&bytes).unwrap().load_copy().unwrap()
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn values_and_sharing_come_back(value in strategies::values(), options in strategies::options()) {
        let bytes = cairnfile::to_bytes(&value, &options).unwrap();
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        prop_assert!(intact(&cairn));
        for (way, loaded) in [("load", cairn.load().unwrap()), ("load_copy", cairn.load_copy().unwrap())] {
            prop_assert!(loaded == value, "{way}");
            prop_assert!(cairnfile::to_bytes(&loaded, &options).unwrap() == bytes, "sharing by {way}");
        }
        prop_assert!(support::rewrite(&cairn).unwrap() == bytes);
    }

    #[test]
    fn metadata_comes_back(entries in vec(("[a-z]{0,5}", strategies::plain()), 0..5), options in strategies::options()) {
        let expected = Dict::from_iter(entries);
        let options = options.metadata(expected.clone());
        let bytes = cairnfile::to_bytes(&Value::Null, &options).unwrap();
        prop_assert_eq!(metadata(&Cairn::from_bytes(&bytes).unwrap()), Value::Dict(expected));
    }
}

proptest! {
    #![proptest_config(config(80))]

    #[test]
    fn bytes_file_and_map_give_the_same(value in strategies::values(), options in strategies::options()) {
        let bytes = cairnfile::to_bytes(&value, &options).unwrap();
        let (_directory, path) = place();
        std::fs::write(&path, &bytes).unwrap();
        for (way, cairn) in [("open", Cairn::open(&path).unwrap()), ("map", map(&path))] {
            prop_assert!(intact(&cairn), "{way}");
            for loaded in [cairn.load().unwrap(), cairn.load_copy().unwrap()] {
                prop_assert!(loaded == value, "{way}");
                prop_assert!(cairnfile::to_bytes(&loaded, &options).unwrap() == bytes, "sharing by {way}");
            }
        }
        prop_assert!(cairnfile::load(&path).unwrap() == value);
    }

    #[test]
    fn every_planned_writer_makes_the_same_bytes(value in strategies::values(), options in strategies::options(), picks in vec(any::<bool>(), 8), durable in proptest::bool::weighted(0.1)) {
        let bytes = cairnfile::to_bytes(&value, &options).unwrap();
        for threads in 1..=3 {
            prop_assert!(cairnfile::to_bytes(&value, &options.clone().threads(threads)).unwrap() == bytes, "{threads} threads");
        }
        let (_directory, path) = place();
        cairnfile::save_with(&path, &value, &options.clone().durable(durable)).unwrap();
        prop_assert!(std::fs::read(&path).unwrap() == bytes, "save");
        for threads in 1..=3 {
            std::fs::remove_file(&path).unwrap();
            in_place(&value, &options.clone().threads(threads), &picks, &path);
            prop_assert!(std::fs::read(&path).unwrap() == bytes, "in place with {threads} threads");
        }
    }

    #[test]
    fn streams_come_back(value in strategies::values(), options in strategies::options()) {
        let mut stream = Vec::new();
        cairnfile::stream_to(&mut stream, &value, &options).unwrap();
        let cairn = Cairn::from_bytes(&stream).unwrap();
        prop_assert!(cairn.is_streamed());
        prop_assert!(intact(&cairn));
        let loaded = cairn.load().unwrap();
        prop_assert!(loaded == value);
        let planned = cairnfile::to_bytes(&value, &options).unwrap();
        prop_assert!(cairnfile::to_bytes(&loaded, &options).unwrap() == planned, "sharing");
        // A StreamWriter writes bytes above 64 KiB when it finishes, so their buffers come last; stream_to takes all in turn.
        if !has_long_bytes(&value) {
            prop_assert!(support::rewrite(&cairn).unwrap() == stream, "by StreamWriter");
        }
        prop_assert_eq!(metadata(&cairn), metadata(&Cairn::from_bytes(&planned).unwrap()));
    }

    /// Tensors appended one by one: the elements come back row-major, what was put into the root twice is tied.
    #[test]
    fn appended_tensors_come_back(tensors in vec(prop_oneof![strategies::lone(), strategies::loose()], 0..6), options in strategies::options()) {
        let mut stream = StreamWriter::new(Vec::new(), &options).unwrap();
        let handles: Vec<_> = tensors.iter().map(|t| Value::from(stream.append(t).unwrap())).collect();
        // In the opposite order in the root, and twice.
        let root = Value::List(handles.iter().rev().chain(&handles).cloned().collect());
        let bytes = stream.finish(&root).unwrap();
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        prop_assert!(intact(&cairn));
        let n = tensors.len();
        for (i, tensor) in tensors.iter().enumerate() {
            let (first, second) = (cairn.tensor(&format!("/{}", n - 1 - i)).unwrap(), cairn.tensor(&format!("/{}", n + i)).unwrap());
            prop_assert_eq!(first.number(), second.number());
            let read = first.read().unwrap();
            prop_assert!(read.is_row_major() && read.same_elements(tensor));
        }
    }

    #[test]
    fn every_node_is_found_by_its_address(value in strategies::values(), options in strategies::options()) {
        let bytes = cairnfile::to_bytes(&value, &options).unwrap();
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        let mut nodes = Vec::new();
        addresses(&value, String::new(), &mut nodes);
        let mut visited = Vec::new();
        cairn.root().visit(&mut String::new(), &mut |address, _| { visited.push(address.to_owned()); Ok(()) }).unwrap();
        prop_assert_eq!(&visited, &nodes.iter().map(|n| n.0.clone()).collect::<Vec<_>>());
        for (address, expected) in nodes {
            let found = cairn.get(&address).unwrap();
            prop_assert!(found.load().unwrap() == *expected, "{address:?}");
            prop_assert!(same_node(&found.node().unwrap(), expected), "{address:?}");
            if let Value::Tensor(expected) = expected {
                let tensor = cairn.tensor(&address).unwrap();
                prop_assert!(tensor.read().unwrap() == *expected);
                prop_assert_eq!(tensor.dtype().unwrap(), expected.dtype());
                prop_assert_eq!(tensor.shape().unwrap(), expected.shape());
                prop_assert_eq!(tensor.byte_len().unwrap(), expected.byte_len());
            }
            for wrong in ["/no such key", "/~i987654321", "/~bffffffffff", "/999999"] {
                prop_assert_eq!(cairn.get(&format!("{address}{wrong}")).unwrap_err().code(), Code::NotFound);
            }
            prop_assert_eq!(cairn.get(&format!("{address}/~x")).unwrap_err().code(), Code::Address);
        }
    }

    #[test]
    fn slices_are_what_slicing_the_whole_gives(
        tensors in vec(strategies::lone(), 1..4),
        value in strategies::values(),
        options in strategies::options(),
        picks in vec((any::<Index>(), any::<Index>()), 6),
    ) {
        let tensors: Vec<_> = tensors.into_iter().map(Value::from).collect();
        let value = Value::List(vec![value, Value::List(tensors)]);
        let (_directory, path) = place();
        let bytes = cairnfile::to_bytes(&value, &options).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        for (way, cairn) in [("bytes", Cairn::from_bytes(&bytes).unwrap()), ("open", Cairn::open(&path).unwrap()), ("map", map(&path))] {
            for tensor in cairn.tensors() {
                let (dtype, shape) = (tensor.dtype().unwrap(), tensor.shape().unwrap());
                let whole = tensor.read().unwrap();
                let ranges = strategies::ranges(dtype, &shape, &picks);
                let part = tensor.slice(&ranges).unwrap();
                prop_assert_eq!(&*part.row_major_bytes().unwrap(), naive(&whole, &ranges), "{} of {:?} by {}", format!("{ranges:?}"), tensor, way);
                if shape.len() > 1 || (shape.len() == 1 && dtype.geometry().class != GroupClass::Block) {
                    let mut ranges: Vec<_> = shape.iter().map(|dim| 0..*dim).collect();
                    ranges[0] = strategies::ranges(dtype, &shape, &picks)[0].clone();
                    let rows = tensor.rows(ranges[0].clone()).unwrap();
                    prop_assert_eq!(&*rows.row_major_bytes().unwrap(), naive(&whole, &ranges), "rows of {:?} by {}", tensor, way);
                }
                let past: Vec<_> = shape.iter().map(|dim| 0..dim + 1).collect();
                if !shape.is_empty() {
                    prop_assert_eq!(tensor.slice(&past).unwrap_err().code(), Code::OutOfRange);
                }
                prop_assert_eq!(tensor.slice(&vec![0..0; shape.len() + 1]).unwrap_err().code(), Code::OutOfRange);
            }
        }
    }

    #[test]
    fn loose_tensors_come_back_row_major(tensors in vec(strategies::loose(), 1..5), options in strategies::options()) {
        let value = Value::List(tensors.iter().cloned().map(Value::from).collect());
        let bytes = cairnfile::to_bytes(&value, &options).unwrap();
        let mut stream = Vec::new();
        cairnfile::stream_to(&mut stream, &value, &options).unwrap();
        for file in [&bytes, &stream] {
            let cairn = Cairn::from_bytes(file).unwrap();
            prop_assert!(intact(&cairn));
            for (i, tensor) in tensors.iter().enumerate() {
                let read = cairn.tensor(&format!("/{i}")).unwrap().read().unwrap();
                prop_assert!(read.same_elements(tensor), "{tensor:?}");
                prop_assert_eq!(elements(tensor), &*read.row_major_bytes().unwrap());
                prop_assert!(read.is_row_major() || layout(tensor).dense);
            }
        }
    }
}

fn has_long_bytes(value: &Value<'_>) -> bool {
    match value {
        Value::Bytes(bytes) => bytes.len() > 65_536,
        Value::List(items) | Value::Tuple(items) => items.iter().any(has_long_bytes),
        Value::Dict(dict) => dict.iter().any(|(_, item)| has_long_bytes(item)),
        Value::Named(named) => has_long_bytes(named.value()),
        _ => false,
    }
}

/// Writes `value` in place: the storages that `picks` points at are reserved and filled in the file.
fn in_place(value: &Value<'static>, options: &WriteOptions, picks: &[bool], path: &std::path::Path) {
    let mut reserved = Reserved { picks, storages: HashMap::new(), filled: Vec::new() };
    let planned = reserved.value(value);
    let mut file = Plan::new(&planned, options).unwrap().create(path).unwrap();
    for (empty, full) in &reserved.filled {
        let (Some(span), true) = (full.span(), full.byte_len() > 0) else { continue };
        file.tensor_mut(empty).unwrap().copy_from_slice(span);
    }
    file.commit().unwrap();
}

struct Reserved<'p> {
    picks: &'p [bool],
    storages: HashMap<(usize, usize), Option<Storage<'static>>>,
    filled: Vec<(Tensor<'static>, Tensor<'static>)>,
}

impl Reserved<'_> {
    fn value(&mut self, value: &Value<'static>) -> Value<'static> {
        match value {
            Value::Tensor(tensor) => Value::from(self.tensor(tensor)),
            Value::List(items) => Value::List(items.iter().map(|item| self.value(item)).collect()),
            Value::Tuple(items) => Value::Tuple(items.iter().map(|item| self.value(item)).collect()),
            Value::Dict(dict) => Value::Dict(dict.iter().map(|(key, item)| (key.clone(), self.value(item))).collect()),
            Value::Named(named) => Value::from(Named::new(named.name(), self.value(named.value())).unwrap()),
            other => other.clone(),
        }
    }

    fn tensor(&mut self, tensor: &Tensor<'static>) -> Tensor<'static> {
        let bytes = tensor.storage().bytes().unwrap();
        let pick = self.picks[self.storages.len() % self.picks.len()];
        let storage = self
            .storages
            .entry((bytes.as_ptr().addr(), bytes.len()))
            .or_insert_with(|| pick.then(|| Storage::reserved(bytes.len() as u64)));
        let Some(storage) = storage else { return tensor.clone() };
        let empty = Tensor::view(tensor.dtype().clone(), tensor.shape(), tensor.byte_strides(), storage.clone(), tensor.offset()).unwrap();
        self.filled.push((empty.clone(), tensor.clone()));
        empty
    }
}

/// Every node with its address, in preorder; of a named value only the whole.
fn addresses<'v>(value: &'v Value<'static>, address: String, out: &mut Vec<(String, &'v Value<'static>)>) {
    out.push((address.clone(), value));
    let mut inner = value;
    while let Value::Named(named) = inner {
        inner = named.value();
    }
    match inner {
        Value::List(items) | Value::Tuple(items) => {
            items.iter().enumerate().for_each(|(i, item)| addresses(item, format!("{address}/{i}"), out));
        }
        Value::Dict(dict) => dict.iter().for_each(|(key, item)| addresses(item, format!("{address}/{}", token(key)), out)),
        _ => {}
    }
}

fn token(key: &Key) -> String {
    match key {
        Key::Str(s) => s
            .chars()
            .map(|c| match c {
                '~' => "~0".to_owned(),
                '/' => "~1".to_owned(),
                c => c.to_string(),
            })
            .collect(),
        Key::Int(n) => format!("~i{n}"),
        Key::Bytes(b) => format!("~b{}", b.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

/// The node without its items against the value.
fn same_node(node: &Node<'_>, value: &Value<'_>) -> bool {
    match (node, value) {
        (Node::Null, Value::Null) | (Node::LongBytes(_), Value::Bytes(_)) | (Node::Tensor(_), Value::Tensor(_)) => true,
        (Node::Bool(a), Value::Bool(b)) => a == b,
        (Node::Int(a), Value::Int(b)) => a == b,
        (Node::BigInt(a), Value::BigInt(b)) => a == b,
        (Node::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Node::Complex(a, b), Value::Complex(c, d)) => (a.to_bits(), b.to_bits()) == (c.to_bits(), d.to_bits()),
        (Node::Str(a), Value::Str(b)) => a == b,
        (Node::Bytes(a), Value::Bytes(b)) => *a == b.as_ref(),
        (Node::List(n), Value::List(items)) | (Node::Tuple(n), Value::Tuple(items)) => *n == items.len(),
        (Node::Dict(n), Value::Dict(dict)) => *n == dict.len(),
        (Node::Named(name, inner), Value::Named(named)) => *name == named.name() && same_node(&inner.node().unwrap(), named.value()),
        _ => false,
    }
}

/// Positions in a box, row-major.
fn positions(ranges: &[Range<u64>]) -> Vec<Vec<u64>> {
    let mut all = vec![vec![]];
    for range in ranges {
        all = all.iter().flat_map(|p| range.clone().map(move |i| [p.as_slice(), &[i]].concat())).collect();
    }
    all
}

/// The bytes of the elements in row-major order, one element at a time, by the strides.
fn elements(tensor: &Tensor<'_>) -> Vec<u8> {
    let width = tensor.dtype().geometry().bytes as usize;
    let Some(strides) = tensor.byte_strides() else { return tensor.span().unwrap().to_vec() };
    let box_: Vec<_> = tensor.shape().iter().map(|dim| 0..*dim).collect();
    let bytes = tensor.storage().bytes().unwrap();
    let at = |p: &[u64]| (tensor.offset() as i64 + p.iter().zip(strides).map(|(i, s)| *i as i64 * s).sum::<i64>()) as usize;
    positions(&box_).iter().flat_map(|p| bytes[at(p)..at(p) + width].to_vec()).collect()
}

/// The row-major bytes of a part, from those of the whole: bit by bit.
fn naive(whole: &Tensor<'_>, ranges: &[Range<u64>]) -> Vec<u8> {
    let geometry = whole.dtype().geometry();
    let bytes = elements(whole);
    let (mut dims, mut ranges) = (whole.shape().to_vec(), ranges.to_vec());
    let bits = match geometry.class {
        GroupClass::Block => {
            let group = u64::from(geometry.elements);
            *dims.last_mut().unwrap() /= group;
            let last = ranges.last_mut().unwrap();
            *last = last.start / group..last.end / group;
            u64::from(geometry.bytes) * 8
        }
        _ => u64::from(geometry.bytes) * 8 / u64::from(geometry.elements),
    };
    let number = |p: &Vec<u64>| p.iter().zip(&dims).fold(0, |n, (i, dim)| n * dim + i);
    let part = positions(&ranges);
    let group_bits = u64::from(geometry.bytes) * 8;
    let mut out = vec![0u8; ((part.len() as u64 * bits).div_ceil(group_bits) * group_bits / 8) as usize];
    for (k, p) in part.iter().enumerate() {
        for bit in 0..bits {
            let (from, to) = (number(p) * bits + bit, k as u64 * bits + bit);
            out[(to / 8) as usize] |= (bytes[(from / 8) as usize] >> (from % 8) & 1) << (to % 8);
        }
    }
    out
}

/// What SPEC.md §7.7 and §13.3 say of a tensor in memory, worked out byte by byte.
struct Layout {
    /// Address of each byte of each element, once.
    bytes: BTreeSet<u64>,
    range: Range<u64>,
    legal: bool,
    dense: bool,
}

fn layout(tensor: &Tensor<'_>) -> Layout {
    let geometry = tensor.dtype().geometry();
    let width = u64::from(geometry.bytes);
    let base = tensor.storage().bytes().unwrap().as_ptr().addr() as u64 + tensor.offset();
    let count: u64 = tensor.shape().iter().product();
    let mut bytes = BTreeSet::new();
    let mut legal = true;
    match tensor.byte_strides() {
        Some(strides) if count > 0 => {
            let box_: Vec<_> = tensor.shape().iter().map(|dim| 0..*dim).collect();
            for p in positions(&box_) {
                let at = (base as i64 + p.iter().zip(strides).map(|(i, s)| *i as i64 * s).sum::<i64>()) as u64;
                bytes.extend(at..at + width);
            }
            let mut axes: Vec<_> =
                tensor.shape().iter().zip(strides).filter(|(dim, _)| **dim > 1).map(|(dim, s)| (*s, *dim as i64)).collect();
            axes.sort_unstable();
            let mut reach = 0;
            for (stride, dim) in axes {
                legal &= stride > reach && stride % width as i64 == 0;
                reach += (dim - 1) * stride;
            }
        }
        _ => bytes.extend(base..base + tensor.byte_len()),
    }
    let range = bytes.first().map_or(base..base, |first| *first..bytes.last().unwrap() + 1);
    let dense = legal && bytes.len() as u64 == range.end - range.start;
    Layout { bytes, range, legal, dense }
}

/// Which tensors SPEC.md §13.3 leaves loose: steps 2 to 5, for tensors that are all different and not empty.
fn loose(tensors: &[Tensor<'_>], layouts: &[Layout]) -> Vec<bool> {
    let mut groups: Vec<(Range<u64>, Vec<usize>)> = Vec::new();
    let mut dense: Vec<usize> = (0..layouts.len()).filter(|i| layouts[*i].dense).collect();
    dense.sort_by_key(|i| layouts[*i].range.start);
    for i in dense {
        let range = layouts[i].range.clone();
        match groups.last_mut() {
            Some((group, members)) if range.start < group.end => {
                group.end = group.end.max(range.end);
                members.push(i);
            }
            _ => groups.push((range, vec![i])),
        }
    }
    let mut loose = vec![true; layouts.len()];
    for (group, mut members) in groups {
        let inside = |l: &Layout| l.legal && !l.dense && group.start <= l.range.start && l.range.end <= group.end;
        members.extend((0..layouts.len()).filter(|i| inside(&layouts[*i])));
        let aligned = |i: &usize| (layouts[*i].range.start - group.start).is_multiple_of(tensors[*i].dtype().geometry().alignment());
        let partial = |i: &usize| {
            let geometry = tensors[*i].dtype().geometry();
            geometry.class == GroupClass::Packed && !tensors[*i].element_count().is_multiple_of(geometry.elements.into())
        };
        if members.iter().all(aligned) && !(members.len() > 1 && members.iter().any(partial)) {
            members.iter().for_each(|i| loose[*i] = false);
        }
    }
    loose
}

/// Views of one storage that follow no rule but to lie inside it.
fn wild_views() -> impl Strategy<Value = Vec<Tensor<'static>>> {
    let dtype = select(vec![DType::U8, DType::I16, DType::F32, DType::C64, DType::I4, DType::U1, DType::Q4_0]);
    let axis = (1u64..5, prop_oneof![6 => 0i64..14, 1 => -6i64..0]);
    let view = (dtype, vec(axis, 0..=3), any::<bool>(), any::<bool>(), any::<Index>());
    (vec(view, 1..5), any::<u64>()).prop_map(|(views, seed)| {
        let len = 240;
        let storage = Storage::shared(strategies::noise(seed, len as usize));
        let mut tensors: Vec<Tensor<'static>> = Vec::new();
        for (dtype, axes, strided, odd, at) in views {
            let geometry = dtype.geometry();
            let mut shape: Vec<u64> = axes.iter().map(|a| a.0).collect();
            if geometry.class == GroupClass::Block {
                shape.push(32);
            }
            let odd = i64::from(odd && at.index(5) == 0);
            let strides: Vec<i64> = axes.iter().map(|a| a.1 * i64::from(geometry.bytes) + odd).collect();
            let strides = (strided && geometry.class == GroupClass::Scalar).then_some(strides);
            // The first offset, from any on, at which it fits and its tail bits are legal.
            let offsets = (0..len).map(|i| (at.index(len as usize) as u64 + i) % len);
            let found = offsets.filter(|o| odd == 1 || o % geometry.alignment() == 0).find_map(|offset| {
                let tensor = Tensor::view(dtype.clone(), &shape, strides.as_deref(), storage.clone(), offset).ok()?;
                cairnfile::to_bytes(&Value::from(tensor.clone()), &WriteOptions::new()).ok().map(|_| tensor)
            });
            tensors.extend(found);
        }
        tensors
    })
}

proptest! {
    #![proptest_config(config(400))]

    /// Step 7 of SPEC.md §13.3: refused if elements of a loose tensor meet those of another, fine if not even their
    /// ranges meet; in between a writer may prove them apart. With `unshare` everything is written.
    #[test]
    fn sharing_is_lost_only_when_told(tensors in wild_views(), options in strategies::options()) {
        let mut distinct: Vec<Tensor<'static>> = Vec::new();
        for tensor in tensors {
            let same = |t: &Tensor<'static>| t.dtype() == tensor.dtype() && t.shape() == tensor.shape();
            if !distinct.iter().any(same) {
                distinct.push(tensor);
            }
        }
        let layouts: Vec<_> = distinct.iter().map(layout).collect();
        let loose = loose(&distinct, &layouts);
        let pairs = || (0..loose.len()).flat_map(|a| (0..a).map(move |b| (a, b))).filter(|(a, b)| loose[*a] || loose[*b]);
        let meet = pairs().any(|(a, b)| !layouts[a].bytes.is_disjoint(&layouts[b].bytes));
        let near = pairs().any(|(a, b)| layouts[a].range.start < layouts[b].range.end && layouts[b].range.start < layouts[a].range.end);
        let value = Value::List(distinct.iter().cloned().map(Value::from).collect());
        let outcome = cairnfile::to_bytes(&value, &options);
        if meet {
            prop_assert_eq!(outcome.as_ref().unwrap_err().code(), Code::SharingLost);
        } else if !near {
            prop_assert!(outcome.is_ok(), "{:?}", outcome);
        }
        let bytes = cairnfile::to_bytes(&value, &options.unshare(true)).unwrap();
        if let Ok(outcome) = outcome {
            prop_assert!(outcome == bytes, "a proof does not change the file");
        }
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        prop_assert!(intact(&cairn));
        let mut buffers = HashMap::new();
        for (i, tensor) in distinct.iter().enumerate() {
            let found = cairn.tensor(&format!("/{i}")).unwrap();
            let read = found.read().unwrap();
            prop_assert_eq!(&*read.row_major_bytes().unwrap(), elements(tensor));
            if loose[i] {
                prop_assert!(read.is_row_major());
            } else {
                prop_assert!(read == *tensor, "the layout of {tensor:?}");
            }
            buffers.entry(found.buffer().unwrap()).or_insert_with(Vec::new).push(i);
        }
        for members in buffers.values().filter(|members| members.len() > 1) {
            prop_assert!(members.iter().all(|i| !loose[*i]), "a loose tensor is alone");
        }
        for a in 0..loose.len() {
            for b in 0..a {
                let (x, y) = (cairn.tensor(&format!("/{a}")).unwrap(), cairn.tensor(&format!("/{b}")).unwrap());
                if !loose[a] && !loose[b] && !layouts[a].bytes.is_disjoint(&layouts[b].bytes) {
                    prop_assert_eq!(x.buffer().unwrap(), y.buffer().unwrap());
                    let distance = |x: u64, y: u64| x as i64 - y as i64;
                    let in_file = distance(x.file_range().unwrap().start, y.file_range().unwrap().start);
                    prop_assert_eq!(in_file, distance(layouts[a].range.start, layouts[b].range.start));
                }
            }
        }
    }
}

fn numbers(n: usize) -> Storage<'static> {
    Storage::shared((0..n).map(|i| i as u8).collect::<Vec<_>>())
}

fn save_list(tensors: &[&Tensor<'static>], unshare: bool) -> cairnfile::Result<Vec<u8>> {
    let value = Value::List(tensors.iter().map(|t| Value::from((*t).clone())).collect());
    cairnfile::to_bytes(&value, &WriteOptions::new().unshare(unshare))
}

#[test]
fn column_slices_of_one_matrix_are_proven_apart() {
    let matrix = numbers(4 * 12);
    let columns = |first: u64, n: u64| Tensor::view(DType::U8, &[4, n], Some(&[12, 1]), matrix.clone(), first).unwrap();
    let (q, k, v) = (columns(0, 4), columns(4, 4), columns(8, 4));
    let bytes = save_list(&[&q, &k, &v], false).unwrap();
    assert_eq!(Cairn::from_bytes(&bytes).unwrap().buffer_count(), 3);
    assert_eq!(save_list(&[&q, &columns(3, 3)], false).unwrap_err().code(), Code::SharingLost);
    // With the matrix they are views of it.
    let whole = Tensor::view(DType::U8, &[4, 12], None, matrix.clone(), 0).unwrap();
    let bytes = save_list(&[&q, &k, &columns(3, 3), &whole], false).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    assert_eq!(cairn.buffer_count(), 1);
    assert_eq!(cairn.tensor("/2").unwrap().strides().unwrap(), Some(vec![12, 1]));
}

#[test]
fn a_saved_slice_does_not_drag_its_base_along() {
    let base = numbers(100_000);
    let slice = Tensor::view(DType::U8, &[10], None, base.clone(), 500).unwrap();
    let strided = Tensor::view(DType::U8, &[10], Some(&[100]), base, 600).unwrap();
    assert!(save_list(&[&slice], false).unwrap().len() < 600);
    assert!(save_list(&[&slice, &strided], false).unwrap().len() < 700);
}

#[test]
fn the_message_of_lost_sharing_names_both_tensors() {
    let base = numbers(100);
    let reversed = Tensor::view(DType::U8, &[50], Some(&[-1]), base.clone(), 99).unwrap();
    let dense = Tensor::view(DType::U8, &[60], None, base, 0).unwrap();
    let error = save_list(&[&dense, &reversed], false).unwrap_err();
    assert_eq!(error.code(), Code::SharingLost);
    assert!(error.detail().contains("[60]") && error.detail().contains("[50]"), "{error}");
    let bytes = save_list(&[&dense, &reversed], true).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    assert!(cairn.tensor("/1").unwrap().read().unwrap().same_elements(&reversed));
    assert_eq!(cairn.tensor("/0").unwrap().read().unwrap(), dense);
}

/// An empty tensor has no bytes, so where it points does not matter.
#[test]
fn an_empty_view_does_not_disturb_its_neighbours() {
    let base = numbers(64);
    let floats = Tensor::view(DType::F32, &[4, 4], Some(&[4, 16]), base.clone(), 0).unwrap();
    let tail = Tensor::view(DType::F32, &[2], None, base.clone(), 4).unwrap();
    let empty = Tensor::view(DType::F32, &[0], None, base, 6).unwrap();
    let bytes = save_list(&[&floats, &empty, &tail], false).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    assert_eq!(cairn.tensor("/0").unwrap().read().unwrap(), floats);
    assert_eq!(cairn.tensor("/2").unwrap().buffer().unwrap(), Some(0));
    let mut stream = StreamWriter::new(Vec::new(), &WriteOptions::new()).unwrap();
    let storage = stream.append_storage(64, [[7u8; 64]]).unwrap();
    let whole = Tensor::view(DType::F32, &[16], None, storage.clone(), 0).unwrap();
    let empties = [0, 6, 64].map(|at| Value::from(Tensor::view(DType::F32, &[0, at], None, storage.clone(), at).unwrap()));
    let bytes = stream.finish(&Value::List([vec![whole.into()], empties.to_vec()].concat())).unwrap();
    assert_eq!(Cairn::from_bytes(&bytes).unwrap().buffer_count(), 1);
}

/// Each part of a reserved storage that a tensor covers lands where it belongs, whatever lies between them.
#[test]
fn reserved_views_may_begin_anywhere_and_lie_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("apart.cairn");
    let storage = Storage::reserved(300);
    let parts: Vec<_> =
        [(16, 8), (24, 8), (200, 100), (250, 20)].map(|(at, n)| Tensor::view(DType::U8, &[n], None, storage.clone(), at).unwrap()).to_vec();
    let value = Value::List(parts.iter().cloned().map(Value::from).collect());
    let mut file = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
    for (n, part) in [7, 8, 9].iter().zip(&parts) {
        file.tensor_mut(part).unwrap().fill(*n);
    }
    file.tensor_mut(&parts[3]).unwrap().fill(10);
    file.commit().unwrap();
    let cairn = Cairn::open(&path).unwrap();
    assert!(cairn.verify(&|_| Ok(())).unwrap().is_intact());
    assert_eq!(cairn.buffer_count(), 3);
    let read: Vec<Vec<u8>> = cairn.tensors().map(|t| t.read().unwrap().as_slice::<u8>().unwrap().to_vec()).collect();
    assert_eq!(read[0], [7; 8]);
    assert_eq!(read[1], [8; 8]);
    assert_eq!(read[2], [vec![9; 50], vec![10; 20], vec![9; 30]].concat());
    assert_eq!(read[3], [10; 20]);
}

#[test]
fn places_say_where_an_item_is() {
    let value = Value::Dict(Dict::from_iter([(Key::from("a"), Value::Null), (Key::from(5), Value::Null)]));
    let bytes = cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    let places: Vec<_> = cairn.root().items().map(|(place, _)| place).collect();
    assert_eq!(places, [Place::Key(Key::from("a")), Place::Key(Key::from(5))]);
}
