//! Times Cairn beside the safetensors crate and the bare system calls, taking turns in one process.
//!
//! `beside DIRECTORY REPETITIONS PART…` with parts W1 to W6, `count`, `bytes`, `threads`, `place`; prints a line of JSON for each row.
//! `beside memory OPERATION PATH [WORKLOAD]` is one operation in a process of its own: prints the growth of its peak, in bytes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod memory;
mod raw;
mod rows;
mod sweeps;
mod turns;

use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["memory", operation, path, rest @ ..] => memory::one(operation, Path::new(path), rest.first().copied()),
        [directory, repetitions, parts @ ..] => {
            let repetitions = repetitions.parse().unwrap();
            for part in parts {
                run(Path::new(directory), repetitions, part);
            }
        }
        _ => panic!("usage: beside DIRECTORY REPETITIONS PART…"),
    }
}

fn run(directory: &Path, repetitions: usize, part: &str) {
    match part {
        "count" => sweeps::count(directory, repetitions),
        "bytes" => sweeps::bytes(directory, repetitions),
        "threads" => sweeps::threads(directory, repetitions),
        "place" => sweeps::in_place(directory, repetitions),
        workload => rows::all(directory, repetitions, workload),
    }
}
