//! The parity of a plan: computed before its checksums are, since those cover it too. `Spec §14.1`.

use std::borrow::Cow;

use crate::bytes::to_usize;
use crate::error::Result;
use crate::parity;
use crate::parity::encode::{Encoded, encode};
use crate::plan::{Content, Plan, PlannedBuffer};

/// Where the payload begins in an index whose first extension is parity: behind the number of extensions, tag and length.
const PAYLOAD_AT: usize = 12;

impl Plan<'_> {
    /// Computes the parity of the data in memory, if the plan has any.
    ///
    /// # Errors
    /// `unrepresentable` if a tensor is reserved.
    pub(crate) fn protect(&mut self) -> Result<()> {
        let Some(scheme) = self.parity else { return Ok(()) };
        let data = &self.buffers[..self.buffers.len() - 1];
        let gathered: Vec<Cow<'_, [u8]>> = data.iter().map(PlannedBuffer::gathered).collect::<Result<_>>()?;
        let slices: Vec<&[u8]> = gathered.iter().map(AsRef::as_ref).collect();
        let encoded = encode(&scheme, &slices, self.options.threads)?;
        self.put_parity(encoded);
        Ok(())
    }

    /// As [`Plan::protect`], from the bytes of the file, to which the parity is added.
    pub(crate) fn protect_file(&mut self, file: &mut [u8]) -> Result<()> {
        let Some(scheme) = self.parity else { return Ok(()) };
        let Some((last, data)) = self.buffers.split_last() else { return Ok(()) };
        let slices = data.iter().map(|buffer| Ok(&file[to_usize(buffer.start)?..to_usize(buffer.start + buffer.len)?]));
        let encoded = encode(&scheme, &slices.collect::<Result<Vec<_>>>()?, self.options.threads)?;
        let start = to_usize(last.start)?;
        file[start..start + encoded.bytes.len()].copy_from_slice(&encoded.bytes);
        self.put_parity(encoded);
        Ok(())
    }

    fn put_parity(&mut self, encoded: Encoded) {
        let payload = parity::payload(encoded.crcs.into_iter());
        self.index[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(&payload);
        if let Some(last) = self.buffers.last_mut() {
            last.content = Content::Parity(encoded.bytes);
        }
    }
}

impl PlannedBuffer<'_> {
    /// The bytes, in one piece.
    fn gathered(&self) -> Result<Cow<'_, [u8]>> {
        if let Some(piece) = self.piece() {
            return Ok(Cow::Borrowed(piece));
        }
        let mut bytes = Vec::with_capacity(to_usize(self.len)?);
        self.each_slice(|slice| {
            bytes.extend_from_slice(slice);
            Ok(())
        })?;
        Ok(Cow::Owned(bytes))
    }
}
