//! What an operation takes beyond the payload: the growth of the peak of a process of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use cairn_benches::Workload;
use cairnfile::{Cairn, WriteOptions};
use safetensors::SafeTensors;
use serde_json::json;

use crate::raw;
use crate::turns::figure;

/// All operations on the files of `workload`, in bytes.
pub(crate) fn all(cairn: &Path, peer: &Path, workload: &str) {
    let (scratch, payload) = (cairn.with_extension("scratch"), payload(cairn));
    let save = |operation| measure(operation, &scratch, Some(workload));
    let load = |operation, path| measure(operation, path, None);
    let figures = json!({
        "cairn": {"save": save("save"), "load": load("load", cairn) - payload, "open": load("open", cairn)},
        "safetensors": {"save": save("save-peer"), "load": load("load-peer", peer) - payload, "open": load("open-peer", peer)},
        "index": i64::try_from(Cairn::open(cairn).unwrap().index_len()).unwrap(),
    });
    figure(workload, "memory beyond the payload, bytes", &figures);
    let _ = fs::remove_file(scratch);
}

fn payload(cairn: &Path) -> i64 {
    let cairn = Cairn::open(cairn).unwrap();
    let all = cairn.bytes_under(&[cairn.root()]).unwrap();
    i64::try_from(all).unwrap()
}

fn measure(operation: &str, path: &Path, workload: Option<&str>) -> i64 {
    let program = std::env::current_exe().unwrap();
    let done = Command::new(program).args(["memory", operation]).arg(path).args(workload).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().parse().unwrap()
}

/// One operation, in this process.
pub(crate) fn one(operation: &str, path: &Path, workload: Option<&str>) {
    let source = workload.map(|name| Workload::named(name).unwrap());
    // Threads and buffers that are there once are not the operation's.
    let warm = path.with_extension("warm");
    cairnfile::save(&warm, &Workload::gpt2(0).value()).unwrap();
    drop(cairnfile::load(&warm).unwrap());
    fs::remove_file(warm).unwrap();
    let value = source.as_ref().map(Workload::value);
    let before = begin();
    match operation {
        "save" => cairnfile::save_with(path, value.as_ref().unwrap(), &WriteOptions::new().durable(false)).unwrap(),
        "save-peer" => safetensors::serialize_to_file(source.as_ref().unwrap().views(), None, path).unwrap(),
        "load" => drop(cairnfile::load(path).unwrap()),
        "load-peer" => {
            let bytes = fs::read(path).unwrap();
            let parsed = SafeTensors::deserialize(&bytes).unwrap();
            std::hint::black_box(parsed.iter().map(|(_, t)| t.data().to_vec()).collect::<Vec<_>>());
        }
        "open" => drop(Cairn::open(path).unwrap()),
        "open-peer" => {
            let map = raw::map(path).unwrap();
            std::hint::black_box(SafeTensors::deserialize(&map).unwrap().len());
        }
        _ => panic!("there is no operation {operation}"),
    }
    println!("{}", status("VmHWM") - before);
}

/// Has the peak begin anew, at what is resident.
fn begin() -> i64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS")
}

fn status(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() * 1024
}
