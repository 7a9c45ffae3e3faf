//! `cairn repair` of every damaged byte, and `cairn dump` of intact and damaged files.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Output};

use cairnfile::{Cairn, DType, Dict, Named, Storage, Tensor, Value, WriteOptions};
use serde_json::Value as Json;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> &Self {
        std::fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cairn")).current_dir(self.0.path()).args(arguments).output().unwrap()
    }

    /// Exit code and standard output.
    fn ask(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}

/// Every kind of value, strides, a tie, an empty tensor, two blocks in a buffer, and gaps.
fn value() -> Value<'static> {
    let whole = |dtype, shape: &[u64], len| Tensor::new(dtype, shape, Storage::shared(vec![1u8; len])).unwrap();
    let turned = Tensor::view(DType::U16, &[2, 3], Some(&[2, 4]), Storage::shared(vec![3; 12]), 0).unwrap();
    let scalars = vec![
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(-5),
        Value::integer(&[0, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap(),
        Value::Float(0.5),
        Value::Complex(1.0, -2.0),
        Value::from("text\n"),
        Value::from(vec![1u8, 2]),
        Value::Tuple(vec![]),
    ];
    let mut dict = Dict::from_iter([("a", Value::from(whole(DType::F32, &[5], 20))), ("b", whole(DType::BOOL, &[5000], 5000).into())]);
    dict.insert("tied", turned.clone());
    dict.insert(7i64, turned);
    dict.insert(&b"\xff"[..], whole(DType::F16, &[0], 0));
    dict.insert("list", scalars);
    dict.insert("named", Named::new("ordered_dict", Dict::from_iter([("k", 1i64)]).into()).unwrap());
    dict.into()
}

fn options() -> WriteOptions {
    WriteOptions::new().block_log2(12).metadata(Dict::from_iter([("k", "v")]))
}

fn planned() -> Vec<u8> {
    cairnfile::to_bytes(&value(), &options()).unwrap()
}

fn streamed() -> Vec<u8> {
    let mut bytes = Vec::new();
    cairnfile::stream_to(&mut bytes, &value(), &options()).unwrap();
    bytes
}

/// Where tensor `address` begins.
fn start_of(bytes: &[u8], address: &str) -> usize {
    Cairn::from_bytes(bytes).unwrap().tensor(address).unwrap().file_range().unwrap().start.try_into().unwrap()
}

#[test]
fn a_file_without_tensors_byte_by_byte() {
    let place = Place::new();
    let whole = cairnfile::to_bytes(&Value::from("text"), &options()).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let (code, text) = place.put("a.cairn", &bytes).ask(&["repair", "a.cairn"]);
        assert_eq!((code, place.get("a.cairn") == whole), (0, true), "byte {at}: {text}");
        assert!(text.contains("restored") && text.contains("intact"), "byte {at}: {text}");
    }
}

#[test]
fn parts_of_a_larger_file() {
    let place = Place::new();
    let whole = planned();
    let last = whole.len() - 1;
    let gap = start_of(&whole, "/a") + 20;
    for (at, part) in [
        (0, "header"),
        (63, "header"),
        (64, "index,"),
        (200, "index,"),
        (gap, "padding"),
        (last - 200, "index copy"),
        (last, "trailer"),
        (last - 63, "trailer"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let (code, text) = place.put("a.cairn", &bytes).ask(&["repair", "a.cairn", "-o", "b.cairn", "-f"]);
        assert_eq!((code, place.get("b.cairn") == whole, place.get("a.cairn") == bytes), (0, true, true), "byte {at}: {text}");
        assert!(text.contains(&format!("restored {part}")), "{text}");
    }
    let (code, text) = place.put("a.cairn", &whole[..last - 500]).ask(&["repair", "a.cairn"]);
    assert_eq!((code, place.get("a.cairn") == whole), (0, true), "{text}");
    let longer = [&whole[..], b"more"].concat();
    let (code, text) = place.put("a.cairn", &longer).ask(&["repair", "a.cairn"]);
    assert_eq!((code, place.get("a.cairn") == whole, text.contains("4 B had been appended")), (0, true, true), "{text}");
}

#[test]
fn streamed_files() {
    let place = Place::new();
    let whole = streamed();
    let mut bytes = whole.clone();
    bytes[12] ^= 1;
    assert_eq!(place.put("a.cairn", &bytes).ask(&["repair", "a.cairn"]).0, 0);
    assert_eq!(place.get("a.cairn"), whole);
    for at in [whole.len() - 1, whole.len() - 200] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let output = place.put("a.cairn", &bytes).run(&["repair", "a.cairn"]);
        assert_eq!((output.status.code(), place.get("a.cairn") == bytes), (Some(4), true));
        assert!(String::from_utf8_lossy(&output.stderr).contains("streamed file"));
    }
}

#[test]
fn data_stays_damaged_and_is_named() {
    let place = Place::new();
    let mut bytes = planned();
    let whole = bytes.clone();
    bytes[0] ^= 1;
    let at = start_of(&whole, "/b") + 4500;
    bytes[at] ^= 1;
    let (code, text) = place.put("a.cairn", &bytes).ask(&["repair", "a.cairn"]);
    assert!(code == 1 && text.contains("restored header") && text.contains("tensor /b"), "{text}");
    let mut expected = whole;
    expected[at] ^= 1;
    assert_eq!(place.get("a.cairn"), expected);
    // Nothing left to restore: the file is not touched.
    let before = std::fs::metadata(place.path("a.cairn")).unwrap().modified().unwrap();
    let (code, text) = place.ask(&["repair", "a.cairn", "--json"]);
    let report: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((code, report["restored"].as_array().unwrap().len(), report["intact"].as_bool()), (1, 0, Some(false)));
    assert_eq!((report["faults"][0]["code"].as_str(), report["faults"][0]["tensors"][0].as_str()), (Some("block-crc"), Some("/b")));
    assert_eq!(std::fs::metadata(place.path("a.cairn")).unwrap().modified().unwrap(), before);
}

#[test]
fn dry_runs_and_refusals() {
    let place = Place::new();
    let whole = planned();
    let mut bytes = whole.clone();
    bytes[30] ^= 1;
    let (code, text) = place.put("a.cairn", &bytes).ask(&["repair", "a.cairn", "--dry-run"]);
    assert_eq!((code, place.get("a.cairn") == bytes, text.contains("would restore header")), (1, true, true), "{text}");
    assert_eq!(place.put("a.cairn", &whole).ask(&["repair", "a.cairn", "-n"]).0, 0);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let output = place.put("a.cairn", &bytes).run(&["repair", "a.cairn"]);
    assert_eq!((output.status.code(), place.get("a.cairn") == bytes), (Some(4), true));
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither header nor trailer is intact"));
    let output = place.put("x", b"GGUF\x03\0\0\0").run(&["repair", "x"]);
    assert!(output.status.code() == Some(4) && String::from_utf8_lossy(&output.stderr).contains("a GGUF file"));
    assert_eq!(place.ask(&["repair", "missing"]).0, 5);
    assert_eq!(place.put("there", b"old").ask(&["repair", "a.cairn", "-o", "there"]).0, 2);
    assert_eq!(place.get("there"), b"old");
    let names: Vec<_> = std::fs::read_dir(place.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|n| !n.ends_with("-tmp")), "{names:?}");
}

/// The bytes that the lines of a dump show, which must follow each other without a gap.
fn shown(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines().filter(|l| l.len() > 10 && l.as_bytes()[..8].iter().all(u8::is_ascii_hexdigit)) {
        assert_eq!(usize::from_str_radix(&line[..8], 16).unwrap(), bytes.len(), "{line}");
        let hex: String = line[10..].chars().take(47).collect();
        bytes.extend(hex.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()));
    }
    bytes
}

#[test]
fn a_dump_shows_every_byte() {
    let place = Place::new();
    for whole in [planned(), streamed()] {
        let (code, text) = place.put("a.cairn", &whole).ask(&["dump", "--all", "a.cairn"]);
        assert_eq!((code, shown(&text)), (0, whole));
        for word in [
            "magic",
            "version 1",
            "own CRC",
            "right",
            "dtypes: 4",
            "buffer 0: 20 bytes",
            "CRC of buffer 1, block 1",
            "shape [2, 3]",
            "strides [1, 2]",
            "no buffer",
            "metadata: dict of 1 item",
            "int -5",
            "BigInt(0x10000000000000000)",
            "float 0.5",
            "complex (1.0-2.0j)",
            "\"text\\n\"",
            "b\"\\xff\"",
            "type name of 12 bytes",
            "tensor 2",
            "block 1, CRC right",
            "padding",
            "key: int 7",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("WRONG") && !text.contains("DAMAGED") && !text.contains("!!"), "{text}");
    }
}

#[test]
fn a_dump_is_short_unless_told() {
    let place = Place::new();
    let (code, text) = place.put("a.cairn", &planned()).ask(&["dump", "a.cairn"]);
    assert!(code == 0 && text.lines().count() < 250 && text.contains("4064 more bytes"), "{text}");
    let (_, json) = place.ask(&["dump", "a.cairn", "--json"]);
    let rows: Vec<Json> = serde_json::from_str(&json).unwrap();
    assert!(rows.iter().any(|row| row["offset"] == 8 && row["bytes"] == "01 00" && row["meaning"] == "version 1"));
}

#[test]
fn a_dump_of_the_deepest_value() {
    let place = Place::new();
    let deepest = (0..127).fold(Value::Null, |value, _| Value::from(Dict::from_iter([("k", value)])));
    place.put("a.cairn", &cairnfile::to_bytes(&deepest, &options()).unwrap());
    let (code, text) = place.ask(&["dump", "a.cairn"]);
    assert!(code == 0 && !text.contains("!!"), "{text}");
}

#[test]
fn dumps_of_damaged_files() {
    let place = Place::new();
    let whole = planned();
    let last = whole.len() - 1;
    let data = start_of(&whole, "/b");
    for (at, code, words) in [
        (20, 0, "WRONG"),
        (64, 0, "the index is damaged"),
        (78, 0, "the index is damaged"),
        (data, 0, "block 0, CRC WRONG"),
        (data - 1, 0, "padding, DAMAGED"),
        (last - 200, 0, "differs from the index above"),
        (last, 0, "WRONG"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xFF;
        let (found, text) = place.put("a.cairn", &bytes).ask(&["dump", "--all", "a.cairn"]);
        assert_eq!((found, shown(&text)), (code, bytes), "byte {at}");
        assert!(text.contains(words), "byte {at}: {text}");
    }
}

/// However a file is cut or damaged, the dump shows all of it.
#[test]
fn nothing_is_left_out() {
    let place = Place::new();
    let file =
        cairnfile::to_bytes(&Value::from(Dict::from_iter([("k", Tensor::from_vec(&[3], vec![1u8, 2, 3]).unwrap())])), &options()).unwrap();
    let mut streamed = Vec::new();
    cairnfile::stream_to(&mut streamed, &Value::from("x"), &options()).unwrap();
    for whole in [file, streamed] {
        for len in (8..whole.len()).step_by(13) {
            let (code, text) = place.put("a.cairn", &whole[..len]).ask(&["dump", "--all", "a.cairn"]);
            assert_eq!((matches!(code, 0 | 4), shown(&text)), (true, whole[..len].to_vec()), "{len}: {text}");
        }
        for at in (8..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            (bytes[at], bytes[whole.len() - 1 - at / 7]) = (bytes[at] ^ 0xFF, 0xFF);
            let (code, text) = place.put("a.cairn", &bytes).ask(&["dump", "--all", "a.cairn"]);
            assert_eq!((matches!(code, 0 | 4), shown(&text)), (true, bytes), "{at}: {text}");
        }
    }
    let output = place.put("x", b"PK\x03\x04 and more").run(&["dump", "x"]);
    assert!(output.status.code() == Some(4) && String::from_utf8_lossy(&output.stderr).contains("zip"));
}

#[test]
fn data_is_computed_from_parity() {
    let place = Place::new();
    place.put("plain.cairn", &planned());
    assert_eq!(place.ask(&["convert", "plain.cairn", "whole.cairn", "--parity", "20%"]).0, 0);
    let whole = place.get("whole.cairn");
    assert_eq!(whole, cairnfile::to_bytes(&value(), &options().parity(2000)).unwrap());
    assert!(place.ask(&["info", "whole.cairn"]).1.contains("can be computed again"));
    // What is made from a file is guarded like it.
    assert_eq!(place.ask(&["convert", "whole.cairn", "again.cairn"]).0, 0);
    assert!(place.get("again.cairn") == whole);

    let at = start_of(&whole, "/b") + 4500;
    let mut bytes = whole.clone();
    bytes[at..at + 500].fill(0xEE);
    bytes[3] ^= 1;
    let (code, text) = place.put("a.cairn", &bytes).ask(&["repair", "a.cairn", "--dry-run"]);
    assert_eq!((code, place.get("a.cairn") == bytes), (1, true));
    assert!(text.contains("would restore header") && text.contains("would compute 2 damaged shards of 512 B from parity"), "{text}");
    let (code, text) = place.ask(&["repair", "a.cairn", "-o", "b.cairn", "--json"]);
    let report: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((code, report["intact"].as_bool(), report["parity"]["damaged"].as_array().unwrap().len()), (0, Some(true), 2));
    assert!(place.get("b.cairn") == whole && place.get("a.cairn") == bytes);
    let (code, text) = place.ask(&["repair", "a.cairn"]);
    assert!(code == 0 && text.contains("computed 2 damaged shards") && text.contains("intact"), "{text}");
    assert!(place.get("a.cairn") == whole);

    // More than there is parity for: what can be restored is, and the rest is named.
    let mut bytes = whole.clone();
    bytes[at - 4000..at].fill(0xEE);
    let (code, text) = place.put("a.cairn", &bytes).ask(&["repair", "a.cairn"]);
    assert!(code == 1 && text.contains("more than the 2 that parity can compute") && text.contains("tensor /b"), "{text}");
    assert!(place.get("a.cairn") == bytes);
}

#[test]
fn shares_of_parity() {
    let place = Place::new();
    place.put("plain.cairn", &planned());
    for (text, share) in [("2%", 200), ("0.5%", 50), ("0.01%", 1), ("100", 10_000), ("2 %", 200)] {
        assert_eq!(place.ask(&["convert", "plain.cairn", "a.cairn", "-f", "--parity", text]).0, 0, "{text}");
        assert!(place.get("a.cairn") == cairnfile::to_bytes(&value(), &options().parity(share)).unwrap(), "{text}");
    }
    for text in ["0", "0%", "101%", "-1", "1.234%", "", "%", "x", "1e1", "+2"] {
        let output = place.run(&["convert", "plain.cairn", "a.cairn", "-f", &format!("--parity={text}")]);
        assert_eq!(output.status.code(), Some(2), "{text}");
    }
    assert_eq!(place.run(&["convert", "plain.cairn", "a.npy", "--parity", "2%"]).status.code(), Some(2));
}
