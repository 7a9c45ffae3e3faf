//! Elements as numbers, exact, for tools that print or compare them. `Spec §10`.

use std::fmt;

use half::{bf16, f16};

use crate::dtype::{DType, GroupClass};

/// One element, in the widest type of its kind: no value of a registered dtype is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An element of `bool`.
    Bool(bool),
    /// An element of a signed integer type.
    Int(i64),
    /// An element of an unsigned integer type.
    UInt(u64),
    /// An element of a float type.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
}

/// Floats always with a point, an exponent or a word, so that they differ from integers; complex as `1.0-2.5j`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => fmt::Display::fmt(b, f),
            Self::Int(n) => fmt::Display::fmt(n, f),
            Self::UInt(n) => fmt::Display::fmt(n, f),
            Self::Float(x) => fmt::Debug::fmt(x, f),
            Self::Complex(re, im) if im.is_nan() => write!(f, "{re:?}+NaNj"),
            Self::Complex(re, im) => write!(f, "{re:?}{im:+?}j"),
        }
    }
}

/// Element `index` of the row-major bytes of a tensor. `None` for block types, for types this crate does not know,
/// and past the end of the bytes.
///
/// ```
/// use cairnfile::{DType, element::{Number, decode}};
/// assert_eq!(decode(&DType::F16, &[0, 0x3C], 0), Some(Number::Float(1.0)));
/// assert_eq!(decode(&DType::I4, &[0xF1], 1), Some(Number::Int(-1)));
/// assert_eq!(decode(&DType::F8_E4M3FN, &[0x7E], 0).unwrap().to_string(), "448.0");
/// ```
pub fn decode(dtype: &DType, row_major: &[u8], index: u64) -> Option<Number> {
    if !dtype.is_registered() {
        return None;
    }
    match dtype.geometry().class {
        GroupClass::Scalar => scalar(dtype, row_major, index),
        GroupClass::Packed => packed(dtype, row_major, index),
        GroupClass::Block => None,
    }
}

fn scalar(dtype: &DType, row_major: &[u8], index: u64) -> Option<Number> {
    let width = usize::try_from(dtype.geometry().bytes).ok()?;
    let start = usize::try_from(index).ok()?.checked_mul(width)?;
    let bytes = row_major.get(start..start.checked_add(width)?)?;
    match dtype.name() {
        "bool" => bytes.first().map(|b| Number::Bool(*b != 0)),
        "i8" | "i16" | "i32" | "i64" => Some(Number::Int(signed(bits(bytes), dtype.geometry().bytes * 8))),
        "u8" | "u16" | "u32" | "u64" => Some(Number::UInt(bits(bytes))),
        "c32" | "c64" | "c128" => {
            let (re, im) = bytes.split_at(width / 2);
            Some(Number::Complex(float(re)?, float(im)?))
        }
        "f16" | "f32" | "f64" => float(bytes).map(Number::Float),
        "bf16" => bytes.first_chunk().map(|b| Number::Float(bf16::from_le_bytes(*b).to_f64())),
        name => minifloat(name).map(|m| Number::Float(m.decode(bits(bytes)))),
    }
}

/// Element `index` of a sequence of elements from the low bits of little-endian groups.
fn packed(dtype: &DType, row_major: &[u8], index: u64) -> Option<Number> {
    let geometry = dtype.geometry();
    let (width, elements) = (geometry.element_bits()?, u64::from(geometry.elements));
    let bytes = usize::try_from(geometry.bytes).ok()?;
    let start = usize::try_from(index / elements).ok()?.checked_mul(bytes)?;
    let group = row_major.get(start..start.checked_add(bytes)?)?;
    let at = u32::try_from(index % elements).ok()? * width;
    let element = bits(group) >> at & ((1 << width) - 1);
    match dtype.name() {
        "i1" | "i2" | "i4" => Some(Number::Int(signed(element, width))),
        "u1" | "u2" | "u4" => Some(Number::UInt(element)),
        name => minifloat(name).map(|m| Number::Float(m.decode(element))),
    }
}

/// At most eight little-endian bytes.
fn bits(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Two's complement of `width` bits, 1 to 64.
fn signed(bits: u64, width: u32) -> i64 {
    (bits << (64 - width)).cast_signed() >> (64 - width)
}

/// An IEEE float of the length of `bytes`.
fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        2 => bytes.first_chunk().map(|b| f16::from_le_bytes(*b).to_f64()),
        4 => bytes.first_chunk().map(|b| f32::from_le_bytes(*b).into()),
        8 => bytes.first_chunk().map(|b| f64::from_le_bytes(*b)),
        _ => None,
    }
}

/// What the codes that IEEE keeps for infinities and NaNs mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// All exponent bits set: infinity, or NaN with a mantissa.
    Ieee,
    /// No infinities; NaN is all bits but the sign set.
    Fn,
    /// Neither infinities nor NaN.
    Finite,
    /// No infinities, no negative zero; its code is NaN.
    Fnuz,
    /// No sign and no zero; NaN is all bits set.
    Unsigned,
}

/// A float of at most eight bits: sign, exponent, mantissa from the top.
#[derive(Clone, Copy)]
struct Minifloat {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    flavour: Flavour,
}

const fn mini(exponent: u32, mantissa: u32, bias: i32, flavour: Flavour) -> Option<Minifloat> {
    Some(Minifloat { exponent, mantissa, bias, flavour })
}

/// The parameters of `ml_dtypes`, whose names these are.
fn minifloat(name: &str) -> Option<Minifloat> {
    match name {
        "f8_e3m4" => mini(3, 4, 3, Flavour::Ieee),
        "f8_e4m3" => mini(4, 3, 7, Flavour::Ieee),
        "f8_e4m3b11fnuz" => mini(4, 3, 11, Flavour::Fnuz),
        "f8_e4m3fn" => mini(4, 3, 7, Flavour::Fn),
        "f8_e4m3fnuz" => mini(4, 3, 8, Flavour::Fnuz),
        "f8_e5m2" => mini(5, 2, 15, Flavour::Ieee),
        "f8_e5m2fnuz" => mini(5, 2, 16, Flavour::Fnuz),
        "f8_e8m0fnu" => mini(8, 0, 127, Flavour::Unsigned),
        "f6_e2m3fn" => mini(2, 3, 1, Flavour::Finite),
        "f6_e3m2fn" => mini(3, 2, 3, Flavour::Finite),
        "f4_e2m1fn" => mini(2, 1, 1, Flavour::Finite),
        _ => None,
    }
}

impl Minifloat {
    fn decode(self, bits: u64) -> f64 {
        let ones = |n: u32| (1u64 << n) - 1;
        let (exponent, mantissa) = (bits >> self.mantissa & ones(self.exponent), bits & ones(self.mantissa));
        let negative = self.flavour != Flavour::Unsigned && bits >> (self.exponent + self.mantissa) & 1 == 1;
        let (top, full) = (exponent == ones(self.exponent), mantissa == ones(self.mantissa));
        let magnitude = match self.flavour {
            Flavour::Ieee if top && mantissa == 0 => f64::INFINITY,
            Flavour::Ieee if top => return f64::NAN,
            Flavour::Fn | Flavour::Unsigned if top && full => return f64::NAN,
            Flavour::Fnuz if negative && exponent == 0 && mantissa == 0 => return f64::NAN,
            _ => self.finite(exponent, mantissa),
        };
        if negative { -magnitude } else { magnitude }
    }

    fn finite(self, exponent: u64, mantissa: u64) -> f64 {
        // At most 255: both conversions are exact.
        let (exponent, fraction) = (i32::try_from(exponent).unwrap_or(0), f64::from(u32::try_from(mantissa).unwrap_or(0)));
        let one = f64::from(1u32 << self.mantissa);
        if exponent == 0 && self.flavour != Flavour::Unsigned {
            return fraction / one * 2f64.powi(1 - self.bias);
        }
        (1.0 + fraction / one) * 2f64.powi(exponent - self.bias)
    }
}

#[cfg(test)]
mod tests;
