//! The reference codec as one more reader: what `vectors/README.md` asks of a runner.
//!
//! `conformance_reader FILE` prints one JSON object and exits with 0 (accept), 1 (refuse) or 3 (unsupported).
//! `conformance_reader FILE FILE...` prints one object a line and exits with 0.
//! `conformance_reader -` does the same for paths on standard input, one a line, each answered at once.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

#[path = "../tests/support/judge.rs"]
mod judge;

use std::io::{BufRead, Write, stdin, stdout};
use std::process::ExitCode;

fn answer(path: &str) -> (String, u8) {
    match std::fs::read(path) {
        Ok(file) => {
            let (answer, status) = judge::judge(&file);
            (answer.to_string(), status)
        }
        Err(error) => {
            eprintln!("{path}: {error}");
            std::process::exit(2);
        }
    }
}

fn main() -> ExitCode {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let mut out = stdout().lock();
    match paths.as_slice() {
        [] => {
            eprintln!("usage: conformance_reader FILE... | -");
            ExitCode::from(2)
        }
        [dash] if dash == "-" => {
            for path in stdin().lock().lines().map_while(Result::ok) {
                writeln!(out, "{}", answer(&path).0).unwrap();
                out.flush().unwrap();
            }
            ExitCode::SUCCESS
        }
        [path] => {
            let (answer, status) = answer(path);
            writeln!(out, "{answer}").unwrap();
            ExitCode::from(status)
        }
        paths => {
            for path in paths {
                writeln!(out, "{}", answer(path).0).unwrap();
            }
            ExitCode::SUCCESS
        }
    }
}
