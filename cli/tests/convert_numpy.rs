//! `cairn convert` to and from .npy and .npz.
#![allow(clippy::unwrap_used, clippy::panic)]

mod conversion;

use cairnfile::{DType, Dict, GroupClass, Value};
use conversion::{Place, dict, tensor};

/// What NumPy writes: `np.save(f, np.asfortranarray(np.arange(6, dtype='>u2').reshape(2, 3)))`.
fn npy(literal: &str, data: &[u8]) -> Vec<u8> {
    [&b"\x93NUMPY\x01\0v\0"[..], format!("{literal:<117}\n").as_bytes(), data].concat()
}

#[test]
fn npy_there_and_back() {
    let place = Place::new();
    for literal in [
        "{'descr': '<u2', 'fortran_order': True, 'shape': (2, 3), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '|S4', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (0, 3), }",
    ] {
        let original = npy(literal, if literal.contains("(0") { &[] } else { b"\0\0\x03\0\x01\0\x04\0\x02\0\x05\0" });
        place.put("a.bin", &original).convert(&["a.bin", "a.cairn", "-f"]).convert(&["a.cairn", "b.npy", "-f"]);
        assert_eq!(place.get("b.npy"), original, "{literal}");
    }
    let big = npy("{'descr': '>u2', 'fortran_order': True, 'shape': (2, 3), }", b"\0\0\0\x03\0\x01\0\x04\0\x02\0\x05");
    place.put("a.bin", &big).convert(&["a.bin", "a.cairn", "-f"]);
    let Value::Tensor(found) = place.load("a.cairn") else { panic!() };
    assert_eq!(*found.row_major_bytes().unwrap(), [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    assert_eq!(found.byte_strides(), Some(&[2, 4][..]));
}

#[test]
fn what_npy_cannot_hold_or_we_cannot_keep() {
    let place = Place::new();
    let one = |dtype: DType, bytes: &[u8]| tensor(dtype, &[1], bytes);
    place.save("a.cairn", &one(DType::BF16, &[0, 0]).into()).refuses(&["a.cairn", "a.npy"], 3, &["bf16"]);
    place.save("a.cairn", &dict([("w", one(DType::F8_E5M2, &[0]))])).refuses(&["a.cairn", "a.npz"], 3, &["\"w\"", "f8_e5m2"]);
    place.refuses(&["a.cairn", "a.npy"], 3, &["the root is a dict", "--address"]);
    let hostile = DType::private("numpy.M8[']", GroupClass::Scalar, 1, 8).unwrap();
    place.save("a.cairn", &one(hostile, &[0; 8]).into()).refuses(&["a.cairn", "a.npy"], 3, &["numpy.M8"]);
    let odd = DType::private("numpy.S3", GroupClass::Scalar, 1, 4).unwrap();
    place.save("a.cairn", &one(odd, &[0; 4]).into()).refuses(&["a.cairn", "a.npy"], 3, &["numpy.S3"]);
    for (literal, code, words) in [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 3, "Python objects"),
        ("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }", 3, "structured"),
        ("{'descr': '>f16', 'fortran_order': False, 'shape': (1,), }", 3, "big-endian"),
        ("{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }", 4, "bool element 2 is the byte 9"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4, "cut short"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", 4, "appended"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }", 4, "too large"),
        ("{'descr': '<f4', 'fortran_order': False}", 4, "missing"),
    ] {
        place.put("bad", &npy(literal, &[0, 1, 9, 1])).refuses(&["bad", "bad.cairn"], code, &[words, "bad"]);
    }
}

/// `np.savez(f, a=np.array([1, 2], 'u1'), **{'b/c': np.array(5, '<i2')})`, deflated.
fn npz(compress: bool) -> Vec<u8> {
    use std::io::Write;
    let method = if compress { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, literal, data) in [
        ("a.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", &[1u8, 2][..]),
        ("b/c.npy", "{'descr': '<i2', 'fortran_order': False, 'shape': (), }", &[5, 0]),
    ] {
        writer.start_file(name, options).unwrap();
        writer.write_all(&npy(literal, data)).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn npz_there_and_back() {
    let place = Place::new();
    let expected = dict([("a", tensor(DType::U8, &[2], &[1, 2])), ("b/c", tensor(DType::I16, &[], &[5, 0]))]);
    for compress in [false, true] {
        place.put("a", &npz(compress)).convert(&["a", "a.cairn", "-f"]);
        assert_eq!(place.load("a.cairn"), expected);
    }
    place.convert(&["a.cairn", "stored.npz"]).convert(&["a.cairn", "small.npz", "--compress"]);
    assert!(place.get("small.npz").len() < place.get("stored.npz").len());
    for name in ["stored.npz", "small.npz"] {
        place.convert(&[name, "b.cairn", "-f"]);
        assert_eq!(place.load("b.cairn"), expected);
    }
    // Between two others.
    place.convert(&["stored.npz", "s.safetensors"]).convert(&["s.safetensors", "again.npz"]);
    assert_eq!(place.get("again.npz"), place.get("stored.npz"));
    place.put("empty.npz", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").convert(&["empty.npz", "empty.cairn"]);
    assert_eq!(place.load("empty.cairn"), Value::from(Dict::new()));
}

#[test]
fn npz_that_are_refused() {
    let place = Place::new();
    let whole = npz(false);
    let replaced = |from: &[u8], to: &[u8]| {
        let mut bytes = whole.clone();
        while let Some(at) = bytes.windows(from.len()).position(|w| w == from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        bytes
    };
    place.put("bad", &replaced(b"b/c.npy", b"b/c.txt")).refuses(&["bad", "bad.cairn"], 4, &["\"b/c.txt\"", "*.npy"]);
    place.put("bad", &replaced(b"b/c.npy", b"abc.pkl")).refuses(&["bad", "bad.cairn"], 4, &["abc.pkl"]);
    for at in whole.windows(6).enumerate().filter(|(_, w)| *w == b"\x93NUMPY").map(|(at, _)| at) {
        let mut damaged = whole.clone();
        damaged[at + 128] ^= 1;
        place.put("bad", &damaged).refuses(&["bad", "bad.cairn"], 4, &["array", "checksum"]);
    }
    // Two members of one name: the second record of the directory and its local header are renamed.
    let twice = {
        let mut bytes = npz_of(&["a.npy", "b.npy"]);
        while let Some(at) = bytes.windows(5).position(|w| w == b"b.npy") {
            bytes[at] = b'a';
        }
        bytes
    };
    place.put("bad", &twice).refuses(&["bad", "bad.cairn"], 4, &["same name"]);
    for len in [4, 30, 100, whole.len() / 2, whole.len() - 1] {
        place.put("bad", &whole[..len]).refuses(&["bad", "bad.cairn"], 4, &["bad"]);
    }
}

fn npz_of(names: &[&str]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in names {
        writer.start_file(*name, zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored)).unwrap();
        writer.write_all(&npy("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", &[1])).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// No byte changed in any input makes the command crash.
#[test]
fn damage_never_panics() {
    let place = Place::new();
    for whole in [npz(true), npy("{'descr': '<u2', 'fortran_order': True, 'shape': (2, 3), }", &[0; 12])] {
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xFF;
            let output = place.put("bad", &bytes).run(&["bad", "out.cairn", "-f"]);
            assert!(matches!(output.status.code(), Some(0 | 3 | 4)), "byte {at}: {output:?}");
        }
    }
}
