//! Entries of the tensor table. `Spec §7.6`.
//!
//! ```text
//!  0       4        8        16     17      18
//!  | dtype | buffer | offset | rank | flags | rank × u64 dims | flagged: rank × u64 strides |
//! ```

use std::borrow::Cow;

use byteorder::{ByteOrder, LittleEndian};
use nom::Parser;

use crate::bytes::{Input, Parsed, put_u64, refuse, slice};
use crate::dtype::Geometry;
use crate::error::{Code, Error};
use crate::layout::{self, Extent, Fault};
use crate::limits::MAX_RANK;

/// Fewest bytes of an entry.
pub(crate) const MIN_RECORD: usize = 18;
/// The buffer number of a tensor without bytes.
pub(crate) const NO_BUFFER: u32 = u32::MAX;
const FLAG_STRIDES: u8 = 1;

/// A row of u64 as it lies in the index: dims or strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + Clone + 'a {
        self.0.chunks_exact(8).map(LittleEndian::read_u64)
    }

    pub(crate) fn to_vec(self) -> Vec<u64> {
        self.iter().collect()
    }

    /// The same in `room` where they are few: there may be very many entries.
    fn in_room(self, room: &mut [u64; 4]) -> Cow<'_, [u64]> {
        match room.get_mut(..self.iter().len()) {
            None => Cow::Owned(self.to_vec()),
            Some(room) => {
                room.iter_mut().zip(self.iter()).for_each(|(place, n)| *place = n);
                Cow::Borrowed(room)
            }
        }
    }
}

/// One entry, with its numbers still in the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) dtype: u32,
    pub(crate) buffer: u32,
    pub(crate) offset: u64,
    pub(crate) dims: Row<'a>,
    pub(crate) strides: Option<Row<'a>>,
}

impl<'a> Entry<'a> {
    /// The entry at the front of `bytes` and its length, if it is all there and has no field that is not defined.
    #[inline]
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (fixed, rest) = bytes.split_first_chunk::<MIN_RECORD>()?;
        let (rank, flags) = (usize::from(fixed[16]), fixed[17]);
        if rank > MAX_RANK || flags & !FLAG_STRIDES != 0 {
            return None;
        }
        let (dims, rest) = rest.split_at_checked(rank * 8)?;
        let strides = if flags == FLAG_STRIDES { Some(Row(rest.get(..rank * 8)?)) } else { None };
        let entry = Self {
            dtype: LittleEndian::read_u32(fixed),
            buffer: LittleEndian::read_u32(&fixed[4..]),
            offset: LittleEndian::read_u64(&fixed[8..]),
            dims: Row(dims),
            strides,
        };
        Some((entry, MIN_RECORD + rank * 8 * if strides.is_some() { 2 } else { 1 }))
    }

    pub(crate) fn parse(input: Input<'a>) -> Parsed<'a, Self> {
        match Self::read(input.bytes) {
            Some((entry, len)) => Ok((nom::Input::take_from(&input, len), entry)),
            None => Self::refused(input),
        }
    }

    /// What keeps an entry from being read.
    #[cold]
    fn refused(input: Input<'a>) -> Parsed<'a, Self> {
        let (rest, fixed) = slice(18).parse(input)?;
        let (rank, flags) = (fixed[16], fixed[17]);
        if usize::from(rank) > MAX_RANK {
            return refuse(Error::at(Code::TensorRank, input.offset + 16, format!("a tensor has {rank} axes, the most is {MAX_RANK}")));
        }
        if flags & !FLAG_STRIDES != 0 {
            return refuse(Error::at(Code::TensorFlags, input.offset + 17, format!("tensor flags {flags:#04x} are not defined")));
        }
        let (rest, _) = slice(u32::from(rank) * 8).parse(rest)?;
        if flags == FLAG_STRIDES {
            slice(u32::from(rank) * 8).parse(rest)?;
        }
        refuse(Error::at(Code::IndexShort, input.offset, "a tensor's entry cannot be read"))
    }

    /// The extent, with every rule on shape and strides checked.
    pub(crate) fn extent(&self, geometry: Geometry) -> Result<Extent, Fault> {
        match self.strides {
            None => layout::row_major(geometry, self.dims.iter()),
            Some(strides) => layout::strided(geometry, &self.dims.in_room(&mut [0; 4]), &strides.in_room(&mut [0; 4])),
        }
    }

    /// All rules that need no more than the entry and its dtype; `at` is its offset in the file.
    pub(crate) fn check(&self, geometry: Geometry, number: u32, at: u64) -> Result<Extent, Error> {
        let extent = self.extent(geometry).map_err(|fault| fault_error(fault, number, at))?;
        let none = self.buffer == NO_BUFFER;
        if none != (extent.len == 0) {
            let detail = format!("tensor {number} has {} bytes and {} buffer", extent.len, if none { "no" } else { "a" });
            return Err(Error::at(Code::TensorBuffer, at + 4, detail));
        }
        let aligned = self.offset.is_multiple_of(geometry.alignment()) && (!none || self.offset == 0);
        if !aligned {
            let must = if none { "0".to_owned() } else { format!("a multiple of {}", geometry.alignment()) };
            let detail = format!("tensor {number} begins at byte {} of its buffer; it must be {must}", self.offset);
            return Err(Error::at(Code::TensorOffset, at + 8, detail));
        }
        Ok(extent)
    }
}

fn fault_error(fault: Fault, number: u32, at: u64) -> Error {
    let (code, what) = match fault {
        Fault::Size => (Code::TensorSize, "has more than 2^63-1 elements or bytes"),
        Fault::Groups => (Code::TensorGroups, "does not have its last axis in whole groups"),
        Fault::Strides => (Code::TensorStrides, "has strides that are not in their one legal spelling"),
    };
    Error::at(code, at + 18, format!("tensor {number} {what}"))
}

/// Encodes an entry; strides only where they are not row-major.
pub(crate) fn encode(dtype: u32, buffer: u32, offset: u64, dims: &[u64], strides: Option<&[u64]>, out: &mut Vec<u8>) {
    let mut fixed = [0; MIN_RECORD];
    LittleEndian::write_u32(&mut fixed, dtype);
    LittleEndian::write_u32(&mut fixed[4..], buffer);
    LittleEndian::write_u64(&mut fixed[8..], offset);
    // Tensors are bounded to 64 axes when they are made.
    fixed[16] = u8::try_from(dims.len()).unwrap_or(u8::MAX);
    fixed[17] = if strides.is_some() { FLAG_STRIDES } else { 0 };
    out.extend_from_slice(&fixed);
    for n in dims.iter().chain(strides.unwrap_or(&[])) {
        put_u64(out, *n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::finish;
    use crate::dtype::DType;

    #[test]
    fn encode_then_parse() {
        let mut bytes = Vec::new();
        encode(3, 7, 64, &[2, 3], Some(&[1, 2]), &mut bytes);
        let (rest, entry) = finish(Entry::parse(Input::new(&bytes, 0))).unwrap();
        assert_eq!((rest.bytes.len(), entry.dtype, entry.buffer, entry.offset), (0, 3, 7, 64));
        assert_eq!((entry.dims.to_vec(), entry.strides.map(Row::to_vec)), (vec![2, 3], Some(vec![1, 2])));
        assert_eq!(entry.check(DType::F32.geometry(), 0, 0).unwrap().span, 24);
    }

    #[test]
    fn the_first_field_that_is_wrong_is_named() {
        let refused = |rank: u8, flags: u8, len: usize| {
            let mut bytes = vec![0; 18];
            (bytes[16], bytes[17]) = (rank, flags);
            bytes.resize(len, 0);
            let error = finish(Entry::parse(Input::new(&bytes, 100))).unwrap_err();
            (error.code(), error.offset())
        };
        assert_eq!(refused(64, 0, 18 + 511), (Code::IndexShort, Some(118)));
        assert_eq!(refused(64, 1, 18 + 1023), (Code::IndexShort, Some(118 + 512)));
        assert_eq!(refused(64, 2, 18), (Code::TensorFlags, Some(117)));
        assert_eq!(refused(64, 3, 18 + 1024), (Code::TensorFlags, Some(117)));
        assert_eq!(refused(65, 2, 18), (Code::TensorRank, Some(116)));
        assert_eq!(refused(0, 0, 17), (Code::IndexShort, Some(100)));
    }

    #[test]
    fn a_buffer_exactly_for_bytes() {
        for (buffer, dims, fine) in [(NO_BUFFER, 0, true), (0, 0, false), (NO_BUFFER, 1, false), (0, 1, true)] {
            let mut bytes = Vec::new();
            encode(0, buffer, 0, &[dims], None, &mut bytes);
            let (_, entry) = finish(Entry::parse(Input::new(&bytes, 0))).unwrap();
            assert_eq!(entry.check(DType::F32.geometry(), 0, 0).is_ok(), fine);
        }
    }
}
