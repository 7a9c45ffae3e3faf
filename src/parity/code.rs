//! The code itself: a systematic Reed–Solomon code over GF(2^16), computed by a crate. `Spec §14.1`.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};

use crate::bytes::table_index;
use crate::error::{Code, Error, Result};
use crate::parity::Scheme;

fn failed(error: reed_solomon_simd::Error) -> Error {
    Error::new(Code::Unrepresentable, format!("parity cannot be computed: {error}"))
}

/// Computes parity, a column of all shards at a time.
pub(crate) struct Encoder {
    inner: HighRateEncoder<DefaultEngine>,
    scheme: Scheme,
}

impl Encoder {
    /// For columns of `width` bytes, a multiple of 64.
    pub(crate) fn new(scheme: &Scheme, width: usize) -> Result<Self> {
        let (data, parity) = (table_index(scheme.data), table_index(scheme.parity));
        let inner = HighRateEncoder::new(data, parity, width, DefaultEngine::new(), None).map_err(failed)?;
        Ok(Self { inner, scheme: *scheme })
    }

    /// `fetch` fills in the column of each shard, in `column`; `take` is given those of the parity shards.
    pub(crate) fn column(
        &mut self,
        column: &mut [u8],
        mut fetch: impl FnMut(u32, &mut [u8]) -> Result<()>,
        mut take: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for shard in 0..self.scheme.data {
            fetch(shard, column)?;
            self.inner.add_original_shard(&*column).map_err(failed)?;
        }
        let result = self.inner.encode().map_err(failed)?;
        (0..).zip(result.recovery_iter()).try_for_each(|(number, bytes)| take(number, bytes))
    }
}

/// Computes lost shards, a column at a time.
pub(crate) struct Decoder {
    inner: HighRateDecoder<DefaultEngine>,
}

impl Decoder {
    /// For columns of `width` bytes, a multiple of 64.
    pub(crate) fn new(scheme: &Scheme, width: usize) -> Result<Self> {
        let (data, parity) = (table_index(scheme.data), table_index(scheme.parity));
        Ok(Self { inner: HighRateDecoder::new(data, parity, width, DefaultEngine::new(), None).map_err(failed)? })
    }

    /// `fetch` fills in the columns of the shards in `data` and the parity shards in `parity`, as many as there are data shards at
    /// least; `take` is given those of the missing shards.
    pub(crate) fn column(
        &mut self,
        (data, parity): (&[u32], &[u32]),
        column: &mut [u8],
        mut fetch: impl FnMut(Shard, &mut [u8]) -> Result<()>,
        mut take: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for number in data {
            fetch(Shard::Data(*number), column)?;
            self.inner.add_original_shard(table_index(*number), &*column).map_err(failed)?;
        }
        for number in parity {
            fetch(Shard::Parity(*number), column)?;
            self.inner.add_recovery_shard(table_index(*number), &*column).map_err(failed)?;
        }
        let result = self.inner.decode().map_err(failed)?;
        for (number, bytes) in result.restored_original_iter() {
            take(u32::try_from(number).unwrap_or(u32::MAX), bytes)?;
        }
        Ok(())
    }
}

/// A shard of data or of parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shard {
    Data(u32),
    Parity(u32),
}
