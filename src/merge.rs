//! One whole index from two copies that are damaged in different places. `Spec §12.6`.

use std::ops::Range;

use crate::checksum::crc32;

/// Most places where the copies may differ: of 2^16 ways to choose, one in 65,536 has the wanted checksum by chance.
const MOST: usize = 16;
/// Differences with fewer equal bytes between them are one place: damage comes in sectors.
const NEAR: usize = 512;

/// The one combination of two copies of the same length whose checksum is `crc`: at each place where they differ, one of them is
/// right. `None` if there is none, or more than one.
pub(crate) fn merge(first: &[u8], second: &[u8], crc: u32) -> Option<Vec<u8>> {
    let places = differences(first, second)?;
    let plain = crc32(first);
    let mut merged = first.to_vec();
    // A checksum is linear: what one place changes in it does not depend on the others.
    let changes: Vec<u32> = places
        .iter()
        .map(|place| {
            merged[place.clone()].copy_from_slice(&second[place.clone()]);
            let change = crc32(&merged) ^ plain;
            merged[place.clone()].copy_from_slice(&first[place.clone()]);
            change
        })
        .collect();
    let of = |choice: u32| changes.iter().zip(0..).filter(|(_, i)| choice >> i & 1 == 1).fold(plain, |sum, (change, _)| sum ^ change);
    let mut right = (0..1_u32 << places.len()).filter(|choice| of(*choice) == crc);
    let (Some(choice), None) = (right.next(), right.next()) else { return None };
    for (place, i) in places.iter().zip(0..) {
        if choice >> i & 1 == 1 {
            merged[place.clone()].copy_from_slice(&second[place.clone()]);
        }
    }
    Some(merged)
}

/// Where the copies differ; `None` if they do nowhere, in too many places, or in length.
fn differences(first: &[u8], second: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut places: Vec<Range<usize>> = Vec::new();
    for at in (0..first.len()).filter(|i| first.get(*i) != second.get(*i)) {
        match places.last_mut() {
            Some(last) if at - last.end < NEAR => last.end = at + 1,
            _ => places.push(at..at + 1),
        }
        if places.len() > MOST {
            return None;
        }
    }
    (first.len() == second.len() && !places.is_empty()).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Vec<u8> {
        (0..20_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
    }

    #[test]
    fn damage_in_different_places() {
        let whole = index();
        let crc = crc32(&whole);
        for places in 0..=MOST + 1 {
            let (mut first, mut second) = (whole.clone(), whole.clone());
            for i in 0..places {
                let copy = if i % 3 == 0 { &mut first } else { &mut second };
                copy[i * 1100..i * 1100 + 1 + i * 30].iter_mut().for_each(|b| *b ^= 0x55);
            }
            let expected = if (1..=MOST).contains(&places) { Some(whole.clone()) } else { None };
            assert_eq!(merge(&first, &second, crc), expected, "{places}");
        }
    }

    #[test]
    fn damage_in_the_same_place() {
        let whole = index();
        let (mut first, mut second) = (whole.clone(), whole.clone());
        first[100] ^= 1;
        second[101] ^= 1;
        assert_eq!(merge(&first, &second, crc32(&whole)), None);
        assert_eq!(merge(&whole[1..], &whole, crc32(&whole)), None);
    }
}
