//! The shape of the crate: which module may know which, where unsafe code and foreign crates live, how long things are.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The modules from the ground up: each may import those before it.
const LAYERS: &[&[&str]] = &[
    // What can be wrong, and how much.
    &["error", "limits", "sniff", "pattern"],
    // Bytes, memory and threads.
    &["place", "bytes", "bits", "hash", "checksum", "parallel", "memory", "source", "touched"],
    // The parts of a file, each with its parser and its encoder.
    &["dtype", "layout", "lattice", "element", "header", "frame", "extension", "value", "keys", "address", "entry", "buffer"],
    // Values in memory.
    &["tensor", "tree", "options"],
    // The index, whole.
    &["sharing", "walk", "index", "parity", "merge"],
    // Reading.
    &["blocks", "read", "node", "tiles", "content", "bools", "checks", "load", "slice", "verify", "repair", "pick", "open"],
    // Writing.
    &["collect", "plan", "write", "protect", "durable", "inplace", "stream"],
];

/// Imports against that order, each with its reason. Nothing else may close a cycle.
const UPWARD: &[(&str, &str, &str)] = &[
    ("buffer", "blocks", "the table of buffers counts blocks, and a block says where in its buffer it lies"),
    ("sharing", "index", "the reader's half of the sharing rule looks at the tables that the index is about to keep"),
    ("blocks", "read", "checking a block is a method of the open file, which remembers what was checked"),
    ("read", "node", "the front door hands out values; they borrow the open file"),
    ("read", "content", "the front door takes tensors; the rules on elements name the tensor they are about"),
    ("read", "load", "the front door loads values; loading reads from the open file"),
    ("read", "slice", "the front door slices tensors; slicing reads from the open file"),
    ("write", "durable", "a file that is replaced is one of the sinks that a plan is written to"),
];

/// Foreign crates and the only files that may name them.
const OWNERS: &[(&str, &[&str])] = &[
    ("nom", &["buffer", "bytes", "dtype", "entry", "extension", "header", "value", "walk"]),
    ("byteorder", &["buffer", "bytes", "dtype", "entry", "header", "parity"]),
    ("crc32fast", &["checksum"]),
    ("memmap2", &["inplace", "memory", "source"]),
    ("bytemuck", &["inplace", "memory", "tensor"]),
    ("half", &["element", "tensor"]),
    ("indexmap", &["tree"]),
    ("rayon", &["parallel"]),
    ("reed_solomon_simd", &["parity"]),
    ("rustix", &["durable", "memory", "source"]),
    ("tempfile", &["durable"]),
];

struct Source {
    /// Name in `src`, such as `read.rs` or `element/tests.rs`.
    file: String,
    /// Of the module at the root of the crate that the file belongs to.
    module: String,
    /// Code without comments and without its unit tests.
    code: Vec<String>,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    assert!(sources.len() > 30);
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    sources
}

fn collect(root: &Path, directory: &Path, sources: &mut Vec<Source>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let file = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let module = file.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = if file.ends_with("tests.rs") { vec![] } else { code(&text) };
            sources.push(Source { file, module, code, text });
        }
    }
}

fn code(text: &str) -> Vec<String> {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    lines.map(|line| line.split("//").next().unwrap().trim_end().to_owned()).collect()
}

/// Identifiers of a line of code, with what stands right behind each.
fn words(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.find(is_word)?;
        let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |n| start + n);
        let (word, after) = (&rest[start..end], &rest[end..]);
        rest = after;
        Some((word, after))
    })
}

fn names(line: &str, wanted: &str) -> bool {
    words(line).any(|(word, _)| word == wanted)
}

/// Modules of this crate that a source names, in `use crate::…` or on the way.
fn imports(source: &Source, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let after_crate = |line: &str| -> Vec<String> {
        let parts = line.split("crate::").skip(1);
        parts.filter_map(|part| words(part).next().filter(|(w, _)| part.starts_with(*w)).map(|(w, _)| w.to_owned())).collect()
    };
    source.code.iter().flat_map(|line| after_crate(line)).filter(|m| modules.contains(m) && *m != source.module).collect()
}

#[test]
fn modules_import_only_what_is_below_them() {
    let sources = sources();
    let modules: BTreeSet<String> = sources.iter().map(|s| s.module.clone()).filter(|m| m != "lib").collect();
    let order: Vec<&str> = LAYERS.concat();
    assert_eq!(order.iter().map(|m| (*m).to_owned()).collect::<BTreeSet<_>>(), modules, "the table has every module, once");
    assert_eq!(order.len(), modules.len());
    let place = |module: &str| order.iter().position(|m| *m == module).unwrap();
    let mut against = BTreeSet::new();
    for source in sources.iter().filter(|s| s.module != "lib") {
        for line in &source.code {
            assert!(!line.contains("crate::{") && !line.contains("super::super"), "{}: imports are by module: {line}", source.file);
        }
        for imported in imports(source, &modules) {
            if place(&imported) > place(&source.module) {
                against.insert((source.module.clone(), imported));
            }
        }
    }
    let allowed: BTreeSet<(String, String)> = UPWARD.iter().map(|(a, b, _)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(against, allowed, "imports against the order, and those that have a reason");
}

/// A writer of the lower layers must not reach into reading, nor reading into writing.
#[test]
fn reading_and_writing_meet_in_the_middle() {
    let sources = sources();
    let modules: BTreeSet<String> = sources.iter().map(|s| s.module.clone()).collect();
    let writing = LAYERS[LAYERS.len() - 1];
    for source in sources.iter().filter(|s| s.module != "lib" && !writing.contains(&s.module.as_str())) {
        let reached: Vec<String> = imports(source, &modules).into_iter().filter(|m| writing.contains(&m.as_str())).collect();
        assert!(reached.is_empty(), "{} imports {reached:?}", source.file);
    }
}

/// The files whose public functions hand the contract of mapping through to the caller.
const HANDS_THROUGH: &[&str] = &["open.rs", "load.rs"];

#[test]
fn unsafe_code_is_in_one_file() {
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !names(code, "unsafe") || source.file == "memory.rs" {
                continue;
            }
            // The contract of mapping is handed through to the caller.
            let place = format!("{}:{}: {line}", source.file, n + 1);
            assert!(HANDS_THROUGH.contains(&source.file.as_str()), "{place}");
            if code.contains("unsafe fn") {
                assert!(code.contains("pub unsafe fn map(") || code.contains("pub unsafe fn fetch_mapped<"), "{place}");
                let above = lines[..n].iter().rev().take_while(|l| l.trim_start().starts_with(['/', '#']));
                assert!(above.filter(|l| l.contains("# Safety")).count() == 1, "{place}: says what the caller promises");
            } else {
                assert!(lines[n - 1].trim_start().starts_with("// SAFETY:"), "{place}: says why it is sound");
                assert!(["memory::map(", ".map(path)", "Aligned::copy_on_write("].iter().any(|call| code.contains(call)), "{place}");
            }
        }
        // Elsewhere the compiler sees to it.
        let allows = source.code.iter().filter(|line| line.contains("allow(unsafe_code)")).count();
        let may = source.file == "memory.rs" || HANDS_THROUGH.contains(&source.file.as_str());
        assert!(allows == 0 || may, "{} allows unsafe code", source.file);
        assert!(source.file != "lib.rs" || source.text.contains("#![deny(unsafe_code)]"));
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let memory = sources().into_iter().find(|s| s.file == "memory.rs").unwrap();
    let lines: Vec<&str> = memory.text.lines().collect();
    for (n, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {")) {
        let above: Vec<&&str> = lines[..n].iter().rev().take_while(|l| l.trim_start().starts_with("//")).collect();
        assert!(above.iter().any(|l| l.contains("// SAFETY:")), "memory.rs:{}: {line}", n + 1);
    }
}

#[test]
fn foreign_crates_stay_with_their_owners() {
    let sources = sources();
    for (krate, owners) in OWNERS {
        let named = |s: &&Source| s.code.iter().any(|line| words(line).any(|(word, after)| word == *krate && after.starts_with("::")));
        let found: BTreeSet<&str> = sources.iter().filter(named).map(|s| s.module.as_str()).collect();
        assert_eq!(found, owners.iter().copied().collect(), "who names {krate}");
    }
    // Every dependency is in the table.
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && !section.contains("dev-") {
            let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
            let name = name.trim().trim_end_matches(".workspace");
            assert!(OWNERS.iter().any(|(krate, _)| *krate == name.replace('-', "_")), "{name} has no owner here");
        }
    }
}

/// Neither nom nor its input type is in a signature or a field that a user can see.
#[test]
fn nom_is_nobodys_business() {
    let mut public = 0;
    for source in sources() {
        let lines = &source.code;
        for n in (0..lines.len()).filter(|n| lines[*n].trim_start().starts_with("pub ")) {
            public += 1;
            // A signature ends where its body begins.
            let length = lines[n..].iter().position(|l| l.ends_with('{') || l.ends_with(';') || l.ends_with(',')).unwrap_or(0);
            let signature = lines[n..=n + length].join(" ");
            for private in ["nom", "IResult", "Parsed", "Input", "Parser"] {
                assert!(!names(&signature, private), "{}:{}: {signature}", source.file, n + 1);
            }
        }
    }
    assert!(public > 150, "{public} public items");
    let lib = sources().into_iter().find(|s| s.file == "lib.rs").unwrap();
    let modules: Vec<&str> = lib.code.iter().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    assert_eq!(modules, ["element;", "repair;", "hard_limits {"], "public modules");
}

#[test]
fn files_and_functions_are_short() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines", source.file);
        for (name, line, length) in functions(&source.text) {
            assert!(length <= 80, "{}:{line}: fn {name} has {length} lines", source.file);
        }
    }
}

/// Name, line and length of each function: from the line of `fn` to the closing brace at the same indentation.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap();
        let Some((_, after)) = words(code).find(|(word, after)| *word == "fn" && after.starts_with(' ')) else { continue };
        if code.trim_start().starts_with("//") || code.ends_with(';') || code.ends_with('}') {
            continue;
        }
        let closes = |l: &&str| indent(l) == indent(line) && l.trim() == "}";
        if let Some(length) = lines[n..].iter().position(closes) {
            found.push((words(after).next().map_or("", |w| w.0).to_owned(), n + 1, length + 1));
        }
    }
    found
}

#[test]
fn the_ways_of_looking_here_see_something() {
    let sources = sources();
    let functions: usize = sources.iter().map(|s| functions(&s.text).len()).sum();
    assert!(functions > 400, "{functions} functions");
    let modules: BTreeSet<String> = sources.iter().map(|s| s.module.clone()).collect();
    let edges: BTreeMap<&str, usize> = sources.iter().map(|s| (s.module.as_str(), imports(s, &modules).len())).collect();
    assert!(edges.values().sum::<usize>() > 150, "{edges:?}");
    assert!(UPWARD.iter().all(|(_, _, reason)| reason.len() > 20));
    assert_eq!(words("use crate::read::{Cairn};").map(|w| w.0).collect::<Vec<_>>(), ["use", "crate", "read", "Cairn"]);
}
