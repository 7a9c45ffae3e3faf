//! The conformance vectors: which cases of the catalogue they are, and all that `vectors/manifest.json` says of them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write;

use cairnfile::Code;
use serde_json::{Value as Json, json};

use super::judge::{hex, judge, of_code, sha256};
use super::support::{Case, Expect, accepted, rejected};

/// The specification that the vectors are of.
const SPEC: &str = "1.0";
/// Decoded values longer than this stand in no file: the readers are compared with each other.
const DECODED_LIMIT: usize = 15_000;
/// A twin differs from its vector in at most this many bytes, in at most this many runs.
const TWIN_BYTES: usize = 40;
const TWIN_RUNS: usize = 12;
/// Cases above this length are left out, but for [`LONG`].
const SHORT: usize = 4096;

/// The long cases that are kept: the last or first value of a bound that no short file reaches.
const LONG: &[&str] = &[
    "buffer-65535",
    "buffer-65536",
    "named-bytes",
    "path-4096-streamed",
    "path-4097-int-streamed",
    "incident-08-key-4097",
    "dtypes-registered",
    "block-second-of-two",
    "block-size-2-12",
    "block-size-2-22",
    "bigint-8192-streamed",
    "block-whole-streamed",
    "block-in-gap",
    "path-4097-bytes-streamed",
];

/// Tensors whose outcome SPEC.md §8.2 leaves open: strided, and a block is bad that lies only in the gaps.
const LEFT_OPEN: &[(&str, usize)] = &[("block-in-gap", 1)];

/// Cases that show what another vector shows.
#[rustfmt::skip]
const LEFT_OUT: &[&str] = &[
    "bigint-1", "bigint-9-minus-one", "bigint-9-zero", "bigint-claims-4-gib", "bigint-not-minimal-negative",
    "block-crc-ones", "block-crcs-swapped", "block-only", "block-size-2-255", "block-spares-neighbour-before", "block-transposed",
    "blocks-exact", "bool-2-first", "bool-2-last", "bool-255", "bool-255-second", "bool-in-view", "buffer-kind-2-owner-0",
    "buffer-kind-7-owner-absent", "buffer-sum-wraps", "bytes-1-as-tensor", "bytes-claims-4-gib",
    "bytes-empty-as-tensor", "bytes-of-bytes", "bytes-of-list", "bytes-of-rank-0", "bytes-of-str", "bytes-opaque-after-tensor",
    "count-buffers-2-31", "count-buffers-2-32-minus-1", "count-buffers-alone", "count-dict-2-31", "count-dtypes-2-31",
    "count-dtypes-2-32-minus-1", "count-dtypes-alone", "count-extensions-2-31", "count-extensions-2-32-minus-1",
    "count-extensions-alone", "count-list-2-31", "count-tensors-2-31", "count-tensors-2-32-minus-1", "count-tuple-2-31",
    "count-tuple-2-32-minus-1", "cover-fortran", "cover-tail-64", "cover-touching-three", "depth-128-empty-list",
    "depth-129-tuples", "dict-count-0", "dict-count-minus-1", "dict-empty-count-1", "dict-length-0", "dict-length-minus-1",
    "dtype-block-of-0", "dtype-class-255", "dtype-i4-4-to-1", "dtype-i8-of-4-bytes", "dtype-name-hyphen",
    "dtype-name-latin-1", "dtype-name-no-dot", "dtype-name-nul", "dtype-name-utf8", "dtype-order-later",
    "dtype-packed-bytes-0", "dtype-packed-of-0", "dtype-private-twice", "dtype-twice-other-geometry",
    "dtype-unused-all", "extension-length-2-31", "extension-length-2-32-minus-8", "extension-padding-1", "extension-padding-2",
    "extension-padding-3", "extension-tag-0-later", "file-length-2-64-minus-1", "flag-10", "flag-11", "flag-12", "flag-13",
    "flag-14", "flag-3", "flag-4", "flag-5", "flag-6", "flag-7", "flag-8", "flag-9", "header-crc-ones", "incident-05-exponent-31",
    "incident-05-exponent-64", "incident-09-rank-255", "index-copy-stale-end", "index-crc-zero", "index-length-past-end",
    "index-limit-huge", "index-offset-0", "index-offset-128", "index-short-float", "index-short-list",
    "index-short-named", "index-short-str-huge", "index-trailing-value", "key-0", "key-0f", "key-bigint", "key-complex", "key-dict",
    "key-float", "key-list", "key-null", "key-tuple", "key-twice-bytes", "key-twice-empty", "key-twice-nested",
    "layout-gap-before-trailer", "layout-lost-buffer", "list-count-0", "list-count-minus-1", "list-cuts-str", "list-length-0",
    "list-length-4-gib", "list-root-length-4-gib", "list-root-length-minus-1", "magic-after-bom", "magic-after-byte",
    "magic-byte-1", "magic-byte-2", "magic-byte-3", "magic-byte-4", "magic-byte-5", "magic-byte-6", "metadata-list",
    "metadata-named", "metadata-str", "metadata-tensor-nested", "named-name-256-private", "named-name-claims-4-gib",
    "named-name-hyphen", "named-name-invalid-utf8", "padding-smallest-0-last",
    "padding-smallest-1-first", "partial-and-bytes", "path-4097-streamed", "pickle", "planned-called-streamed", "prefix-1",
    "prefix-448", "rank-64-empty", "reserved-14", "reserved-15", "reserved-45", "reserved-46", "reserved-47",
    "reserved-48", "reserved-49", "reserved-50", "reserved-51", "reserved-52", "reserved-53", "reserved-54", "reserved-55",
    "reserved-56", "reserved-57", "reserved-58", "role-swapped", "stale-header-10", "stale-header-12", "stale-header-13",
    "stale-header-24", "stale-header-32", "stale-header-40", "stale-header-44", "stale-header-60", "stale-header-63",
    "stale-index-20", "stale-index-4", "stale-index-40", "stale-index-60", "stale-index-96", "streamed-auxiliary-first",
    "streamed-buffer-kind-7-unused", "streamed-buffer-unused", "streamed-gap-before-trailer", "streamed-header-index-crc",
    "streamed-index-offset-huge", "streamed-length-2-63", "streamed-prefix-128", "streamed-prefix-129",
    "streamed-prefix-320", "streamed-prefix-63", "streamed-stale-header", "streamed-trailer-block-size-11",
    "streamed-trailer-reserved-44", "streamed-trailer-role", "streamed-trailer-stale", "streamed-trailing-zeros",
    "strides-overlap-three", "strides-row-major-one", "strides-row-major-ones", "strides-row-major-vector", "strides-wrap-between",
    "strides-zero-only", "tag-10", "tag-7f", "tag-in-metadata", "tag-nested", "tail-f6-same-byte", "tail-i2", "tail-i4-high",
    "tail-u1-7", "tensor-0d-without-buffer", "tensor-dtype-2-32-minus-1", "tensor-empty-offset", "tensor-empty-twice",
    "tensor-empty-with-buffer", "tensor-extent-2-63-minus-1", "tensor-extent-f32", "tensor-extent-offset", "tensor-extent-plus-1",
    "tensor-extent-strided-offset", "tensor-extent-wraps", "tensor-flag-2", "tensor-flag-3", "tensor-flag-4", "tensor-flag-5",
    "tensor-flag-6", "tensor-offset-96", "tensor-offset-c128", "tensor-offset-f16", "tensor-opaque-twice", "tensor-order-skip",
    "tensor-reference-2-32-minus-1", "tensor-size-block-above", "tensor-size-full-u1", "tensor-size-full-wraps-to-0",
    "tensor-size-full-wraps-to-64", "tensor-size-product-zero-first", "tensor-size-rank-64", "tensor-size-u8-2-64-minus-1",
    "tensor-size-u8-above-zero-last", "tensor-strided-twice", "trailer-index-length", "trailer-index-offset-front",
    "trailer-index-offset-huge", "trailer-reserved-59", "trailer-stale", "trailer-zeros", "trailing-zip", "tuple-count-0",
    "tuple-count-minus-1", "tuple-count-plus-1", "tuple-length-0", "tuple-length-minus-1", "tuple-length-plus-1", "utf8-latin-1",
    "utf8-lone-byte", "utf8-metadata", "utf8-overlong-four", "utf8-overlong-slash", "utf8-surrogate-pair",
    "view-columns-over-chain",
];

pub struct Vector {
    pub id: &'static str,
    /// `accept`, `reject` or `unsupported`: the verdict on the whole file, and its folder.
    pub expect: &'static str,
    pub bytes: Vec<u8>,
    /// The value, for the accepted ones: what every reader prints.
    pub decoded: Option<String>,
    pub entry: Json,
}

impl Vector {
    /// Path below `vectors/`, without a suffix.
    pub fn stem(&self) -> String {
        stem(self.expect, self.id)
    }
}

fn stem(expect: &str, id: &str) -> String {
    format!("v1/{expect}/{id}")
}

/// All vectors, the accepted ones first, then in the order of the catalogue.
pub fn vectors() -> Vec<Vector> {
    let mut cases: Vec<Case> = accepted().into_iter().chain(rejected()).filter(is_chosen).collect();
    // Of equal files the incident stays.
    let incidents: Vec<Case> = cases.iter().filter(|case| case.name.starts_with("incident-")).cloned().collect();
    cases.retain(|case| !incidents.iter().any(|incident| incident.bytes == case.bytes && incident.name != case.name));
    let twins: Vec<&Case> = cases.iter().filter(|case| verdict(&case.verify) == "accept").collect();
    let mut vectors: Vec<_> = cases.iter().map(|case| vector(case, &twins)).collect();
    vectors.sort_by_key(|vector| ["accept", "unsupported", "reject"].iter().position(|folder| *folder == vector.expect));
    vectors
}

fn is_chosen(case: &Case) -> bool {
    LONG.contains(&case.name) || (case.bytes.len() <= SHORT && !LEFT_OUT.contains(&case.name))
}

/// Codes that no vector has; empty.
pub fn codes_not_hit(vectors: &[Vector]) -> Vec<&'static str> {
    let hit = |code: &Code| {
        let name: Json = code.name().into();
        vectors.iter().any(|v| [&v.entry["open"], &v.entry["verify"]].iter().any(|outcome| outcome["code"] == name))
    };
    let about_files = Code::ALL.iter().filter(|code| code.level() != cairnfile::Level::Call);
    about_files.filter(|code| !hit(code)).map(|code| code.name()).collect()
}

pub fn code(name: &str) -> Code {
    *Code::ALL.iter().find(|code| code.name() == name).unwrap_or_else(|| panic!("{name} is no code"))
}

fn verdict(expect: &Expect) -> &'static str {
    match expect {
        Expect::Accept => "accept",
        Expect::Reject(name) if code(name).class().name() == "unsupported" => "unsupported",
        Expect::Reject(_) => "reject",
    }
}

fn outcome(expect: &Expect) -> Json {
    match expect {
        Expect::Accept => "accept".into(),
        Expect::Reject(name) => of_code(code(name)),
    }
}

fn vector(case: &Case, twins: &[&Case]) -> Vector {
    let expect = verdict(&case.verify);
    let answer = judge(&case.bytes).0;
    let decoded = (expect == "accept").then(|| answer.to_string() + "\n").filter(|text| text.len() <= DECODED_LIMIT);
    let outcomes: Vec<_> = answer["tensors"].as_array().into_iter().flatten().map(|tensor| tensor["read"].clone()).collect();
    let all_accept = outcomes.iter().all(|outcome| outcome == "accept");
    let outcomes: Vec<_> = outcomes.into_iter().enumerate().map(|(number, found)| left_open(case.name, number, found)).collect();
    let twin = if expect == "accept" { None } else { find_twin(case, twins) };
    let stem = stem(expect, case.name);
    let mut entry = json!({
        "id": case.name,
        "file": format!("{stem}.cairn"),
        "sha256": sha256(&case.bytes),
        "size": case.bytes.len(),
        "since": SPEC,
        "section": section(case),
        "expect": expect,
        "open": outcome(&case.open),
        "verify": outcome(&case.verify),
        "tensors": if all_accept { Json::Null } else { outcomes.into() },
        "twin": twin.map(|twin| twin.name),
        "change": twin.and_then(|twin| change(&twin.bytes, &case.bytes)),
        "comment": case.comment,
        "decoded": decoded.as_ref().map(|_| format!("{stem}.json")),
        "canonical": (expect == "accept").then(|| !has_extensions(&case.bytes)),
    });
    entry.as_object_mut().unwrap().retain(|_, field| !field.is_null());
    Vector { id: case.name, expect, bytes: case.bytes.clone(), decoded, entry }
}

/// An outcome as the manifest states it: where others are as good, a list of them with the reference codec's first.
fn left_open(name: &str, tensor: usize, found: Json) -> Json {
    if !LEFT_OPEN.contains(&(name, tensor)) {
        return found;
    }
    let bad = of_code(Code::BlockCrc);
    let other = if found == bad { "accept".into() } else { bad };
    json!([found, other])
}

/// A writer keeps no extension that it does not understand, so it does not make such files again.
fn has_extensions(file: &[u8]) -> bool {
    cairnfile::Cairn::from_bytes(file).is_ok_and(|cairn| cairn.extensions().next().is_some())
}

/// The accepted case that a refused one derives from: of those of its length the one with the fewest other bytes, and
/// else one that it is the beginning of, or that is its beginning.
fn find_twin<'c>(case: &Case, twins: &[&'c Case]) -> Option<&'c Case> {
    let near = |twin: &&&Case| {
        twin.bytes.len() == case.bytes.len()
            && weight(&twin.bytes, &case.bytes) <= TWIN_BYTES
            && runs(&twin.bytes, &case.bytes).len() <= TWIN_RUNS
    };
    let nearest = twins.iter().filter(near).min_by_key(|twin| (weight(&twin.bytes, &case.bytes), differing(&twin.bytes, &case.bytes)));
    let joined = |twin: &&&Case| {
        (case.bytes.len() >= 8 && twin.bytes.starts_with(&case.bytes))
            || case.bytes.starts_with(&twin.bytes)
            || case.bytes.ends_with(&twin.bytes)
    };
    nearest.or_else(|| twins.iter().filter(joined).min_by_key(|twin| twin.bytes.len().abs_diff(case.bytes.len()))).copied()
}

fn differing(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

/// How many bytes differ, those that follow from others left out: index CRC and own CRC of header and trailer.
fn weight(a: &[u8], b: &[u8]) -> usize {
    let derived = |at: usize| {
        let trailer = a.len().saturating_sub(64);
        [0, trailer].iter().any(|frame| (frame + 40..frame + 44).contains(&at) || (frame + 60..frame + 64).contains(&at))
    };
    (0..a.len()).filter(|&at| a[at] != b[at] && !derived(at)).count()
}

/// Runs of bytes that differ; up to three equal bytes between them are taken in.
fn runs(a: &[u8], b: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for at in (0..a.len()).filter(|&at| a[at] != b[at]) {
        match runs.last_mut() {
            Some(run) if at - run.end < 4 => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

fn change(twin: &[u8], file: &[u8]) -> Option<Json> {
    let run = |range: std::ops::Range<usize>| json!({ "offset": range.start, "is": hex(&file[range]) });
    (twin.len() == file.len()).then(|| runs(twin, file).into_iter().map(run).collect())
}

/// Where SPEC.md states the rule; for an accepted file, what it shows.
fn section(case: &Case) -> String {
    for expect in [&case.open, &case.verify] {
        if let Expect::Reject(name) = expect {
            return code(name).section().to_owned();
        }
    }
    let found = SECTIONS.iter().find(|(beginning, _)| case.name.starts_with(beginning));
    found.unwrap_or_else(|| panic!("no section is known for {}", case.name)).1.to_owned()
}

/// By the beginning of the name of an accepted case.
const SECTIONS: &[(&str, &str)] = &[
    ("smallest", "6.8"),
    ("block-size", "6.6"),
    ("index-without-padding", "5.2"),
    ("list-", "9.3"),
    ("tuple-", "9.3"),
    ("dict-", "9.3"),
    ("containers", "9.3"),
    ("depth", "9.3"),
    ("metadata", "7.9"),
    ("key", "9.4"),
    ("path", "9.4"),
    ("named", "9.5"),
    ("dtype", "7.3"),
    ("packed", "8.3"),
    ("parity", "14.1"),
    ("block-whole", "8.1"),
    ("block-", "7.6"),
    ("tensor-order", "7.6"),
    ("tensor-root", "9.6"),
    ("tensor", "7.6"),
    ("rank", "7.6"),
    ("bool-", "8.3"),
    ("bools", "9.2"),
    ("elements", "8.3"),
    ("ints", "9.2"),
    ("bigint", "9.2"),
    ("float", "9.2"),
    ("complex", "9.2"),
    ("strings", "9.2"),
    ("bytes", "9.2"),
    ("tied", "9.6"),
    ("views", "7.8"),
    ("view", "7.7"),
    ("fortran", "7.7"),
    ("permuted", "7.7"),
    ("transposed", "7.7"),
    ("strides", "7.7"),
    ("alignment", "7.3"),
    ("buffer-aux", "7.4"),
    ("buffer", "5.2"),
    ("streamed", "5.1"),
    ("blocks", "8.1"),
    ("extension", "7.2"),
    ("vector", "5.1"),
    ("two-buffers", "5.2"),
    ("incident-04", "7.6"),
    ("incident-12", "7.8"),
    ("incident-17", "9.4"),
    ("incident-19", "9.2"),
    ("incident-20", "9.5"),
    ("incident-24", "7.2"),
];

/// The manifest, one vector a line.
pub fn manifest(vectors: &[Vector]) -> String {
    let mut text = String::from("{\n\"format\": \"cairn\",\n");
    writeln!(text, "\"specification\": \"{SPEC}\",\n\"licence\": \"CC0-1.0\",\n\"vectors\": [").unwrap();
    let lines: Vec<_> = vectors.iter().map(|vector| vector.entry.to_string()).collect();
    text + &lines.join(",\n") + "\n]\n}\n"
}

/// Everything that is made from the catalogue, by path below `vectors/`.
pub fn files(vectors: &[Vector]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([("manifest.json".to_owned(), manifest(vectors).into_bytes())]);
    for vector in vectors {
        files.insert(vector.stem() + ".cairn", vector.bytes.clone());
        if let Some(decoded) = &vector.decoded {
            files.insert(vector.stem() + ".json", decoded.clone().into_bytes());
        }
    }
    files
}
