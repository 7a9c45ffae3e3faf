//! `diff`, `merge` and `extract`: what differs is found, what is moved stays exact and shared.

mod support;

use cairnfile::{Cairn, DType, Dict, Key, Tensor, Value, WriteOptions};
use support::{Dir, f32s, metadata, model};

/// `model` with one thing done to it.
fn changed(change: impl FnOnce(&mut Dict<'static>)) -> Value<'static> {
    let Value::Dict(mut dict) = model() else { return model() };
    change(&mut dict);
    dict.into()
}

/// The changes between `model` and `other`, as (address, change).
fn changes(other: &Value<'_>) -> Vec<(String, String)> {
    let dir = Dir::new();
    dir.save("a.cairn", &model());
    dir.save("b.cairn", other);
    let text = |json: &serde_json::Value| json.as_str().unwrap_or_default().to_owned();
    let run = dir.cairn(&["diff", "--json", "a.cairn", "b.cairn"]);
    let json = run.json();
    assert_eq!((run.code == 0, run.code == 1), (json["equal"] == true, json["equal"] == false));
    json["changes"].as_array().into_iter().flatten().map(|c| (text(&c["address"]), text(&c["change"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn equal_files_do_not_differ() {
    assert_eq!(changes(&model()), []);
    let dir = Dir::new();
    dir.save("a.cairn", &model());
    dir.save_with("b.cairn", &model(), &WriteOptions::new().block_log2(12));
    let json = dir.cairn(&["diff", "--json", "a.cairn", "b.cairn"]).expect(0).json();
    assert_eq!(json["compared"], serde_json::json!({ "by_checksum": 0, "by_bytes": 6 }));
    let text = dir.cairn(&["diff", "a.cairn", "a.cairn"]).expect(0).out;
    assert!(text.contains("hold the same"));
}

#[test]
fn structure_is_compared() {
    assert_eq!(changes(&changed(|d| drop(d.insert("new", 1)))), pairs(&[("/new", "added")]));
    assert_eq!(changes(&changed(|d| drop(d.insert("config", 1)))), pairs(&[("/config", "type")]));
    assert_eq!(changes(&Value::from(Dict::new())), pairs(&[("/config", "removed"), ("/layers", "removed"), ("/tied", "removed")]));
    let Value::Dict(dict) = model() else { return };
    let mut entries: Vec<_> = dict.into_iter().collect();
    entries.reverse();
    assert_eq!(changes(&Value::Dict(entries.into_iter().collect())), pairs(&[("", "key order")]));
}

#[test]
fn tensors_are_compared() {
    let other = |value: Value<'static>| changes(&changed(|d| drop(d.insert("tied", value))));
    let sharing = ("/tied", "sharing");
    assert_eq!(other(f32s(&[4, 2], &[0.5; 8])), pairs(&[sharing]));
    assert_eq!(other(f32s(&[2, 4], &[0.5; 8])), pairs(&[sharing, ("/tied", "shape")]));
    let integers = Tensor::from_vec(&[4, 2], vec![1i32; 8]).unwrap();
    assert_eq!(other(integers.into()), pairs(&[sharing, ("/tied", "dtype")]));
}

#[test]
fn content_names_the_first_element() {
    let dir = Dir::new();
    let mut numbers = [1.0f32; 12];
    dir.save("a.cairn", &f32s(&[3, 4], &numbers));
    (numbers[6], numbers[9]) = (0.5, 0.25);
    dir.save("b.cairn", &f32s(&[3, 4], &numbers));
    let run = dir.cairn(&["diff", "a.cairn", "b.cairn"]).expect(1);
    assert!(run.out.contains("~ (root)  content: 2 of 12 elements, first at [1, 2]: 1.0 → 0.5"), "{}", run.out);
    let fast = dir.cairn(&["diff", "--fast", "a.cairn", "b.cairn"]).expect(1);
    assert!(fast.out.contains("the checksums differ"));
}

#[test]
fn packed_elements_are_told_apart() {
    let dir = Dir::new();
    let save = |name, byte| {
        let storage = cairnfile::Storage::shared(vec![0x21, byte]);
        dir.save(name, &Tensor::new(DType::I4, &[4], storage).unwrap().into());
    };
    save("a.cairn", 0x43);
    save("b.cairn", 0x53);
    let run = dir.cairn(&["diff", "a.cairn", "b.cairn"]).expect(1);
    assert!(run.out.contains("1 of 4 elements, first at [3]: 4 → 5"), "{}", run.out);
}

#[test]
fn metadata_is_compared() {
    let dir = Dir::new();
    dir.save("a.cairn", &Value::Null);
    dir.save_with("b.cairn", &Value::Null, &WriteOptions::new().metadata(metadata()));
    let run = dir.cairn(&["diff", "a.cairn", "b.cairn"]).expect(1);
    assert!(run.out.contains("+ metadata /author  \"test\"") && run.out.contains("2 added, 0 removed, 0 changed"));
}

#[test]
fn damage_is_no_difference() {
    let dir = Dir::new();
    dir.save("a.cairn", &f32s(&[4], &[1.0; 4]));
    dir.save("b.cairn", &f32s(&[4], &[2.0; 4]));
    let at = Cairn::open(dir.path("b.cairn")).unwrap().tensor("").unwrap().file_range().unwrap().start;
    dir.flip("b.cairn", at);
    let run = dir.cairn(&["diff", "a.cairn", "b.cairn"]).expect(4);
    assert!(run.err.contains("b.cairn: tensor \"\""), "{}", run.err);
}

#[test]
fn merge_joins_roots() {
    let dir = Dir::new();
    let one = |key: &str, value: Value<'static>| Value::from(Dict::from_iter([(key, value)]));
    dir.save_with("a.cairn", &one("a", f32s(&[2], &[1.0, 2.0])), &WriteOptions::new().metadata(metadata()));
    dir.save("b.cairn", &one("b", Value::from(7)));
    dir.cairn(&["merge", "ab.cairn", "a.cairn", "b.cairn"]).expect(0);
    let expected = Dict::from_iter([("a", f32s(&[2], &[1.0, 2.0])), ("b", Value::from(7))]);
    assert_eq!(dir.load("ab.cairn"), expected.into());
    assert_eq!(Cairn::open(dir.path("ab.cairn")).unwrap().metadata().items().count(), 2);
    assert!(dir.cairn(&["merge", "ab.cairn", "a.cairn", "b.cairn"]).expect(2).err.contains("--force"));
    let conflict = dir.cairn(&["merge", "aa.cairn", "a.cairn", "ab.cairn"]).expect(2);
    assert!(conflict.err.contains("the key \"a\" is in both a.cairn and ab.cairn"), "{}", conflict.err);
    assert!(!dir.path("aa.cairn").exists());
}

#[test]
fn merge_puts_roots_at_addresses() {
    let dir = Dir::new();
    dir.save("m.cairn", &model());
    dir.save("n.cairn", &Value::from(1));
    dir.cairn(&["merge", "out.cairn", "--at", "/nets/a=m.cairn", "--at", "/nets/~i2=n.cairn"]).expect(0);
    let out = dir.load("out.cairn");
    let nets = out.as_dict().unwrap().get("nets").unwrap().as_dict().unwrap();
    assert_eq!((nets.get("a"), nets.get(Key::Int(2))), (Some(&model()), Some(&Value::from(1))));
    let cairn = Cairn::open(dir.path("out.cairn")).unwrap();
    let number = |address| cairn.tensor(address).unwrap().number();
    assert_eq!(number("/nets/a/tied"), number("/nets/a/layers/0/weight"));
    for wrong in [["--at", "/nets=m.cairn"], ["--at", "nets=m.cairn"], ["--at", "/x"]] {
        dir.cairn(&["merge", "x.cairn", "--at", "/nets/a=n.cairn", wrong[0], wrong[1]]).expect(2);
    }
    dir.cairn(&["merge", "x.cairn", "n.cairn"]).expect(2);
    dir.cairn(&["merge", "x.cairn"]).expect(2);
}

#[test]
fn merge_refuses_metadata_that_differs() {
    let dir = Dir::new();
    let with = |epoch: i64| WriteOptions::new().metadata(Dict::from_iter([("epoch", epoch)]));
    dir.save_with("a.cairn", &Dict::new().into(), &with(1));
    dir.save_with("b.cairn", &Dict::new().into(), &with(2));
    assert!(dir.cairn(&["merge", "c.cairn", "a.cairn", "b.cairn"]).expect(2).err.contains("\"epoch\""));
    dir.cairn(&["merge", "c.cairn", "a.cairn", "b.cairn", "--drop-metadata"]).expect(0);
    assert_eq!(Cairn::open(dir.path("c.cairn")).unwrap().metadata().items().count(), 0);
}

#[test]
fn extract_keeps_structure_ties_and_metadata() {
    let dir = Dir::new();
    dir.save_with("m.cairn", &model(), &WriteOptions::new().metadata(metadata()).block_log2(13));
    dir.cairn(&["extract", "m.cairn", "e.cairn", "/config", "/layers/0", "/tied"]).expect(0);
    let cairn = Cairn::open(dir.path("e.cairn")).unwrap();
    assert_eq!(cairn.tensor("/tied").unwrap().number(), cairn.tensor("/layers/0/weight").unwrap().number());
    assert_eq!((cairn.block_size(), cairn.metadata().items().count()), (1 << 13, 2));
    let (whole, part) = (dir.load("m.cairn"), dir.load("e.cairn"));
    assert_eq!(whole.as_dict().unwrap().get("config"), part.as_dict().unwrap().get("config"));
}

#[test]
fn extract_by_pattern() {
    let dir = Dir::new();
    dir.save("m.cairn", &model());
    let leaves = |pattern: &str| {
        dir.cairn(&["extract", "m.cairn", "e.cairn", pattern, "--force", "--quiet"]).expect(0);
        dir.cairn(&["ls", "--flat", "e.cairn"]).expect(0).out.lines().count()
    };
    assert_eq!([leaves("/layers/*/bias"), leaves("/**/bias"), leaves("/l*/?/w*"), leaves("/**"), leaves("")], [3, 3, 3, 11, 11]);
    assert_eq!(dir.load("e.cairn"), model());
    let run = dir.cairn(&["extract", "m.cairn", "f.cairn", "/layers/2"]).expect(0);
    assert!(run.err.contains("keeps 1 item of 3, at other positions"), "{}", run.err);
    assert!(dir.cairn(&["extract", "m.cairn", "g.cairn", "/tied", "/nothing"]).expect(2).err.contains("/nothing"));
    dir.cairn(&["extract", "m.cairn", "g.cairn", "tied"]).expect(2);
    assert!(!dir.path("g.cairn").exists());
}

#[test]
fn extract_asks_before_it_cuts_views_apart() {
    let dir = Dir::new();
    let base = Tensor::from_vec(&[4, 4], (0..16i32).collect()).unwrap();
    let columns = |first| Tensor::view(DType::I32, &[4, 2], Some(&[16, 4]), base.storage().clone(), first).unwrap();
    let value = Dict::from_iter([("base", base.clone()), ("left", columns(0)), ("middle", columns(4))]);
    dir.save("v.cairn", &value.into());
    let both = ["extract", "v.cairn", "e.cairn", "/left", "/middle"];
    assert!(dir.cairn(&both).expect(2).err.contains("--unshare"));
    dir.cairn(&[&both[..], &["--unshare"]].concat()).expect(0);
    let (whole, part) = (Cairn::open(dir.path("v.cairn")).unwrap(), Cairn::open(dir.path("e.cairn")).unwrap());
    let read = |cairn: &Cairn<'_>, address| {
        cairn.get(address).unwrap().load().unwrap().as_tensor().unwrap().row_major_bytes().unwrap().into_owned()
    };
    let same = |address| read(&whole, address) == read(&part, address);
    assert!(same("/left") && same("/middle"));
    dir.cairn(&["extract", "v.cairn", "f.cairn", "/base", "/left"]).expect(0);
    assert!(Cairn::open(dir.path("f.cairn")).unwrap().tensor("/left").unwrap().strides().unwrap().is_some());
}
