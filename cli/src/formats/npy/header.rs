//! The header of a .npy file: magic, version, length, and a dict literal with exactly three keys.

use super::super::{refused, unsupported};
use crate::common::Failure;

const MAGIC: &[u8] = b"\x93NUMPY";
/// The data begins at a multiple of this.
const ALIGN: usize = 64;
/// Digits for which the header leaves room, so that the first axis can grow in place.
const GROWTH_DIGITS: usize = 21;
/// Most axes of an array; NumPy itself stops at 64.
const MAX_RANK: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) descr: String,
    pub(super) fortran: bool,
    pub(super) shape: Vec<u64>,
    /// Where the data begins.
    pub(super) len: usize,
}

impl Header {
    pub(super) fn parse(file: &[u8]) -> Result<Self, Failure> {
        let cut = || refused("the .npy file ends inside its header");
        let rest = file.strip_prefix(MAGIC).ok_or_else(|| refused("not a .npy file"))?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let (len, rest) = match version {
            [1, 0] => rest.split_first_chunk().map(|(n, rest)| (u32::from(u16::from_le_bytes(*n)), rest)),
            [2 | 3, 0] => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n), rest)),
            [major, minor] => return Err(unsupported(format!("the .npy file has version {major}.{minor}, known are 1.0, 2.0 and 3.0"))),
        }
        .ok_or_else(cut)?;
        let text = usize::try_from(len).ok().and_then(|len| rest.get(..len)).ok_or_else(cut)?;
        let before = file.len() - rest.len();
        let (descr, fortran, shape) = Literal { rest: text }.header().map_err(|why| within_header(&why))?;
        Ok(Self { descr, fortran, shape, len: before + text.len() })
    }
}

/// The header of an array, spelled and padded as NumPy does.
pub(super) fn encode(descr: &str, fortran: bool, shape: &[u64]) -> Vec<u8> {
    let dims: Vec<String> = shape.iter().map(u64::to_string).collect();
    let tuple = if dims.len() == 1 { format!("({},)", dims[0]) } else { format!("({})", dims.join(", ")) };
    let fortran_order = if fortran { "True" } else { "False" };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {tuple}, }}");
    let growing = if fortran { dims.last() } else { dims.first() };
    if let Some(dim) = growing {
        text.push_str(&" ".repeat(GROWTH_DIGITS.saturating_sub(dim.len())));
    }
    // Magic, version, length, text, newline. The text is far below what a u16 counts: 64 axes, names of 255 bytes.
    let before = MAGIC.len() + 4;
    let len = (before + text.len() + 1).next_multiple_of(ALIGN) - before;
    text.push_str(&" ".repeat(len - text.len() - 1));
    text.push('\n');
    let mut header = [MAGIC, &[1, 0], &u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes()].concat();
    header.extend_from_slice(text.as_bytes());
    header
}

/// What may be wrong inside the literal.
enum Fault {
    Syntax(&'static str),
    Unsupported(&'static str),
}

fn within_header(fault: &Fault) -> Failure {
    match fault {
        Fault::Syntax(why) => refused(format!("the header of the .npy file is broken: {why}")),
        Fault::Unsupported(why) => unsupported(format!("the array cannot be kept: {why}")),
    }
}

/// The rest of a Python literal.
struct Literal<'a> {
    rest: &'a [u8],
}

impl Literal<'_> {
    /// The dict, with nothing but white space around it.
    fn header(&mut self) -> Result<(String, bool, Vec<u64>), Fault> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{', "it is not a dict")?;
        while !self.take(b'}') {
            let key = self.string()?;
            self.expect(b':', "a key is not followed by a colon")?;
            let repeated = match key.as_str() {
                "descr" => descr.replace(self.descr()?).is_some(),
                "fortran_order" => fortran.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.tuple()?).is_some(),
                _ => return Err(Fault::Syntax("it has a key other than descr, fortran_order and shape")),
            };
            if repeated {
                return Err(Fault::Syntax("a key stands there twice"));
            }
            if !self.take(b',') {
                self.expect(b'}', "the dict does not end")?;
                break;
            }
        }
        self.space();
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) if self.rest.is_empty() => Ok((descr, fortran, shape)),
            (Some(_), Some(_), Some(_)) => Err(Fault::Syntax("something follows the dict")),
            _ => Err(Fault::Syntax("descr, fortran_order or shape is missing")),
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(Fault::Syntax(why)) }
    }

    /// The dtype: only one that is a string.
    fn descr(&mut self) -> Result<String, Fault> {
        self.space();
        if matches!(self.rest.first(), Some(b'[' | b'(' | b'{')) {
            return Err(Fault::Unsupported("it is structured, of records with fields"));
        }
        self.string()
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.space();
        let (quote, rest) = match self.rest.split_first() {
            Some((quote @ (b'\'' | b'"'), rest)) => (quote, rest),
            _ => return Err(Fault::Syntax("a string is missing")),
        };
        let end = rest.iter().position(|b| b == quote).ok_or(Fault::Syntax("a string does not end"))?;
        let (text, after) = rest.split_at(end);
        if !text.iter().all(|b| b.is_ascii_graphic() && *b != b'\\') {
            return Err(Fault::Syntax("a string has a character that none of them needs"));
        }
        self.rest = &after[1..];
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn boolean(&mut self) -> Result<bool, Fault> {
        self.space();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(Fault::Syntax("fortran_order is neither True nor False"))
    }

    /// A tuple of extents, which in Python has a comma if it has one item.
    fn tuple(&mut self) -> Result<Vec<u64>, Fault> {
        self.expect(b'(', "the shape is not a tuple")?;
        let mut shape = Vec::new();
        while !self.take(b')') {
            shape.push(self.extent()?);
            if shape.len() > MAX_RANK {
                return Err(Fault::Unsupported("it has more than 64 axes"));
            }
            if !self.take(b',') {
                self.expect(b')', "the shape does not end")?;
                if shape.len() == 1 {
                    return Err(Fault::Syntax("the shape is not a tuple"));
                }
                break;
            }
        }
        Ok(shape)
    }

    /// Decimal digits, with the `L` that Python 2 put behind them.
    fn extent(&mut self) -> Result<u64, Fault> {
        self.space();
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest.strip_prefix(b"L").unwrap_or(rest);
        let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
        number.ok_or(Fault::Syntax("an extent is not a number of 64 bits"))
    }
}
