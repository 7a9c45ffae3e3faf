//! Proptest strategies for values and for the options to write them with.
//!
//! [`values`] makes values that a writer keeps exactly, sharing included: a tree whose tensors are picked from a pool
//! of storages with several views each. [`loose`] makes tensors that are written row-major.

use cairnfile::{DType, Dict, GroupClass, Key, Named, Storage, Tensor, Value, WriteOptions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// `cases` cases, unless `PROPTEST_CASES` asks for another number; no files of old failures.
pub fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(cases), failure_persistence: None, ..ProptestConfig::default() }
}

/// Repeatable bytes without a pattern that shifts would keep.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Every registered dtype, and private ones of each class with odd geometries.
pub fn dtypes() -> Vec<DType> {
    let private = [
        ("my.f24", GroupClass::Scalar, 1, 3),
        ("numpy.V12", GroupClass::Scalar, 1, 12),
        ("my.line", GroupClass::Scalar, 1, 128),
        ("my.b96", GroupClass::Scalar, 1, 96),
        ("my.trits", GroupClass::Packed, 8, 5),
        ("my.i12", GroupClass::Packed, 2, 3),
        ("my.whole", GroupClass::Packed, 2, 2),
        ("my.sparse", GroupClass::Block, 3, 5),
        ("My.Block!", GroupClass::Block, 2, 64),
    ];
    let private = private.map(|(name, class, elements, bytes)| DType::private(name, class, elements, bytes).unwrap());
    DType::registered().chain(private).collect()
}

pub fn dtype() -> impl Strategy<Value = DType> {
    select(dtypes())
}

fn scalar_dtype() -> impl Strategy<Value = DType> {
    select(dtypes().into_iter().filter(|d| d.geometry().class == GroupClass::Scalar).collect::<Vec<_>>())
}

/// Up to six axes, few elements; now and then none, or one axis with so many that the buffer is large.
pub fn shape() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        1 => Just(vec![]),
        8 => vec(1u64..5, 1..=4),
        3 => vec(1u64..4, 5..=6),
        4 => (0u64..300).prop_map(|n| vec![n]),
        2 => vec(0u64..3, 1..=6),
        1 => (1u64..40, 1u64..100).prop_map(|(a, b)| vec![a, b]),
    ]
}

/// The shape with its last axis in whole groups, where the dtype asks for that.
fn fit(dtype: &DType, mut shape: Vec<u64>) -> Vec<u64> {
    let geometry = dtype.geometry();
    if geometry.class == GroupClass::Block {
        match shape.last_mut() {
            Some(last) => *last *= u64::from(geometry.elements),
            None => shape.push(geometry.elements.into()),
        }
    }
    shape
}

pub fn count(shape: &[u64]) -> u64 {
    shape.iter().product()
}

pub fn byte_len(dtype: &DType, shape: &[u64]) -> u64 {
    let geometry = dtype.geometry();
    count(shape).div_ceil(geometry.elements.into()) * u64::from(geometry.bytes)
}

/// Makes bytes legal elements: bools 0 or 1, tail bits zero.
fn legalise(dtype: &DType, elements: u64, bytes: &mut [u8]) {
    let geometry = dtype.geometry();
    if *dtype == DType::BOOL {
        bytes.iter_mut().for_each(|b| *b &= 1);
    }
    let (Some(bits), part) = (geometry.element_bits(), elements % u64::from(geometry.elements)) else { return };
    if geometry.class != GroupClass::Packed || part == 0 {
        return;
    }
    let used = part * u64::from(bits);
    let group = bytes.len() - geometry.bytes as usize;
    for (i, byte) in bytes[group..].iter_mut().enumerate() {
        for bit in 0..8u64 {
            if i as u64 * 8 + bit >= used {
                *byte &= !(1 << bit);
            }
        }
    }
}

/// Strides in bytes of a dense layout in which the axes, from the fastest, come in the order of `order`.
fn permuted(width: u64, shape: &[u64], order: &[usize]) -> Vec<i64> {
    let mut strides = vec![0; shape.len()];
    let mut step = width as i64;
    for axis in order {
        strides[*axis] = step;
        step *= shape[*axis] as i64;
    }
    strides
}

/// An order of `axes` axes, from any numbers.
fn order(axes: usize, keys: &[u8]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..axes).collect();
    order.sort_by_key(|axis| keys[axis % keys.len()].wrapping_mul(*axis as u8 + 1));
    order
}

/// A tensor alone in its storage, which may have bytes before and behind it; dense in any order of axes.
pub fn lone() -> impl Strategy<Value = Tensor<'static>> {
    let spare = prop_oneof![3 => Just(0usize), 1 => 0usize..200];
    (dtype(), shape(), any::<u64>(), spare.clone(), spare, proptest::option::weighted(0.4, any::<[u8; 6]>())).prop_map(
        |(dtype, shape, seed, before, after, keys)| {
            let shape = fit(&dtype, shape);
            let len = byte_len(&dtype, &shape) as usize;
            let mut bytes = noise(seed, before + len + after);
            legalise(&dtype, count(&shape), &mut bytes[before..before + len]);
            let scalar = dtype.geometry().class == GroupClass::Scalar;
            let strides = keys.filter(|_| scalar).map(|keys| permuted(dtype.geometry().bytes.into(), &shape, &order(shape.len(), &keys)));
            Tensor::view(dtype, &shape, strides.as_deref(), Storage::shared(bytes), before as u64).unwrap()
        },
    )
}

/// One tensor of a buffer that is large: 64 KiB more or less, or several blocks.
fn large() -> impl Strategy<Value = Tensor<'static>> {
    (65_400u64..66_000, any::<u64>(), any::<bool>()).prop_map(|(len, seed, long)| {
        let len = if long { len * 3 } else { len };
        Tensor::new(DType::U8, &[len], Storage::shared(noise(seed, len as usize))).unwrap()
    })
}

/// Views of one dtype that overlap, touch or lie apart, without a tensor over all of them.
fn chain() -> impl Strategy<Value = Vec<Tensor<'static>>> {
    let aligned = select(vec![DType::U8, DType::F16, DType::F32, DType::F64, DType::C128, DType::Q4_0, DType::I4]);
    (aligned, vec((0u64..30, 1u64..12), 2..6), any::<u64>(), any::<bool>()).prop_map(|(dtype, ranges, seed, touch)| {
        let geometry = dtype.geometry();
        let storage = Storage::shared(noise(seed, 50 * geometry.bytes as usize));
        let mut at = 0;
        let views = ranges.into_iter().map(|(start, len)| {
            let start = if touch { at } else { start };
            at = (start + len) % 30;
            let offset = start * u64::from(geometry.bytes);
            Tensor::view(dtype.clone(), &[len * u64::from(geometry.elements)], None, storage.clone(), offset).unwrap()
        });
        views.collect()
    })
}

/// What to view of a base.
#[derive(Clone, Debug)]
struct View {
    dtype: DType,
    shape: Vec<u64>,
    /// Of the places where it fits.
    at: Index,
    /// Extra steps in the strides; none for a dense view.
    gaps: Vec<u64>,
    keys: [u8; 6],
}

fn view() -> impl Strategy<Value = View> {
    let gaps = prop_oneof![1 => Just(vec![0; 3]), 1 => vec(0u64..3, 3)];
    (dtype(), vec(1u64..4, 0..=3), any::<Index>(), gaps, any::<[u8; 6]>()).prop_map(|(dtype, shape, at, gaps, keys)| View {
        dtype,
        shape,
        at,
        gaps,
        keys,
    })
}

impl View {
    /// The view over the first `len` bytes from `base` of `storage`; `None` if it does not fit.
    fn over(&self, storage: &Storage<'static>, base: u64, len: u64) -> Option<Tensor<'static>> {
        let geometry = self.dtype.geometry();
        let shape = match geometry.class {
            GroupClass::Scalar => self.shape.clone(),
            // Whole groups: what ends within one must be alone.
            GroupClass::Packed => vec![(self.shape.iter().product::<u64>()) * u64::from(geometry.elements)],
            GroupClass::Block => fit(&self.dtype, self.shape.clone()),
        };
        let (mut strides, mut step) = (vec![0; shape.len()], 1u64);
        for (i, axis) in order(shape.len(), &self.keys).into_iter().enumerate() {
            step += self.gaps.get(i).copied().unwrap_or(0);
            strides[axis] = (step * u64::from(geometry.bytes)) as i64;
            step *= shape[axis];
        }
        let scalar = geometry.class == GroupClass::Scalar;
        let span = if scalar {
            shape.iter().zip(&strides).map(|(dim, s)| (dim - 1) * *s as u64).sum::<u64>() + u64::from(geometry.bytes)
        } else {
            byte_len(&self.dtype, &shape)
        };
        let places = len.checked_sub(span)? / geometry.alignment() + 1;
        let offset = base + self.at.index(places as usize) as u64 * geometry.alignment();
        Tensor::view(self.dtype.clone(), &shape, scalar.then_some(strides.as_slice()), storage.clone(), offset).ok()
    }
}

/// A dense base (first) and views inside it: dense or strided, of any dtype, also empty ones.
fn family() -> impl Strategy<Value = Vec<Tensor<'static>>> {
    let base = select(vec![DType::U8, DType::BOOL, DType::F32, DType::C128, DType::I4, DType::Q5_1]);
    let before = prop_oneof![Just(0u64), 1u64..100];
    (base, 1u64..8, any::<u64>(), vec(view(), 1..5), before, any::<Index>()).prop_map(|(dtype, lines, seed, views, before, at)| {
        let geometry = dtype.geometry();
        let groups = lines * 192 / u64::from(geometry.bytes);
        let len = groups * u64::from(geometry.bytes);
        let mut bytes = noise(seed, (before + len + 64) as usize);
        if dtype == DType::BOOL || views.iter().any(|v| v.dtype == DType::BOOL) {
            bytes.iter_mut().for_each(|b| *b &= 1);
        }
        let storage = Storage::shared(bytes);
        let elements = groups * u64::from(geometry.elements);
        let mut family = vec![Tensor::view(dtype, &[elements], None, storage.clone(), before).unwrap()];
        family.extend(views.iter().filter_map(|view| view.over(&storage, before, len)));
        let empty = before + at.index(len as usize) as u64;
        family.push(Tensor::view(DType::F64, &[0, views.len() as u64], None, storage, empty).unwrap());
        family
    })
}

/// Tensors to pick from, each with the one that must be saved with it so that it keeps its layout.
fn pool() -> impl Strategy<Value = Vec<(Tensor<'static>, Option<Tensor<'static>>)>> {
    let alone = |views: Vec<Tensor<'static>>| views.into_iter().map(|t| (t, None)).collect::<Vec<_>>();
    let group = prop_oneof![
        6 => lone().prop_map(move |t| alone(vec![t])),
        1 => large().prop_map(move |t| alone(vec![t])),
        2 => chain().prop_map(alone),
        4 => family().prop_map(|family| {
            let base = family[0].clone();
            family.into_iter().map(|t| (t, Some(base.clone()))).collect()
        }),
    ];
    vec(group, 1..5).prop_map(|groups| groups.concat())
}

pub fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        6 => "[a-z]{1,8}".prop_map(Key::from),
        2 => ".{0,4}".prop_map(Key::from),
        2 => select(vec!["", "~", "/", "~i0", "~b", "a/b", "a~1b", "0", "\0", "\u{202e}é"]).prop_map(Key::from),
        3 => (-3i64..20).prop_map(Key::from),
        1 => any::<i64>().prop_map(Key::from),
        2 => vec(any::<u8>(), 0..4).prop_map(|b| Key::from(b.as_slice())),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    let special = [0, 1 << 63, 0x7FF8_0000_0000_0000, 0x7FF0_0000_0000_0001, 0xFFF8_DEAD_BEEF_0001, 0x7FF0_0000_0000_0000, 1];
    prop_oneof![any::<u64>(), select(special.to_vec())].prop_map(f64::from_bits)
}

/// Values without items.
pub fn scalar() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![any::<i64>(), -3i64..3, select(vec![i64::MIN, i64::MAX])].prop_map(Value::from),
        // From 9 bytes on a big int; shorter ones and those with needless bytes become what they are.
        vec(prop_oneof![Just(0u8), Just(0xFF), any::<u8>()], 1..40).prop_map(|digits| Value::integer(&digits).unwrap()),
        select(vec![(1i128 << 63).to_le_bytes(), (-(1i128 << 63) - 1).to_le_bytes()]).prop_map(|digits| Value::integer(&digits).unwrap()),
        float().prop_map(Value::from),
        (float(), float()).prop_map(|(re, im)| Value::Complex(re, im)),
        ".{0,12}".prop_map(Value::from),
        vec(any::<u8>(), 0..20).prop_map(Value::from),
    ]
}

/// Names that a writer may give.
pub fn type_name() -> impl Strategy<Value = String> {
    prop_oneof![select(Named::REGISTERED.to_vec()).prop_map(str::to_owned), "[!-~]{0,6}\\.[!-~]{0,6}"]
}

/// A tree whose tensors are still to be picked.
#[derive(Clone, Debug)]
enum Tree {
    Value(Value<'static>),
    Tensor(Index),
    List(Vec<Tree>),
    Tuple(Vec<Tree>),
    Dict(Vec<(Key, Tree)>),
    Named(String, Box<Tree>),
}

fn tree(tensors: u32) -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        12 => scalar().prop_map(Tree::Value),
        1 => (65_530usize..65_545, any::<u64>()).prop_map(|(len, seed)| Tree::Value(Value::from(noise(seed, len)))),
        tensors => any::<Index>().prop_map(Tree::Tensor),
    ];
    leaf.prop_recursive(5, 40, 8, |item| {
        prop_oneof![
            3 => vec(item.clone(), 0..8).prop_map(Tree::List),
            1 => vec(item.clone(), 0..4).prop_map(Tree::Tuple),
            3 => vec((key(), item.clone()), 0..14).prop_map(Tree::Dict),
            1 => (type_name(), item).prop_map(|(name, item)| Tree::Named(name, Box::new(item))),
        ]
    })
}

impl Tree {
    fn build(self, pool: &[(Tensor<'static>, Option<Tensor<'static>>)], bases: &mut Vec<Value<'static>>) -> Value<'static> {
        match self {
            Tree::Value(value) => value,
            Tree::Tensor(index) => {
                let (tensor, base) = &pool[index.index(pool.len())];
                bases.extend(base.clone().map(Value::from));
                Value::from(tensor.clone())
            }
            Tree::List(items) => Value::List(items.into_iter().map(|item| item.build(pool, bases)).collect()),
            Tree::Tuple(items) => Value::Tuple(items.into_iter().map(|item| item.build(pool, bases)).collect()),
            Tree::Dict(items) => Value::Dict(items.into_iter().map(|(key, item)| (key, item.build(pool, bases))).collect()),
            Tree::Named(name, item) => Value::from(Named::new(&name, item.build(pool, bases)).unwrap()),
        }
    }
}

/// Any value that can be kept exactly.
pub fn values() -> impl Strategy<Value = Value<'static>> {
    (tree(12), pool()).prop_map(|(tree, pool)| {
        let mut bases = Vec::new();
        let value = tree.build(&pool, &mut bases);
        if bases.is_empty() { value } else { Value::Tuple(vec![value, Value::List(bases)]) }
    })
}

/// Values without tensors or long bytes, as metadata holds them.
pub fn plain() -> impl Strategy<Value = Value<'static>> {
    scalar().prop_recursive(3, 10, 4, |item| {
        prop_oneof![
            vec(item.clone(), 0..4).prop_map(Value::List),
            vec((key(), item.clone()), 0..4).prop_map(|items| Value::Dict(items.into_iter().collect())),
            (type_name(), item).prop_map(|(name, item)| Value::from(Named::new(&name, item).unwrap())),
        ]
    })
}

/// Any metadata, block size (mostly small, so that buffers have several) and one to three threads.
pub fn options() -> impl Strategy<Value = WriteOptions> {
    let block = prop_oneof![4 => Just(12u8), 1 => Just(13), 1 => 12u8..=22];
    let metadata = vec(("[a-z]{0,5}", plain()), 0..3).prop_map(Dict::from_iter);
    (block, 1usize..=3, metadata)
        .prop_map(|(log2, threads, metadata)| WriteOptions::new().block_log2(log2).threads(threads).metadata(metadata).durable(false))
}

/// A tensor alone in its storage that cannot keep its layout: reversed, broadcast, strided with holes, overlapping
/// itself, or with strides that are no whole elements.
pub fn loose() -> impl Strategy<Value = Tensor<'static>> {
    let axis = (1u64..5, prop_oneof![3 => -9i64..10, 1 => Just(0i64)]);
    (scalar_dtype(), vec(axis, 1..=4), any::<bool>(), any::<u64>()).prop_map(|(dtype, axes, whole, seed)| {
        let width = i64::from(dtype.geometry().bytes);
        let shape: Vec<u64> = axes.iter().map(|(dim, _)| *dim).collect();
        let strides: Vec<i64> = axes.iter().map(|(_, s)| if whole { s * width } else { s * width + s % 2 }).collect();
        let reach = |positive: bool| -> i64 {
            let reaches = shape.iter().zip(&strides).map(|(dim, s)| (*dim as i64 - 1) * s);
            reaches.filter(|r| (*r > 0) == positive).sum()
        };
        let (below, above) = (-reach(false), reach(true));
        let mut bytes = noise(seed, (below + above + width) as usize);
        legalise(&dtype, 1, &mut bytes);
        Tensor::view(dtype, &shape, Some(&strides), Storage::shared(bytes), below as u64).unwrap()
    })
}

/// For each axis of a shape a range inside it, from any numbers; in whole groups where the dtype asks for that.
pub fn ranges(dtype: &DType, shape: &[u64], picks: &[(Index, Index)]) -> Vec<std::ops::Range<u64>> {
    let last = shape.len().wrapping_sub(1);
    let range = |(axis, dim): (usize, &u64)| {
        let unit = if axis == last && dtype.geometry().class == GroupClass::Block { u64::from(dtype.geometry().elements) } else { 1 };
        let (a, b) = picks[axis % picks.len()];
        let pick = |index: Index| index.index((dim / unit) as usize + 1) as u64 * unit;
        pick(a).min(pick(b))..pick(a).max(pick(b))
    };
    shape.iter().enumerate().map(range).collect()
}
