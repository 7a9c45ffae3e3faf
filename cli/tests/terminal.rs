//! No byte of a file acts on a terminal: whatever names, texts and metadata hold, every command shows it as escapes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use cairnfile::{DType, Dict, GroupClass, Named, Storage, Tensor, Value, WriteOptions};
use support::{Dir, Run, f32s};

/// Escape sequences of seven and eight bits, a title, a bell, a carriage return that hides what stands before it, characters
/// that reorder text or hide in it.
const ACTING: &[&str] = &[
    "\u{1b}[2J\u{1b}[31mred",
    "\u{9b}31mred",
    "\u{1b}]0;title\u{7}",
    "safe\rmask",
    "back\u{8}\u{8}",
    "\u{0}nul",
    "line\nbreak\ttab",
    "\u{202e}gnp.exe",
    "\u{2066}isolate\u{2069}",
    "zero\u{200b}width\u{feff}",
    "\u{2028}\u{85}",
    "\u{7f}delete",
];

fn acts(c: char) -> bool {
    let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    (c.is_control() && c != '\n') || hides
}

fn check(args: &[&str], run: &Run) {
    for (stream, text) in [("stdout", &run.out), ("stderr", &run.err)] {
        let bad = text.chars().find(|c| acts(*c));
        assert!(bad.is_none(), "{args:?}: {stream} has {bad:?}: {:?}", text.chars().take(2000).collect::<String>());
    }
    assert!(!run.err.contains("panicked"), "{args:?}: {}", run.err);
}

/// Every text of the list as a key, a value, a bytes key, a list item, and above a tensor.
fn value(seed: f32) -> Value<'static> {
    let mut dict = Dict::new();
    for text in ACTING {
        let tensor = f32s(&[2], &[seed, 1.0]);
        let inner = Dict::from_iter([(*text, tensor), ("text", Value::from(*text))]);
        dict.insert(*text, inner);
        dict.insert(text.as_bytes(), vec![Value::from(*text), Value::from(text.as_bytes().to_vec())]);
    }
    dict.insert("named", Named::new("my.type", Value::from(ACTING[0])).unwrap());
    let private = DType::private("my.dtype", GroupClass::Scalar, 1, 3).unwrap();
    dict.insert("private", Tensor::new(private, &[2], Storage::shared(vec![27; 6])).unwrap());
    dict.into()
}

fn save(dir: &Dir, name: &str, seed: f32) {
    let metadata = Dict::from_iter(ACTING.iter().map(|text| (*text, Value::from(*text))));
    dir.save_with(name, &value(seed), &WriteOptions::new().metadata(metadata));
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())))
}

/// Replaces `from` by `to` in both indexes of a planned file, and signs them.
fn replace(dir: &Dir, name: &str, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(dir.path(name)).unwrap();
    let found: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert_eq!(found.len(), 2);
    found.iter().for_each(|at| bytes[*at..*at + to.len()].copy_from_slice(to));
    for frame in [0, bytes.len() - 64] {
        let field = |at: usize| usize::try_from(u64::from_le_bytes(bytes[frame + at..frame + at + 8].try_into().unwrap())).unwrap();
        let crc = crc32(&bytes[field(24)..field(24) + field(32)]);
        bytes[frame + 40..frame + 44].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32(&bytes[frame..frame + 60]);
        bytes[frame + 60..frame + 64].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(dir.path(name), bytes).unwrap();
}

const COMMANDS: &[&[&str]] = &[
    &["ls", "a.cairn"],
    &["ls", "--flat", "a.cairn"],
    &["ls", "--metadata", "a.cairn"],
    &["info", "a.cairn"],
    &["dump", "a.cairn"],
    &["verify", "a.cairn"],
    &["get", "a.cairn", ""],
    &["get", "a.cairn", "/private"],
    &["get", "a.cairn", "/\u{1b}[31m"],
    &["get", "a.cairn", "/named/x"],
    &["diff", "a.cairn", "b.cairn"],
    &["repair", "a.cairn"],
    &["merge", "--force", "out.cairn", "a.cairn", "b.cairn"],
    &["extract", "--force", "a.cairn", "out.cairn", "/named"],
    &["convert", "--force", "a.cairn", "out.safetensors"],
    &["convert", "--force", "a.cairn", "out.npz"],
    &["convert", "--force", "a.cairn", "out.cairn"],
    &["demo"],
];

fn run_all(dir: &Dir) {
    for command in COMMANDS {
        for more in [&[][..], &["--json"], &["--quiet"]] {
            let args = [*command, more].concat();
            check(&args, &dir.cairn(&args));
        }
    }
}

#[test]
fn names_and_texts_are_escaped() {
    let dir = Dir::new();
    save(&dir, "a.cairn", 0.5);
    save(&dir, "b.cairn", 0.25);
    // What is escaped is shown, and not left out.
    let shown = dir.cairn(&["ls", "a.cairn"]).expect(0).out;
    assert!(shown.contains("\\u{1b}[2J") && shown.contains("\\u{202e}gnp.exe"), "{shown}");
    run_all(&dir);
}

#[test]
fn addresses_of_damage_are_escaped() {
    let dir = Dir::new();
    for name in ["a.cairn", "b.cairn"] {
        save(&dir, name, 0.5);
        let starts: Vec<u64> = {
            let cairn = cairnfile::Cairn::open(dir.path(name)).unwrap();
            cairn.tensors().map(|tensor| tensor.file_range().unwrap().start).collect()
        };
        starts.iter().for_each(|at| dir.flip(name, *at));
    }
    let found = dir.cairn(&["verify", "a.cairn"]).expect(1).out;
    assert!(found.contains("\\u{1b}[2J"), "{found}");
    run_all(&dir);
}

#[test]
fn names_that_are_refused_are_escaped() {
    for (from, to) in [(&b"my.dtype"[..], &b"my.\x1b[2Jx"[..]), (b"my.type", b"my\x1b[2J."), (b"safe\rmask", b"safe\xff\x1b[2J")] {
        let dir = Dir::new();
        for name in ["a.cairn", "b.cairn"] {
            let text = String::from_utf8(from.to_vec()).unwrap();
            let private = DType::private("my.dtype", GroupClass::Scalar, 1, 3).unwrap();
            let tensor = Tensor::new(private, &[1], Storage::shared(vec![1; 3])).unwrap();
            let list = vec![Value::from(text), Named::new("my.type", Value::Null).unwrap().into(), tensor.into()];
            let one: Value<'_> = match from {
                b"my.dtype" => list.into_iter().nth(2).unwrap(),
                b"my.type" => list.into_iter().nth(1).unwrap(),
                _ => list.into_iter().next().unwrap(),
            };
            dir.save(name, &one);
            replace(&dir, name, from, to);
        }
        assert_ne!(dir.cairn(&["ls", "a.cairn"]).code, 0);
        run_all(&dir);
    }
}
