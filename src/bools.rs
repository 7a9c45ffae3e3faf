//! Bytes that are no bools, found once for all tensors that view them. `Spec §8.3, §12.4`.
//!
//! Bool tensors may overlap by the ten thousand, and strided ones have bytes of others between their elements, which may
//! be anything. So all their bytes are looked at once, bad ones are kept as bits, and a tensor only asks for the first one
//! that is an element of its own. Where that takes going to and fro between bytes and elements, the steps are counted:
//! there are fewer than bytes, but more than tensors apart from each other can take, so that no file makes this quadratic.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bytes::{from_usize, table_index, to_usize};
use crate::content::all_bools;
use crate::error::{Code, Error, Result};
use crate::lattice::Lattice;
use crate::read::TensorRef;

/// Bytes of a page, whose bits are kept together; 64 words of 64.
const PAGE: u64 = 4096;

/// Bytes that are read at a time.
pub(crate) const STRETCH: u64 = 1 << 16;

/// Steps beyond two for each three bytes. Tensors apart from each other take no more than those: a step begins at a byte that
/// is no element and passes a run, which are three bytes at least; and axes beyond the second go on as often again at most,
/// since each of them has two positions of the one inside it, or more.
const FREE_STEPS: u64 = 1 << 16;

/// A page of the file with bytes that are no bools, of which it has one at least.
#[derive(Debug)]
struct Page {
    number: u64,
    /// Which words are not zero.
    summary: u64,
    words: [u64; 64],
}

/// The bytes above 1 among those of the file that were looked at.
#[derive(Debug)]
pub(crate) struct BadBools {
    /// Ascending.
    pages: Vec<Page>,
    /// What is left to be spent on strided tensors.
    steps: AtomicU64,
}

/// The outcome for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// All of its elements are bools.
    None,
    /// The offset in the file of the first element that is none.
    At(u64),
    /// Too many steps.
    Unknown,
}

/// The bytes of a file, some at a time: what lies close together is read once.
pub(crate) struct Ahead<'m, R> {
    read: R,
    start: u64,
    bytes: Cow<'m, [u8]>,
}

impl<'m, R: FnMut(u64) -> Result<Cow<'m, [u8]>>> Ahead<'m, R> {
    /// Over `read`, which gives bytes from an offset on: one at least.
    pub(crate) fn new(read: R) -> Self {
        Self { read, start: 0, bytes: Cow::Borrowed(&[]) }
    }

    /// Bytes from `at` on: one at least.
    pub(crate) fn at(&mut self, at: u64) -> Result<&[u8]> {
        if at < self.start || at - self.start >= from_usize(self.bytes.len()) {
            (self.start, self.bytes) = (at, (self.read)(at)?);
        }
        let bytes = &self.bytes[to_usize(at - self.start)?..];
        if bytes.is_empty() { Err(Error::at(Code::Changed, at, "the byte is not there any more")) } else { Ok(bytes) }
    }
}

impl BadBools {
    /// Those in `ranges`, which come by where they begin; each byte is looked at once.
    pub(crate) fn find<'m>(
        ranges: impl Iterator<Item = Range<u64>>,
        file: &mut Ahead<'m, impl FnMut(u64) -> Result<Cow<'m, [u8]>>>,
    ) -> Result<Self> {
        let mut found = Self { pages: Vec::new(), steps: AtomicU64::new(FREE_STEPS) };
        let (mut at, mut looked) = (0, 0);
        for range in ranges {
            at = range.start.max(at);
            while at < range.end {
                let bytes = file.at(at)?;
                let len = range.end.min(at + from_usize(bytes.len())) - at;
                found.look_at(at, &bytes[..to_usize(len)?]);
                at += len;
                looked += len;
            }
        }
        *found.steps.get_mut() += looked - looked / 3;
        Ok(found)
    }

    /// Looks at `bytes` from `at` on; those behind them were not looked at yet.
    fn look_at(&mut self, mut at: u64, bytes: &[u8]) {
        for chunk in bytes.chunks(4096) {
            let mut rest = if all_bools(chunk) { &[] } else { chunk };
            let end = at + from_usize(chunk.len());
            while !rest.is_empty() {
                // Up to the end of the word that `at` is in.
                let (word, after) = rest.split_at(rest.len().min(64 - bit_of(at)));
                self.insert(at, word.iter().rev().fold(0, |bits, byte| bits << 1 | u64::from(*byte > 1)));
                (at, rest) = (at + from_usize(word.len()), after);
            }
            at = end;
        }
    }

    /// Adds bytes of one word, the first of which is `at`, by a bit each.
    fn insert(&mut self, at: u64, bits: u64) {
        let number = at / PAGE;
        if bits != 0 && self.pages.last().is_none_or(|page| page.number != number) {
            self.pages.push(Page { number, summary: 0, words: [0; 64] });
        }
        if let Some(page) = self.pages.last_mut().filter(|_| bits != 0) {
            page.summary |= 1 << (at % PAGE / 64);
            page.words[word_of(at)] |= bits << (at % 64);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The first element of `tensor`, a bool tensor whose bytes are `range` of the file and were looked at, that is no bool.
    pub(crate) fn first_of(&self, tensor: &TensorRef<'_>, range: &Range<u64>) -> Result<First> {
        let Some(first) = Pages(&self.pages).next(range.start).filter(|at| *at < range.end) else { return Ok(First::None) };
        let entry = tensor.entry()?;
        let lattice = entry.strides.map(|strides| Lattice::new(entry.dims.iter(), strides.iter()));
        Ok(match lattice.filter(|lattice| !lattice.is_dense()) {
            Some(lattice) => self.first_in(lattice, range, first),
            None => First::At(first),
        })
    }

    /// The first one that is an element of `lattice`, which begins where `range` does; none is in front of `from`.
    fn first_in(&self, mut lattice: Lattice, range: &Range<u64>, from: u64) -> First {
        let left = self.steps.load(Ordering::Relaxed);
        let first = if left == 0 { First::Unknown } else { self.to_and_fro(&mut lattice, range, from, left) };
        // Another thread may have spent some meanwhile. Where they do not suffice, none are left for the next tensor to try.
        let spend = |left: u64| Some(left.saturating_sub(lattice.looked));
        let left = self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).unwrap_or(0);
        if left >= lattice.looked { first } else { First::Unknown }
    }

    /// The same, until the lattice was looked at more than `steps` times: the next bad byte, the next element from there on
    /// and those behind it in the same word, and so on.
    fn to_and_fro(&self, lattice: &mut Lattice, range: &Range<u64>, mut from: u64, steps: u64) -> First {
        let step = lattice.step();
        let comb = (0..64).step_by(usize::try_from(step).unwrap_or(64)).fold(0u64, |comb, bit| comb | 1 << bit);
        let mut pages = Pages(&self.pages);
        while lattice.looked <= steps {
            let Some(bad) = pages.next(from).filter(|at| *at < range.end) else { return First::None };
            let Some(run) = lattice.run_from(bad - range.start) else { return First::None };
            let at = range.start + run.at;
            let reach = (run.count - 1) * step;
            let ends_in_word = reach < 64 - at % 64;
            let elements = if ends_in_word { comb & (u64::MAX >> (63 - reach)) } else { comb };
            let found = pages.word(at) & (elements << (at % 64));
            if found != 0 {
                return First::At(at / 64 * 64 + u64::from(found.trailing_zeros()));
            }
            from = if ends_in_word { at + reach + 1 } else { (at / 64 + 1) * 64 };
        }
        First::Unknown
    }
}

/// Pages from one on.
struct Pages<'b>(&'b [Page]);

impl Pages<'_> {
    /// Goes on to the first page with a number of at least `number`.
    #[inline]
    fn seek(&mut self, number: u64) -> Option<&Page> {
        match self.0 {
            [first, ..] if first.number >= number => {}
            [_, second, ..] if second.number >= number => self.0 = &self.0[1..],
            pages => self.0 = &pages[pages.partition_point(|page| page.number < number)..],
        }
        self.0.first()
    }

    /// The first bad byte at `from` or behind it.
    #[inline]
    fn next(&mut self, from: u64) -> Option<u64> {
        let page = self.seek(from / PAGE)?;
        if page.number != from / PAGE {
            return page.first(0);
        }
        let word = page.words[word_of(from)] & (u64::MAX << (from % 64));
        if word != 0 {
            return Some(from / 64 * 64 + u64::from(word.trailing_zeros()));
        }
        page.first(word_of(from) + 1).or_else(|| self.seek(from / PAGE + 1)?.first(0))
    }

    /// The bits of the 64 bytes around `at`.
    #[inline]
    fn word(&mut self, at: u64) -> u64 {
        self.seek(at / PAGE).filter(|page| page.number == at / PAGE).map_or(0, |page| page.words[word_of(at)])
    }
}

impl Page {
    /// The first bad byte in `word` or behind it.
    fn first(&self, word: usize) -> Option<u64> {
        let words = self.summary.checked_shr(u32::try_from(word).ok()?).filter(|words| *words != 0)?;
        let word = word + table_index(words.trailing_zeros());
        Some(self.number * PAGE + from_usize(word) * 64 + u64::from(self.words[word].trailing_zeros()))
    }
}

/// The word of a page that `at` is in.
fn word_of(at: u64) -> usize {
    bit_of(at / 64)
}

/// The bit of a word that `at` is.
fn bit_of(at: u64) -> usize {
    usize::from((at % 64).to_le_bytes()[0])
}

/// The error of tensors, the first of which is `number` at `at`, that are [`First::Unknown`].
pub(crate) fn too_many_steps(number: u32, at: u64) -> Error {
    let detail = format!(
        "tensor {number}: its bools overlap other tensors' and have other bytes between them; to tell them apart would take too \
         many steps"
    );
    Error::at(Code::Budget, at, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, the same ones each time.
    fn random(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    /// What is looked at of `bytes`, and how many were read.
    fn found(bytes: &[u8], ranges: &[Range<u64>], stretch: usize) -> (BadBools, usize) {
        let mut read = 0;
        let mut file = Ahead::new(|at| {
            let rest = &bytes[to_usize(at)?..];
            let some = &rest[..stretch.min(rest.len())];
            read += some.len();
            Ok(Cow::Borrowed(some))
        });
        let bad = BadBools::find(ranges.iter().cloned(), &mut file).unwrap();
        (bad, read)
    }

    /// `one_in` bytes is bad.
    fn noise(len: u64, one_in: u64, random: &mut impl FnMut(u64) -> u64) -> Vec<u8> {
        (0..len).map(|_| if random(one_in) == 0 { 2 + random(254).to_le_bytes()[0] % 254 } else { random(2).to_le_bytes()[0] }).collect()
    }

    #[test]
    fn the_next_bad_byte_is_the_next_one_looked_at() {
        for (seed, one_in) in (0..60).zip([1, 2, 30, 900, 5000, 100_000].into_iter().cycle()) {
            let mut random = random(seed);
            let bytes = noise(40_000, one_in, &mut random);
            let mut ranges: Vec<Range<u64>> =
                (0..6).map(|_| (random(40_000), random(9000))).map(|(at, len)| at..(at + len).min(40_000)).collect();
            ranges.sort_unstable_by_key(|range| range.start);
            let (bad, read) = found(&bytes, &ranges, 1 + usize::try_from(random(5000)).unwrap());
            let is_bad = |at: &u64| bytes[usize::try_from(*at).unwrap()] > 1 && ranges.iter().any(|range| range.contains(at));
            let expected: Vec<u64> = (0..40_000).filter(is_bad).collect();
            let mut all = Vec::new();
            let (mut pages, mut from) = (Pages(&bad.pages), 0);
            while let Some(at) = pages.next(from) {
                all.push(at);
                from = at + 1;
            }
            assert!(all == expected && bad.is_empty() == expected.is_empty(), "{seed}");
            for from in (0..100).map(|_| random(41_000)) {
                assert_eq!(Pages(&bad.pages).next(from), expected.iter().copied().find(|at| *at >= from), "{seed} {from}");
            }
            assert!(read <= 40_000 + 6 * 5000, "{read}");
        }
    }

    #[test]
    fn the_first_bad_element_is_the_first_of_all() {
        let mut hits = 0;
        for seed in 0..3000 {
            let mut random = random(seed);
            let one_in = [2, 40, 3000][usize::try_from(seed % 3).unwrap()];
            let bytes = noise(20_000, one_in, &mut random);
            let inner = 1 + random(70);
            let dims = [1 + random(5), 1 + random(9), 1 + random(12)];
            let middle = (dims[2] - 1) * inner + 1 + random(40);
            let outer = (dims[1] - 1) * middle + (dims[2] - 1) * inner + 1 + random(3000);
            let strides = [outer, middle, inner];
            let mut places = Vec::new();
            let _ = crate::layout::for_each_position(&dims, |position| {
                places.push(crate::layout::element_at(0, position, &strides));
                Ok::<_, ()>(())
            });
            places.sort_unstable();
            let last = places[places.len() - 1];
            if last >= 20_000 {
                continue;
            }
            let start = random(20_000 - last);
            let range = start..start + last + 1;
            let (bad, _) = found(&bytes, std::slice::from_ref(&range), 1 << 16);
            let strides = strides.into_iter().zip(dims).map(|(stride, dim)| if dim > 1 { stride } else { 0 });
            let lattice = Lattice::new(dims.into_iter(), strides);
            let expected = places.iter().map(|place| start + place).find(|at| bytes[usize::try_from(*at).unwrap()] > 1);
            assert_eq!(bad.first_in(lattice, &range, start), expected.map_or(First::None, First::At), "{seed}");
            hits += usize::from(expected.is_some());
        }
        assert!(hits > 1000, "{hits}");
    }

    #[test]
    fn going_to_and_fro_ends() {
        let bytes: Vec<u8> = (0..1u8).chain(2..4).cycle().take(1 << 20).collect();
        let range = 0..1 << 20;
        let (bad, _) = found(&bytes, std::slice::from_ref(&range), 1 << 16);
        let lattice = || Lattice::new([(1 << 20) / 3].into_iter(), [3].into_iter());
        let outcomes: Vec<First> = (0..100).map(|_| bad.first_in(lattice(), &range, 0)).collect();
        // One step for each word of 64 bytes, and two for three bytes.
        let decided = outcomes.iter().take_while(|outcome| **outcome == First::None).count();
        assert!((40..60).contains(&decided) && outcomes[decided..].iter().all(|outcome| *outcome == First::Unknown), "{decided}");
    }

    #[test]
    fn what_is_gone_is_an_error() {
        let mut file = Ahead::new(|_| Ok(Cow::Borrowed(&[][..])));
        assert_eq!(BadBools::find(std::iter::once(0..1), &mut file).err().map(|e| e.code()), Some(Code::Changed));
    }
}
