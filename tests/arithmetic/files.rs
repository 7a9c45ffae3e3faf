//! `src/place.rs`, on all inputs.

use crate::limits::{HEADER_LEN, LARGE_ALIGN, LARGE_BUFFER, MAX_LEN, MAX_SHARDS, MIN_INDEX_LEN, MIN_SHARD_LOG2, PART_ALIGN, WHOLE_SHARE};
use crate::place::*;

/// The least multiple of `align` that is at least `x`, without bounds.
fn aligned(x: u32, align: u32) -> u32 {
    x.div_ceil(align) * align
}

fn all() -> impl Iterator<Item = u8> + Clone {
    0..=u8::MAX
}

fn lengths() -> impl Iterator<Item = u8> + Clone {
    0..=MAX_LEN
}

#[test]
fn align_up_is_the_least_multiple() {
    for log2 in 0..8 {
        for x in all() {
            let expected = aligned(x.into(), 1 << log2);
            assert_eq!(align_up(x, 1 << log2).map(u32::from), Some(expected).filter(|n| *n <= 255), "{x} {log2}");
        }
    }
}

#[test]
fn buffers_are_placed_apart_and_close() {
    for (end, len) in all().flat_map(|end| all().map(move |len| (end, len))) {
        let align = if len >= LARGE_BUFFER { LARGE_ALIGN } else { PART_ALIGN };
        let start = aligned(end.into(), align.into());
        let expected = Some(start).filter(|start| start + u32::from(len) <= MAX_LEN.into());
        assert_eq!(place(end, len).map(u32::from), expected, "{len} after {end}");
        let Some(start) = place(end, len) else { continue };
        assert!(start >= end && start - end < align && start % align == 0 && start + len <= MAX_LEN);
    }
}

#[test]
fn regions_follow_each_other() {
    for (end, len) in all().flat_map(|end| all().map(move |len| (end, len))) {
        let last_index = aligned(end.into(), PART_ALIGN.into());
        let trailer = aligned(last_index + u32::from(len), PART_ALIGN.into());
        let file_len = trailer + u32::from(HEADER_LEN);
        let found = regions(end, len);
        assert_eq!(found.is_some(), file_len <= MAX_LEN.into(), "{len} after {end}");
        let Some(found) = found else { continue };
        assert_eq!((last_index, trailer, file_len), (found.last_index.into(), found.trailer.into(), found.file_len.into()));
        // The same place, from the end of the file.
        assert_eq!(copy_offset(len, found.file_len), Some(found.last_index));
        if len >= MIN_INDEX_LEN {
            assert!(index_fits(found.last_index, len, found.file_len));
        }
    }
}

#[test]
fn an_index_fits_exactly_before_the_trailer() {
    for file_len in HEADER_LEN..=MAX_LEN {
        for (offset, len) in all().flat_map(|offset| all().map(move |len| (offset, len))) {
            let end = aligned(u32::from(offset) + u32::from(len), PART_ALIGN.into());
            let fits = len >= MIN_INDEX_LEN && end + u32::from(HEADER_LEN) <= file_len.into();
            assert_eq!(index_fits(offset, len, file_len), fits);
        }
    }
    for (index_len, file_len) in all().flat_map(|len| all().map(move |file| (len, file))) {
        let needed = aligned(index_len.into(), PART_ALIGN.into()) + u32::from(HEADER_LEN);
        assert_eq!(copy_offset(index_len, file_len).map(u32::from), u32::from(file_len).checked_sub(needed));
    }
    for len in 0..=MAX_LEN - HEADER_LEN {
        assert_eq!((data_start(true, len), data_start(false, len)), (HEADER_LEN, HEADER_LEN + len));
    }
}

#[test]
fn spans_are_held_exactly() {
    for len in all() {
        for (offset, span) in all().flat_map(|offset| all().map(move |span| (offset, span))) {
            assert_eq!(holds(len, offset, span), u32::from(offset) + u32::from(span) <= len.into());
        }
    }
}

#[test]
fn blocks_tile_their_buffer() {
    for log2 in 0..7 {
        for len in lengths() {
            let mut end = 0;
            for i in 0..block_count(len, log2) {
                let (start, size) = block(len, log2, i);
                assert_eq!(start, end);
                end += size;
                let whole = size == 1 << log2;
                assert!(whole || (size > 0 && size < 1 << log2 && end == len));
            }
            assert_eq!(end, len);
            for more in lengths() {
                let total = u32::from(block_count(len, log2)) + u32::from(block_count(more, log2));
                assert_eq!(u32::from(block_total([len, more].into_iter(), log2)), total.min(255));
            }
        }
    }
    let many = |n| block_total(std::iter::repeat_n(MAX_LEN, n), 0);
    assert_eq!((many(2), many(3), many(300)), (254, 255, 255));
}

#[test]
fn ranges_widen_to_the_blocks_under_them() {
    for log2 in 0..7 {
        for len in lengths() {
            for (start, end) in (0..=len).flat_map(|start| (start..=len).map(move |end| (start, end))) {
                let holding = |i: &u8| {
                    let (at, size) = block(len, log2, *i);
                    at < end && start < at + size && start < end
                };
                let blocks: Vec<u8> = (0..block_count(len, log2)).filter(holding).collect();
                assert_eq!(blocks_under(log2, &(start..end)).collect::<Vec<_>>(), blocks);
                let wide = widen(len, log2, &(start..end));
                assert!(wide.start <= start && end <= wide.end && wide.end <= len);
                let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { continue };
                let (at, size) = block(len, log2, *last);
                assert_eq!((wide.start, wide.end), (block(len, log2, *first).0, at + size));
                assert_eq!(blocks_under(log2, &wide), blocks_under(log2, &(start..end)));
            }
        }
    }
}

#[test]
fn shards_are_as_short_as_their_number_allows() {
    for len in lengths() {
        let log2 = shard_log2(len);
        let shards = |log2: u8| u32::from(len).div_ceil(1 << log2);
        assert!(shards(log2) <= MAX_SHARDS.into() && log2 >= MIN_SHARD_LOG2, "{len}");
        assert!(log2 == MIN_SHARD_LOG2 || shards(log2 - 1) > MAX_SHARDS.into(), "{len}");
    }
}

#[test]
fn parity_is_the_least_number_that_is_the_share() {
    for (shards, share) in (1..=MAX_SHARDS).flat_map(|shards| (0..=WHOLE_SHARE).map(move |share| (shards, share))) {
        let enough = |count: &u8| u32::from(*count) * u32::from(WHOLE_SHARE) >= u32::from(shards) * u32::from(share);
        assert_eq!(Some(parity_count(shards, share)), (0..=shards).find(enough));
    }
    for (shards, parity) in (1..=MAX_SHARDS).flat_map(|shards| (1..=shards).map(move |parity| (shards, parity))) {
        let mut asking = (0..=WHOLE_SHARE).filter(|share| parity_count(shards, *share) == parity);
        assert_eq!(asking.next_back(), Some(parity_share(shards, parity)));
    }
}

#[test]
fn padding_reaches_the_next_multiple_of_8() {
    for len in (0..70_000).chain(u32::MAX - 70_000..=u32::MAX) {
        assert!(padding(len) < 8 && (u64::from(len) + u64::from(padding(len))).is_multiple_of(8));
    }
}

/// Two runs repeated around a circle, byte by byte.
#[test]
fn runs_that_are_apart_have_no_byte_in_common() {
    for step in 0..13u8 {
        for (a, b) in all().step_by(23).flat_map(|a| (a..a.saturating_add(15)).map(move |b| (a, b))) {
            for (a_len, b_len) in (1..15).flat_map(|a_len| (1..15).map(move |b_len| (a_len, b_len))) {
                let said = apart(step, a, a_len, b, b_len);
                let bytes = |start: u8, len: u8| (0..u32::from(len)).map(move |i| (u32::from(start) + i) % u32::from(step));
                let truly = step > 0 && bytes(a, a_len).all(|byte| bytes(b, b_len).all(|other| other != byte));
                assert_eq!(said, truly, "every {step}: {a_len} from {a}, {b_len} from {b}");
            }
        }
    }
    for (step, a) in all().flat_map(|step| all().map(move |a| (step, a))) {
        all().for_each(|b| assert!(!apart(step, a, 255, b, 255)));
    }
}
