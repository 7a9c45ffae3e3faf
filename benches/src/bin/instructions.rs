//! One operation, for counting its instructions: `scripts/instructions` runs this under callgrind, which counts from
//! where [`measured`] begins to where it ends.
//!
//! `instructions prepare DIRECTORY` makes the file; `instructions OPERATION DIRECTORY` works on it.

use std::hint::black_box;
use std::path::Path;

use cairn_benches::Workload;
use cairnfile::{Cairn, Error, OpenOptions, Plan, Result, WriteOptions};

const TENSORS: usize = 100_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, operation, directory] = arguments.as_slice() else {
        return Err(wrong("usage: instructions OPERATION DIRECTORY"));
    };
    let path = Path::new(directory).join("small.cairn");
    match operation.as_str() {
        "prepare" => cairnfile::save(&path, &Workload::small(TENSORS).value()),
        "plan" => plan(),
        "open" => measured(|| open(&path)).map(drop),
        "load" => measured(|| open(&path)?.load_copy()).map(drop),
        "lookup" => each_of_1000(&path, |cairn, address| cairn.tensor(address).map(drop)),
        "read" => each_of_1000(&path, |cairn, address| cairn.tensor(address)?.read().map(drop)),
        _ => Err(wrong("no such operation")),
    }
}

/// What is counted. The name is what callgrind is told.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// On one thread: how many take part would change the count.
fn open(path: &Path) -> Result<Cairn<'static>> {
    OpenOptions::new().threads(1).open(path)
}

fn plan() -> Result<()> {
    let workload = Workload::small(TENSORS);
    let value = workload.value();
    measured(|| Plan::new(&value, &WriteOptions::new())).map(drop)
}

fn each_of_1000(path: &Path, work: impl Fn(&Cairn<'_>, &str) -> Result<()>) -> Result<()> {
    let cairn = open(path)?;
    // Far apart, and each another one: 7919 is prime.
    let names: Vec<String> = (0..1000).map(|i| format!("/model.layers.{:06}.weight", i * 7919 % TENSORS)).collect();
    measured(|| names.iter().try_for_each(|name| work(&cairn, name)))
}

fn wrong(why: &str) -> Error {
    Error::io(why, std::io::ErrorKind::InvalidInput.into())
}
