//! The conformance vectors in `vectors/`: they are what the catalogue makes, the manifest tells the truth about them,
//! and the library agrees with every line of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/judge.rs"]
mod judge;
mod support;
#[path = "support/vectors.rs"]
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, Class, Code, Error, Level, OpenOptions, Report};
use serde_json::Value as Json;

/// Written by hand.
const BY_HAND: [&str; 3] = ["README.md", "LICENSE", "manifest.schema.json"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn json(name: &str) -> Json {
    serde_json::from_slice(&fs::read(root().join(name)).unwrap()).unwrap()
}

fn entries() -> Vec<Json> {
    let Json::Array(entries) = json("manifest.json")["vectors"].take() else { panic!("`vectors` is no array") };
    assert!(!entries.is_empty());
    entries
}

fn text<'a>(entry: &'a Json, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_else(|| panic!("{key} of {entry} is no text"))
}

fn file(entry: &Json) -> Vec<u8> {
    fs::read(root().join(text(entry, "file"))).unwrap()
}

fn keys(object: &Json) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Every file below `vectors/` with its length.
fn walk(folder: &Path, files: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), files);
        } else {
            let path = entry.path().strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            files.insert(path, entry.metadata().unwrap().len());
        }
    }
}

fn tree() -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    walk(&root(), &mut files);
    files
}

#[test]
fn the_tree_is_what_the_catalogue_makes() {
    let vectors = vectors::vectors();
    let mut wrong = Vec::new();
    for (path, made) in vectors::files(&vectors) {
        if fs::read(root().join(&path)).ok().as_ref() != Some(&made) {
            wrong.push(path);
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "run scripts/vectors");
}

#[test]
fn no_orphans_and_below_a_mebibyte() {
    let mut known: BTreeSet<String> = BY_HAND.into_iter().chain(["manifest.json"]).map(str::to_owned).collect();
    for entry in entries() {
        let stem = text(&entry, "file").strip_suffix(".cairn").unwrap();
        assert_eq!(stem, format!("v1/{}/{}", text(&entry, "expect"), text(&entry, "id")));
        known.extend([format!("{stem}.cairn"), format!("{stem}.dump")]);
        known.extend(entry["decoded"].as_str().map(str::to_owned));
    }
    let tree = tree();
    assert_eq!(tree.keys().filter(|path| !known.contains(*path)).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(BY_HAND.iter().find(|path| !tree.contains_key(**path)), None);
    assert!(tree.values().sum::<u64>() < 1 << 20);
}

#[test]
fn keys_are_those_of_the_schema() {
    let (manifest, schema) = (json("manifest.json"), json("manifest.schema.json"));
    assert_eq!(keys(&manifest), keys(&schema["properties"]));
    let definitions = &schema["$defs"];
    for entry in entries() {
        let (allowed, required) = (keys(&definitions["vector"]["properties"]), names(&definitions["vector"]["required"]));
        assert!(keys(&entry).is_subset(&allowed) && required.is_subset(&keys(&entry)), "{entry}");
        assert!(entry.as_object().unwrap().values().all(|field| !field.is_null()), "{entry}");
        for run in entry["change"].as_array().into_iter().flatten() {
            assert_eq!(keys(run), keys(&definitions["run"]["properties"]));
        }
        let tensors = entry["tensors"].as_array().into_iter().flatten().flat_map(several);
        let outcomes = [&entry["open"], &entry["verify"]].into_iter().chain(tensors);
        for outcome in outcomes.filter(|outcome| !outcome.is_string()) {
            assert_eq!(keys(outcome), keys(&definitions["outcome"]["anyOf"][1]["properties"]));
        }
    }
    for (name, definition) in definitions.as_object().unwrap() {
        let object = match name.as_str() {
            "outcomes" | "vector" => continue,
            "outcome" => &definition["anyOf"][1],
            _ => definition,
        };
        assert_eq!(names(&object["required"]), keys(&object["properties"]), "{name}");
        assert_eq!(object["additionalProperties"], false, "{name}");
    }
    assert_eq!(definitions["vector"]["additionalProperties"], false);
}

fn names(list: &Json) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// The outcomes that the manifest allows, the reference codec's first: one, or a list.
fn several(outcome: &Json) -> Vec<&Json> {
    outcome.as_array().map_or_else(|| vec![outcome], |outcomes| outcomes.iter().collect())
}

fn outcome(error: Option<&Error>) -> String {
    error.map_or("accept".to_owned(), |error| format!("{}/{}", error.class(), error.code()))
}

fn stated(outcome: &Json) -> String {
    outcome.as_str().map_or_else(|| format!("{}/{}", text(outcome, "class"), text(outcome, "code")), str::to_owned)
}

#[test]
fn the_library_agrees() {
    let mut wrong = Vec::new();
    for entry in entries() {
        let bytes = file(&entry);
        let id = text(&entry, "id");
        assert_eq!(entry["size"], bytes.len());
        assert_eq!(text(&entry, "sha256"), judge::sha256(&bytes), "{id}");
        let opened = OpenOptions::new().check_trailer(false).from_bytes(&bytes);
        let mut check = |what: &str, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{id}: {what} is {found} instead of {expected}"));
            }
        };
        check("open", outcome(opened.as_ref().err()), stated(&entry["open"]));
        let Ok(cairn) = opened else {
            assert_eq!(entry["open"], entry["verify"], "{id}");
            continue;
        };
        let (answer, _) = judge::judge(&bytes);
        check("verify", stated(&answer["verify"]), stated(&entry["verify"]));
        for (number, tensor) in cairn.tensors().enumerate() {
            let expected = if entry["tensors"].is_null() { "accept".to_owned() } else { stated(several(&entry["tensors"][number])[0]) };
            check(&format!("tensor {number}"), outcome(tensor.read().err().as_ref()), expected);
        }
        if let Some(decoded) = entry["decoded"].as_str() {
            check("the answer", answer.to_string() + "\n", fs::read_to_string(root().join(decoded)).unwrap());
        }
        let verdict = match &entry["verify"]["class"] {
            Json::Null => "accept",
            class if class == "unsupported" => "unsupported",
            _ => "reject",
        };
        assert_eq!(text(&entry, "expect"), verdict, "{id}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the library says of a vector: its refusal at open, or else its report and the tensors that it refuses.
fn refusals(id: &str, bytes: &[u8], check_trailer: bool) -> Vec<String> {
    let cairn = match OpenOptions::new().check_trailer(check_trailer).from_bytes(bytes) {
        Err(error) => return vec![format!("{id} open: {error}")],
        Ok(cairn) => cairn,
    };
    let Report { blocks, bytes, unsupported, touched, faults, .. } = cairn.verify(&|_| Ok(())).unwrap();
    let counts = format!("{id} verify: {blocks} blocks, {bytes} bytes, {unsupported} unsupported, {touched} touched");
    let faults = faults.iter().map(|fault| format!("{id} verify: {} {:?}", fault.error, fault.tensors));
    let tensors = cairn.tensors().filter_map(|tensor| tensor.read().err()).map(|error| format!("{id} read: {error}"));
    std::iter::once(counts).chain(faults).chain(tensors).collect()
}

/// Offsets and messages are the reference codec's own: `tests/support/refusals.txt` has them as they were last read by a
/// person. `UPDATE_REFUSALS=1` writes it anew.
#[test]
fn refusals_say_what_and_where() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/refusals.txt");
    let mut found = Vec::new();
    for entry in entries() {
        let (id, bytes) = (text(&entry, "id"), file(&entry));
        let (with, without) = (refusals(id, &bytes, true), refusals(&format!("{id}, no trailer,"), &bytes, false));
        let same = with.iter().zip(&without).all(|(a, b)| a.split_once(':').map(|a| a.1) == b.split_once(':').map(|b| b.1));
        found.extend(with);
        found.extend(without.into_iter().filter(|_| !same));
    }
    if std::env::var_os("UPDATE_REFUSALS").is_some() {
        fs::write(&path, found.join("\n") + "\n").unwrap();
    }
    let known = fs::read_to_string(path).unwrap();
    let known: Vec<&str> = known.lines().collect();
    let other: Vec<_> = found.iter().filter(|line| !known.contains(&line.as_str())).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(known, found);
}

#[test]
fn canonical_ones_are_made_again() {
    let mut made = 0;
    for entry in entries().iter().filter(|entry| entry["canonical"] == true) {
        let bytes = file(entry);
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        assert!(support::rewrite(&cairn).unwrap() == bytes, "{}", text(entry, "id"));
        made += 1;
    }
    assert!(made >= 40, "only {made}");
}

#[test]
fn changes_make_twins_into_vectors() {
    let all = entries();
    let mut made = 0;
    for entry in &all {
        let (Some(twin), Some(runs)) = (entry["twin"].as_str(), entry["change"].as_array()) else { continue };
        let twin = all.iter().find(|other| other["id"] == twin).unwrap();
        assert_eq!(twin["expect"], "accept");
        let mut bytes = file(twin);
        for run in runs {
            let at = usize::try_from(run["offset"].as_u64().unwrap()).unwrap();
            let is = unhex(text(run, "is"));
            bytes[at..at + is.len()].copy_from_slice(&is);
        }
        assert!(bytes == file(entry), "{}", text(entry, "id"));
        made += 1;
    }
    assert!(made >= 100, "only {made}");
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_code_about_files_is_hit_and_enough_vectors_are_there() {
    let all = entries();
    let hit: BTreeSet<String> = all.iter().flat_map(|e| [stated(&e["open"]), stated(&e["verify"])]).collect();
    let about_files = Code::ALL.iter().filter(|code| code.level() != Level::Call);
    let missing: Vec<_> = about_files.map(|code| format!("{}/{code}", code.class())).filter(|name| !hit.contains(name)).collect();
    assert_eq!(missing, Vec::<String>::new());
    let count = |expect: &str| all.iter().filter(|entry| entry["expect"] == expect).count();
    assert!(count("accept") >= 40 && count("reject") >= 100 && count("unsupported") >= 8);
    for number in 1..=26 {
        let beginning = format!("incident-{number:02}-");
        assert!(all.iter().any(|entry| text(entry, "id").starts_with(&beginning)), "{beginning}");
    }
    assert!(all.iter().all(|entry| entry["verify"]["class"] != Class::Io.name()));
}

/// Each numeric bound as a value below it, at it and above it, the code of its refusal, and the side that is refused.
#[test]
fn every_bound_is_below_at_and_above() {
    let all = entries();
    let verdict = |id: &str| {
        let entry = all.iter().find(|entry| entry["id"] == id).unwrap_or_else(|| panic!("there is no {id}"));
        stated(&entry["verify"])
    };
    for (ids, code) in LEAST {
        assert_eq!(verdict(ids[0]), *code, "{}", ids[0]);
        ids[1..].iter().for_each(|id| assert_ne!(verdict(id), *code, "{id}"));
    }
    for (ids, code) in MOST {
        assert_eq!(verdict(ids[2]), *code, "{}", ids[2]);
        ids[..2].iter().for_each(|id| assert_ne!(verdict(id), *code, "{id}"));
    }
}

/// Least values: below is refused.
#[rustfmt::skip]
const LEAST: &[([&str; 3], &str)] = &[
    (["prefix-63", "prefix-64", "prefix-65"], "truncated/too-short"),
    (["streamed-prefix-127", "streamed-length-128", "smallest-streamed"], "truncated/trailer-missing"),
    (["file-length-191", "file-length-192", "file-length-minus-1"], "malformed/file-length"),
    (["streamed-length-191", "smallest-streamed", "streamed-vector-100"], "malformed/file-length"),
    (["incident-24-version-0", "smallest-planned", "smallest-planned"], "unsupported/version"),
    (["block-size-2-11", "block-size-2-12", "vector-100"], "malformed/block-size"),
    (["index-length-25", "smallest-planned", "bools"], "malformed/index-length"),
    (["streamed-index-length-25", "smallest-streamed", "streamed-vector-100"], "malformed/index-length"),
    (["index-offset-63", "smallest-planned", "smallest-planned"], "malformed/index-offset"),
    (["extension-tag-0", "extension-one", "extension-skippable"], "malformed/extension-order"),
    (["dtype-name-empty", "dtype-name-shortest", "vector-4"], "malformed/dtype-name"),
    (["dtype-name-space", "named-unknown", "dtype-private"], "malformed/dtype-name"),
    (["dtype-bytes-0", "vector-4", "dtype-private"], "malformed/dtype-geometry"),
    (["dtype-scalar-of-0", "vector-4", "vector-4"], "malformed/dtype-geometry"),
    (["dtype-packed-of-1", "dtype-packed-whole-bytes", "packed-partial-group"], "malformed/dtype-geometry"),
    (["dtype-packed-16-to-1", "packed-partial-group", "packed-partial-group"], "malformed/dtype-geometry"),
    (["dtype-block-of-1", "dtype-block-of-two", "block-rows"], "malformed/dtype-geometry"),
    (["buffer-length-0", "two-buffers", "vector-4"], "malformed/buffer-length"),
    (["block-31", "block-rows-one", "block-rows"], "invalid/tensor-groups"),
    (["strides-zero", "strides-extent-one", "view-every-second"], "invalid/tensor-strides"),
    (["strides-overlap", "strides-loose", "strides-gap"], "invalid/tensor-strides"),
    (["cover-touching", "incident-12-overlap-by-one-byte", "views-chain"], "invalid/view-cover"),
    (["tag-00", "smallest-planned", "bools"], "malformed/value-tag"),
    (["bigint-8", "bigint-smallest", "bigint-8192-streamed"], "malformed/value-bigint"),
    (["bigint-9-i64-max", "bigint-smallest", "bigint-8192-streamed"], "malformed/value-bigint"),
    (["bytes-65536-opaque", "bytes-65537-opaque", "named-bytes"], "invalid/named-bytes"),
    (["named-name-empty", "named-shortest", "named-unregistered"], "malformed/named-name"),
    (["named-name-space", "named-unknown", "named-registered"], "malformed/named-name"),
];

/// Greatest values: above is refused.
#[rustfmt::skip]
const MOST: &[([&str; 3], &str)] = &[
    (["file-length-plus-1", "file-length-2-63-minus-1", "file-length-2-63"], "malformed/file-length"),
    (["file-length-plus-1", "smallest-planned", "file-length-minus-1"], "malformed/trailing-bytes"),
    (["smallest-planned", "smallest-planned", "incident-24-version-2"], "unsupported/version"),
    (["vector-100", "block-size-2-22", "block-size-2-23"], "malformed/block-size"),
    (["smallest-planned", "smallest-planned", "index-offset-65"], "malformed/index-offset"),
    (["smallest-planned", "index-length-limit", "index-limit"], "limit/index-limit"),
    (["smallest-planned", "index-length-at", "index-length-above"], "malformed/index-length"),
    (["streamed-vector-100", "streamed-index-length-huge", "streamed-index-limit"], "limit/index-limit"),
    (["extension-one", "extension-skippable", "extension-must-understand"], "unsupported/extension-unknown"),
    (["dtype-private", "dtype-name-longest", "dtype-name-delete"], "malformed/dtype-name"),
    (["dtype-private", "dtype-bytes-65535-empty", "dtype-bytes-65536-empty"], "malformed/dtype-geometry"),
    (["vector-4", "vector-4", "dtype-scalar-of-2"], "malformed/dtype-geometry"),
    (["vector-4", "block-rows", "dtype-class-3"], "malformed/dtype-class"),
    (["buffer-length-2-62", "buffer-end-at", "buffer-end-above"], "malformed/buffer-length"),
    (["vector-4", "vector-4", "tensor-dtype-1"], "malformed/tensor-dtype"),
    (["vector-4", "vector-4", "tensor-buffer-1"], "malformed/tensor-buffer"),
    (["rank-63", "rank-64", "rank-65"], "limit/tensor-rank"),
    (["vector-4", "view-transposed", "tensor-flag-1"], "malformed/tensor-flags"),
    (["tensor-empty", "tensor-size-u8-at", "tensor-size-u8-above"], "limit/tensor-size"),
    (["tensor-empty", "tensor-size-f64-at", "tensor-size-f64-above"], "limit/tensor-size"),
    (["tensor-empty", "tensor-size-c128-at", "tensor-size-c128-above"], "limit/tensor-size"),
    (["tensor-empty", "tensor-size-u1-at", "tensor-size-u1-above"], "limit/tensor-size"),
    (["view-columns", "tensor-size-strided-at", "tensor-size-strided"], "limit/tensor-size"),
    (["block-rows-one", "block-rows-one", "block-33"], "invalid/tensor-groups"),
    (["view-in-view", "vector-100", "incident-06-extent-plus-1"], "invalid/tensor-extent"),
    (["view-every-second", "view-last-column", "tensor-extent-strided"], "invalid/tensor-extent"),
    (["view-every-second", "tensor-extent-stride-huge", "strides-reach-2-63-minus-1"], "invalid/tensor-strides"),
    (["bools", "named-registered", "tag-0f"], "malformed/value-tag"),
    (["bigint-smallest", "bigint-8192-streamed", "bigint-claims-8193"], "limit/bigint-limit"),
    (["bytes", "bytes-claims-65536", "bytes-claims-65537"], "limit/bytes-limit"),
    (["containers-nested", "dict-smallest-pair", "dict-count-plus-1"], "malformed/value-length"),
    (["containers-nested", "bools", "list-count-plus-1"], "malformed/value-length"),
    (["containers-nested", "depth-128-lists", "depth-129-lists"], "limit/depth-limit"),
    (["containers-nested", "depth-128-mixed", "depth-129-named"], "limit/depth-limit"),
    (["metadata", "metadata-depth-128", "metadata-depth-129"], "limit/depth-limit"),
    (["keys-all-kinds", "path-4096-streamed", "incident-08-key-4097"], "limit/path-limit"),
    (["keys-all-kinds", "path-4096-streamed", "path-4097-int-streamed"], "limit/path-limit"),
    (["keys-all-kinds", "path-4096-streamed", "path-4097-bytes-streamed"], "limit/path-limit"),
    (["named-shortest", "named-longest", "named-name-256"], "malformed/named-name"),
    (["named-registered", "named-unknown", "named-name-delete"], "malformed/named-name"),
    (["tied", "two-buffers", "tensor-reference"], "malformed/tensor-reference"),
    (["bools-three", "bool-values", "incident-18-bool"], "invalid/bool-value"),
];
