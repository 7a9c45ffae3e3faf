//! `cairn salvage`: everything that is intact comes out, and nothing else, wherever a file is cut or damaged.
#![allow(clippy::unwrap_used, clippy::panic)]

mod conversion;

use std::process::{Command, Output};

use cairnfile::{Cairn, DType, Dict, Storage, Tensor, Value, WriteOptions};
use conversion::Place;
use serde_json::Value as Json;

/// Four buffers, the second with a view of it, a tie, and values beside them.
fn value() -> Value<'static> {
    let bytes = |n: u8, len: usize| Storage::shared(vec![n; len]);
    let base = bytes(2, 9000);
    let whole = Tensor::view(DType::U8, &[9000], None, base.clone(), 0).unwrap();
    let part = Tensor::view(DType::U8, &[100], None, base, 8900).unwrap();
    let first = Tensor::new(DType::F32, &[25], bytes(1, 100)).unwrap();
    let last = Tensor::new(DType::U16, &[40], bytes(3, 80)).unwrap();
    let items = vec![Value::from(last), Value::Int(7), Value::from(vec![4u8; 70_000])];
    let mut dict = Dict::from_iter([("first", Value::from(first.clone())), ("whole", whole.into()), ("part", part.into())]);
    dict.insert("items", items);
    dict.insert("tied", first);
    dict.insert("note", "kept");
    dict.into()
}

fn options() -> WriteOptions {
    WriteOptions::new().block_log2(12)
}

fn salvage(place: &Place, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.arg("salvage").arg(place.path("broken")).arg(place.path("saved")).args(["--force", "--json"]).args(options).output().unwrap()
}

/// The addresses that are listed as lost, if there was an index; the file that was written is intact.
fn lost(place: &Place, broken: &[u8], options: &[&str]) -> Option<Vec<String>> {
    place.put("broken", broken);
    let output = salvage(place, options);
    let code = output.status.code().unwrap();
    if code == 4 || code == 3 {
        return None;
    }
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    let lost: Vec<String> = json["lost"].as_array().unwrap().iter().map(|loss| loss["address"].as_str().unwrap().to_owned()).collect();
    assert_eq!(code, i32::from(!lost.is_empty()), "{}", String::from_utf8_lossy(&output.stderr));
    let saved = place.get("saved");
    assert!(Cairn::from_bytes(&saved).unwrap().verify(&|_| Ok(())).unwrap().is_intact());
    Some(lost)
}

/// The leaves of the file that was written, which must be those of the whole one but for `lost`.
fn check(place: &Place, whole: &[u8], lost: &[String]) {
    let (saved, whole) = (place.get("saved"), Cairn::from_bytes(whole).unwrap());
    let saved = Cairn::from_bytes(&saved).unwrap();
    for address in ["/first", "/whole", "/part", "/items/0", "/tied"] {
        let original = whole.tensor(address).unwrap().read().unwrap();
        match saved.get(address).unwrap().tensor().unwrap() {
            Some(tensor) => assert!(tensor.read().unwrap() == original && !lost.iter().any(|l| l == address), "{address}"),
            None => assert!(lost.iter().any(|l| l == address), "{address}"),
        }
    }
    if !lost.iter().any(|l| l == "/first") {
        assert_eq!(saved.tensor("/first").unwrap().number(), saved.tensor("/tied").unwrap().number());
    }
    assert!(saved.get("/note").unwrap().load().unwrap() == Value::from("kept"));
}

#[test]
fn a_planned_file_that_was_cut_anywhere() {
    let (place, whole) = (Place::new(), cairnfile::to_bytes(&value(), &options()).unwrap());
    let cairn = Cairn::from_bytes(&whole).unwrap();
    let index_end = 64 + usize::try_from(cairn.index_len()).unwrap();
    let ends: Vec<usize> = (0..whole.len()).step_by(509).chain([index_end - 1, index_end, whole.len() - 1]).collect();
    let mut seen = [false; 3];
    for end in ends {
        let found = lost(&place, &whole[..end], &[]);
        assert_eq!(found.is_some(), end >= index_end, "cut at {end}");
        let Some(found) = found else { continue };
        check(&place, &whole, &found);
        for address in ["/first", "/whole", "/part", "/items/0"] {
            let range = cairn.tensor(address).unwrap().file_range().unwrap();
            let whole_blocks = usize::try_from(range.end).unwrap() <= end;
            // What was cut off may have been zeros, and a view needs the blocks under it alone.
            assert!(whole_blocks || found.iter().any(|l| l == address), "{address} at {end}");
        }
        seen[found.len().min(2)] = true;
    }
    assert_eq!(seen, [true; 3], "nothing, one and several tensors are lost somewhere");
}

#[test]
fn every_region_damaged() {
    for streamed in [false, true] {
        let place = Place::new();
        let mut whole = Vec::new();
        match streamed {
            true => cairnfile::stream_to(&mut whole, &value(), &options()).unwrap(),
            false => whole = cairnfile::to_bytes(&value(), &options()).unwrap(),
        }
        let cairn = Cairn::from_bytes(&whole).unwrap();
        let first = usize::try_from(cairn.tensor("/first").unwrap().file_range().unwrap().start).unwrap();
        let data_end = usize::try_from(cairn.get("/items/2").unwrap().tensor().unwrap().unwrap().file_range().unwrap().end).unwrap();
        for at in (0..whole.len()).step_by(331) {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            let found = lost(&place, &broken, &[]);
            let in_data = (first..data_end).contains(&at);
            if let Some(found) = &found {
                check(&place, &whole, found);
                assert!(found.is_empty() || in_data, "byte {at}: {found:?}");
            }
            // A streamed file has header, index and trailer once; only the header can be done without.
            assert!(found.is_some() || (streamed && at >= data_end), "byte {at}");
        }
    }
}

#[test]
fn what_was_appended_and_what_is_dropped() {
    let place = Place::new();
    let planned = cairnfile::to_bytes(&value(), &options()).unwrap();
    let mut streamed = Vec::new();
    cairnfile::stream_to(&mut streamed, &value(), &options()).unwrap();
    for whole in [&planned, &streamed] {
        for more in [1, 64, 1_500_000] {
            let longer = [&whole[..], &vec![0xA5; more]].concat();
            assert_eq!(lost(&place, &longer, &[]), Some(vec![]));
            check(&place, whole, &[]);
        }
    }
    let at = usize::try_from(Cairn::from_bytes(&planned).unwrap().tensor("/items/0").unwrap().file_range().unwrap().start).unwrap();
    let mut broken = planned.clone();
    broken[at] ^= 1;
    assert_eq!(lost(&place, &broken, &["--drop"]), Some(vec!["/items/0".to_owned()]));
    let saved = place.get("saved");
    let saved = Cairn::from_bytes(&saved).unwrap();
    assert!(saved.get("/items/0").unwrap().load().unwrap() == Value::Int(7));
    assert_eq!(saved.get("/items").unwrap().items().count(), 2);
    assert_eq!(lost(&place, &broken, &[]), Some(vec!["/items/0".to_owned()]));
    let saved = place.get("saved");
    let saved = Cairn::from_bytes(&saved).unwrap();
    let Value::Named(mark) = saved.get("/items/0").unwrap().load().unwrap() else { panic!("no mark") };
    assert_eq!(mark.name(), "cairn.lost");
    assert_eq!(mark.value().as_dict().unwrap().get("dtype"), Some(&Value::from("u16")));
}

#[test]
fn without_an_index_only_the_bytes_are_left() {
    let place = Place::new();
    let mut streamed = Vec::new();
    cairnfile::stream_to(&mut streamed, &value(), &options()).unwrap();
    place.put("broken", &streamed[..500]);
    let refused = salvage(&place, &[]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--raw"));
    assert_eq!(salvage(&place, &["--raw"]).status.code(), Some(0));
    let saved = place.get("saved");
    let tensor = Cairn::from_bytes(&saved).unwrap().tensor("").unwrap().read().unwrap().to_owned_row_major().unwrap();
    assert_eq!(tensor.as_slice::<u8>().unwrap(), &streamed[..500]);
    assert_eq!(salvage(&place, &["--raw", "--drop"]).status.code(), Some(2));
}
