//! Computing lost data from parity, in a file whose header, index and trailer are whole. `Spec §12.6, §14.1`.

use crate::bytes::{from_usize, table_index, to_usize};
use crate::checksum::Crc;
use crate::error::{Code, Error, Result};
use crate::index::Index;
use crate::limits::Word;
use crate::parallel::Progress;
use crate::parity::code::{Decoder, Encoder, Shard};
use crate::parity::{Parity, Protected, width};

/// Fills memory from an offset of the file; an error where the file has no such bytes.
pub type ReadInto<'r> = &'r dyn Fn(u64, &mut [u8]) -> Result<()>;
/// Puts bytes at an offset of the file.
pub type WriteAt<'w> = &'w mut dyn FnMut(u64, &[u8]) -> Result<()>;

/// What a file's parity is, and the damage that it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healing {
    /// Bytes of one shard.
    pub shard_bytes: u64,
    /// How many shards the data has.
    pub shards: u32,
    /// How many shards may be lost, of data and parity together.
    pub parity: u32,
    /// Numbers of the data shards that were damaged.
    pub damaged: Vec<u32>,
    /// Numbers of the parity shards that were damaged.
    pub damaged_parity: Vec<u32>,
}

impl Healing {
    /// Whether nothing is damaged.
    pub fn is_empty(&self) -> bool {
        self.damaged.is_empty() && self.damaged_parity.is_empty()
    }

    /// Whether all damage is within what parity can undo.
    pub fn is_possible(&self) -> bool {
        self.damaged.len() + self.damaged_parity.len() <= table_index(self.parity)
    }
}

/// A file with parity, whose index is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patient {
    parity: Parity,
    protected: Protected,
}

impl Patient {
    /// `None` if the file has no parity.
    ///
    /// # Errors
    /// A sentence that says why the parity in the file is of no use.
    pub(crate) fn of(index: &Index, bytes: &[u8]) -> std::result::Result<Option<Self>, &'static str> {
        Ok(Parity::of(index, bytes)?.map(|(parity, protected)| Self { parity, protected }))
    }

    /// Computes what `found` has of damage from the other shards; `read` is asked again for what was written.
    pub(crate) fn heal(&self, found: &Healing, read: ReadInto<'_>, write: WriteAt<'_>) -> Result<()> {
        if !found.damaged.is_empty() {
            self.compute_data(found, read, write)?;
        }
        if !found.damaged_parity.is_empty() {
            self.compute_parity(found, read, write)?;
        }
        Ok(())
    }

    /// Fills `memory` with part of a shard, from byte `from` of it on.
    fn fetch(&self, read: ReadInto<'_>, shard: Shard, from: Word, memory: &mut [u8]) -> Result<()> {
        let scheme = &self.parity.scheme;
        match shard {
            Shard::Parity(number) => read(self.parity.start + scheme.parity_at(number) + from, memory),
            Shard::Data(number) => {
                let range = scheme.range(number);
                let start = (range.start + from).min(range.end);
                let end = (start + from_usize(memory.len())).min(range.end);
                let mut rest = memory;
                for (at, len) in self.protected.places(start..end) {
                    let (here, after) = rest.split_at_mut(to_usize(len)?);
                    read(at, here)?;
                    rest = after;
                }
                rest.fill(0);
                Ok(())
            }
        }
    }

    /// Looks at the checksum of every shard.
    pub(crate) fn examine(&self, read: ReadInto<'_>, progress: Progress<'_>) -> Result<Healing> {
        let scheme = &self.parity.scheme;
        let data = (0..scheme.data).map(Shard::Data);
        let shards = data.chain((0..scheme.parity).map(Shard::Parity));
        let mut found = Healing {
            shard_bytes: scheme.shard(),
            shards: scheme.data,
            parity: scheme.parity,
            damaged: Vec::new(),
            damaged_parity: Vec::new(),
        };
        let mut memory = vec![0; to_usize(scheme.shard().min(1 << 20))?];
        for (shard, expected) in shards.zip(&self.parity.crcs) {
            let mut crc = Crc::new();
            for from in (0..scheme.shard()).step_by(memory.len()) {
                self.fetch(read, shard, from, &mut memory)?;
                crc.update(&memory);
                progress(from_usize(memory.len()))?;
            }
            let matches = crc.finalize() == *expected;
            match shard {
                _ if matches => {}
                Shard::Data(number) => found.damaged.push(number),
                Shard::Parity(number) => found.damaged_parity.push(number),
            }
        }
        Ok(found)
    }

    fn compute_data(&self, found: &Healing, read: ReadInto<'_>, write: WriteAt<'_>) -> Result<()> {
        let scheme = &self.parity.scheme;
        let lost = |list: &[u32], number: &u32| list.binary_search(number).is_ok();
        let data: Vec<u32> = (0..scheme.data).filter(|n| !lost(&found.damaged, n)).collect();
        let parity: Vec<u32> = (0..scheme.parity).filter(|n| !lost(&found.damaged_parity, n)).take(found.damaged.len()).collect();
        // A decoder has room for both kinds, up to a power of two.
        let width = width(scheme.shard(), (scheme.data + scheme.parity.next_power_of_two()).next_power_of_two());
        let mut decoder = Decoder::new(scheme, width)?;
        let mut column = vec![0; width];
        let mut crcs = vec![Crc::new(); found.damaged.len()];
        for from in (0..scheme.shard()).step_by(width) {
            let mut rank = 0;
            let fetch = |shard, memory: &mut [u8]| self.fetch(read, shard, from, memory);
            decoder.column((&data, &parity), &mut column, fetch, |number, bytes| {
                crcs[rank].update(bytes);
                rank += 1;
                self.put(number, from, bytes, &mut *write)
            })?;
        }
        for (number, crc) in found.damaged.iter().zip(crcs) {
            self.check(crc, table_index(*number), "shard")?;
        }
        Ok(())
    }

    /// Writes part of a data shard to its buffers.
    fn put(&self, number: u32, from: Word, bytes: &[u8], write: WriteAt<'_>) -> Result<()> {
        let range = self.parity.scheme.range(number);
        let start = (range.start + from).min(range.end);
        let end = (start + from_usize(bytes.len())).min(range.end);
        let mut rest = bytes;
        for (at, len) in self.protected.places(start..end) {
            let (here, after) = rest.split_at(to_usize(len)?);
            write(at, here)?;
            rest = after;
        }
        Ok(())
    }

    /// Computes parity from data that is whole.
    fn compute_parity(&self, found: &Healing, read: ReadInto<'_>, write: WriteAt<'_>) -> Result<()> {
        let scheme = &self.parity.scheme;
        let width = width(scheme.shard(), scheme.data);
        let mut encoder = Encoder::new(scheme, width)?;
        let mut column = vec![0; width];
        let mut crcs = vec![Crc::new(); found.damaged_parity.len()];
        for from in (0..scheme.shard()).step_by(width) {
            let fetch = |shard, memory: &mut [u8]| self.fetch(read, Shard::Data(shard), from, memory);
            encoder.column(&mut column, fetch, |number, bytes| {
                let Ok(rank) = found.damaged_parity.binary_search(&number) else { return Ok(()) };
                crcs[rank].update(bytes);
                write(self.parity.start + scheme.parity_at(number) + from, bytes)
            })?;
        }
        for (number, crc) in found.damaged_parity.iter().zip(crcs) {
            self.check(crc, table_index(scheme.data) + table_index(*number), "parity shard")?;
        }
        Ok(())
    }

    fn check(&self, crc: Crc, number: usize, what: &str) -> Result<()> {
        if crc.finalize() == self.parity.crcs[number] {
            return Ok(());
        }
        let detail = format!("{what} {number}, computed from the others, has not the checksum that it must have: do not trust the result");
        Err(Error::new(Code::BlockCrc, detail))
    }
}
