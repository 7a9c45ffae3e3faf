//! What the fuzz targets assert, as plain functions: the targets in `fuzz_targets/` call them on nightly, and
//! `tests/fuzz_replay.rs` calls the same ones on stable. A broken property is a panic.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::panic,
    clippy::unwrap_used
)]

mod cross;
mod damage;
mod dice;
mod inplace;
mod inspect;
mod mutate;
mod parts;
mod same;
#[cfg(not(test))]
mod support;
mod values;
mod ways;

#[cfg(test)]
use crate::support;
use cairnfile::{Cairn, Named, Node, OpenOptions, Result, ValueRef};

pub use cross::cross;
pub use damage::damage;
pub use mutate::mutate;
pub use values::values;

/// Opens in memory and on one thread: the fuzzer's own processes take the cores.
fn open(data: &[u8], check_trailer: bool) -> Result<Cairn<'_>> {
    OpenOptions::new().threads(1).check_trailer(check_trailer).from_bytes(data)
}

/// Any bytes are refused with a code of a file, or everything about them can be had and agrees.
pub fn parse_any(data: &[u8]) {
    cairnfile::sniff(data);
    let (opened, strict) = (open(data, false), open(data, true));
    inspect::strictness(&opened, &strict);
    let opens = strict.is_ok();
    let report = match &opened {
        Err(error) => {
            inspect::refusal(error, data);
            None
        }
        Ok(cairn) => Some(inspect::accepted(cairn, strict.or_else(|_| open(data, false)).unwrap(), data)),
    };
    inspect::mending(data, opens, report.as_ref());
}

/// Any bytes are refused with a code of a file, or accepted: the rules of opening alone, many times a second.
pub fn open_only(data: &[u8]) {
    match open(data, true) {
        Err(error) => inspect::refusal(&error, data),
        Ok(cairn) => assert_eq!(cairn.file_len(), data.len() as u64),
    }
}

/// The same with right checksums, so that the rules behind them are reached.
pub fn parse_resigned(data: &[u8]) {
    parse_any(&signed(data));
}

/// One verdict and one value, by whichever way the bytes come.
pub fn three_ways(data: &[u8]) {
    ways::agree(data);
    let signed = signed(data);
    if signed != data {
        ways::agree(&signed);
    }
}

/// What is accepted and intact is the one spelling of its value.
pub fn canonical(data: &[u8]) {
    let signed = signed(data);
    let Ok(cairn) = open(&signed, true) else { return };
    let intact = cairn.verify(&|_| Ok(())).expect("memory can be read").is_intact();
    // A writer knows no extension (nor the buffers and kinds that only extensions bring), and uses no type name that
    // is not registered.
    if !intact || cairn.extensions().next().is_some() || !usable(cairn.metadata()) || !usable(cairn.root()) {
        return;
    }
    let again = support::rewrite(&cairn).expect("what was read can be written");
    assert!(again == signed, "written again it differs from byte {:?}", again.iter().zip(&signed).position(|(a, b)| a != b));
}

fn signed(data: &[u8]) -> Vec<u8> {
    let mut signed = data.to_vec();
    support::resign(&mut signed);
    signed
}

/// Whether a writer may use every type name in `value`.
fn usable(value: ValueRef<'_>) -> bool {
    match value.node().expect("an accepted value can be decoded") {
        Node::Named(name, inner) => Named::new(name, cairnfile::Value::Null).is_ok() && usable(inner),
        _ => value.items().all(|(_, item)| usable(item)),
    }
}
