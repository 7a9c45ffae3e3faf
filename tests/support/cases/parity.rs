//! Files with parity: readers pass over it, whatever it is; what it can do is judged by tools that repair.

use super::super::parity::protect;
use super::*;

/// Three shards in two buffers, with padding between them, and two parity shards.
fn guarded() -> RawFile {
    let mut file = tensors(&["u8"], &[700, 333], &[RawTensor::new(0, 0, 0, &[700]), RawTensor::new(0, 1, 0, &[333])]);
    protect(&mut file, 2);
    file
}

/// Where the data and the parity of [`guarded`] begin.
fn places() -> (usize, usize, usize) {
    let buffers = guarded().layout().buffers;
    (buffers[0].start, buffers[1].start, buffers[2].start)
}

pub(super) fn accept(cases: &mut Cases) {
    cases.accept("parity-two-of-three", &guarded(), "Two parity shards for three shards in two buffers.");
    let mut file = vector(600);
    protect(&mut file, 1);
    cases.accept("parity-one", &file, "One parity shard is the exclusive or of all shards.");
    let mut file = vector(600);
    protect(&mut file, 1);
    file.extensions[0].payload.pop();
    cases.accept("parity-useless-payload", &file, "Parity whose payload is too short is of no use, which is no reason to refuse the file.");
}

pub(super) fn reject(cases: &mut Cases) {
    let damaged = |places: &[usize]| {
        let mut bytes = guarded().build();
        places.iter().for_each(|at| bytes[*at] ^= 0x5A);
        bytes
    };
    let (first, second, parity) = places();
    cases.verify("parity-heals-data", "block-crc", damaged(&[first + 7, second + 332]), "Two damaged shards, the first and the last one.");
    cases.verify("parity-heals-both", "block-crc", damaged(&[first + 699, parity + 1000]), "A damaged shard and a damaged parity shard.");
    cases.verify(
        "parity-beyond",
        "block-crc",
        damaged(&[first, first + 600, parity]),
        "Three damaged shards: one more than parity computes.",
    );
}
