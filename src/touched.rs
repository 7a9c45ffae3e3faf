//! Which tensors faults touch: ranges of bytes against ranges of bytes, where either may overlap by the ten thousand.

use std::ops::Range;

use crate::bytes::from_usize;

/// The bytes that faults concern, by where they begin.
pub(crate) struct Places {
    /// A range, and the number of its fault.
    sorted: Vec<(Range<u64>, usize)>,
    /// How far the ranges up to each one reach.
    reach: Vec<u64>,
}

impl Places {
    pub(crate) fn new(ranges: impl Iterator<Item = (Range<u64>, usize)>) -> Self {
        let mut sorted: Vec<_> = ranges.collect();
        sorted.sort_unstable_by_key(|(range, fault)| (range.start, *fault));
        let mut far = 0;
        let further = |(range, _): &(Range<u64>, usize)| {
            far = range.end.max(far);
            far
        };
        let reach = sorted.iter().map(further).collect();
        Self { sorted, reach }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Where in `sorted` the ranges that meet `range` are; others may be among them.
    fn window(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.reach.partition_point(|reach| *reach <= range.start);
        first..self.sorted.partition_point(|(place, _)| place.start < range.end).max(first)
    }

    /// The faults that touch `range`.
    pub(crate) fn touching(&self, range: Range<u64>) -> impl Iterator<Item = usize> {
        self.sorted[self.window(&range)].iter().filter(move |(place, _)| meets(place, &range)).map(|(_, fault)| *fault)
    }

    /// The first of `ranges` to touch each fault, by number of the fault; each fault is looked at once.
    pub(crate) fn firsts(&self, ranges: impl Iterator<Item = Range<u64>>) -> Vec<Option<usize>> {
        let mut firsts = vec![None; self.sorted.iter().map(|(_, fault)| fault + 1).max().unwrap_or(0)];
        // The next fault that has none yet, from each one on; halved on the way.
        let mut next: Vec<usize> = (0..=self.sorted.len()).collect();
        for (number, range) in ranges.enumerate() {
            let window = self.window(&range);
            let mut at = open(&mut next, window.start);
            while at < window.end {
                let (place, fault) = &self.sorted[at];
                if meets(place, &range) {
                    firsts[*fault] = Some(number);
                    next[at] = at + 1;
                }
                at = open(&mut next, at + 1);
            }
        }
        firsts
    }

    /// How many of `ranges` touch each fault, by number of the fault.
    pub(crate) fn counts(&self, ranges: impl Iterator<Item = Range<u64>>) -> Vec<u64> {
        let (mut starts, mut ends): (Vec<u64>, Vec<u64>) = ranges.filter(|range| !range.is_empty()).map(|r| (r.start, r.end)).unzip();
        starts.sort_unstable();
        ends.sort_unstable();
        let mut counts = vec![0; self.sorted.iter().map(|(_, fault)| fault + 1).max().unwrap_or(0)];
        for (place, fault) in &self.sorted {
            let begun = starts.partition_point(|start| *start < place.end);
            let over = ends.partition_point(|end| *end <= place.start);
            counts[*fault] = from_usize(begun.saturating_sub(over));
        }
        counts
    }
}

fn meets(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The first place from `at` on that leads to itself.
fn open(next: &mut [usize], mut at: usize) -> usize {
    while next[at] != at {
        next[at] = next[next[at]];
        at = next[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges of up to 8 bytes among 40, the same ones each time.
    fn ranges(seed: u64, n: usize) -> Vec<Range<u64>> {
        let mut state = seed;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        (0..n).map(|_| (below(40), below(8) + 1)).map(|(start, len)| start..start + len).collect()
    }

    #[test]
    fn as_by_looking_at_every_pair() {
        for seed in 0..200 {
            let (faults, tensors) = (ranges(seed, 9), ranges(seed + 1000, 12));
            let places = Places::new(faults.iter().cloned().zip(0..));
            let (firsts, counts) = (places.firsts(tensors.iter().cloned()), places.counts(tensors.iter().cloned()));
            for (i, fault) in faults.iter().enumerate() {
                let touching: Vec<usize> = (0..tensors.len()).filter(|t| meets(fault, &tensors[*t])).collect();
                assert_eq!((firsts[i], counts[i]), (touching.first().copied(), touching.len() as u64), "{seed}: {fault:?}");
            }
            for tensor in &tensors {
                let mut found: Vec<usize> = places.touching(tensor.clone()).collect();
                found.sort_unstable();
                let expected: Vec<usize> = (0..faults.len()).filter(|i| meets(&faults[*i], tensor)).collect();
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn nothing_touches_nothing() {
        let none = Places::new(std::iter::empty());
        assert!(none.is_empty() && none.firsts(ranges(1, 3).into_iter()).is_empty());
        let one = Places::new([(5..6, 0)].into_iter());
        assert_eq!((one.firsts([0..0, 0..5, 6..9].into_iter()), one.counts([0..0, 0..5, 6..9].into_iter())), (vec![None], vec![0]));
        assert!(!one.is_empty());
    }
}
