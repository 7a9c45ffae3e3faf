//! The one hash of the crate: keyed at random, cheap, and with a proof.
//!
//! Words are coefficients of a polynomial over the prime field of 2^61 − 1, which is evaluated at a secret point; a
//! secret linear map makes the outcomes of any two inputs independent but for a chance of n / 2^61, n being their words.
//! So whoever makes a file (or names the keys of a dict) cannot make keys meet more often than chance does: the secrets
//! are this process's own.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

const PRIME: u64 = (1 << 61) - 1;

#[derive(Debug)]
struct Secrets {
    /// The point and its square.
    point: u64,
    square: u64,
    /// The linear map.
    factor: u64,
    term: u64,
}

/// What this process hashes with.
fn secrets() -> &'static Secrets {
    static SECRETS: OnceLock<Secrets> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let [point, factor, term] = [0u8, 1, 2].map(|n| RandomState::new().hash_one(n) % (PRIME - 1) + 1);
        Secrets { point, square: reduce(u128::from(point) * u128::from(point)), factor, term }
    })
}

/// A number that is `x` modulo the prime and below 2^61 + 2^6; `x` is below 2^124.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn reduce(x: u128) -> u64 {
    let once = (x as u64 & PRIME).wrapping_add((x >> 61) as u64);
    (once & PRIME).wrapping_add(once >> 61)
}

/// Makes [`Keyed`] hashers, all with the same secrets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyedState;

impl BuildHasher for KeyedState {
    type Hasher = Keyed;

    #[inline]
    fn build_hasher(&self) -> Keyed {
        Keyed { secrets: secrets(), state: 1 }
    }
}

/// The hash of what was written so far. The first coefficient is 1, so inputs of different lengths differ.
#[derive(Debug)]
pub(crate) struct Keyed {
    secrets: &'static Secrets,
    state: u64,
}

impl Keyed {
    /// Two coefficients of 32 bits: a word of 64 would not fit the field.
    #[inline]
    fn word(&mut self, word: u64) {
        let (low, high) = (word & u64::from(u32::MAX), word >> 32);
        // Below 2^123 + 2^94 + 2^32: nothing wraps.
        let product = |a: u64, b: u64| u128::from(a).wrapping_mul(u128::from(b));
        let sum = product(self.state, self.secrets.square).wrapping_add(product(low, self.secrets.point));
        self.state = reduce(sum.wrapping_add(u128::from(high)));
    }
}

impl Hasher for Keyed {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        // The last word has up to seven bytes, and how many.
        let count = crate::bytes::from_usize(tail.len());
        self.word(tail.iter().rev().fold(count, |word, b| word << 8 | u64::from(*b)));
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.word(n.into());
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.word(crate::bytes::from_usize(n));
    }

    #[inline]
    fn finish(&self) -> u64 {
        let spread = reduce(u128::from(self.state) * u128::from(self.secrets.factor) + u128::from(self.secrets.term));
        scatter(if spread >= PRIME { spread - PRIME } else { spread })
    }
}

/// A permutation: keeps what the secrets promise, and leaves nothing of the order that keys with a number in them have.
#[inline]
fn scatter(x: u64) -> u64 {
    let x = (x ^ x >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let x = (x ^ x >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ x >> 33
}

/// For tables whose keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HashedState;

impl BuildHasher for HashedState {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        Hashed(0)
    }
}

#[derive(Debug)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut hasher = KeyedState.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn reduction_is_modulo_the_prime() {
        let prime = u128::from(PRIME);
        for x in [0, 1, prime - 1, prime, prime + 1, prime * prime, (1 << 124) - 1] {
            let reduced = reduce(x);
            assert!(reduced < (1 << 61) + 64 && u128::from(reduced) % prime == x % prime, "{x}");
        }
    }

    #[test]
    fn what_differs_little_hashes_apart() {
        let mut hashes: Vec<u64> = (0..40).flat_map(|len| [vec![0; len], vec![1; len]]).skip(1).map(|bytes| of(&bytes)).collect();
        // Equal modulo the prime, were words not cut in two.
        hashes.extend([0u64, PRIME].map(|word| of(&word.to_le_bytes())));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 80);
    }

    /// As many meetings in 16 bits as chance brings, within five times the root of their number.
    #[test]
    #[cfg_attr(miri, ignore = "takes minutes under Miri")]
    fn both_ends_are_uniform() {
        let hashes: Vec<u64> = (0..20_000u32).map(|n| of(format!("model.layers.{n}.weight").as_bytes())).collect();
        for ends in [|hash: &u64| hash >> 48, |hash: &u64| hash & 0xFFFF] {
            let mut ends: Vec<u64> = hashes.iter().map(ends).collect();
            ends.sort_unstable();
            let pairs: usize = ends.chunk_by(|a, b| a == b).map(|same| same.len() * (same.len() - 1) / 2).sum();
            assert!((2776..3328).contains(&pairs), "{pairs}");
        }
    }
}
