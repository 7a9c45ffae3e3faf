//! Files made to cost more than they weigh: each grows with a number, and reading it must grow no faster.

use super::raw::*;

/// A way to make files of any size.
pub struct Attack {
    pub name: &'static str,
    /// Makes the file of about so many bytes.
    pub file: fn(usize) -> Vec<u8>,
    /// The code at open, or none.
    pub open: Option<&'static str>,
    /// The code of the first fault that `verify` reports, or none; of no meaning where `open` refuses.
    pub verify: Option<&'static str>,
}

pub const ATTACKS: &[Attack] = &[
    Attack { name: "empty-tensors", file: empty_tensors, open: None, verify: None },
    Attack { name: "empty-tensors-twins", file: empty_twins, open: Some("tensor-duplicate"), verify: None },
    Attack { name: "rank-64", file: rank_64, open: None, verify: None },
    Attack { name: "equal-keys", file: equal_keys, open: Some("key-duplicate"), verify: None },
    Attack { name: "equal-keys-at-end", file: equal_at_end, open: Some("key-duplicate"), verify: None },
    Attack { name: "keys-modulo-prime", file: keys_modulo_prime, open: None, verify: None },
    Attack { name: "keys-in-high-bits", file: keys_in_high_bits, open: None, verify: None },
    Attack { name: "keys-of-zeros", file: keys_of_zeros, open: None, verify: None },
    Attack { name: "dicts-in-dicts", file: dicts_in_dicts, open: None, verify: None },
    Attack { name: "tied-leaves", file: tied_leaves, open: None, verify: None },
    Attack { name: "nulls", file: nulls, open: None, verify: None },
    Attack { name: "deep-and-wide", file: deep_and_wide, open: None, verify: None },
    Attack { name: "too-deep", file: too_deep, open: Some("value-length"), verify: None },
    Attack { name: "count-bomb", file: count_bomb, open: Some("value-length"), verify: None },
    Attack { name: "dtypes-alike", file: dtypes_alike, open: None, verify: None },
    Attack { name: "dtypes-in-use", file: dtypes_in_use, open: None, verify: None },
    Attack { name: "dtypes-unused", file: dtypes_unused, open: Some("dtype-order"), verify: None },
    Attack { name: "extensions", file: extensions, open: None, verify: None },
    Attack { name: "extension-unknown-last", file: extension_unknown, open: Some("extension-unknown"), verify: None },
    Attack { name: "views", file: |size| views(size, false, "u8"), open: None, verify: None },
    Attack { name: "views-strided", file: |size| views(size, true, "u8"), open: None, verify: None },
    Attack { name: "views-gap", file: views_gap, open: Some("view-cover"), verify: None },
    Attack { name: "views-twins", file: views_twins, open: Some("tensor-duplicate"), verify: None },
    Attack { name: "views-of-bools", file: |size| views(size, false, "bool"), open: None, verify: None },
    Attack { name: "views-of-bad-bools", file: |size| spoilt(views(size, false, "bool"), false), open: None, verify: Some("bool-value") },
    Attack { name: "views-of-strided-bools", file: |size| views(size, true, "bool"), open: None, verify: None },
    Attack { name: "views-of-damage", file: |size| spoilt(views(size, false, "u8"), true), open: None, verify: Some("block-crc") },
    Attack { name: "views-of-damaged-bools", file: |size| spoilt(views(size, false, "bool"), true), open: None, verify: Some("block-crc") },
    Attack { name: "bad-bools-everywhere", file: bad_everywhere, open: None, verify: Some("bool-value") },
    Attack { name: "bools-between-others", file: |size| bools_between(size, |i| i % 2 * 2), open: None, verify: Some("budget") },
    Attack { name: "bools-between-few", file: |size| bools_between(size, |i| u64::from(i % (1 << 14) == 7) * 3), open: None, verify: None },
    Attack {
        name: "bad-bools-between",
        file: |size| bools_between(size, |i| u64::from(i % (1 << 14) == 6) * 3),
        open: None,
        verify: Some("bool-value"),
    },
    Attack { name: "bools-in-cubes", file: bools_in_cubes, open: None, verify: Some("budget") },
    Attack { name: "bools-in-each-word", file: bools_in_each_word, open: None, verify: Some("budget") },
    Attack { name: "bool-columns", file: bool_columns, open: None, verify: None },
    Attack { name: "long-addresses", file: |size| long_addresses(size, "u8"), open: None, verify: Some("block-crc") },
    Attack { name: "tiny-buffers", file: tiny_buffers, open: None, verify: None },
    Attack { name: "tiny-buffers-damaged", file: tiny_damaged, open: None, verify: Some("block-crc") },
    Attack { name: "control-characters", file: control_characters, open: None, verify: Some("block-crc") },
    Attack { name: "padding-damaged", file: padding_damaged, open: None, verify: Some("padding") },
    Attack { name: "buffers-of-kind-7", file: opaque_buffers, open: None, verify: None },
    Attack { name: "long-bytes", file: long_bytes, open: None, verify: None },
    Attack { name: "big-ints", file: |size| rooted(list(&vec![bigint(&[1; 8192]); size / 8197])).build(), open: None, verify: None },
    Attack { name: "not-utf8-at-end", file: not_utf8, open: Some("value-utf8"), verify: None },
    Attack { name: "metadata", file: metadata, open: None, verify: None },
    Attack { name: "index-copy-differs", file: copy_differs, open: None, verify: Some("index-crc") },
    Attack { name: "index-damaged", file: index_damaged, open: Some("index-crc"), verify: None },
    Attack { name: "streamed-without-trailer", file: no_trailer, open: Some("trailer-missing"), verify: None },
    Attack { name: "zeros", file: |size| vec![0; size], open: Some("magic"), verify: None },
];

/// Files of a million parts: too long for the table above, and each may take twice its index to open.
pub const MILLIONS: &[Attack] = &[
    Attack { name: "a-million-empty-tensors", file: |n| empty(n).build(), open: None, verify: None },
    Attack { name: "a-million-views", file: views_of_few, open: None, verify: None },
    Attack { name: "a-million-buffers", file: |n| tiny_file(n * 115).build(), open: None, verify: None },
    Attack { name: "a-million-names", file: |n| dict_of((0..n).map(|i| str_(&format!("{i:07}")))), open: None, verify: None },
    Attack { name: "a-million-equal-keys", file: |n| equal_keys(6 * n), open: Some("key-duplicate"), verify: None },
    Attack { name: "two-of-a-million-equal", file: |n| equal_at_end(10 * n), open: Some("key-duplicate"), verify: None },
];

fn rooted(root: Vec<u8>) -> RawFile {
    RawFile { root, ..RawFile::streamed() }
}

fn numbered(n: usize) -> Vec<u8> {
    list(&(0..n as u32).map(tensor).collect::<Vec<_>>())
}

fn empty(n: usize) -> RawFile {
    let mut file = rooted(numbered(n));
    file.dtypes.push(RawDtype::scalar("u8", 1));
    file.tensors = (0..n as u64).map(|i| RawTensor::empty(0, &[0, i])).collect();
    file
}

fn empty_tensors(size: usize) -> Vec<u8> {
    empty(size / 39).build()
}

fn empty_twins(size: usize) -> Vec<u8> {
    let mut file = empty(size / 39);
    let last = file.tensors.len() - 1;
    file.tensors[last] = file.tensors[0].clone();
    file.build()
}

/// The same 63 extents in all of them: nothing but the last tells them apart.
fn rank_64(size: usize) -> Vec<u8> {
    let n = size / 535;
    let mut file = empty(n);
    file.tensors = (0..n as u64).map(|i| RawTensor::empty(0, &[vec![1; 62], vec![0, i]].concat())).collect();
    file.build()
}

fn dict_of(keys: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    rooted(dict(&keys.map(|key| (key, null())).collect::<Vec<_>>())).build()
}

fn equal_keys(size: usize) -> Vec<u8> {
    dict_of((0..size / 6).map(|_| str_("")))
}

fn equal_at_end(size: usize) -> Vec<u8> {
    let n = (size / 10) as i64;
    dict_of((0..n).chain([n - 1]).map(int))
}

/// Integers that are one number modulo 2^61 − 1, the prime of the hash, and as words.
fn keys_modulo_prime(size: usize) -> Vec<u8> {
    let prime = (1i64 << 61) - 1;
    let few = [-4, -3, -2, -1, 0, 1, 2, 3].map(|k| prime * k);
    // As bytes keys the 32-bit halves of each word can be multiples of anything.
    let words = (0..size / 22).map(|i| bytes(&[(i as u64).to_le_bytes(), (i as u64).wrapping_mul(prime as u64).to_le_bytes()].concat()));
    dict_of(few.into_iter().map(int).chain(words))
}

fn keys_in_high_bits(size: usize) -> Vec<u8> {
    dict_of((0..(size / 10) as i64).map(|i| int(i << 40)))
}

/// Zeros alone, of every length and at every depth.
fn keys_of_zeros(size: usize) -> Vec<u8> {
    let one = dict(&(0..200).map(|len| (bytes(&vec![0; len]), null())).collect::<Vec<_>>());
    rooted(list(&vec![one.clone(); size / one.len()])).build()
}

fn dicts_in_dicts(size: usize) -> Vec<u8> {
    let keys = size / 128 / 10;
    let root = (0..127).fold(null(), |inner, _| {
        let mut pairs: Vec<_> = (0..keys as i64).map(|i| (int(i), null())).collect();
        pairs.push((str_("x"), inner));
        dict(&pairs)
    });
    rooted(root).build()
}

fn tied_leaves(size: usize) -> Vec<u8> {
    let mut file = rooted(list(&vec![tensor(0); size / 5]));
    file.dtypes.push(RawDtype::scalar("bool", 1));
    file.buffers.push(RawBuffer::new(vec![1; 1000]));
    file.tensors.push(RawTensor::new(0, 0, 0, &[1000]));
    file.build()
}

fn nulls(size: usize) -> Vec<u8> {
    rooted(list(&vec![null(); size])).build()
}

fn deep_and_wide(size: usize) -> Vec<u8> {
    let one = (0..125).fold(null(), |value, _| list(&[value]));
    rooted(list(&vec![one.clone(); size / one.len()])).build()
}

fn too_deep(size: usize) -> Vec<u8> {
    rooted(list(&[vec![]]).repeat(size / 9)).build()
}

/// Counts as large as honest byte lengths allow, at every depth.
fn count_bomb(size: usize) -> Vec<u8> {
    let mut inner = null().repeat(size);
    for _ in 0..100 {
        inner = container(LIST, inner.len() as u32, inner.len() as u32, &inner);
    }
    rooted(inner).build()
}

/// Names that differ in their last bytes only.
fn dtypes_file(n: usize) -> RawFile {
    let mut file = rooted(numbered(n));
    file.dtypes = (0..n).map(|i| RawDtype::scalar(&format!("{}.{i:08}", "a".repeat(240)), 1)).collect();
    file.tensors = (0..n as u32).map(|i| RawTensor::empty(i, &[0])).collect();
    file
}

fn dtypes_alike(size: usize) -> Vec<u8> {
    dtypes_file(size / 290).build()
}

/// All of them of the same byte.
fn dtypes_in_use(size: usize) -> Vec<u8> {
    let mut file = dtypes_file(size / 300);
    file.buffers.push(RawBuffer::new(vec![1]));
    file.tensors.iter_mut().for_each(|tensor| (tensor.buffer, tensor.dims) = (0, vec![1]));
    file.build()
}

fn dtypes_unused(size: usize) -> Vec<u8> {
    let file = dtypes_file(size / 259);
    RawFile { tensors: vec![], root: null(), ..file }.build()
}

fn many_extensions(n: usize) -> RawFile {
    RawFile { extensions: (1..=n as u32).map(|tag| RawExtension::new(tag, b"")).collect(), ..RawFile::streamed() }
}

fn extensions(size: usize) -> Vec<u8> {
    many_extensions(size / 8).build()
}

fn extension_unknown(size: usize) -> Vec<u8> {
    let mut file = many_extensions(size / 8);
    file.extensions.push(RawExtension::new(1 << 31, b""));
    file.build()
}

/// Half of the file is one buffer, the other half are tensors, each of which views half of it.
fn views_file(size: usize, strided: bool, dtype: &str) -> RawFile {
    let (n, len) = ((size / 2 / if strided { 39 } else { 31 }) as u64, (size / 2) as u64);
    let mut file = RawFile { log2_block: 12, ..rooted(numbered(n as usize + 1)) };
    file.dtypes.push(RawDtype::scalar(dtype, 1));
    file.buffers.push(RawBuffer::new(vec![1; len as usize]));
    file.tensors.push(RawTensor::new(0, 0, 0, &[len]));
    let places = (1..=n).map(|i| i * (len / 2) / (n + 1));
    file.tensors.extend(places.enumerate().map(|(i, at)| match strided {
        false => RawTensor::new(0, 0, at, &[len / 2 - i as u64 % 2]),
        true => RawTensor::new(0, 0, at, &[len / 4 - i as u64 % 2]).strided(&[2]),
    }));
    file
}

fn views(size: usize, strided: bool, dtype: &str) -> Vec<u8> {
    views_file(size, strided, dtype).build()
}

/// A few bytes, and `n` views of them.
fn views_of_few(n: usize) -> Vec<u8> {
    let len = 2 * n.isqrt() as u64;
    let mut file = rooted(vec![]);
    file.dtypes.push(RawDtype::scalar("bool", 1));
    file.buffers.push(RawBuffer::new(vec![1; len as usize]));
    let places = (0..len).flat_map(|at| (1..=len - at).rev().map(move |extent| (at, extent)));
    file.tensors = places.take(n).map(|(at, extent)| RawTensor::new(0, 0, at, &[extent])).collect();
    file.root = numbered(file.tensors.len());
    file.build()
}

/// `file`, whose first buffer is at 4096, with a wrong byte in every block; `damaged`, or signed.
fn spoilt(mut file: Vec<u8>, damaged: bool) -> Vec<u8> {
    let end = 4096 + (file.len() - 4096) / 2;
    for at in (4096..end - 4096).step_by(4096) {
        file[at + 7] = 2;
    }
    if !damaged {
        resign(&mut file);
    }
    file
}

/// Overlapping bool views, each of which begins with a byte that is no bool.
fn bad_everywhere(size: usize) -> Vec<u8> {
    let mut file = views_file(size, false, "bool");
    file.buffers[0].data.fill(2);
    file.build()
}

/// A buffer that a u8 tensor fills with what `fill` gives, and `bools` that view it.
fn below_bytes(len: u64, fill: impl Fn(u64) -> u64, bools: impl Iterator<Item = RawTensor>) -> RawFile {
    let mut file = RawFile { log2_block: 12, ..RawFile::streamed() };
    file.dtypes = vec![RawDtype::scalar("u8", 1), RawDtype::scalar("bool", 1)];
    file.buffers.push(RawBuffer::new((0..len).map(|i| fill(i) as u8).collect()));
    file.tensors = std::iter::once(RawTensor::new(0, 0, 0, &[len])).chain(bools).collect();
    file.root = numbered(file.tensors.len());
    file
}

/// Every second byte of half a buffer is a bool, from ever another one on; half of the file are such tensors.
fn bools_between(size: usize, fill: fn(u64) -> u64) -> Vec<u8> {
    let (n, len) = ((size / 2 / 39) as u64, (size / 2) as u64);
    let view = |i: u64| RawTensor::new(1, 0, (i * (len / 2) / (n + 1)) & !1, &[len / 4 - i % 2]).strided(&[2]);
    below_bytes(len, fill, (1..=n).map(view)).build()
}

/// Bools at all sums of some of many distances, with a byte that is no bool behind each.
fn bools_in_cubes(size: usize) -> Vec<u8> {
    let len = (size / 2) as u64;
    let axes = len.ilog2() as usize - 3;
    let (n, strides) = ((size / 2 / (23 + 16 * axes)) as u64, (0..axes).map(|k| (4 << k) - 2).collect::<Vec<u64>>());
    let view = |i| RawTensor::new(1, 0, 2 * i, &vec![2; axes]).strided(&strides);
    below_bytes(len, |i| i % 2 * 2, (0..n).map(view)).build()
}

/// Most of the file are bytes, of which every 64th is no bool, and each view has one byte out of as many as well.
fn bools_in_each_word(size: usize) -> Vec<u8> {
    let (n, len) = ((size / 12 / 39) as u64, (size - size / 12) as u64);
    let view = |i| RawTensor::new(1, 0, i + i / 63, &[(len - n - n / 63) / 64 - i / 63]).strided(&[64]);
    below_bytes(len, |i| u64::from(i % 64 == 63) * 7, (0..n).map(view)).build()
}

/// A table with 63 columns of bools beside one of other bytes: nothing overlaps, so nothing is too much.
fn bool_columns(size: usize) -> Vec<u8> {
    let rows = (size / 64) as u64;
    let column = |i| RawTensor::new(1, 0, i, &[rows]).strided(&[64]);
    below_bytes(rows * 64, |i| u64::from(i % 64 == 63) * 7, (0..63).map(column)).build()
}

/// The buffer's last byte is no tensor's.
fn views_gap(size: usize) -> Vec<u8> {
    let mut file = views_file(size, false, "u8");
    let len = file.buffers[0].data.len() as u64;
    file.tensors[0] = RawTensor::new(0, 0, 0, &[len - 1]);
    file.build()
}

fn views_twins(size: usize) -> Vec<u8> {
    let mut file = views_file(size, false, "u8");
    let last = file.tensors.len() - 1;
    file.tensors[last] = file.tensors[1].clone();
    file.build()
}

/// Overlapping views with a damaged block each, below a key that makes every address 4 KiB long.
fn long_addresses(size: usize, dtype: &str) -> Vec<u8> {
    let mut file = views_file(size, false, dtype);
    file.root = object(&[(&"~".repeat(4000), file.root.clone())]);
    spoilt(file.build(), true)
}

fn tiny_file(size: usize) -> RawFile {
    let n = size / 115;
    let mut file = RawFile { log2_block: 12, ..rooted(numbered(n)) };
    file.dtypes.push(RawDtype::scalar("bool", 1));
    file.buffers = (0..n).map(|_| RawBuffer::new(vec![1])).collect();
    file.tensors = (0..n as u32).map(|i| RawTensor::new(0, i, 0, &[1])).collect();
    file
}

fn tiny_buffers(size: usize) -> Vec<u8> {
    tiny_file(size).build()
}

fn damage_buffers(file: &RawFile) -> Vec<u8> {
    let mut bytes = file.build();
    file.layout().buffers.iter().for_each(|range| bytes[range.start] = 0);
    bytes
}

fn tiny_damaged(size: usize) -> Vec<u8> {
    damage_buffers(&tiny_file(size))
}

/// Damaged tensors at addresses that would move a terminal's cursor, ring its bell and end its lines.
fn control_characters(size: usize) -> Vec<u8> {
    let n = size / 140;
    let mut file = tiny_file(n * 115);
    let keys: Vec<_> = (0..n).map(|i| format!("\u{1b}[2J\u{7}\0\r\n{i:06}")).collect();
    file.root = object(&keys.iter().zip(0..).map(|(key, i)| (key.as_str(), tensor(i))).collect::<Vec<_>>());
    damage_buffers(&file)
}

fn padding_damaged(size: usize) -> Vec<u8> {
    let file = tiny_file(size);
    let mut bytes = file.build();
    file.layout().buffers.iter().for_each(|range| bytes[range.end] = 7);
    bytes
}

fn opaque_buffers(size: usize) -> Vec<u8> {
    let n = size / 47;
    let mut file = rooted(numbered(n));
    file.extensions.push(RawExtension::new(9, b""));
    file.dtypes.push(RawDtype::scalar("u8", 1));
    file.buffers = (0..n).map(|_| RawBuffer::of_kind(7, 9, vec![])).collect();
    file.tensors = (0..n as u32).map(|i| RawTensor::new(0, i, 0, &[1])).collect();
    file.build()
}

fn long_bytes(size: usize) -> Vec<u8> {
    let n = size / 69_632;
    let mut file = rooted(list(&(0..n as u32).map(|i| named("bytes", &tensor(i))).collect::<Vec<_>>()));
    file.dtypes.push(RawDtype::scalar("u8", 1));
    file.buffers = (0..n).map(|_| RawBuffer::new(vec![0; 65_537])).collect();
    file.tensors = (0..n as u32).map(|i| RawTensor::new(0, i, 0, &[65_537])).collect();
    file.build()
}

fn not_utf8(size: usize) -> Vec<u8> {
    let mut text = vec![b'x'; size];
    text[size - 1] = 0xFF;
    rooted(str_raw(&text)).build()
}

fn metadata(size: usize) -> Vec<u8> {
    let texts: Vec<_> = (0..size / 30).map(|i| format!("key {i:08}")).collect();
    let pairs: Vec<_> = texts.iter().map(|text| (text.as_str(), int(1))).collect();
    RawFile { metadata: object(&pairs), ..RawFile::streamed() }.build()
}

fn planned(size: usize) -> (RawFile, Vec<u8>) {
    let file = RawFile { root: list(&vec![int(7); size / 18]), ..RawFile::new() };
    let bytes = file.build();
    (file, bytes)
}

fn copy_differs(size: usize) -> Vec<u8> {
    let (file, mut bytes) = planned(size);
    bytes[file.layout().back.end - 1] ^= 1;
    bytes
}

fn index_damaged(size: usize) -> Vec<u8> {
    let (file, mut bytes) = planned(size);
    bytes[file.layout().front.end - 1] ^= 1;
    bytes
}

fn no_trailer(size: usize) -> Vec<u8> {
    let mut bytes = nulls(size);
    bytes.truncate(bytes.len() - 64);
    bytes
}
