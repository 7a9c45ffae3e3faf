//! Parity by the formula of SPEC.md §14.1, one symbol at a time: nothing of the crate, and nothing fast.

use super::raw::{RawBuffer, RawExtension, RawFile, crc32};

/// The tag of the extension.
pub const TAG: u32 = 2;

/// Products in GF(2^16) as the polynomials are written.
fn times(a: u32, b: u32) -> u32 {
    let product = (0..16).filter(|i| b >> i & 1 == 1).fold(0, |sum, i| sum ^ a << i);
    (16..31).rev().fold(product, |p, i| if p >> i & 1 == 1 { p ^ 0x1_002D << (i - 16) } else { p })
}

/// a^(2^16 - 2).
fn inverse(a: u32) -> u32 {
    let next = |(result, power), _| {
        let power = times(power, power);
        (times(result, power), power)
    };
    (1..16).fold((1, a), next).0
}

/// Symbols and the elements that they stand for.
pub struct Field {
    pub basis: Vec<u32>,
    symbols: Vec<u16>,
}

impl Field {
    pub fn new() -> Self {
        let mut basis = vec![1];
        while basis.len() < 16 {
            let before = basis[basis.len() - 1];
            basis.push((0..65_536).step_by(2).find(|b| times(*b, *b) ^ b == before).unwrap());
        }
        let mut field = Self { basis, symbols: vec![0; 65_536] };
        for symbol in 0..=u16::MAX {
            let element = field.element(symbol.into());
            field.symbols[element as usize] = symbol;
        }
        field
    }

    pub fn element(&self, symbol: u32) -> u32 {
        (0..16).filter(|i| symbol >> i & 1 == 1).fold(0, |sum, i| sum ^ self.basis[i])
    }

    pub fn symbol(&self, element: u32) -> u16 {
        self.symbols[element as usize]
    }

    /// `m` parity shards of `shards`, which are of one length, a multiple of 64.
    pub fn parity(&self, shards: &[Vec<u8>], m: u32) -> Vec<Vec<u8>> {
        let r = m.next_power_of_two().ilog2();
        let row = |j: u32| {
            let mut sums = vec![0; shards[0].len() / 2];
            for (i, shard) in (0..).zip(shards) {
                let point = (1 << r) + i;
                let factor = times(self.element(point >> r), inverse(self.element(point ^ j)));
                for (sum, symbol) in sums.iter_mut().zip(symbols(shard)) {
                    *sum ^= times(self.element(symbol), factor);
                }
            }
            sums.chunks(32).flat_map(|piece| self.piece(piece)).collect()
        };
        (0..m).map(row).collect()
    }

    fn piece(&self, elements: &[u32]) -> Vec<u8> {
        let symbols: Vec<u16> = elements.iter().map(|element| self.symbol(*element)).collect();
        symbols.iter().map(|s| *s as u8).chain(symbols.iter().map(|s| (s >> 8) as u8)).collect()
    }
}

fn symbols(shard: &[u8]) -> impl Iterator<Item = u32> + '_ {
    shard.chunks(64).flat_map(|piece| (0..32).map(|j| u32::from(piece[j]) | u32::from(piece[j + 32]) << 8))
}

/// Adds `m` parity shards to a file whose buffers have at most 16 MiB.
pub fn protect(file: &mut RawFile, m: u32) {
    let data: Vec<u8> = file.buffers.iter().filter(|b| b.kind != 1).flat_map(|b| b.data.clone()).collect();
    let shards: Vec<Vec<u8>> = data.chunks(512).map(|shard| [shard, &vec![0; 512 - shard.len()]].concat()).collect();
    let parity = Field::new().parity(&shards, m);
    let crcs: Vec<u8> = shards.iter().chain(&parity).flat_map(|shard| crc32(shard).to_le_bytes()).collect();
    file.extensions.push(RawExtension::new(TAG, &crcs));
    file.buffers.push(RawBuffer::of_kind(1, TAG, parity.concat()));
}
