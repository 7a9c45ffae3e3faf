//! Parity: what is damaged within its share is computed again, bit for bit; what is damaged beyond it is reported and left alone.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod support;

use std::cell::RefCell;

use cairnfile::repair::{self, Healing};
use cairnfile::{Cairn, Code, DType, Dict, Plan, Storage, StreamWriter, Tensor, Value, WriteOptions};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Bytes that do not repeat.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn tensor(len: usize, seed: u64) -> Tensor<'static> {
    Tensor::new(DType::U8, &[len as u64], Storage::shared(noise(len, seed))).unwrap()
}

/// Tensors of all kinds that a writer treats apart: large, many small ones, views, and one whose elements are gathered.
fn value() -> Value<'static> {
    let storage = Storage::shared(noise(6000, 1));
    let base = Tensor::new(DType::U8, &[60, 100], storage.clone()).unwrap();
    let rows = Tensor::view(DType::U8, &[20, 100], None, storage, 1000).unwrap();
    let loose = Tensor::view(DType::U8, &[1000], Some(&[3]), Storage::shared(noise(3000, 2)), 0).unwrap();
    let small = (0..50).map(|i| tensor(1 + i % 7, i as u64).into()).collect::<Vec<Value<'_>>>();
    let entries: [(&str, Value<'static>); 5] =
        [("big", tensor(70_000, 3).into()), ("base", base.into()), ("rows", rows.into()), ("loose", loose.into()), ("small", small.into())];
    Value::from(Dict::from_iter(entries))
}

fn guarded(value: &Value<'_>, share: u16) -> Vec<u8> {
    cairnfile::to_bytes(value, &WriteOptions::new().block_log2(12).parity(share)).unwrap()
}

/// What a repair makes of a file, and what parity said of it.
fn mend(damaged: &[u8]) -> cairnfile::Result<(Vec<u8>, Option<Healing>)> {
    let read = |at: u64, len: u64| Ok(damaged[at as usize..(at + len) as usize].to_vec());
    let repair = repair::plan(&read, damaged.len() as u64)?;
    let mut bytes = damaged.to_vec();
    bytes.resize(repair.file_len as usize, 0);
    for patch in &repair.patches {
        bytes[patch.offset as usize..][..patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    let file = RefCell::new(bytes);
    let read = |at: u64, memory: &mut [u8]| {
        memory.copy_from_slice(&file.borrow()[at as usize..][..memory.len()]);
        Ok(())
    };
    let found = repair.examine(&read, &|_| Ok(()))?;
    if let Some(damage) = found.as_ref().filter(|damage| damage.is_possible()) {
        repair.heal(damage, &read, &mut |at, bytes| {
            file.borrow_mut()[at as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        })?;
    }
    Ok((file.into_inner(), found))
}

fn is_intact(bytes: &[u8]) -> bool {
    Cairn::from_bytes(bytes).unwrap().verify(&|_| Ok(())).unwrap().is_intact()
}

/// Where the buffers lie, those of parity too.
fn data_range(bytes: &[u8]) -> std::ops::Range<usize> {
    let cairn = Cairn::from_bytes(bytes).unwrap();
    let first = cairn.tensor("/big").or_else(|_| cairn.tensor("")).unwrap().file_range().unwrap().start as usize;
    first..bytes.len() - 64 - (cairn.index_len() as usize).next_multiple_of(64)
}

#[test]
fn all_ways_to_write_give_the_same_file() {
    let (value, options) = (value(), WriteOptions::new().block_log2(12).parity(500));
    let bytes = cairnfile::to_bytes(&value, &options).unwrap();
    let mut forward = Vec::new();
    Plan::new(&value, &options).unwrap().write(&mut forward, &|_| Ok(())).unwrap();
    assert!(forward == bytes);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cairn");
    cairnfile::save_with(&path, &value, &options).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    Plan::new(&value, &options).unwrap().create(&path).unwrap().commit().unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    let threads = cairnfile::to_bytes(&value, &options.clone().threads(1)).unwrap();
    assert!(threads == bytes);
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    let plain = cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap();
    assert_eq!(cairn.load().unwrap(), Cairn::from_bytes(&plain).unwrap().load().unwrap());
    assert_eq!(cairn.parity(), Some(529));
    assert!(is_intact(&bytes));
    // What is written like it is it again.
    assert!(guarded(&value, cairn.parity().unwrap()) == bytes);
    assert_eq!(mend(&bytes).unwrap().1.map(|found| (found.is_empty(), found.shards, found.parity)), Some((true, 151, 8)));
}

#[test]
fn what_cannot_have_parity() {
    let options = WriteOptions::new().parity(100);
    assert_eq!(cairnfile::to_bytes(&Value::Null, &options).unwrap(), cairnfile::to_bytes(&Value::Null, &WriteOptions::new()).unwrap());
    let refused = |result: cairnfile::Result<()>| result.unwrap_err().code();
    assert_eq!(refused(StreamWriter::new(Vec::new(), &options).map(drop)), Code::Unrepresentable);
    assert_eq!(refused(cairnfile::stream_to(Vec::new(), &value(), &options)), Code::Unrepresentable);
    assert_eq!(refused(cairnfile::to_bytes(&value(), &WriteOptions::new().parity(10_001)).map(drop)), Code::OutOfRange);
    let reserved = Tensor::reserved(DType::U8, &[10]).unwrap().into();
    assert_eq!(refused(cairnfile::to_bytes(&reserved, &options).map(drop)), Code::Unrepresentable);
}

/// Damages bytes of every kind, in runs and in dots, up to the budget and beyond it.
#[test]
fn within_the_share_all_is_healed_and_beyond_it_nothing_changes() {
    let (mut healed, mut reported) = (0, 0);
    let strategy = (1_usize..200_000, 1_u16..=3000, any::<u64>(), 0_usize..60, 1_usize..3000);
    let mut runner = TestRunner::new(Config { cases: 200, ..Config::default() });
    let outcome = runner.run(&strategy, |(len, share, seed, dots, most)| {
        let whole = guarded(&tensor(len, seed).into(), share);
        let mut damaged = whole.clone();
        let range = data_range(&whole);
        let dice = noise(dots * 16, seed ^ 1);
        for dot in dice.chunks(16) {
            let number = |at: usize| u64::from_le_bytes(*dot[at..].first_chunk().unwrap()) as usize;
            let start = range.start + number(0) % range.len();
            let end = (start + 1 + number(8) % most).min(range.end);
            damaged[start..end].iter_mut().for_each(|b| *b = b.wrapping_add(101));
        }
        let (mended, found) = mend(&damaged).unwrap();
        let found = found.unwrap();
        // An oracle of its own: what differs from the whole file, by shard.
        let lost = lost(&whole, &damaged, &found, len);
        prop_assert_eq!(lost, found.damaged.len() + found.damaged_parity.len());
        if lost <= found.parity as usize {
            prop_assert!(mended == whole);
        } else {
            prop_assert!(!found.is_possible() && mended == zero_padding(&damaged, len));
            prop_assert!(!is_intact(&mended));
        }
        Ok(())
    });
    outcome.unwrap();
    // The same counted, so that neither half of the claim is empty.
    for seed in 0..100 {
        let whole = guarded(&tensor(50_000, seed).into(), 1000);
        let range = data_range(&whole);
        let (mut damaged, runs) = (whole.clone(), 1 + seed as usize % 20);
        for run in 0..runs {
            let at = range.start + run * (range.len() / runs);
            damaged[at..at + 10].iter_mut().for_each(|b| *b ^= 0xFF);
        }
        let (mended, found) = mend(&damaged).unwrap();
        if found.unwrap().is_possible() {
            healed += 1;
            assert!(mended == whole);
        } else {
            reported += 1;
        }
    }
    assert!(healed > 30 && reported > 30, "{healed} healed, {reported} reported");
}

/// How many shards differ between two files of one tensor of `len` bytes.
fn lost(whole: &[u8], damaged: &[u8], found: &Healing, len: usize) -> usize {
    let start = data_range(whole).start;
    let shard = found.shard_bytes as usize;
    let parity_len = found.parity as usize * shard;
    let align = if parity_len >= 65_536 { 4096 } else { 64 };
    let parity = (start + len).next_multiple_of(align);
    let differ = |from: usize, to: usize| {
        (from..to).step_by(shard).filter(|at| whole[*at..to.min(at + shard)] != damaged[*at..to.min(at + shard)]).count()
    };
    differ(start, start + len) + differ(parity, parity + parity_len)
}

/// The damaged file with the padding between data and parity mended.
fn zero_padding(damaged: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = damaged.to_vec();
    let read = |at: u64, len: u64| Ok(damaged[at as usize..(at + len) as usize].to_vec());
    for patch in repair::plan(&read, damaged.len() as u64).unwrap().patches {
        assert!(patch.what == "padding" && patch.bytes.len() < 4096 && len > 0);
        bytes[patch.offset as usize..][..patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    bytes
}

/// As many shards as parity has are lost, whichever they are.
#[test]
fn every_choice_of_shards() {
    let whole = guarded(&tensor(512 * 5, 7).into(), 4000);
    let start = data_range(&whole).start;
    let offsets: Vec<usize> = (0..7).map(|i| start + i * 512).collect();
    for choice in 0_u32..1 << 7 {
        let mut damaged = whole.clone();
        let chosen = offsets.iter().zip(0..).filter(|(_, i)| choice >> i & 1 == 1);
        chosen.for_each(|(at, i)| damaged[at + 13 * i + 1] ^= 0x10);
        let (mended, found) = mend(&damaged).unwrap();
        let possible = choice.count_ones() <= 2;
        assert_eq!((mended == whole, found.unwrap().is_possible()), (possible, possible), "{choice:#b}");
    }
}

#[test]
fn all_kinds_of_buffers_are_protected() {
    let whole = guarded(&value(), 3000);
    let range = data_range(&whole);
    for start in range.clone().step_by(997) {
        let mut damaged = whole.clone();
        let end = (start + 5000).min(range.end);
        damaged[start..end].fill(0xEE);
        assert!(mend(&damaged).unwrap().0 == whole, "{start}");
    }
}

/// Header, both indexes in different places, trailer and data at once.
#[test]
fn damage_everywhere_at_once() {
    let whole = guarded(&value(), 1000);
    let copy = whole.len() - 64 - (Cairn::from_bytes(&whole).unwrap().index_len() as usize).next_multiple_of(64);
    let mut damaged = whole.clone();
    for at in [64 + 100, 64 + 1300, copy + 700, copy + 1900, whole.len() - 5, data_range(&whole).start + 40_000] {
        damaged[at..at + 3].iter_mut().for_each(|b| *b ^= 0x77);
    }
    assert!(mend(&damaged).unwrap().0 == whole);
    // In the same place of both: nothing says what stood there.
    let mut damaged = whole.clone();
    damaged[64 + 100] ^= 1;
    damaged[copy + 101] ^= 1;
    assert_eq!(mend(&damaged).unwrap_err().code(), Code::IndexCrc);
}

/// Parity that is not of the data gives an error, not data.
#[test]
fn wrong_parity_heals_nothing() {
    let plain = guarded(&tensor(2000, 1).into(), 0);
    let whole = guarded(&tensor(2000, 1).into(), 5000);
    assert!(plain.len() < whole.len() && mend(&plain).unwrap().1.is_none());
    let mut damaged = whole.clone();
    let cairn = Cairn::from_bytes(&whole).unwrap();
    let index_len = cairn.index_len() as usize;
    let parity = data_range(&whole).start + 2048;
    // A parity shard that is another, with checksums that say it belongs there.
    damaged[parity..parity + 512].copy_from_slice(&noise(512, 99));
    let crc = cairnfile::crc32(&damaged[parity..parity + 512]);
    damaged[64 + 12 + 4 * 4..][..4].copy_from_slice(&crc.to_le_bytes());
    let copy = damaged.len() - 64 - index_len.next_multiple_of(64);
    let index = damaged[64..64 + index_len].to_vec();
    damaged[copy..copy + index_len].copy_from_slice(&index);
    for at in [0, damaged.len() - 64] {
        damaged[at + 40..at + 44].copy_from_slice(&cairnfile::crc32(&index).to_le_bytes());
        let crc = cairnfile::crc32(&damaged[at..at + 60]);
        damaged[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    }
    assert!(mend(&damaged).unwrap().1.unwrap().is_empty());
    let start = data_range(&whole).start;
    damaged[start + 5] ^= 1;
    assert_eq!(mend(&damaged).unwrap_err().code(), Code::BlockCrc);
}

/// The crate that computes it and the formula in SPEC.md agree.
#[test]
fn parity_is_what_the_formula_gives() {
    let field = support::parity::Field::new();
    assert_eq!(field.basis[..4], [0x0001, 0xACCA, 0x3C0E, 0x163E]);
    assert_eq!(field.basis[15], 0x991E);
    for (shards, parity) in [(1, 1), (2, 1), (3, 2), (5, 3), (40, 5), (9, 9), (33, 32), (70, 17)] {
        let bytes = noise(shards * 512 - 100, shards as u64);
        let share = (parity * 10_000_usize / shards) as u16;
        let mut padded = bytes.clone();
        padded.resize(shards * 512, 0);
        let data: Vec<Vec<u8>> = padded.chunks(512).map(<[u8]>::to_vec).collect();
        let expected = field.parity(&data, parity as u32).concat();
        let tensor = Tensor::new(DType::U8, &[bytes.len() as u64], Storage::shared(bytes)).unwrap();
        let whole = guarded(&tensor.into(), share);
        let at = (data_range(&whole).start + shards * 512 - 100).next_multiple_of(if expected.len() >= 65_536 { 4096 } else { 64 });
        assert!(whole[at..at + expected.len()] == expected, "{shards} {parity}");
    }
}

/// Each vector says what becomes of it.
#[test]
fn vectors_heal_into_their_twins() {
    let cases: Vec<_> = support::accepted().into_iter().chain(support::rejected()).filter(|c| c.name.starts_with("parity-")).collect();
    let bytes = |name: &str| cases.iter().find(|case| case.name == name).unwrap().bytes.clone();
    let whole = bytes("parity-two-of-three");
    for name in ["parity-heals-data", "parity-heals-both", "parity-two-of-three"] {
        assert!(mend(&bytes(name)).unwrap().0 == whole, "{name}");
    }
    assert!(!mend(&bytes("parity-beyond")).unwrap().1.unwrap().is_possible());
    assert_eq!(mend(&bytes("parity-useless-payload")).unwrap_err().code(), Code::Unrepresentable);
    assert_eq!(cases.len(), 6);
}
