//! The bytes of values: one tag, fixed-width fields; parse and encode side by side. `Spec §9`.

use std::hash::{Hash, Hasher};

use nom::Parser;

use nom::bytes::complete::take;

use crate::bytes::{Input, Parsed, i64, put_u32, refuse, slice, table_index, to_u32, u8, u32, u64};
use crate::dtype::type_name;
use crate::error::{Code, Error, Result};
use crate::limits::{MAX_BIGINT_BYTES, MAX_INLINE_BYTES, MAX_NAME_LEN};

pub(crate) const NULL: u8 = 0x01;
pub(crate) const FALSE: u8 = 0x02;
pub(crate) const TRUE: u8 = 0x03;
pub(crate) const INT: u8 = 0x04;
pub(crate) const BIGINT: u8 = 0x05;
pub(crate) const FLOAT: u8 = 0x06;
pub(crate) const COMPLEX: u8 = 0x07;
pub(crate) const STR: u8 = 0x08;
pub(crate) const BYTES: u8 = 0x09;
pub(crate) const LIST: u8 = 0x0A;
pub(crate) const TUPLE: u8 = 0x0B;
pub(crate) const DICT: u8 = 0x0C;
pub(crate) const NAMED: u8 = 0x0D;
pub(crate) const TENSOR: u8 = 0x0E;

/// The type name under which bytes above 64 KiB are kept in a tensor.
pub(crate) const BYTES_NAME: &str = "bytes";

/// A value up to where its items begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head<'a> {
    Null,
    Bool(bool),
    Int(i64),
    BigInt(&'a [u8]),
    Float(u64),
    Complex(u64, u64),
    Str(&'a str),
    Bytes(&'a [u8]),
    List(Items),
    Tuple(Items),
    Dict(Items),
    Named(&'a str),
    Tensor(u32),
}

/// The fields of a container: how many items follow and how many bytes they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) count: u32,
    pub(crate) len: u32,
}

/// The number of the tensor at the front of `bytes`, if a tensor is there: most values are.
#[inline]
pub(crate) fn tensor_number(bytes: &[u8]) -> Option<u32> {
    match bytes.first_chunk() {
        Some(&[TENSOR, a, b, c, d]) => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

/// Parses tag and fields of one value; the rest begins at its first item, if it has items.
pub(crate) fn head(input: Input<'_>) -> Parsed<'_, Head<'_>> {
    if let Some(number) = tensor_number(input.bytes) {
        return Ok((nom::Input::take_from(&input, 5), Head::Tensor(number)));
    }
    let (rest, tag) = u8(input)?;
    match tag {
        NULL => Ok((rest, Head::Null)),
        FALSE => Ok((rest, Head::Bool(false))),
        TRUE => Ok((rest, Head::Bool(true))),
        INT => i64.map(Head::Int).parse(rest),
        BIGINT => bigint(rest),
        FLOAT => u64.map(Head::Float).parse(rest),
        COMPLEX => (u64, u64).map(|(re, im)| Head::Complex(re, im)).parse(rest),
        STR => string.map(Head::Str).parse(rest),
        BYTES => bytes(rest),
        LIST => items(1).map(Head::List).parse(rest),
        TUPLE => items(1).map(Head::Tuple).parse(rest),
        DICT => items(6).map(Head::Dict).parse(rest),
        NAMED => named(rest),
        TENSOR => u32.map(Head::Tensor).parse(rest),
        _ => refuse(Error::at(Code::ValueTag, input.offset, format!("value tag {tag:#04x} is not defined"))),
    }
}

fn bigint(input: Input<'_>) -> Parsed<'_, Head<'_>> {
    let (rest, len) = u32(input)?;
    if u64::from(len) > crate::bytes::from_usize(MAX_BIGINT_BYTES) {
        return refuse(Error::at(Code::BigintLimit, input.offset, format!("a big int takes {len} bytes, the most is {MAX_BIGINT_BYTES}")));
    }
    let wrong = || Error::at(Code::ValueBigint, input.offset, format!("a big int of {len} bytes is not minimal or fits 64 bits"));
    if len <= 8 {
        return refuse(wrong());
    }
    let (rest, digits) = slice(len).parse(rest)?;
    if minimal(digits).len() != digits.len() {
        return refuse(wrong());
    }
    Ok((rest, Head::BigInt(digits)))
}

/// Two's complement little-endian without the bytes that only repeat the sign.
pub(crate) fn minimal(mut digits: &[u8]) -> &[u8] {
    while let [head @ .., below, top] = digits {
        let sign_only = (*top == 0 && below & 0x80 == 0) || (*top == 0xFF && below & 0x80 != 0);
        if !sign_only {
            break;
        }
        digits = &digits[..head.len() + 1];
    }
    digits
}

fn string(input: Input<'_>) -> Parsed<'_, &str> {
    let (after, len) = u32(input)?;
    let (rest, bytes) = slice(len).parse(after)?;
    Ok((rest, text(bytes, after.offset).or_else(refuse)?))
}

/// The text that `bytes`, which begin at `offset` of the file, spell.
fn text(bytes: &[u8], offset: u64) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let at = offset + crate::bytes::from_usize(e.valid_up_to());
        Error::at(Code::ValueUtf8, at, "a string is not UTF-8")
    })
}

/// Refuses `bytes`, which begin at `offset` of the file, if they are not text. Most are ASCII, which is told faster.
pub(crate) fn check_text(bytes: &[u8], offset: u64) -> Result<()> {
    if bytes.is_ascii() { Ok(()) } else { text(bytes, offset).map(drop) }
}

fn bytes(input: Input<'_>) -> Parsed<'_, Head<'_>> {
    let (rest, len) = u32(input)?;
    if table_index(len) > MAX_INLINE_BYTES {
        let detail = format!("a bytes value takes {len} bytes, the most is {MAX_INLINE_BYTES}; longer ones are a tensor named `bytes`");
        return refuse(Error::at(Code::BytesLimit, input.offset, detail));
    }
    slice(len).map(Head::Bytes).parse(rest)
}

/// Count and byte length of a container whose items take at least `least` bytes each.
fn items<'a>(least: u64) -> impl FnMut(Input<'a>) -> Parsed<'a, Items> {
    move |input| {
        let (rest, (count, len)) = (u32, u32).parse(input)?;
        if u64::from(count) * least > u64::from(len) {
            let detail = format!("a container claims {count} items in {len} bytes");
            return refuse(Error::at(Code::ValueLength, input.offset, detail));
        }
        slice(len).parse(rest)?;
        Ok((rest, Items { count, len }))
    }
}

fn named(input: Input<'_>) -> Parsed<'_, Head<'_>> {
    let (rest, len) = u32(input)?;
    if table_index(len) > MAX_NAME_LEN {
        return refuse(Error::at(Code::NamedName, input.offset, format!("a type name takes {len} bytes, the most is {MAX_NAME_LEN}")));
    }
    let (rest, name) = slice(len).parse(rest)?;
    match type_name(name) {
        Some(name) => Ok((rest, Head::Named(name))),
        None => {
            let detail = format!("type name \"{}\" has neither form of a name", name.escape_ascii());
            refuse(Error::at(Code::NamedName, input.offset, detail))
        }
    }
}

/// A dict key as it lies in the index: its tag and its bytes (8 for an int).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawKey<'a> {
    pub(crate) tag: u8,
    pub(crate) bytes: &'a [u8],
}

impl Hash for RawKey<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.tag);
        state.write(self.bytes);
    }
}

/// Steps over one value that was parsed before: its length without a look at what it holds.
pub(crate) fn skip(input: Input<'_>) -> Parsed<'_, ()> {
    let mut rest = input;
    loop {
        let tag = rest.bytes.first().copied().unwrap_or(0);
        let stated = |at: usize| rest.bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(u32::MAX, |len| u32::from_le_bytes(*len));
        let len = match tag {
            INT | FLOAT => 9,
            COMPLEX => 17,
            TENSOR => 5,
            BIGINT | STR | BYTES | NAMED => stated(1).saturating_add(5),
            LIST | TUPLE | DICT => stated(5).saturating_add(9),
            _ => 1,
        };
        rest = take(len).parse(rest)?.0;
        if tag != NAMED {
            return Ok((rest, ()));
        }
    }
}

impl<'a> RawKey<'a> {
    /// The key at the front of `bytes` and its length with its tag, if it is all there.
    #[inline]
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (tag, start, len) = match *bytes.first_chunk::<5>()? {
            [INT, ..] => (INT, 1, 8),
            [tag @ (STR | BYTES), a, b, c, d] => (tag, 5, table_index(u32::from_le_bytes([a, b, c, d]))),
            _ => return None,
        };
        let bytes = bytes.get(start..)?.get(..len)?;
        Some((Self { tag, bytes }, start + len))
    }
}

/// Parses one dict key; whether a str key is UTF-8 is [`check_text`]'s to say, after its length was judged.
#[inline]
pub(crate) fn key(input: Input<'_>) -> Parsed<'_, RawKey<'_>> {
    match RawKey::read(input.bytes) {
        Some((key, len)) => Ok((nom::Input::take_from(&input, len), key)),
        None => refused_key(input),
    }
}

/// What keeps the key at the front of `input` from being read.
#[cold]
pub(crate) fn refused_key<T>(input: Input<'_>) -> std::result::Result<T, nom::Err<Error>> {
    let (rest, tag) = u8(input)?;
    match tag {
        INT => slice(8).parse(rest).map(drop)?,
        STR | BYTES => {
            let (rest, len) = u32(rest)?;
            slice(len).parse(rest).map(drop)?;
        }
        _ => return refuse(Error::at(Code::KeyTag, input.offset, format!("tag {tag:#04x} is not that of an int, str or bytes key"))),
    }
    refuse(Error::at(Code::IndexShort, input.offset, "a key cannot be read"))
}

pub(crate) fn put_int(out: &mut Vec<u8>, n: i64) {
    out.push(INT);
    out.extend_from_slice(&n.to_le_bytes());
}

pub(crate) fn put_float(out: &mut Vec<u8>, x: f64) {
    out.push(FLOAT);
    out.extend_from_slice(&x.to_bits().to_le_bytes());
}

pub(crate) fn put_complex(out: &mut Vec<u8>, re: f64, im: f64) {
    out.push(COMPLEX);
    out.extend_from_slice(&re.to_bits().to_le_bytes());
    out.extend_from_slice(&im.to_bits().to_le_bytes());
}

/// A big int, a str, bytes or the name of a named value: tag, length, bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> Result<()> {
    out.push(tag);
    put_u32(out, to_u32(bytes.len(), "a value")?);
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn put_tensor(out: &mut Vec<u8>, number: u32) {
    out.push(TENSOR);
    put_u32(out, number);
}

/// Changes the number of the tensor value that begins at byte `at` of `out`.
pub(crate) fn set_tensor(out: &mut [u8], at: u32, number: u32) {
    if let Some(place) = out.get_mut(table_index(at)..).and_then(|value| value.get_mut(1..5)) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

/// Begins a container; [`end_container`] fills in the byte length.
pub(crate) fn begin_container(out: &mut Vec<u8>, tag: u8, count: usize) -> Result<usize> {
    out.push(tag);
    put_u32(out, to_u32(count, "items of a container")?);
    put_u32(out, 0);
    Ok(out.len())
}

/// Ends the container whose items began at `start`.
pub(crate) fn end_container(out: &mut [u8], start: usize) -> Result<()> {
    let len = to_u32(out.len() - start, "bytes of a container")?;
    out[start - 4..start].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::finish;

    fn parse(bytes: &[u8]) -> Result<String> {
        finish(head(Input::new(bytes, 0))).map(|(rest, head)| format!("{head:?} {}", rest.bytes.len()))
    }

    #[test]
    fn keys_that_are_cut_off() {
        let refused = |bytes: &[u8]| {
            let error = finish(key(Input::new(bytes, 10))).unwrap_err();
            (error.code(), error.offset().unwrap())
        };
        assert_eq!(refused(&[]), (Code::IndexShort, 10));
        assert_eq!(refused(&[INT, 1, 2, 3, 4, 5, 6, 7]), (Code::IndexShort, 11));
        assert_eq!(refused(&[STR, 4, 0, 0]), (Code::IndexShort, 11));
        assert_eq!(refused(&[BYTES, 4, 0, 0, 0, 1, 2, 3]), (Code::IndexShort, 15));
        assert_eq!(refused(&[TENSOR, 0, 0, 0, 0]), (Code::KeyTag, 10));
    }

    #[test]
    fn scalars_round_trip() {
        let mut out = Vec::new();
        put_int(&mut out, -2);
        assert_eq!(parse(&out).unwrap(), "Int(-2) 0");
        out.clear();
        put_float(&mut out, f64::from_bits(0x7FF8_0000_0000_0001));
        assert_eq!(parse(&out).unwrap(), "Float(9221120237041090561) 0");
        out.clear();
        put_complex(&mut out, 0.0, -0.0);
        assert_eq!(parse(&out).unwrap(), format!("Complex(0, {}) 0", 1u64 << 63));
        out.clear();
        put_bytes(&mut out, STR, "é".as_bytes()).unwrap();
        assert_eq!(parse(&out).unwrap(), "Str(\"é\") 0");
        out.clear();
        put_tensor(&mut out, 7);
        assert_eq!(parse(&out).unwrap(), "Tensor(7) 0");
    }

    #[test]
    fn containers_round_trip() {
        let mut out = Vec::new();
        let start = begin_container(&mut out, LIST, 2).unwrap();
        out.extend([NULL, TRUE]);
        end_container(&mut out, start).unwrap();
        assert_eq!(parse(&out).unwrap(), "List(Items { count: 2, len: 2 }) 2");
    }

    #[test]
    fn minimal_drops_sign_bytes_only() {
        assert_eq!(minimal(&[1, 0, 0]), [1]);
        assert_eq!(minimal(&[0x80, 0]), [0x80, 0]);
        assert_eq!(minimal(&[0x80, 0xFF, 0xFF]), [0x80]);
        assert_eq!(minimal(&[0xFF, 0xFF]), [0xFF]);
    }

    #[test]
    fn undefined_tags() {
        for tag in std::iter::once(0).chain(0x0F..=0xFF) {
            assert_eq!(parse(&[tag; 16]).unwrap_err().code(), Code::ValueTag);
        }
    }
}
