//! Where bytes become numbers: [`Input`], nom's view of a slice that never loses the absolute offset, and the
//! little-endian puts of the encoders.

use byteorder::{ByteOrder, LittleEndian};
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Needed, Parser};

use crate::error::{Code, Error, Result};

/// A slice, the absolute offset of its first byte, and what it means to run past its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u64,
    short: Code,
}

pub(crate) type Parsed<'a, T> = IResult<Input<'a>, T, Error>;

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, offset, short: Code::IndexShort }
    }

    /// The same bytes as the items of a container: whatever runs past their end contradicts its byte length.
    pub(crate) fn items(self) -> Self {
        Self { short: Code::ValueLength, ..self }
    }

    /// The bytes between this input and `rest`, a later state of it.
    pub(crate) fn until(&self, rest: &Input<'_>) -> &'a [u8] {
        &self.bytes[..self.bytes.len() - rest.bytes.len()]
    }
}

impl<'a> nom::Input for Input<'a> {
    type Item = u8;
    type Iter = std::iter::Copied<std::slice::Iter<'a, u8>>;
    type IterIndices = std::iter::Enumerate<Self::Iter>;

    fn input_len(&self) -> usize {
        self.bytes.len()
    }

    fn take(&self, index: usize) -> Self {
        Self { bytes: &self.bytes[..index], ..*self }
    }

    fn take_from(&self, index: usize) -> Self {
        Self { bytes: &self.bytes[index..], offset: self.offset + from_usize(index), ..*self }
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.take_from(index), nom::Input::take(self, index))
    }

    fn position<P: Fn(u8) -> bool>(&self, predicate: P) -> Option<usize> {
        self.bytes.iter().position(|b| predicate(*b))
    }

    fn iter_elements(&self) -> Self::Iter {
        self.bytes.iter().copied()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.iter_elements().enumerate()
    }

    fn slice_index(&self, count: usize) -> std::result::Result<usize, Needed> {
        let missing = count.checked_sub(self.bytes.len());
        match missing.and_then(std::num::NonZeroUsize::new) {
            None => Ok(count),
            Some(missing) => Err(Needed::Size(missing)),
        }
    }
}

impl ParseError<Input<'_>> for Error {
    fn from_error_kind(input: Input<'_>, _: ErrorKind) -> Self {
        let left = input.bytes.len();
        let part = if input.short == Code::ValueLength { "container" } else { "index" };
        Error::at(input.short, input.offset, format!("a field needs more than the {left} bytes that its {part} has left"))
    }

    fn append(_: Input<'_>, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Refuses inside a parser; never tried again by an alternative.
pub(crate) fn refuse<T>(error: Error) -> std::result::Result<T, nom::Err<Error>> {
    Err(nom::Err::Failure(error))
}

/// Turns a parser's outcome into ours: the rest of the input and the value.
pub(crate) fn finish<T>(parsed: Parsed<'_, T>) -> Result<(Input<'_>, T)> {
    parsed.map_err(|e| match e {
        nom::Err::Error(e) | nom::Err::Failure(e) => e,
        nom::Err::Incomplete(_) => Error::new(Code::IndexShort, "a field of the index is cut off"),
    })
}

pub(crate) fn u8(input: Input<'_>) -> Parsed<'_, u8> {
    take(1usize).map(|b: Input<'_>| b.bytes[0]).parse(input)
}

pub(crate) fn u16(input: Input<'_>) -> Parsed<'_, u16> {
    take(2usize).map(|b: Input<'_>| LittleEndian::read_u16(b.bytes)).parse(input)
}

pub(crate) fn u32(input: Input<'_>) -> Parsed<'_, u32> {
    take(4usize).map(|b: Input<'_>| LittleEndian::read_u32(b.bytes)).parse(input)
}

pub(crate) fn u64(input: Input<'_>) -> Parsed<'_, u64> {
    take(8usize).map(|b: Input<'_>| LittleEndian::read_u64(b.bytes)).parse(input)
}

pub(crate) fn i64(input: Input<'_>) -> Parsed<'_, i64> {
    take(8usize).map(|b: Input<'_>| LittleEndian::read_i64(b.bytes)).parse(input)
}

/// `count` bytes as a slice.
pub(crate) fn slice<'a>(count: u32) -> impl Parser<Input<'a>, Output = &'a [u8], Error = Error> {
    take(count).map(|b: Input<'a>| b.bytes)
}

/// A count of records of at least `record` bytes each, refused before anything is allocated for it when the
/// input cannot hold so many.
pub(crate) fn count<'a>(record: usize) -> impl FnMut(Input<'a>) -> Parsed<'a, u32> {
    move |input| {
        let (rest, count) = u32(input)?;
        let needed = u64::from(count) * from_usize(record);
        if needed > from_usize(rest.bytes.len()) {
            let left = rest.bytes.len();
            return refuse(Error::at(
                Code::IndexShort,
                input.offset,
                format!("{count} records need at least {needed} bytes, {left} are left in the index"),
            ));
        }
        Ok((rest, count))
    }
}

/// The one bridge from file sizes to memory sizes.
pub(crate) fn to_usize(n: u64) -> Result<usize> {
    usize::try_from(n).map_err(|_| Error::new(Code::HostSize, format!("{n} bytes are more than this machine can address")))
}

/// Memory sizes fit file sizes on every machine this crate compiles for.
pub(crate) fn from_usize(n: usize) -> u64 {
    n as u64
}

/// The index of a record in a table: counts are u32 in the file.
pub(crate) fn table_index(n: u32) -> usize {
    n as usize
}

/// A count or length for a u32 field.
pub(crate) fn to_u32(n: usize, what: &str) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::new(Code::IndexLimit, format!("{what}: {n} does not fit 32 bits")))
}

pub(crate) fn put_u16(out: &mut Vec<u8>, n: u16) {
    out.extend_from_slice(&n.to_le_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use nom::Input as _;

    use super::*;

    #[test]
    fn offsets_survive_every_step() {
        let input = Input::new(&[1, 0, 2, 0, 0, 0, 9], 100);
        let (input, a) = u16(input).unwrap();
        let (input, b) = u32(input).unwrap();
        assert_eq!((a, b, input.offset, input.bytes), (1, 2, 106, &[9][..]));
        assert_eq!(finish(u32(input)).unwrap_err().offset(), Some(106));
    }

    #[test]
    fn what_nom_asks_of_an_input() {
        let input = Input::new(&[7, 0, 2], 100);
        assert_eq!((input.input_len(), input.position(|b| b == 2), input.position(|b| b == 9)), (3, Some(2), None));
        assert!(input.iter_elements().eq([7, 0, 2]) && input.iter_indices().eq([(0, 7), (1, 0), (2, 2)]));
    }

    #[test]
    fn counts_are_bounded_by_the_bytes_left() {
        let bytes = [3, 0, 0, 0, 1, 2, 3, 4, 5, 6];
        assert!(count(2)(Input::new(&bytes, 0)).is_ok());
        let error = finish(count(3)(Input::new(&bytes, 0))).unwrap_err();
        assert_eq!(error.code(), Code::IndexShort);
    }
}
