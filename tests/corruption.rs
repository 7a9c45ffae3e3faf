//! Damage is found and named: every truncation, every changed byte and random flips of bits, in small files that have
//! every field of the format, give the class that SPEC.md predicts for the region they lie in.
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

use std::ops::Range;

use cairnfile::{Cairn, Class, Code, DType, Dict, Error, Key, Named, OpenOptions, Storage, Tensor, Value, WriteOptions};
use support::raw::{bigint, bytes as raw_bytes, complex, dict, float, int, list, named, null, object, str_, tensor, tuple};
use support::strategies::noise;
use support::{RawBuffer, RawDtype, RawExtension, RawFile, RawTensor};

/// Longest file that is changed byte by byte.
const SMALL: usize = 4096;

/// What a byte of a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Region {
    HeaderMagic,
    Header,
    Index,
    Buffer,
    IndexCopy,
    PlannedTrailerMagic,
    StreamedTrailerMagic,
    Trailer,
    Padding,
}

impl Region {
    /// The code, and with it the class, of a change in this region alone.
    fn code(self) -> Code {
        match self {
            Self::HeaderMagic => Code::Magic,
            Self::Header => Code::HeaderCrc,
            Self::Index | Self::IndexCopy => Code::IndexCrc,
            Self::Buffer => Code::BlockCrc,
            Self::PlannedTrailerMagic => Code::TrailerMagic,
            Self::StreamedTrailerMagic => Code::TrailerMissing,
            Self::Trailer => Code::TrailerCrc,
            Self::Padding => Code::Padding,
        }
    }

    fn class(self) -> Class {
        match self {
            Self::HeaderMagic => Class::Malformed,
            Self::StreamedTrailerMagic => Class::Truncated,
            _ => Class::Corrupt,
        }
    }

    /// Whether the change is found at open when the trailer of a planned file is left to verify.
    fn at_open(self, streamed: bool) -> bool {
        match self {
            Self::HeaderMagic | Self::Header | Self::Index | Self::StreamedTrailerMagic => true,
            Self::Trailer => streamed,
            _ => false,
        }
    }
}

struct File {
    name: String,
    bytes: Vec<u8>,
    streamed: bool,
    block: usize,
    buffers: Vec<Range<usize>>,
    /// Region of each byte.
    regions: Vec<Region>,
}

fn number(bytes: &[u8], at: usize, width: usize) -> usize {
    bytes[at..at + width].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))
}

impl File {
    /// Finds the regions as SPEC.md §5 places them, from the bytes alone.
    fn new(name: &str, bytes: Vec<u8>) -> Self {
        let streamed = bytes[10] & 1 == 1;
        let trailer = bytes.len() - 64;
        let frame = if streamed { trailer } else { 0 };
        let (index_at, index_len) = (number(&bytes, frame + 24, 8), number(&bytes, frame + 32, 8));
        let mut end = if streamed { 64 } else { 64 + index_len };
        let mut buffers = Vec::new();
        for len in buffer_lengths(&bytes[index_at..index_at + index_len]) {
            let start = end.next_multiple_of(if len >= 65_536 { 4096 } else { 64 });
            end = start + len;
            buffers.push(start..end);
        }
        let copy = end.next_multiple_of(64);
        let mut regions = vec![Region::Padding; bytes.len()];
        regions[..8].fill(Region::HeaderMagic);
        regions[8..64].fill(Region::Header);
        buffers.iter().for_each(|b| regions[b.clone()].fill(Region::Buffer));
        regions[copy..copy + index_len].fill(Region::IndexCopy);
        regions[index_at..index_at + index_len].fill(Region::Index);
        let magic = if streamed { Region::StreamedTrailerMagic } else { Region::PlannedTrailerMagic };
        regions[trailer..trailer + 8].fill(magic);
        regions[trailer + 8..].fill(Region::Trailer);
        let block = 1 << bytes[12];
        Self { name: name.to_owned(), bytes, streamed, block, buffers, regions }
    }

    /// What is first wrong in `bytes`, when the trailer of a planned file is looked at first or last.
    fn verdict(&self, bytes: &[u8], check_trailer: bool) -> Option<(bool, cairnfile::Error)> {
        let cairn = match OpenOptions::new().check_trailer(check_trailer).from_bytes(bytes) {
            Ok(cairn) => cairn,
            Err(error) => return Some((true, error)),
        };
        let report = cairn.verify(&|_| Ok(())).unwrap();
        report.faults.into_iter().next().map(|fault| (false, fault.error))
    }
}

/// The stored lengths in the buffer table of an index.
fn buffer_lengths(index: &[u8]) -> Vec<usize> {
    let mut at = 4;
    for _ in 0..number(index, 0, 4) {
        at += 8 + number(index, at + 4, 4).next_multiple_of(8);
    }
    let dtypes = number(index, at, 4);
    at += 4;
    for _ in 0..dtypes {
        at += 10 + usize::from(index[at + 9]);
    }
    let buffers = number(index, at, 4);
    (0..buffers).map(|i| number(index, at + 4 + i * 16, 8)).collect()
}

/// Every field of the format in one file: extensions, dtypes of each class, buffers with and without company, an
/// auxiliary one, one of an unknown kind, strides, every kind of value and of key, metadata, several paddings.
fn everything(streamed: bool) -> Vec<u8> {
    let mut file = RawFile { streamed, log2_block: 12, ..RawFile::new() };
    file.extensions = vec![RawExtension::new(3, b"abc"), RawExtension::new(0x4000_0001, b"12345678")];
    file.dtypes = vec![
        RawDtype::scalar("f32", 4),
        RawDtype::new("i4", 1, 2, 1),
        RawDtype::new("q4_0", 2, 32, 18),
        RawDtype::scalar("bool", 1),
        RawDtype::scalar("my.f24", 3),
    ];
    file.buffers = vec![
        RawBuffer::new(noise(1, 48)),
        RawBuffer::new(vec![0x21, 0x0F]),
        RawBuffer::new(noise(2, 36)),
        RawBuffer::new(vec![1, 0, 1]),
        RawBuffer::new(noise(3, 12)),
        RawBuffer::of_kind(7, 3, noise(4, 65)),
        RawBuffer::of_kind(1, 0x4000_0001, noise(5, 10)),
    ];
    file.tensors = vec![
        RawTensor::new(0, 0, 0, &[3, 4]),
        RawTensor::new(0, 0, 8, &[3]).strided(&[4]),
        RawTensor::new(1, 1, 0, &[3]),
        RawTensor::new(2, 2, 0, &[64]),
        RawTensor::new(3, 3, 0, &[3]),
        RawTensor::new(4, 4, 0, &[2, 2]).strided(&[1, 2]),
        RawTensor::new(0, 5, 4, &[100]),
        RawTensor::empty(0, &[0, 3]),
    ];
    let values = list(&[
        null(),
        support::raw::bool_(false),
        support::raw::bool_(true),
        int(-2),
        bigint(&[1; 9]),
        float(0x7FF8_0000_0000_0001),
        complex(1, 1 << 63),
        str_("é"),
        raw_bytes(b"\0\xff"),
        tuple(&[named("my.type", &list(&[]))]),
        tensor(0),
    ]);
    let tensors: Vec<_> = (0..8).map(tensor).collect();
    file.root = dict(&[(str_("values"), values), (int(-1), list(&tensors)), (raw_bytes(b"k"), dict(&[]))]);
    file.metadata = object(&[("made by", str_("hand"))]);
    file.build()
}

/// A value that the writers write, with ties, views and several buffers.
fn value() -> Value<'static> {
    let base = Storage::shared(noise(6, 100));
    let whole = Tensor::view(DType::U8, &[10, 10], None, base.clone(), 0).unwrap();
    let column = Tensor::view(DType::U8, &[10], Some(&[10]), base, 3).unwrap();
    let weight = Tensor::from_vec(&[2, 3], vec![1.0f32, -0.0, f32::NAN, 4.0, 5.0, 6.0]).unwrap();
    let layers = vec![Value::from(weight.clone()), Value::from("linear"), Value::from(weight)];
    let mut state = Dict::new();
    state.insert("layers", layers);
    state.insert(7i64, Value::from(whole));
    state.insert(Key::from(&b"col"[..]), Value::from(column));
    state.insert("size", Named::new("torch_size", Value::Tuple(vec![Value::from(2i64), Value::from(3i64)])).unwrap());
    Value::from(state)
}

/// The small files of the catalogue, and those made here.
fn files() -> Vec<File> {
    let mut files: Vec<File> =
        support::accepted().into_iter().filter(|case| case.bytes.len() <= SMALL).map(|case| File::new(case.name, case.bytes)).collect();
    let options = WriteOptions::new().metadata(Dict::from_iter([("made by", "hand")])).block_log2(12);
    let mut stream = Vec::new();
    cairnfile::stream_to(&mut stream, &value(), &options).unwrap();
    for (name, bytes) in [
        ("everything-planned", everything(false)),
        ("everything-streamed", everything(true)),
        ("value-planned", cairnfile::to_bytes(&value(), &options).unwrap()),
        ("value-streamed", stream),
    ] {
        assert!(bytes.len() <= SMALL, "{name} has {} bytes", bytes.len());
        files.push(File::new(name, bytes));
    }
    files
}

#[test]
fn the_files_have_every_region() {
    let files = files();
    assert!(files.len() > 75, "{} files", files.len());
    for streamed in [false, true] {
        let mut wanted = vec![Region::HeaderMagic, Region::Header, Region::Index, Region::Buffer, Region::Trailer, Region::Padding];
        wanted.extend(if streamed { vec![Region::StreamedTrailerMagic] } else { vec![Region::PlannedTrailerMagic, Region::IndexCopy] });
        let file = files.iter().find(|f| f.streamed == streamed && f.name.starts_with("everything")).unwrap();
        wanted.iter().for_each(|region| assert!(file.regions.contains(region), "{}: {region:?}", file.name));
    }
    for file in &files {
        let cairn = Cairn::from_bytes(&file.bytes).unwrap();
        let opaque = cairn.tensors().any(|t| t.file_range().is_err_and(|e| e.code() == Code::BufferKind));
        assert!(cairn.verify(&|_| Ok(())).unwrap().is_intact(), "{}", file.name);
        assert!(opaque || cairn.load().is_ok(), "{}", file.name);
        // The regions found here are those of the library.
        for tensor in cairn.tensors() {
            let Ok(range) = tensor.file_range() else { continue };
            let inside = |b: &Range<usize>| b.start as u64 <= range.start && range.end <= b.end as u64;
            assert!(range.is_empty() || file.buffers.iter().any(inside), "{}: {range:?}", file.name);
        }
    }
}

/// Each byte, changed to at least three other values: refused at open or reported by verify, with the class of its region.
#[test]
fn every_changed_byte_is_found() {
    let mut changes = 0;
    for file in files() {
        let mut bytes = file.bytes.clone();
        for at in 0..bytes.len() {
            let right = bytes[at];
            let (region, expected) = (file.regions[at], file.regions[at].code());
            let mut values = vec![right ^ 1, right ^ 0x80, 0x00, 0xFF, right.wrapping_add(1)];
            values.sort_unstable();
            values.dedup();
            for wrong in values.into_iter().filter(|wrong| *wrong != right) {
                bytes[at] = wrong;
                let place = || format!("{} byte {at} ({region:?}) {right:#04x} → {wrong:#04x}", file.name);
                let (at_open, error) = file.verdict(&bytes, false).unwrap_or_else(|| panic!("{} is not noticed", place()));
                assert_eq!((error.code(), error.class()), (expected, region.class()), "{}: {error}", place());
                assert_eq!(at_open, region.at_open(file.streamed), "{}: {error}", place());
                changes += 1;
            }
            bytes[at] = right ^ 1;
            check_default_open(&file, &bytes, region);
            if region == Region::Buffer {
                check_block(&file, &bytes, at);
            }
            bytes[at] = right;
        }
    }
    assert!(changes > 150_000, "{changes} changes");
}

/// Opened as users open it, a planned file's trailer is refused at once.
fn check_default_open(file: &File, bytes: &[u8], region: Region) {
    let at_open = region.at_open(file.streamed) || matches!(region, Region::Trailer | Region::PlannedTrailerMagic);
    match Cairn::from_bytes(bytes) {
        Ok(_) => assert!(!at_open, "{} {region:?}", file.name),
        Err(error) => assert_eq!((true, error.code()), (at_open, region.code()), "{} {region:?}", file.name),
    }
}

/// One block is reported, at its offset and with its tensors; they cannot be taken, the others can.
fn check_block(file: &File, bytes: &[u8], at: usize) {
    let cairn = Cairn::from_bytes(bytes).unwrap();
    let number = file.buffers.iter().position(|b| b.contains(&at)).unwrap();
    let buffer = &file.buffers[number];
    let start = buffer.start + (at - buffer.start) / file.block * file.block;
    let report = cairn.verify(&|_| Ok(())).unwrap();
    let [fault] = report.faults.as_slice() else { panic!("{}: {:?}", file.name, report.faults) };
    assert_eq!(fault.error.offset(), Some(start as u64), "{}", file.name);
    assert_eq!((fault.buffer, fault.block), (Some(number as u32), Some(((start - buffer.start) / file.block) as u32)), "{}", file.name);
    let damaged = start as u64..(start + file.block).min(buffer.end) as u64;
    let mut touched = 0;
    for tensor in cairn.tensors() {
        let Ok(range) = tensor.file_range() else { continue };
        let meets = range.start < damaged.end && damaged.start < range.end;
        match tensor.read() {
            Ok(_) => assert!(!meets, "{}: {tensor:?} was handed out", file.name),
            Err(error) => assert_eq!((meets, error.code()), (true, Code::BlockCrc), "{}: {error}", file.name),
        }
        touched += usize::from(meets);
    }
    let opaque = cairn.tensors().filter(|t| t.buffer().unwrap() == Some(number as u32)).count() - touched;
    assert_eq!(fault.tensors.len(), touched + opaque, "{}: {:?}", file.name, fault.tensors);
    assert_eq!(fault.address.as_ref(), fault.tensors.first());
    assert!(touched == 0 || cairn.load().is_err(), "{}", file.name);
}

/// Cut anywhere, a planned file is `truncated`: the header states the length, or there is no whole header.
///
/// A streamed file's length is only in its trailer. It is `truncated` too, because what it then ends with is no
/// trailer, unless the 64 bytes before the cut begin with the magic, as when a tensor holds the bytes of another
/// Cairn file. Then it is refused, by the numbers in that trailer, but not always as truncated.
#[test]
fn every_truncation_is_found() {
    let mut cuts = 0;
    for file in files() {
        for len in 0..file.bytes.len() {
            let cut = &file.bytes[..len];
            let expected = match (file.streamed, len) {
                (_, 0..64) => Code::TooShort,
                (false, _) => Code::Truncated,
                (true, _) => Code::TrailerMissing,
            };
            assert!(!file.streamed || len < 128 || !cut[len - 64..].starts_with(&cairnfile::MAGIC), "{}", file.name);
            for check_trailer in [false, true] {
                let (at_open, error) = file.verdict(cut, check_trailer).unwrap_or_else(|| panic!("{} cut to {len}", file.name));
                assert_eq!((at_open, error.code(), error.class()), (true, expected, Class::Truncated), "{} cut to {len}", file.name);
            }
            cuts += 1;
        }
    }
    assert!(cuts > 50_000, "{cuts} cuts");
}

#[test]
fn a_cut_after_an_embedded_trailer_is_found() {
    let mut inner = Vec::new();
    cairnfile::stream_to(&mut inner, &value(), &WriteOptions::new()).unwrap();
    let planned = cairnfile::to_bytes(&value(), &WriteOptions::new()).unwrap();
    let lone_trailer = inner[inner.len() - 64..].to_vec();
    for (held, expected) in [
        // States the length of the inner file, which is shorter than what is there.
        (inner.clone(), Code::TrailingBytes),
        // Says that it is not the trailer of a streamed file.
        (planned, Code::TrailerMismatch),
        // States more than is there.
        (lone_trailer, Code::Truncated),
    ] {
        let mut outer = Vec::new();
        let tensor = Tensor::new(DType::U8, &[held.len() as u64], Storage::borrowed(&held)).unwrap();
        cairnfile::stream_to(&mut outer, &Value::from(tensor), &WriteOptions::new()).unwrap();
        let error = Cairn::from_bytes(&outer[..64 + held.len()]).unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
        for len in 0..outer.len() {
            assert!(Cairn::from_bytes(&outer[..len]).is_err(), "cut to {len}");
        }
    }
}

/// Bytes behind the end are found as well.
#[test]
fn every_appended_byte_is_found() {
    for file in files() {
        for tail in [vec![0], vec![0; 64], file.bytes[file.bytes.len() - 64..].to_vec(), file.bytes.clone()] {
            let long = [file.bytes.as_slice(), &tail].concat();
            let error = Cairn::from_bytes(&long).unwrap_err();
            // A streamed file that ends with no trailer any more cannot be told from one that was cut.
            let expected: &[Code] = if file.streamed { &[Code::TrailingBytes, Code::TrailerMissing] } else { &[Code::TrailingBytes] };
            assert!(expected.contains(&error.code()), "{}: {error}", file.name);
        }
    }
}

#[test]
fn random_flips_are_found() {
    let files = files();
    let mut state = 0x5EED_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below
    };
    for round in 0..10_000 {
        let file = &files[random(files.len())];
        let mut bytes = file.bytes.clone();
        let mut bits: Vec<usize> = (0..2 + round % 2).map(|_| random(bytes.len() * 8)).collect();
        bits.sort_unstable();
        bits.dedup();
        bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
        let classes: Vec<Class> = bits.iter().map(|bit| file.regions[bit / 8].class()).collect();
        for check_trailer in [false, true] {
            let (_, error) = file.verdict(&bytes, check_trailer).unwrap_or_else(|| panic!("{}: bits {bits:?}", file.name));
            assert!(classes.contains(&error.class()), "{}: bits {bits:?}: {error}", file.name);
        }
    }
}

/// A bad block does not hide what is wrong in the intact blocks of its buffer.
#[test]
fn element_rules_are_checked_beside_a_damaged_block() {
    let mut data = vec![1; 8192];
    data[5000] = 2;
    let mut file = RawFile { log2_block: 12, ..RawFile::new() };
    file.dtypes = vec![RawDtype::scalar("u8", 1), RawDtype::scalar("bool", 1)];
    file.buffers = vec![RawBuffer::new(data)];
    file.tensors = vec![RawTensor::new(0, 0, 0, &[8192]), RawTensor::new(1, 0, 0, &[10]), RawTensor::new(1, 0, 4500, &[1000])];
    file.root = list(&[tensor(0), tensor(1), tensor(2)]);
    let start = file.layout().buffers[0].start;
    let mut bytes = file.build();
    bytes[start + 5] = 0;
    let report = Cairn::from_bytes(&bytes).unwrap().verify(&|_| Ok(())).unwrap();
    let found: Vec<_> =
        report.faults.iter().map(|f| (f.error.code(), f.error.offset().unwrap() - start as u64, f.tensors.clone())).collect();
    let both = |other: &str| vec!["/0".to_owned(), other.to_owned()];
    assert_eq!(found, [(Code::BlockCrc, 0, both("/1")), (Code::BoolValue, 5000, both("/2"))]);
}

/// Reading by positions and by mapping finds the same as reading from memory.
#[test]
fn file_and_map_find_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.cairn");
    let first = |cairn: cairnfile::Result<Cairn<'_>>| match cairn {
        Err(error) => Some((error.code(), error.offset())),
        Ok(cairn) => cairn.verify(&|_| Ok(())).unwrap().faults.first().map(|f| (f.error.code(), f.error.offset())),
    };
    for bytes in [everything(false), everything(true)] {
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            let expected = first(Cairn::from_bytes(&bytes));
            assert!(expected.is_some());
            assert_eq!(first(Cairn::open(&path)), expected, "byte {at}");
            // SAFETY: the test's own file does not change while it is mapped.
            assert_eq!(first(unsafe { Cairn::map(&path) }), expected, "byte {at}");
        }
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let expected = first(Cairn::from_bytes(&bytes[..len]));
            assert!(expected.is_some());
            assert_eq!(first(Cairn::open(&path)), expected, "cut to {len}");
            // SAFETY: as above.
            assert_eq!(first(unsafe { Cairn::map(&path) }), expected, "cut to {len}");
        }
    }
}

/// Several faults are all reported, each with its own place.
#[test]
fn every_damaged_block_is_reported() {
    let tensor = Tensor::new(DType::U8, &[40_000], Storage::shared(noise(9, 40_000))).unwrap();
    let half = Tensor::view(DType::U8, &[10_000], None, tensor.storage().clone(), 0).unwrap();
    let bools = Tensor::from_slice(&[4], &[0u8; 4]).unwrap();
    let value = Value::List(vec![tensor.into(), half.into(), bools.into()]);
    let mut bytes = cairnfile::to_bytes(&value, &WriteOptions::new().block_log2(12)).unwrap();
    let start = Cairn::from_bytes(&bytes).unwrap().tensor("/0").unwrap().file_range().unwrap().start as usize;
    for at in [0, 4095, 4096 * 3, 39_999] {
        bytes[start + at] ^= 4;
    }
    let trailer = bytes.len() - 64;
    bytes[trailer - 1] = 1;
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    let report = cairn.verify(&|_| Ok(())).unwrap();
    let found: Vec<_> = report.faults.iter().map(|f| (f.error.code(), f.block, f.tensors.clone())).collect();
    let (both, one) = (vec!["/0".to_owned(), "/1".to_owned()], vec!["/0".to_owned()]);
    assert_eq!(
        found,
        [
            (Code::BlockCrc, Some(0), both),
            (Code::BlockCrc, Some(3), one.clone()),
            (Code::BlockCrc, Some(9), one),
            (Code::Padding, None, vec![])
        ]
    );
    // What does not touch a bad block is handed out.
    assert!(cairn.tensor("/0").unwrap().rows(4096..8192).is_ok());
    assert!(cairn.tensor("/0").unwrap().rows(4095..8192).is_err());
    assert!(cairn.tensor("/2").unwrap().read().is_ok());
}

#[test]
fn verifying_counts_each_byte_once_and_can_be_stopped() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let tensors =
        [10, 70_000, 9_000_000].map(|len| Value::from(Tensor::new(DType::U8, &[len], Storage::shared(vec![1; len as usize])).unwrap()));
    let value = Value::List(tensors.to_vec());
    let mut streamed = Vec::new();
    cairnfile::stream_to(&mut streamed, &value, &WriteOptions::new()).unwrap();
    for bytes in [cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap(), streamed] {
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        let done = AtomicU64::new(0);
        let count = |n: u64| {
            done.fetch_add(n, Ordering::Relaxed);
            Ok(())
        };
        assert!(cairn.verify(&count).unwrap().is_intact());
        assert_eq!(done.into_inner(), bytes.len() as u64);
        let stop = |_| Err(Error::new(Code::Io, "enough"));
        assert_eq!(cairn.verify(&stop).unwrap_err().code(), Code::Io);
    }
}

/// The first bad elements of tensors are one fault a block, which touches the tensors that view its bytes from the first to the last.
#[test]
fn bad_elements_are_reported_by_block_with_their_tensors() {
    let faults = |file: &RawFile| {
        let bytes = file.build();
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        let start = cairn.tensors().next().unwrap().file_range().unwrap().start;
        let report = cairn.verify(&|_| Ok(())).unwrap();
        let places = report.faults.iter().map(|fault| (fault.error.code(), fault.error.offset().unwrap() - start, fault.tensors.join(" ")));
        places.collect::<Vec<_>>()
    };
    let mut file = RawFile { log2_block: 12, ..RawFile::new() };
    file.dtypes = vec![RawDtype::scalar("bool", 1)];
    let mut bools = vec![1; 10_000];
    [10, 700, 2000, 4096, 9000].into_iter().for_each(|at: usize| bools[at] = 2);
    file.buffers = vec![RawBuffer::new(bools)];
    // Each begins in the last byte of the one before, so that they are one buffer.
    file.tensors =
        [(0, 101), (100, 601), (700, 1301), (2000, 301), (2300, 7700)].map(|(at, len)| RawTensor::new(0, 0, at, &[len])).to_vec();
    file.root = list(&(0..5).map(tensor).collect::<Vec<_>>());
    assert_eq!(faults(&file), [(Code::BoolValue, 10, "/0 /1 /2 /3".to_owned()), (Code::BoolValue, 4096, "/4".to_owned())]);
    // The last group of packed elements: the fault is where the tensor begins.
    let mut file = RawFile::new();
    file.dtypes = vec![RawDtype::new("i4", support::raw::PACKED, 2, 1)];
    file.buffers = vec![RawBuffer::new(vec![0x21])];
    file.tensors = vec![RawTensor::new(0, 0, 0, &[1])];
    file.root = list(&[tensor(0)]);
    assert_eq!(faults(&file), [(Code::TailBits, 0, "/0".to_owned())]);
}

#[test]
fn stored_checksums_are_those_of_the_blocks() {
    let data = noise(3, 10_000);
    let whole = Tensor::new(DType::U8, &[10_000], Storage::shared(data.clone())).unwrap();
    let storage = Storage::shared(data.clone());
    let view = |shape: &[u64], strides, offset| Value::from(Tensor::view(DType::U8, shape, strides, storage.clone(), offset).unwrap());
    let (part, rest) = (view(&[5001], None, 0), view(&[5000], None, 5000));
    let every_other = |len: u64| Value::from(Tensor::view(DType::U8, &[len], Some(&[2]), storage.clone(), 0).unwrap());
    let turned = Tensor::view(DType::U8, &[100, 100], Some(&[1, 100]), Storage::shared(data.clone()), 0).unwrap();
    let value = Value::List(vec![whole.into(), part, rest, turned.into()]);
    let bytes = cairnfile::to_bytes(&value, &WriteOptions::new().block_log2(12)).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    let of = |address: &str| cairn.block_checksums(&cairn.tensor(address).unwrap()).unwrap();
    let blocks: Vec<u32> = data.chunks(4096).map(cairnfile::crc32).collect();
    assert_eq!(of("/0"), Some(blocks));
    assert_eq!((of("/1"), of("/2")), (None, None));
    // A transposed matrix fills its buffer, too.
    assert_eq!(of("/3"), of("/0"));
    // One that has the first byte and the last has not those between.
    let bytes = cairnfile::to_bytes(&Value::List(vec![every_other(1001), view(&[2001], None, 0)]), &WriteOptions::new()).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    assert_eq!(cairn.buffer_count(), 1);
    let stored = cairn.tensors().map(|tensor| cairn.block_checksums(&tensor).unwrap());
    assert_eq!(stored.collect::<Vec<_>>(), [None, Some(vec![cairnfile::crc32(&data[..2001])])]);
}
