//! `ls`, `info`, `get`, `verify` and `demo`: what is shown is what is in the file.

mod support;

use cairnfile::{Cairn, Dict, Value, WriteOptions};
use support::{Dir, every_kind, f32s, metadata, model};

fn with_model() -> Dir {
    let dir = Dir::new();
    dir.save_with("m.cairn", &model(), &WriteOptions::new().metadata(metadata()));
    dir
}

#[test]
fn demo_keeps_its_promises() {
    let dir = Dir::new();
    let run = dir.cairn(&["demo"]).expect(0);
    for word in [
        "tensor.cairn",
        "list.cairn",
        "dict.cairn",
        "three-layer MLP",
        "one tensor",
        "classifier.cairn",
        "damaged.cairn",
        "block 0 of buffer 2",
    ] {
        assert!(run.out.contains(word), "{word}:\n{}", run.out);
    }
    assert!(run.out.contains("tensor /parameters/1/weight, byte "));
    assert_eq!(run.lines_with("✓").len(), 9);
    assert!(!run.out.contains('\u{1b}'), "no styles in a pipe");
    let steps = dir.cairn(&["demo", "--json"]).expect(0).json();
    assert_eq!(steps["done"].as_array().map(Vec::len), Some(9));
}

#[test]
fn demo_keeps_its_files_where_asked() {
    let dir = Dir::new();
    dir.cairn(&["demo", "--keep", "tour"]).expect(0);
    dir.cairn(&["verify", "tour/mlp.cairn", "tour/classifier.cairn", "tour/list.cairn"]).expect(0);
    dir.cairn(&["verify", "tour/damaged.cairn"]).expect(1);
    dir.cairn(&["demo", "--keep", "tour"]).expect(2);
}

#[test]
fn ls_shows_type_shape_size_and_address() {
    let run = with_model().cairn(&["ls", "m.cairn"]).expect(0);
    assert!(run.out.starts_with("m.cairn"));
    let weight = run.lines_with("/layers/1/weight");
    assert!(weight[0].contains("f32") && weight[0].contains("[4, 2]") && weight[0].contains("32 B"));
    assert!(run.lines_with("tied")[0].contains("same tensor as /layers/0/weight"));
    assert!(run.lines_with("config")[0].contains("ordered_dict: dict of 3"));
}

#[test]
fn ls_begins_anywhere_and_lists_flat() {
    let dir = with_model();
    let run = dir.cairn(&["ls", "m.cairn", "/layers/2", "--flat"]).expect(0);
    let addresses: Vec<_> = run.out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(addresses, ["/layers/2/weight", "/layers/2/bias"]);
    assert!(dir.cairn(&["ls", "m.cairn", "--metadata"]).expect(0).out.contains("\"test\""));
}

#[test]
fn ls_json_has_every_value() {
    let dir = with_model();
    dir.save("kinds.cairn", &every_kind());
    let json = dir.cairn(&["ls", "--json", "m.cairn"]).expect(0).json();
    let entries = json["entries"].as_array().unwrap();
    let tied = entries.iter().find(|e| e["address"] == "/tied").unwrap();
    assert_eq!((&tied["dtype"], &tied["same_as"], &tied["bytes"]), (&"f32".into(), &"/layers/0/weight".into(), &32.into()));
    let named = entries.iter().find(|e| e["address"] == "/config").unwrap();
    assert_eq!((&named["type"], &named["names"][0], &named["len"]), (&"dict".into(), &"ordered_dict".into(), &3.into()));
    let kinds = dir.cairn(&["ls", "--json", "kinds.cairn"]).expect(0).json();
    let value = |address: &str| kinds["entries"].as_array().unwrap().iter().find(|e| e["address"] == address).unwrap()["value"].clone();
    assert_eq!(value("/big")["$int"], "0x400000000000000000");
    assert_eq!(value("/float")["$float"], "-inf");
    assert_eq!(value("/~i5"), "x");
    dir.cairn(&["ls", "kinds.cairn"]).expect(0);
}

#[test]
fn info_counts() {
    let dir = with_model();
    let json = dir.cairn(&["info", "--json", "m.cairn"]).expect(0).json();
    let info = &json[0];
    assert_eq!((&info["version"], &info["layout"]), (&1.into(), &"planned".into()));
    assert_eq!((&info["tensors"], &info["tied_tensors"], &info["buffers"]), (&6.into(), &1.into(), &6.into()));
    assert_eq!((&info["dtypes"]["f32"]["bytes"], &info["metadata"]["epoch"]), (&120.into(), &3.into()));
    assert_eq!(info["file_bytes"], std::fs::metadata(dir.path("m.cairn")).unwrap().len());
    let text = dir.cairn(&["info", "m.cairn"]).expect(0).out;
    assert!(text.contains("Cairn 1, planned") && text.contains("author: \"test\""));
    dir.cairn(&["info", "m.cairn", "missing.cairn"]).expect(5);
}

#[test]
fn verify_names_each_fault_and_goes_on() {
    let dir = with_model();
    dir.save("good.cairn", &model());
    let cairn = Cairn::open(dir.path("m.cairn")).unwrap();
    let at = cairn.tensor("/layers/1/bias").unwrap().file_range().unwrap().start;
    dir.flip("m.cairn", at);
    let run = dir.cairn(&["verify", "m.cairn", "good.cairn"]).expect(1);
    let fault = &run.lines_with("m.cairn: damaged")[0];
    assert!(fault.contains("/layers/1/bias") && fault.contains("block 0 of buffer") && fault.contains(&format!("byte {at}")));
    assert_eq!(run.lines_with("good.cairn: intact").len(), 1);
    let json = dir.cairn(&["verify", "--json", "m.cairn"]).expect(1).json();
    assert_eq!((&json[0]["intact"], &json[0]["faults"][0]["tensors"][0]), (&false.into(), &"/layers/1/bias".into()));
    assert_eq!(dir.cairn(&["verify", "--quiet", "good.cairn"]).expect(0).out, "");
    let refused = dir.cairn(&["verify", "missing.cairn", "m.cairn", "good.cairn"]).expect(5);
    assert_eq!(refused.lines_with("good.cairn: intact").len(), 1);
}

#[test]
fn verify_reports_a_damaged_trailer_as_a_fault() {
    let dir = with_model();
    let len = std::fs::metadata(dir.path("m.cairn")).unwrap().len();
    dir.flip("m.cairn", len - 40);
    let json = dir.cairn(&["verify", "--json", "m.cairn"]).expect(1).json();
    assert_eq!(json[0]["faults"][0]["code"], "trailer-crc");
}

#[test]
fn get_prints_tensors_and_parts() {
    let dir = Dir::new();
    let rows: Vec<f32> = (0u8..6).map(f32::from).collect();
    dir.save("t.cairn", &f32s(&[3, 2], &rows));
    let whole = dir.cairn(&["get", "t.cairn"]).expect(0).out;
    assert_eq!(whole, "f32  [3, 2]  24 B\n[[0.0, 1.0],\n [2.0, 3.0],\n [4.0, 5.0]]\n");
    assert!(dir.cairn(&["get", "t.cairn", "--rows", "-1:"]).expect(0).out.ends_with("[[4.0, 5.0]]\n"));
    assert!(dir.cairn(&["get", "t.cairn", "--slice", ":2, -1"]).expect(0).out.ends_with("[1.0, 3.0]\n"));
    let json = dir.cairn(&["get", "t.cairn", "--json", "--rows", "1:2"]).expect(0).json();
    assert_eq!(json["data"], serde_json::json!([[2.0, 3.0]]));
    for wrong in [["--rows", "0:9"], ["--rows", "1"], ["--slice", "9"], ["--slice", "a"], ["--slice", "0,0,0"]] {
        dir.cairn(&["get", "t.cairn", wrong[0], wrong[1]]).expect(2);
    }
}

#[test]
fn get_shortens_unless_told_not_to() {
    let dir = Dir::new();
    dir.save("t.cairn", &f32s(&[1000], &[1.5; 1000]));
    let short = dir.cairn(&["get", "t.cairn"]).expect(0).out;
    assert!(short.ends_with("[1.5, 1.5, 1.5, ..., 1.5, 1.5, 1.5]\n"), "{short}");
    let full = dir.cairn(&["get", "t.cairn", "--full"]).expect(0).out;
    assert_eq!(full.matches("1.5").count(), 1000);
}

#[test]
fn get_prints_every_kind() {
    let dir = Dir::new();
    dir.save("k.cairn", &every_kind());
    let text = dir.cairn(&["get", "k.cairn"]).expect(0).out;
    for literal in [
        "\"big\": 0x400000000000000000",
        "\"float\": -inf",
        "\"complex\": (1.0-0.5j)",
        "\"str\": \"line\\nbreak\"",
        "\"bytes\": b\"\\x00\\xff\"",
        "\"tuple\": (1,)",
        "5: my.type(\"x\")",
        "b\"\\xfe\": {}",
        "\"half\": tensor(f16 [2], [1.0, -2.0])",
        "\"i4\": tensor(i4 [3], [1, -1, 7])",
        "\"void\": tensor(numpy.V3 [2], [010203, 040506])",
    ] {
        assert!(text.contains(literal), "{literal}:\n{text}");
    }
    let group = format!("[{}]\n", "ab".repeat(18));
    assert!(dir.cairn(&["get", "k.cairn", "/q4_0"]).expect(0).out.ends_with(&group));
    assert!(dir.cairn(&["get", "k.cairn", "/empty"]).expect(0).out.ends_with("[]\n"));
    dir.cairn(&["get", "k.cairn", "/empty", "--json"]).expect(0);
    let json = dir.cairn(&["get", "k.cairn", "--json"]).expect(0).json();
    assert!(json["$dict"].as_array().unwrap().iter().any(|pair| pair[0] == 5 && pair[1]["$named"] == "my.type"));
}

#[test]
fn get_writes_cairn_and_npy() {
    let dir = with_model();
    dir.cairn(&["get", "m.cairn", "/layers", "-o", "layers.cairn"]).expect(0);
    let whole = dir.load("m.cairn");
    assert_eq!(Some(&dir.load("layers.cairn")), whole.as_dict().unwrap().get("layers"));
    dir.cairn(&["get", "m.cairn", "/layers", "-o", "layers.cairn"]).expect(2);
    dir.cairn(&["get", "m.cairn", "/tied", "--rows", "1:3", "-o", "rows.cairn"]).expect(0);
    assert_eq!(dir.load("rows.cairn"), f32s(&[2, 2], &[0.5; 4]));
    dir.cairn(&["get", "m.cairn", "/tied", "-o", "w.npy"]).expect(0);
    assert!(std::fs::read(dir.path("w.npy")).unwrap().starts_with(b"\x93NUMPY"));
    dir.cairn(&["get", "m.cairn", "/layers", "-o", "l.npy"]).expect(2);
    dir.cairn(&["get", "m.cairn", "/tied", "-o", "w.txt"]).expect(2);
}

#[test]
fn long_lists_are_printed_whole() {
    let dir = Dir::new();
    let items: Vec<Value<'_>> = (0..500i64).map(Value::from).collect();
    dir.save("l.cairn", &Dict::from_iter([("items", items)]).into());
    assert_eq!(dir.cairn(&["get", "l.cairn"]).expect(0).out.lines().count(), 504);
    assert_eq!(dir.cairn(&["ls", "l.cairn", "--flat"]).expect(0).out.lines().count(), 500);
}
