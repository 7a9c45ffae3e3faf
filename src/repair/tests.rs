use super::*;
use crate::{Cairn, DType, Dict, Storage, Tensor, Value, WriteOptions};

/// Two buffers with gaps around them, strings, metadata.
fn value() -> Value<'static> {
    let tensor = |dtype, shape: &[u64], len| Tensor::new(dtype, shape, Storage::shared(vec![1u8; len])).unwrap();
    Value::from(Dict::from_iter([
        ("a", Value::from(tensor(DType::F32, &[5], 20))),
        ("b", tensor(DType::BOOL, &[3], 3).into()),
        ("c", "text".into()),
    ]))
}

fn options() -> WriteOptions {
    WriteOptions::new().block_log2(12).metadata(Dict::from_iter([("k", "v")]))
}

fn planned() -> Vec<u8> {
    crate::to_bytes(&value(), &options()).unwrap()
}

fn streamed() -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::stream_to(&mut bytes, &value(), &options()).unwrap();
    bytes
}

fn plan_of(bytes: &[u8]) -> Result<Repair> {
    let read = |at: u64, len: u64| Ok(bytes[at.try_into().unwrap()..(at + len).try_into().unwrap()].to_vec());
    plan(&read, from_usize(bytes.len()))
}

fn mend(bytes: &[u8]) -> Result<(Vec<u8>, Vec<&'static str>)> {
    let repair = plan_of(bytes)?;
    let mut mended = bytes.to_vec();
    mended.resize(repair.file_len.try_into().unwrap(), 0);
    for patch in &repair.patches {
        let at = usize::try_from(patch.offset).unwrap();
        mended[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    Ok((mended, repair.patches.iter().map(|p| p.what).collect()))
}

/// The bytes of tensors.
fn data(whole: &[u8]) -> Vec<Range<usize>> {
    let cairn = Cairn::from_bytes(whole).unwrap();
    let ranges = cairn.tensors().map(|t| t.file_range().unwrap());
    ranges.map(|r| r.start.try_into().unwrap()..r.end.try_into().unwrap()).collect()
}

#[test]
fn an_intact_file_needs_nothing() {
    for whole in [planned(), streamed()] {
        assert!(plan_of(&whole).unwrap().is_empty(from_usize(whole.len())));
    }
}

#[test]
fn every_byte_of_a_planned_file() {
    let whole = planned();
    let data = data(&whole);
    let mut parts = std::collections::BTreeSet::new();
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            let (mended, what) = mend(&bytes).unwrap();
            if data.iter().any(|range| range.contains(&at)) {
                assert_eq!((mended, what), (bytes, vec![]), "byte {at}");
            } else {
                assert_eq!((mended == whole, what.len()), (true, 1), "byte {at}");
                parts.extend(what);
            }
        }
    }
    assert!(parts.into_iter().eq(["header", "index", "index copy", "padding", "trailer"]));
}

#[test]
fn every_byte_of_a_streamed_file() {
    let whole = streamed();
    let data = data(&whole);
    let trailer = whole.len() - 64;
    let index: usize =
        Header::parse(whole[trailer..].try_into().unwrap(), 0, Role::StreamedTrailer).unwrap().index_offset.try_into().unwrap();
    let index_len = Cairn::from_bytes(&whole).unwrap().index_len();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        if at >= trailer || (index..index + usize::try_from(index_len).unwrap()).contains(&at) {
            assert!(matches!(plan_of(&bytes).unwrap_err().code(), Code::IndexCrc | Code::TrailerCrc | Code::TrailerMissing), "byte {at}");
        } else if data.iter().any(|range| range.contains(&at)) {
            assert!(plan_of(&bytes).unwrap().patches.is_empty(), "byte {at}");
        } else {
            assert_eq!(mend(&bytes).unwrap().0, whole, "byte {at}");
        }
    }
}

#[test]
fn two_damages_that_leave_one_of_each() {
    let whole = planned();
    let last = whole.len() - 1;
    let copy = whole.len() - 200;
    for (spots, parts) in [
        (vec![0, 70], vec!["header", "index"]),
        (vec![70, last], vec!["index", "trailer"]),
        (vec![copy, last], vec!["index copy", "trailer"]),
        (vec![0, copy], vec!["header", "index copy"]),
    ] {
        let mut bytes = whole.clone();
        spots.iter().for_each(|at| bytes[*at] ^= 0xFF);
        assert_eq!(mend(&bytes).unwrap(), (whole.clone(), parts));
    }
}

#[test]
fn nothing_left_to_mend_from() {
    let whole = planned();
    let last = whole.len() - 1;
    let copy = whole.len() - 200;
    for (spots, code) in [([0, last], Code::Magic), ([20, last], Code::HeaderCrc), ([70, copy], Code::IndexCrc)] {
        let mut bytes = whole.clone();
        spots.iter().for_each(|at| bytes[*at] ^= 0xFF);
        assert_eq!(plan_of(&bytes).unwrap_err().code(), code);
    }
}

#[test]
fn a_lost_or_lengthened_end() {
    let whole = planned();
    let end = data(&whole).iter().map(|r| r.end).max().unwrap();
    for len in 0..whole.len() {
        match mend(&whole[..len]) {
            Ok((mended, _)) => assert!(len >= end && mended == whole, "{len}"),
            Err(error) => assert!(len < end && error.class() == Class::Truncated, "{len}: {error}"),
        }
    }
    let longer = [&whole[..], b"appended"].concat();
    assert_eq!(mend(&longer).unwrap(), (whole, vec![]));
}

#[test]
fn not_ours_to_mend() {
    let code = |bytes: &[u8]| plan_of(bytes).unwrap_err().code();
    assert_eq!(code(b""), Code::TooShort);
    assert_eq!(code(b"PK\x03\x04"), Code::Magic);
    assert_eq!(code(&[b'x'; 500]), Code::Magic);
    let mut newer = planned();
    newer[8] = 2;
    let crc = crc32(&newer[..60]).to_le_bytes();
    newer[60..64].copy_from_slice(&crc);
    assert_eq!(code(&newer), Code::Version);
}

#[test]
fn two_files_in_one() {
    let (one, two) = (planned(), crate::to_bytes(&value(), &options().metadata(Dict::from_iter([("k", "w")]))).unwrap());
    assert_eq!(one.len(), two.len());
    let half = one.len() - 500;
    let spliced = [&one[..half], &two[half..]].concat();
    assert_eq!(plan_of(&spliced).unwrap_err().code(), Code::TrailerMismatch);
    let mut mended = spliced.clone();
    mended[70] ^= 1;
    assert_eq!(mend(&mended).unwrap().0, two);
}
