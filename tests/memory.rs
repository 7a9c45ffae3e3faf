//! Opening takes at most 2 × index + 64 KiB of memory, whatever the file claims (SPEC.md §16), and work that is linear
//! in the file. All threads count: a large index is checked on two.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::path::Path;

use cairnfile::{Cairn, Class, Code, OpenOptions};
use counting::{alone, measured};
use support::raw::{self, dict, int, list, named, null, tensor};
use support::{RawBuffer, RawDtype, RawExtension, RawFile, RawTensor};

/// The stated length of the index, as far as it lies in the file.
fn index_len(bytes: &[u8]) -> usize {
    let frame = |at: usize| bytes.get(at + 32..at + 40).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()));
    let streamed = bytes.get(10).is_some_and(|b| b & 1 == 1);
    let stated = if streamed { bytes.len().checked_sub(64).map_or(0, frame) } else { frame(0) };
    usize::try_from(stated).unwrap_or(usize::MAX).min(bytes.len())
}

/// The whole promise where the index is copied; of an index in memory the reader's part is without it.
fn allowed(index: usize, copied: bool) -> usize {
    index + if copied { index } else { 0 } + (64 << 10)
}

/// Opens `bytes` in both ways and holds them to the bound. Returns the codes.
fn check(name: &str, bytes: &[u8], path: &Path, wrong: &mut Vec<String>) -> Option<Code> {
    std::fs::write(path, bytes).unwrap();
    let index = index_len(bytes);
    let (from_bytes, in_memory) = measured(|| Cairn::from_bytes(bytes).map(drop));
    let (opened, from_file) = measured(|| Cairn::open(path).map(drop));
    for (way, taken, copied) in [("from_bytes", in_memory.all, false), ("open", from_file.all, true)] {
        let most = allowed(index, copied);
        if taken > most {
            wrong.push(format!("{name}: {way} takes {taken} bytes, at most {most} are allowed for an index of {index}"));
        }
    }
    let code = from_bytes.err().map(|e| e.code());
    assert_eq!(code, opened.err().map(|e| e.code()), "{name}");
    code
}

fn accept(name: &str, file: &RawFile) {
    expect(name, file, None);
}

fn expect(name: &str, file: &RawFile, code: Option<&str>) {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let bytes = file.build();
    let found = check(name, &bytes, &directory.path().join("bomb.cairn"), &mut wrong);
    assert_eq!(found.map(Code::name), code, "{name}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rooted(root: Vec<u8>) -> RawFile {
    RawFile { root, streamed: true, ..RawFile::new() }
}

#[test]
fn the_allocator_counts() {
    if !alone("the_allocator_counts") {
        return;
    }
    let (kept, taken) = measured(|| drop(vec![0u8; 100_000]));
    assert_eq!((kept, taken.thread), ((), 100_000));
    let (_, taken) = measured(|| Vec::<u64>::with_capacity(1000));
    assert_eq!(taken.thread, 8000);
    // On another thread.
    let (_, taken) = measured(|| std::thread::spawn(|| drop(vec![0u8; 1 << 20])).join().unwrap());
    assert!(taken.thread < 1 << 16 && taken.all >= 1 << 20, "{taken:?}");
}

#[test]
fn the_catalogue_is_bounded() {
    if !alone("the_catalogue_is_bounded") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("case.cairn");
    let mut wrong = Vec::new();
    for case in support::accepted().into_iter().chain(support::rejected()) {
        check(case.name, &case.bytes, &path, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Counts of 2^32 − 1 everywhere a count stands, in tables and in nested containers.
#[test]
fn count_bombs() {
    if !alone("count_bombs") {
        return;
    }
    let most = Some(u32::MAX);
    for part in 0..4 {
        let mut file = RawFile::new();
        let counts = &mut file.counts;
        let count = [&mut counts.extensions, &mut counts.dtypes, &mut counts.buffers, &mut counts.tensors].into_iter().nth(part);
        *count.unwrap() = most;
        expect("table count bomb", &file, Some("index-short"));
    }
    for tag in [raw::LIST, raw::TUPLE, raw::DICT] {
        let bomb = (0..120).fold(null(), |inner, _| raw::container(tag, u32::MAX, u32::MAX, &inner));
        let code = if tag == raw::DICT { "value-length" } else { "index-short" };
        expect("nested count bomb", &rooted(bomb), Some(code));
        // Byte lengths that are honest, counts that are as large as these allow.
        let mut inner = vec![0x01; 200_000];
        for _ in 0..100 {
            let count = if tag == raw::DICT { inner.len() / 6 } else { inner.len() };
            inner = raw::container(tag, count as u32, inner.len() as u32, &inner);
        }
        let code = if tag == raw::DICT { "key-tag" } else { "value-length" };
        expect("nested plausible count bomb", &rooted(inner), Some(code));
    }
}

#[test]
fn many_empty_tensors() {
    if !alone("many_empty_tensors") {
        return;
    }
    let empty = |n: u64| {
        let mut file = RawFile { streamed: true, ..RawFile::new() };
        file.dtypes.push(RawDtype::scalar("u8", 1));
        file.tensors = (0..n).map(|i| RawTensor::empty(0, &[0, i])).collect();
        file.root = list(&(0..n as u32).map(tensor).collect::<Vec<_>>());
        file
    };
    accept("10^5 empty tensors", &empty(100_000));
    let mut file = empty(10_000);
    file.tensors[9_999] = file.tensors[0].clone();
    expect("10^4 empty tensors, two equal", &file, Some("tensor-duplicate"));
}

/// Keys whose hash table would be the largest for their bytes: as short as distinct keys can be.
fn short_keys(n: usize) -> Vec<Vec<u8>> {
    let one = |b: u8| vec![b];
    let mut bytes: Vec<Vec<u8>> = std::iter::once(vec![]).chain((0..=255).map(one)).collect();
    bytes.extend((0..=u16::MAX).map(|n| n.to_le_bytes().to_vec()));
    let texts = (0..=0x7FF).filter_map(char::from_u32).map(String::from);
    let pairs = (0..128u8).flat_map(|a| (0..128u8).map(move |b| String::from_utf8(vec![a, b]).unwrap()));
    let texts = std::iter::once(String::new()).chain(texts).chain(pairs).map(|text| raw::str_(&text));
    let mut keys: Vec<Vec<u8>> = texts.chain(bytes.iter().map(|b| raw::bytes(b))).collect();
    keys.sort_by_key(Vec::len);
    keys.extend((0..n as i64).map(int));
    keys.truncate(n);
    keys
}

#[test]
fn dicts_with_many_short_keys() {
    if !alone("dicts_with_many_short_keys") {
        return;
    }
    for n in [386, 84_000, 100_000] {
        let pairs: Vec<_> = short_keys(n).into_iter().map(|key| (key, null())).collect();
        accept("dict with many short keys", &rooted(dict(&pairs)));
        accept("metadata with a dict of many short keys", &RawFile { metadata: raw::object(&[("m", dict(&pairs))]), ..RawFile::new() });
    }
}

/// Dicts inside dicts as deep as they go, each with as many as possible of the keys that take the fewest bytes.
#[test]
fn nested_dicts_of_short_keys() {
    if !alone("nested_dicts_of_short_keys") {
        return;
    }
    for n in [8, 9, 12, 100, 386, 2000] {
        let keys = short_keys(n);
        let root = (0..127).fold(null(), |inner, _| {
            let mut pairs: Vec<_> = keys.iter().map(|key| (key.clone(), null())).collect();
            pairs[n / 2].1 = inner;
            dict(&pairs)
        });
        accept(&format!("127 dicts of {n} keys nested"), &rooted(root));
    }
}

#[test]
fn many_small_dicts() {
    if !alone("many_small_dicts") {
        return;
    }
    for n in [0, 1, 8, 9, 10, 16, 30] {
        for value in [null(), int(5), raw::str_("a longer value")] {
            let keys = short_keys(n);
            let one = dict(&keys.into_iter().map(|key| (key, value.clone())).collect::<Vec<_>>());
            accept(&format!("many dicts of {n} keys"), &rooted(list(&vec![one; 400_000 / (20 * n + 10)])));
        }
    }
}

#[test]
fn dicts_in_the_values_of_dicts() {
    if !alone("dicts_in_the_values_of_dicts") {
        return;
    }
    let keys = short_keys(386);
    let leaf = dict(&keys.iter().map(|key| (key.clone(), null())).collect::<Vec<_>>());
    let pairs: Vec<_> = keys.iter().map(|key| (key.clone(), leaf.clone())).collect();
    accept("386 dicts of 386 keys in a dict", &rooted(dict(&pairs)));
}

/// Equal keys fill a dict with less than distinct ones could, and are all candidates for the same slot.
#[test]
fn dicts_of_equal_keys() {
    if !alone("dicts_of_equal_keys") {
        return;
    }
    for key in [raw::str_(""), raw::bytes(b"x"), int(0), raw::str_(&"k".repeat(30))] {
        for n in [2, 1000, 100_000] {
            let pairs: Vec<_> = (0..n).map(|_| (key.clone(), null())).collect();
            expect("dict of equal keys", &rooted(dict(&pairs)), Some("key-duplicate"));
        }
    }
    // Nested, and the equal ones only in the innermost.
    let keys: Vec<_> = short_keys(386).into_iter().map(|key| (key, null())).collect();
    let innermost = dict(&vec![(raw::str_(""), null()); 20_000]);
    let root = (0..120).fold(innermost, |inner, _| {
        let mut pairs = keys.clone();
        pairs[385].1 = inner;
        dict(&pairs)
    });
    expect("equal keys below many dicts", &rooted(root), Some("key-duplicate"));
    // The dict never ends: what is refused first may be either.
    let endless = raw::container(raw::DICT, 100_000, 600_006, &raw::str_("").repeat(100_000));
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let code = check("endless", &rooted(endless).build(), &directory.path().join("bomb.cairn"), &mut wrong);
    assert!(code.is_some() && wrong.is_empty(), "{wrong:?}");
}

#[test]
fn deep_nesting() {
    if !alone("deep_nesting") {
        return;
    }
    let wraps: [&dyn Fn(Vec<u8>) -> Vec<u8>; 4] =
        [&|v| list(&[v]), &|v| raw::tuple(&[v]), &|v| dict(&[(int(0), v)]), &|v| named("a.b", &v)];
    for wrap in wraps {
        accept("depth 128", &rooted((0..127).fold(null(), |v, _| wrap(v))));
        expect("depth 129", &rooted((0..128).fold(null(), |v, _| wrap(v))), Some("depth-limit"));
        expect("50000 claims", &rooted(wrap(vec![]).repeat(50_000)), Some(deep(&wrap)));
    }
    let wide = list(&vec![(0..126).fold(null(), |v, _| list(&[v])); 500]);
    accept("500 times depth 127", &rooted(wide));
}

/// 50,000 times a container without the item that it claims: refused for its length, where it has one.
fn deep(wrap: &dyn Fn(Vec<u8>) -> Vec<u8>) -> &'static str {
    if wrap(vec![])[0] == 0x0D { "depth-limit" } else { "value-length" }
}

#[test]
fn many_dtypes() {
    if !alone("many_dtypes") {
        return;
    }
    let dtypes = |n: u32| {
        let mut file = RawFile { streamed: true, ..RawFile::new() };
        file.dtypes = (0..n).map(|i| RawDtype::scalar(&format!(".{i}"), 1)).collect();
        file.tensors = (0..n).map(|i| RawTensor::empty(i, &[0])).collect();
        file.root = list(&(0..n).map(tensor).collect::<Vec<_>>());
        file
    };
    accept("10^5 dtypes", &dtypes(100_000));
    let mut file = dtypes(10_000);
    file.dtypes[0] = file.dtypes[9_999].clone();
    expect("10^4 dtypes, two equal", &file, Some("dtype-duplicate"));
    // The table alone, none used.
    let unused = RawFile { dtypes: file.dtypes.split_off(1), streamed: true, ..RawFile::new() };
    expect("10^4 unused dtypes", &unused, Some("dtype-order"));
}

#[test]
fn many_overlapping_views() {
    if !alone("many_overlapping_views") {
        return;
    }
    let n = 20_000u64;
    for strided in [false, true] {
        let mut file = RawFile { streamed: true, ..RawFile::new() };
        file.dtypes.push(RawDtype::scalar("u8", 1));
        file.buffers.push(RawBuffer::new(vec![7; 3 * n as usize]));
        file.tensors = vec![RawTensor::new(0, 0, 0, &[3 * n])];
        file.tensors.extend((1..n).map(|i| match strided {
            false => RawTensor::new(0, 0, i, &[n]),
            true => RawTensor::new(0, 0, i, &[n / 2]).strided(&[2]),
        }));
        file.root = list(&(0..n as u32).map(tensor).collect::<Vec<_>>());
        accept("overlapping views", &file);
    }
}

#[test]
fn many_buffers_and_blocks() {
    if !alone("many_buffers_and_blocks") {
        return;
    }
    let n = 30_000u32;
    let mut file = RawFile { streamed: true, log2_block: 12, ..RawFile::new() };
    file.dtypes.push(RawDtype::scalar("u8", 1));
    file.buffers = (0..n).map(|_| RawBuffer::new(vec![1])).collect();
    file.tensors = (0..n).map(|i| RawTensor::new(0, i, 0, &[1])).collect();
    file.root = list(&(0..n).map(tensor).collect::<Vec<_>>());
    accept("many buffers", &file);
    file.extensions.push(RawExtension::new(9, b""));
    file.buffers.iter_mut().for_each(|b| *b = RawBuffer::of_kind(7, 9, vec![]));
    accept("many buffers without bytes", &file);
    let mut file = RawFile { streamed: true, log2_block: 12, ..RawFile::new() };
    file.dtypes.push(RawDtype::scalar("u8", 1));
    file.buffers.push(RawBuffer::new(vec![0; 1 << 20]));
    file.tensors = vec![RawTensor::new(0, 0, 0, &[1 << 20])];
    file.root = tensor(0);
    accept("many blocks", &file);
}

#[test]
fn many_extensions() {
    if !alone("many_extensions") {
        return;
    }
    let mut file = RawFile { streamed: true, ..RawFile::new() };
    file.extensions = (1..=50_000).map(|tag| RawExtension::new(tag, b"")).collect();
    accept("many extensions", &file);
    file.extensions.push(RawExtension::new(1 << 31, &[0; 1000]));
    expect("many extensions and one unknown", &file, Some("extension-unknown"));
}

#[test]
fn long_strings_and_bytes() {
    if !alone("long_strings_and_bytes") {
        return;
    }
    accept("a str of 1 MiB", &rooted(raw::str_(&"x".repeat(1 << 19))));
    accept("many bytes values", &rooted(list(&vec![raw::bytes(&[7; 65_536]); 6])));
    accept("many big ints", &rooted(list(&vec![raw::bigint(&[1; 8192]); 100])));
    expect("a str of 1 MiB that is not UTF-8", &rooted(raw::str_raw(&[0xFF; 1 << 20])), Some("value-utf8"));
    let mut file = RawFile { streamed: true, ..RawFile::new() };
    file.dtypes.push(RawDtype::scalar("u8", 1));
    file.buffers = (0..20).map(|_| RawBuffer::new(vec![0; 65_537])).collect();
    file.tensors = (0..20).map(|i| RawTensor::new(0, i, 0, &[65_537])).collect();
    file.root = list(&(0..20).map(|i| named("bytes", &tensor(i))).collect::<Vec<_>>());
    accept("long bytes", &file);
}

/// A caller's budget is looked at before the index is read.
#[test]
fn a_budget_comes_before_the_memory() {
    if !alone("a_budget_comes_before_the_memory") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.cairn");
    std::fs::write(&path, rooted(raw::str_(&"x".repeat(4 << 20))).build()).unwrap();
    let limits = cairnfile::Limits { index_bytes: 1 << 20, ..cairnfile::Limits::default() };
    let (outcome, peak) = measured(|| OpenOptions::new().limits(limits).open(&path).map(drop));
    let error = outcome.unwrap_err();
    assert_eq!((error.code(), error.class()), (Code::Budget, Class::Limit));
    assert!(peak.all < 64 << 10, "{peak:?}");
}

/// A header may state any length: nothing is allocated for an index that is not there.
#[test]
fn an_index_that_is_not_there() {
    if !alone("an_index_that_is_not_there") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("short.cairn");
    let file = RawFile::new().on_frames(|frame| {
        frame.index_length = (1 << 29) - 8;
        frame.file_length = 1 << 31;
    });
    let bytes = file.build();
    let mut wrong = Vec::new();
    assert_eq!(check("index elsewhere", &bytes, &path, &mut wrong), Some(Code::Truncated));
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Lookups and values are decoded on demand: reading a scalar at the end of a large tree takes next to nothing.
#[test]
fn lookups_take_no_memory_of_their_own() {
    if !alone("lookups_take_no_memory_of_their_own") {
        return;
    }
    let pairs: Vec<_> = (0..50_000).map(|i| (raw::str_(&format!("key {i}")), int(i))).collect();
    let bytes = rooted(dict(&pairs)).build();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    let (found, peak) = measured(|| cairn.get("/key 49999").unwrap().node().map(|node| format!("{node:?}")));
    assert_eq!(found.unwrap(), "Int(49999)");
    assert!(peak.thread < 4096, "{peak:?}");
}
