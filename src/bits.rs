//! A set of numbers below a bound: a bit each.

use crate::bytes::table_index;

#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// No number, of those below `bound`.
    pub(crate) fn below(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.0.get(table_index(number / 64)).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Adds `number`, which is below the bound.
    pub(crate) fn insert(&mut self, number: u32) {
        self.0[table_index(number / 64)] |= 1 << (number % 64);
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = |mut word: u64| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some(bit)
            })
        };
        (0u32..).zip(&self.0).flat_map(move |(i, word)| bits(*word).map(move |bit| i * 64 + bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_order() {
        let mut bits = Bits::below(200);
        [199, 0, 64, 63, 65, 64].into_iter().for_each(|n| bits.insert(n));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 63, 64, 65, 199]);
        assert!(bits.contains(63) && !bits.contains(62) && !bits.contains(1000));
    }
}
