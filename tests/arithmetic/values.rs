//! What the functions answer, for `prove` to hold its models against.

use std::fmt::Write as _;

use crate::layout::{element_bytes, reach, strided};
use crate::place::*;
use crate::shapes::GEOMETRIES;

/// A line for each call: name, arguments, `=`, results; nothing for `None`.
#[derive(Default)]
struct Table(String);

impl Table {
    fn add(&mut self, name: &str, arguments: &[u8], results: Option<Vec<u8>>) {
        let numbers = |list: &[u8]| list.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
        writeln!(self.0, "{name} {} = {}", numbers(arguments), results.map_or("-".to_owned(), |r| numbers(&r))).unwrap();
    }
}

fn pairs(step: usize) -> impl Iterator<Item = (u8, u8)> {
    (0..=255).step_by(step).flat_map(move |a| (0..=255).step_by(step).map(move |b| (a, b)))
}

#[test]
fn the_table_of_values_is_written() {
    let mut table = Table::default();
    for (a, b) in pairs(1) {
        if b < 8 {
            table.add("align_up", &[a, 1 << b], align_up(a, 1 << b).map(|x| vec![x]));
        }
        table.add("place", &[a, b], place(a, b).map(|x| vec![x]));
        table.add("regions", &[a, b], regions(a, b).map(|r| vec![r.last_index, r.trailer, r.file_len]));
        table.add("copy_offset", &[a, b], copy_offset(a, b).map(|x| vec![x]));
    }
    for (a, b) in pairs(3) {
        for c in (0..=255).step_by(5) {
            table.add("holds", &[c, a, b], Some(vec![holds(c, a, b).into()]));
            if c >= 4 {
                table.add("index_fits", &[a, b, c], Some(vec![index_fits(a, b, c).into()]));
            }
        }
    }
    for streamed in [false, true] {
        (0..=123).for_each(|len| table.add("data_start", &[streamed.into(), len], Some(vec![data_start(streamed, len)])));
    }
    for log2 in 0..7 {
        for len in 0..=127 {
            table.add("block_count", &[len, log2], Some(vec![block_count(len, log2)]));
            table.add(
                "block_total",
                &[len, 3 * (len / 3), 127, log2],
                Some(vec![block_total([len, 3 * (len / 3), 127].into_iter(), log2)]),
            );
            for i in 0..block_count(len, log2) {
                let (at, size) = block(len, log2, i);
                table.add("block", &[len, log2, i], Some(vec![at, size]));
            }
            for (start, end) in (0..=len).step_by(3).flat_map(|start| (start..=len).step_by(4).map(move |end| (start, end))) {
                let (under, wide) = (blocks_under(log2, &(start..end)), widen(len, log2, &(start..end)));
                table.add("blocks_under", &[log2, start, end], Some(vec![under.start, under.end]));
                table.add("widen", &[len, log2, start, end], Some(vec![wide.start, wide.end]));
            }
        }
    }
    for (shards, other) in (1..=8).flat_map(|shards| (0..=20).map(move |other| (shards, other))) {
        table.add("parity_count", &[shards, other], Some(vec![parity_count(shards, other)]));
        if other <= shards {
            table.add("parity_share", &[shards, other], Some(vec![parity_share(shards, other)]));
        }
    }
    for n in 0..=255u8 {
        table.add("shard_log2", &[n], Some(vec![shard_log2(n)]));
        table.add("padding", &[n], Some(vec![u8::try_from(padding(n.into())).unwrap()]));
    }
    for (a, b) in pairs(17) {
        for (step, lens) in pairs(15) {
            let (a_len, b_len) = (lens % 19, lens / 9);
            table.add("apart", &[step / 4, a, a_len, b, b_len], Some(vec![apart(step / 4, a, a_len, b, b_len).into()]));
        }
    }
    add_shapes(&mut table);
    let lines = table.0.lines().count();
    assert!(lines > 200_000, "{lines}");
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/arithmetic.txt"), table.0).unwrap();
}

fn add_shapes(table: &mut Table) {
    for (dims, strides) in pairs(1).map(|(a, b)| ([a % 11, a / 11], [b % 17, b / 17 * (1 + a % 9)])) {
        let arguments = [dims[0], dims[1], strides[0], strides[1]];
        table.add("reach", &arguments, reach(&dims, &strides).map(|(last, dense)| vec![last, dense.into()]));
        let extent = strided(GEOMETRIES[1], &dims, &strides).ok();
        table.add("strided", &[&[3], &arguments[..]].concat(), extent.map(|e| vec![e.len, e.span, e.dense.into()]));
    }
    for geometry in GEOMETRIES {
        let most = 127 / geometry.bytes * geometry.elements.min(127);
        for (start, end) in (0..most.min(127)).flat_map(|start| (start + 1..=most.min(127)).step_by(2).map(move |end| (start, end))) {
            let (first, len) = element_bytes(*geometry, start, end - start);
            table.add("element_bytes", &[geometry.elements, geometry.bytes, start, end - start], Some(vec![first, len]));
        }
    }
}
