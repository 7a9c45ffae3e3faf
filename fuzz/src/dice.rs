//! Choices of a mutator, from a seed.

/// splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        b ^ (b >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }

    pub fn pick_mut<'v, T>(&mut self, from: &'v mut [T]) -> Option<&'v mut T> {
        let n = self.below(from.len());
        from.get_mut(n)
    }

    /// Near `old`, small, or at an edge of some range.
    pub fn number(&mut self, old: u64) -> u64 {
        match self.below(8) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            2 => old ^ (1 << self.below(64)),
            3 => old.wrapping_mul(2),
            4 => (1_u64 << self.below(64)).wrapping_sub(self.below(2) as u64),
            5 => u64::MAX - self.below(2) as u64,
            6 => old / 2,
            _ => self.below(9) as u64,
        }
    }

    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }
}
