//! `cairn convert` to and from safetensors, and everything it refuses.
#![allow(clippy::unwrap_used, clippy::panic)]

mod conversion;

use cairnfile::{Cairn, DType, Dict, GroupClass, Named, Storage, Tensor, Value, WriteOptions};
use conversion::{Place, dict, tensor};
use safetensors::SafeTensors;

/// A safetensors file from its header and its data.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&u64::try_from(header.len()).unwrap().to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Every dtype of the format, the widest first as its own writer sorts them.
const ALL_DTYPES: [(&str, &str, usize); 22] = [
    ("U64", "u64", 64),
    ("I64", "i64", 64),
    ("F64", "f64", 64),
    ("C64", "c64", 64),
    ("F32", "f32", 32),
    ("U32", "u32", 32),
    ("I32", "i32", 32),
    ("BF16", "bf16", 16),
    ("F16", "f16", 16),
    ("U16", "u16", 16),
    ("I16", "i16", 16),
    ("F8_E5M2FNUZ", "f8_e5m2fnuz", 8),
    ("F8_E4M3FNUZ", "f8_e4m3fnuz", 8),
    ("F8_E8M0", "f8_e8m0fnu", 8),
    ("F8_E4M3", "f8_e4m3fn", 8),
    ("F8_E5M2", "f8_e5m2", 8),
    ("I8", "i8", 8),
    ("U8", "u8", 8),
    ("F6_E3M2", "f6_e3m2fn", 6),
    ("F6_E2M3", "f6_e2m3fn", 6),
    ("F4", "f4_e2m1fn", 4),
    ("BOOL", "bool", 8),
];

/// A file with all dtypes, laid out as the reference writer does.
fn all_dtypes() -> Vec<u8> {
    let (mut header, mut data) = (String::from(r#"{"__metadata__":{"format":"pt","b":"ü\n"}"#), Vec::new());
    for (name, _, bits) in ALL_DTYPES {
        let start = data.len();
        data.extend((0..4 * bits / 8).map(|i| u8::try_from(i % 2).unwrap()));
        header += &format!(r#","t.{name}":{{"dtype":"{name}","shape":[2,2],"data_offsets":[{start},{}]}}"#, data.len());
    }
    header.push('}');
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    safetensors(&header, &data)
}

#[test]
fn safetensors_there_and_back_is_the_same_file() {
    let place = Place::new();
    let original = all_dtypes();
    SafeTensors::deserialize(&original).unwrap();
    // The suffix of an input says nothing.
    place.put("model.npy", &original).convert(&["model.npy", "model.cairn"]).convert(&["model.cairn", "again.safetensors"]);
    assert_eq!(place.get("again.safetensors"), original);
    let cairn = Cairn::open(place.path("model.cairn")).unwrap();
    for (theirs, ours, _) in ALL_DTYPES {
        let tensor = cairn.tensor(&format!("/t.{theirs}")).unwrap();
        assert_eq!((tensor.dtype().unwrap().name(), tensor.shape().unwrap()), (ours, vec![2, 2]));
    }
    let metadata = cairn.metadata().load().unwrap();
    assert_eq!(metadata, dict([("format", "pt"), ("b", "ü\n")]));
}

#[test]
fn safetensors_keep_the_order_of_names() {
    let place = Place::new();
    let header = r#"  {"z":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}, "":{"dtype":"F32","shape":[],"data_offsets":[0,4]}, "e":{"dtype":"F16","shape":[0,3],"data_offsets":[6,6]}}"#;
    place.put("a", &safetensors(header, &[1, 2, 3, 4, 5, 6])).convert(&["a", "a.cairn"]).convert(&["a.cairn", "b.safetensors"]);
    let expected = dict([
        ("z", tensor(DType::U8, &[2], &[5, 6])),
        ("", tensor(DType::F32, &[], &[1, 2, 3, 4])),
        ("e", tensor(DType::F16, &[0, 3], &[])),
    ]);
    assert_eq!(place.load("a.cairn"), expected);
    let bytes = place.get("b.safetensors");
    assert!(String::from_utf8_lossy(&bytes).contains(r#"{"z":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"":{"#));
    assert_eq!(SafeTensors::deserialize(&bytes).unwrap().tensor("").unwrap().data(), [1, 2, 3, 4]);
}

#[test]
fn safetensors_that_are_refused() {
    let place = Place::new();
    let a = r#""a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#;
    for (header, data, words) in [
        (format!("{{{a},{a}}}"), &[1u8, 2][..], "\"a\" stands there twice"),
        (format!(r#"{{{a},"\u0061":{{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}}}"#), &[1, 2], "\"a\" stands there twice"),
        (format!(r#"{{"__metadata__":{{"k":"1","k":"2"}},{a}}}"#), &[1, 2], "\"k\" stands there twice"),
        (format!(r#"{{"__metadata__":{{"k":1}},{a}}}"#), &[1, 2], "invalid type"),
        (r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}}"#.to_owned(), &[1, 2], "unknown field"),
        (r#"{"flag":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}"#.to_owned(), &[1, 2], "\"flag\": bool element 1 is the byte 2"),
        (r#"{"a":{"dtype":"U9","shape":[2],"data_offsets":[0,2]}}"#.to_owned(), &[1, 2], "unknown variant"),
        (r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}}"#.to_owned(), &[1, 2], ""),
        (r#"{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,2]}}"#.to_owned(), &[1, 2], ""),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#.to_owned(), &[1, 2], "\"a\""),
        (format!("{{{a}}}"), &[1], "cut short"),
        (format!("{{{a}}}"), &[1, 2, 3], "appended"),
        (format!("{{{a}"), &[1, 2], ""),
        ("{".repeat(10_000), &[], ""),
        (format!(r#"{{"{}":{{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}}}"#, "n".repeat(4097)), &[1, 2], "path-limit"),
    ] {
        place.put("bad", &safetensors(&header, data)).refuses(&["bad", "bad.cairn"], 4, &[words, "bad"]);
    }
    let whole = all_dtypes();
    for len in [8, 9, 100, whole.len() - 1] {
        place.put("bad", &whole[..len]).refuses(&["bad", "bad.cairn"], 4, &["bad"]);
    }
    place.put("bad", &[&99_999_999u64.to_le_bytes()[..], b"{}"].concat()).refuses(&["bad", "bad.cairn"], 4, &["header"]);
}

#[test]
fn what_safetensors_cannot_hold() {
    let place = Place::new();
    let one = || tensor(DType::U8, &[1], &[1]);
    let odd = DType::private("my.type", GroupClass::Scalar, 1, 1).unwrap();
    let cases: [(Value<'_>, &[&str]); 16] = [
        (one().into(), &["the root is a tensor"]),
        (Value::List(vec![one().into()]), &["the root is a list"]),
        (dict([("a", Value::from(one())), ("n", Value::Int(3))]), &["\"/n\" is an int"]),
        (dict([("x", Value::Null)]), &["\"/x\" is null"]),
        (dict([("s", Value::from("text"))]), &["\"/s\" is a str"]),
        (dict([("l", Value::List(vec![]))]), &["\"/l\" is a list"]),
        (dict([("b", Value::from(vec![0u8; 70_000]))]), &["\"/b\" is bytes"]),
        (Value::from(Dict::from_iter([(7i64, one())])), &["\"/~i7\"", "key 7"]),
        (dict([("m", dict([("w", one())]))]), &["\"/m\" is a dict", "--flatten"]),
        (
            dict([("o", Value::from(Named::new("ordered_dict", dict([("w", one())])).unwrap()))]),
            &["\"/o\"", "ordered_dict", "--drop-names"],
        ),
        (Named::new("ordered_dict", dict([("w", one())])).unwrap().into(), &["ordered_dict"]),
        (dict([("c", tensor(DType::C128, &[1], &[0; 16]))]), &["\"c\"", "c128"]),
        (dict([("q", tensor(DType::Q4_0, &[32], &[0; 18]))]), &["\"q\"", "q4_0"]),
        (dict([("p", tensor(odd, &[1], &[0]))]), &["\"p\"", "my.type"]),
        (dict([("f", tensor(DType::F4_E2M1FN, &[3], &[0, 0]))]), &["\"f\"", "within a byte"]),
        (dict([("__metadata__", one())]), &["__metadata__"]),
    ];
    for (value, words) in cases {
        place.save("a.cairn", &value).refuses(&["a.cairn", "a.safetensors"], 3, words);
    }
}

#[test]
fn ties_are_never_lost_in_silence() {
    let place = Place::new();
    let storage = Storage::shared(vec![1u8; 8]);
    let view = |shape: &[u64], offset| Tensor::view(DType::U8, shape, None, storage.clone(), offset).unwrap();
    for (value, how) in [
        (dict([("x", view(&[8], 0)), ("y", view(&[8], 0))]), "\"x\" and \"y\" are tied"),
        (dict([("x", view(&[8], 0)), ("y", view(&[2], 3))]), "\"x\" and \"y\" share memory"),
        (dict([("x", view(&[8], 0)), ("y", view(&[2, 4], 0))]), "\"x\" and \"y\""),
    ] {
        place.save("a.cairn", &value);
        for output in ["a.safetensors", "a.npz"] {
            place.refuses(&["a.cairn", output], 3, &[how, "--untie"]);
        }
        place.convert(&["a.cairn", "a.safetensors", "--untie"]).convert(&["a.safetensors", "b.cairn", "-f"]);
        assert_eq!(place.load("b.cairn"), value);
        assert_eq!(Cairn::open(place.path("b.cairn")).unwrap().buffer_count(), 2);
        std::fs::remove_file(place.path("a.safetensors")).unwrap();
    }
    // Empty tensors share nothing, and tensors side by side do not either.
    let apart = dict([("x", view(&[4], 0)), ("y", view(&[4], 4)), ("e", view(&[0], 0)), ("f", view(&[0], 0))]);
    place.save("a.cairn", &apart).convert(&["a.cairn", "a.safetensors"]);
}

#[test]
fn flattening() {
    let place = Place::new();
    let one = |n| tensor(DType::U8, &[1], &[n]);
    place.save("a.cairn", &dict([("m", dict([("w", Value::from(one(1))), ("n", dict([("b", one(2))]))])), ("c", one(3).into())]));
    place.convert(&["a.cairn", "a.safetensors", "--flatten", "."]).convert(&["a.safetensors", "b.cairn"]);
    assert_eq!(place.load("b.cairn"), dict([("m.w", one(1)), ("m.n.b", one(2)), ("c", one(3))]));
    place.convert(&["a.cairn", "m.npz", "--address", "/m", "--flatten", "/"]).convert(&["m.npz", "m.cairn"]);
    assert_eq!(place.load("m.cairn"), dict([("w", one(1)), ("n/b", one(2))]));
    place.save("c.cairn", &dict([("m", dict([("w", Value::from(one(1)))])), ("m.w", one(2).into())]));
    place.refuses(&["c.cairn", "c.safetensors", "--flatten", "."], 3, &["\"/m.w\"", "another separator"]);
    place.save("d.cairn", &dict([("m", Value::from(Dict::new()))])).refuses(
        &["d.cairn", "d.safetensors", "--flatten", "."],
        3,
        &["\"/m\" is an empty dict"],
    );
    let named = Named::new("ordered_dict", dict([("w", one(1))])).unwrap();
    place.save("e.cairn", &named.into()).convert(&["e.cairn", "e.safetensors", "--drop-names"]).convert(&["e.safetensors", "f.cairn"]);
    assert_eq!(place.load("f.cairn"), dict([("w", one(1))]));
}

#[test]
fn metadata_is_kept_or_refused() {
    let place = Place::new();
    let value = dict([("w", tensor(DType::U8, &[1], &[1]))]);
    let options = WriteOptions::new().metadata(Dict::from_iter([("text", Value::from("x")), ("step", Value::from(5i64))]));
    cairnfile::save_with(place.path("a.cairn"), &value, &options).unwrap();
    place.refuses(&["a.cairn", "a.safetensors"], 3, &["metadata \"step\" is of type int", "--drop-metadata"]);
    place.refuses(&["a.cairn", "a.npz"], 3, &["metadata \"text\"", "--drop-metadata"]);
    place.refuses(&["a.cairn", "a.npy", "--address", "/w"], 3, &["metadata"]);
    place.convert(&["a.cairn", "a.safetensors", "--drop-metadata"]).convert(&["a.cairn", "a.npy", "--address", "/w", "--drop-metadata"]);
    place.convert(&["a.cairn", "b.cairn"]);
    assert_eq!(place.get("b.cairn"), place.get("a.cairn"));
}

/// Layouts are written row-major, and that is said.
#[test]
fn strides() {
    let place = Place::new();
    let turned = Tensor::view(DType::U8, &[2, 3], Some(&[1, 2]), Storage::shared(vec![0, 1, 2, 3, 4, 5]), 0).unwrap();
    place.save("a.cairn", &dict([("w", turned.clone())]));
    let output = place.run(&["a.cairn", "a.safetensors"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("1 tensor with strides written row-major"));
    assert!(place.run(&["a.cairn", "a.safetensors", "-qf"]).stderr.is_empty());
    place.convert(&["a.safetensors", "b.cairn"]);
    assert_eq!(place.load("b.cairn"), dict([("w", tensor(DType::U8, &[2, 3], &[0, 2, 4, 1, 3, 5]))]));
    // .npy has column-major order.
    let output = place.run(&["a.cairn", "a.npz"]);
    assert!(output.status.success() && output.stderr.is_empty());
    place.convert(&["a.npz", "c.cairn"]);
    assert_eq!(place.load("c.cairn"), dict([("w", turned)]));
}

#[test]
fn other_inputs_and_wrong_use() {
    let place = Place::new();
    place.put("a.cairn", b"GGUF\x03\0\0\0").refuses(&["a.cairn", "b.safetensors"], 4, &["a GGUF file"]);
    place.put("a", b"").refuses(&["a", "b.cairn"], 4, &["no format"]);
    place.put("a", b"\x80\x04hello").refuses(&["a", "b.cairn"], 4, &["pickle"]);
    place.refuses(&["missing", "b.cairn"], 5, &["missing"]);
    let one = dict([("w", tensor(DType::U8, &[1], &[1]))]);
    place.save("a.cairn", &one).refuses(&["a.cairn", "b.bin"], 2, &["--to"]);
    place.refuses(&["a.cairn", "b.npy", "--compress"], 2, &["--compress"]);
    place.refuses(&["a.cairn", "b.npy", "--no-sync"], 2, &["--no-sync"]);
    place.refuses(&["a.cairn", "b.cairn", "--flatten", "."], 2, &["--flatten"]);
    place.refuses(&["a.cairn", "b.npy", "--address", "/x"], 2, &["/x"]);
    place.convert(&["a.cairn", "b.bin", "--to", "safetensors"]);
    place.put("there.npz", b"old");
    assert_eq!(place.run(&["a.cairn", "there.npz"]).status.code(), Some(2));
    assert_eq!(place.get("there.npz"), b"old");
    assert_eq!(place.run(&["b.bin", "x.cairn", "--address", "/w"]).status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&place.run(&["a.cairn", "there.npz", "--force", "--json"]).stdout).unwrap();
    assert_eq!((report["from"].as_str(), report["to"].as_str(), report["tensors"].as_u64()), (Some("cairn"), Some("npz"), Some(1)));
}

#[test]
fn damaged_tensors_are_named() {
    let place = Place::new();
    place.save("a.cairn", &dict([("w", tensor(DType::U8, &[4], &[7; 4]))]));
    let mut bytes = place.get("a.cairn");
    let at = usize::try_from(Cairn::from_bytes(&bytes).unwrap().tensor("/w").unwrap().file_range().unwrap().start).unwrap();
    bytes[at] ^= 1;
    place.put("a.cairn", &bytes).refuses(&["a.cairn", "a.safetensors"], 4, &["\"/w\"", "block-crc"]);
}

#[test]
fn the_bytes_do_not_depend_on_waiting_for_the_disk() {
    let place = Place::new();
    place.put("a", &safetensors(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[1, 2, 3, 4]));
    place.convert(&["a", "waited.cairn"]).convert(&["a", "not.cairn", "--no-sync"]);
    assert_eq!(place.get("waited.cairn"), place.get("not.cairn"));
}
