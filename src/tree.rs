//! Values in memory: what is saved and what comes back.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;

use crate::dtype::type_name;
use crate::error::{Code, Error, Result};
use crate::hash::KeyedState;
use crate::keys::Key;
use crate::limits::MAX_BIGINT_BYTES;
use crate::memory;
use crate::tensor::Tensor;
use crate::value;

/// Any value Cairn can keep.
///
/// Equality is exact: floats by their bits, dicts with their order, tensors with dtype, shape, layout and bytes.
///
/// ```
/// use cairnfile::{Dict, Tensor, Value};
/// let mut state = Dict::new();
/// state.insert("step", 1000i64);
/// state.insert("weight", Tensor::from_vec(&[2], vec![0.5f32, 1.5]).unwrap());
/// state.insert(0i64, Value::Null);
/// let value = Value::from(state);
/// let bytes = cairnfile::to_bytes(&value, &cairnfile::WriteOptions::new()).unwrap();
/// assert_eq!(cairnfile::Cairn::from_bytes(&bytes).unwrap().load().unwrap(), value);
/// ```
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Nothing: `None`, `null`, `nil`.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// An integer that needs more than 64 bits.
    BigInt(BigInt),
    /// A 64-bit float; its bits are kept, NaN payloads and −0 too.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// Text.
    Str(Cow<'a, str>),
    /// Raw bytes of any length.
    Bytes(Cow<'a, [u8]>),
    /// A list.
    List(Vec<Value<'a>>),
    /// A tuple.
    Tuple(Vec<Value<'a>>),
    /// A dict, in insertion order.
    Dict(Dict<'a>),
    /// A value with the name of the type it came from.
    Named(Named<'a>),
    /// A tensor.
    Tensor(Tensor<'a>),
}

impl Value<'_> {
    /// The integer with these two's complement little-endian digits: [`Value::Int`] if 64 bits hold it.
    ///
    /// # Errors
    /// `bigint-limit` above 8192 bytes.
    pub fn integer(digits: &[u8]) -> Result<Self> {
        let digits = value::minimal(digits);
        if digits.len() <= 8 {
            let sign = if digits.last().is_some_and(|b| b & 0x80 != 0) { 0xFF } else { 0 };
            let mut bytes = [sign; 8];
            bytes[..digits.len()].copy_from_slice(digits);
            return Ok(Self::Int(i64::from_le_bytes(bytes)));
        }
        if digits.len() > MAX_BIGINT_BYTES {
            return Err(Error::new(Code::BigintLimit, format!("an integer takes {} bytes, the most is {MAX_BIGINT_BYTES}", digits.len())));
        }
        Ok(Self::BigInt(BigInt(digits.to_vec())))
    }

    /// One word for what the value is: `null`, `bool`, `int`, `float`, `complex`, `str`, `bytes`, `list`, `tuple`,
    /// `dict`, `named` or `tensor`.
    pub fn type_word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(..) => "complex",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Named(_) => "named",
            Self::Tensor(_) => "tensor",
        }
    }
}

impl<'a> Value<'a> {
    /// The tensor, if this is one.
    pub fn as_tensor(&self) -> Option<&Tensor<'a>> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The dict, if this is one.
    pub fn as_dict(&self) -> Option<&Dict<'a>> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::BigInt(a), Self::BigInt(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Complex(a, b), Self::Complex(c, d)) => (a.to_bits(), b.to_bits()) == (c.to_bits(), d.to_bits()),
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            (Self::Named(a), Self::Named(b)) => a == b,
            (Self::Tensor(a), Self::Tensor(b)) => a == b,
            _ => false,
        }
    }
}

/// An integer outside 64 bits; made by [`Value::integer`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigInt(Vec<u8>);

impl BigInt {
    /// Two's complement little-endian digits, minimal, 9 to 8192 of them.
    pub fn to_le_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_minimal(digits: &[u8]) -> Self {
        Self(digits.to_vec())
    }
}

/// Hexadecimal with a sign: exact and cheap at any size.
impl fmt::Display for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let negative = self.0.last().is_some_and(|b| b & 0x80 != 0);
        let mut carry = true;
        let magnitude: Vec<u8> = self.0.iter().map(|b| if negative { negate(*b, &mut carry) } else { *b }).collect();
        f.write_str(if negative { "-0x" } else { "0x" })?;
        let mut digits = magnitude.iter().rev().skip_while(|b| **b == 0);
        if let Some(first) = digits.next() {
            write!(f, "{first:x}")?;
        }
        digits.try_for_each(|b| write!(f, "{b:02x}"))
    }
}

fn negate(b: u8, carry: &mut bool) -> u8 {
    let (n, overflow) = (!b).overflowing_add(u8::from(*carry));
    *carry = overflow;
    n
}

impl fmt::Debug for BigInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value with the name of the type it came from, such as `ordered_dict`. Data and a name, never code.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<'a> {
    name: String,
    value: Box<Value<'a>>,
}

impl<'a> Named<'a> {
    /// The registered names that a writer may use, see SPEC.md §9.5. (`bytes` is spelled [`Value::Bytes`].)
    pub const REGISTERED: &'static [&'static str] =
        &["numpy_scalar", "ordered_dict", "counter", "default_dict", "named_tuple", "torch_size", "enum", "dtype", "torch_device"];

    /// Names `value`: a name of [`Named::REGISTERED`], or a private one of visible ASCII with a dot.
    ///
    /// # Errors
    /// `named-name` for any other name; `named-bytes` for the name `bytes`, which [`Value::Bytes`] spells.
    pub fn new(name: &str, value: Value<'a>) -> Result<Self> {
        let known = name.contains('.') || name == value::BYTES_NAME || Self::REGISTERED.contains(&name);
        if !known || type_name(name.as_bytes()).is_none() {
            return Err(Error::new(
                Code::NamedName,
                format!("{name:?} is not a registered type name; a private one is visible ASCII with a dot"),
            ));
        }
        if name == value::BYTES_NAME {
            return Err(Error::new(Code::NamedBytes, "the name `bytes` belongs to bytes values"));
        }
        Ok(Self::carried(name, value))
    }

    /// A name that was read; one that was registered after this crate was made is carried.
    pub(crate) fn carried(name: &str, value: Value<'a>) -> Self {
        Self { name: name.to_owned(), value: Box::new(value) }
    }

    /// The type's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// Name and value.
    pub fn into_parts(self) -> (String, Value<'a>) {
        (self.name, *self.value)
    }
}

/// A dict that keeps insertion order; equality compares the order too.
#[derive(Clone, Debug, Default)]
pub struct Dict<'a>(IndexMap<Key, Value<'a>, KeyedState>);

impl<'a> Dict<'a> {
    /// An empty dict.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty dict with room for `n` entries.
    pub fn with_capacity(n: usize) -> Self {
        let entries = IndexMap::with_capacity_and_hasher(n, KeyedState);
        memory::prefer_huge(std::ptr::from_ref(entries.as_slice()).cast::<(usize, Key, Value<'_>)>(), n);
        Self(entries)
    }

    /// Adds or replaces an entry; a replaced one keeps its place. Returns the value that was there.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Value<'a>>) -> Option<Value<'a>> {
        self.0.insert(key.into(), value.into())
    }

    /// The value at `key`.
    pub fn get(&self, key: impl Into<Key>) -> Option<&Value<'a>> {
        self.0.get(&key.into())
    }

    /// Entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Value<'a>)> + DoubleEndedIterator {
        self.0.iter()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Dict<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> IntoIterator for Dict<'a> {
    type Item = (Key, Value<'a>);
    type IntoIter = indexmap::map::IntoIter<Key, Value<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K: Into<Key>, V: Into<Value<'a>>> FromIterator<(K, V)> for Dict<'a> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

macro_rules! from {
    ($($from:ty, $x:ident => $value:expr;)*) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from($x: $from) -> Self {
                $value
            }
        })*
    };
}

from! {
    bool, x => Self::Bool(x);
    i64, x => Self::Int(x);
    i32, x => Self::Int(x.into());
    u32, x => Self::Int(x.into());
    f64, x => Self::Float(x);
    &'a str, x => Self::Str(Cow::Borrowed(x));
    String, x => Self::Str(Cow::Owned(x));
    &'a [u8], x => Self::Bytes(Cow::Borrowed(x));
    Vec<u8>, x => Self::Bytes(Cow::Owned(x));
    Vec<Value<'a>>, x => Self::List(x);
    Dict<'a>, x => Self::Dict(x);
    Named<'a>, x => Self::Named(x);
    Tensor<'a>, x => Self::Tensor(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form() {
        assert_eq!(Value::integer(&[5, 0, 0]).unwrap(), Value::Int(5));
        assert_eq!(Value::integer(&[]).unwrap(), Value::Int(0));
        assert_eq!(Value::integer(&[0xFF; 30]).unwrap(), Value::Int(-1));
        let big = Value::integer(&(1i128 << 63).to_le_bytes()).unwrap();
        assert_eq!(format!("{big:?}"), "BigInt(0x8000000000000000)");
        let negative = Value::integer(&(-(1i128 << 63) - 1).to_le_bytes()).unwrap();
        assert_eq!(format!("{negative:?}"), "BigInt(-0x8000000000000001)");
        assert!(Value::integer(&[1; 8192]).is_ok() && Value::integer(&[1; 8193]).is_err());
    }

    #[test]
    fn what_a_value_is() {
        let tensor = Tensor::from_vec(&[1], vec![1u8]).unwrap();
        let dict = Dict::from_iter([("a", 1), ("b", 2)]);
        assert_eq!((dict.get("b"), dict.get("c"), dict.get(1)), (Some(&Value::Int(2)), None, None));
        assert!(!dict.is_empty() && Dict::default().is_empty());
        assert_eq!(dict.clone().into_iter().collect::<Vec<_>>(), [(Key::from("a"), Value::Int(1)), (Key::from("b"), Value::Int(2))]);
        let values =
            [Value::Null, true.into(), 1.into(), 0.5.into(), "s".into(), vec![0u8].into(), Value::List(vec![]), dict.clone().into()];
        let words = ["null", "bool", "int", "float", "str", "bytes", "list", "dict"];
        assert_eq!(values.each_ref().map(Value::type_word), words);
        assert_eq!(values.each_ref().map(Value::as_dict), [[None; 7].as_slice(), &[Some(&dict)]].concat()[..]);
        let others = [Value::Complex(0.0, 1.0), Value::Tuple(vec![]), Value::integer(&[1; 9]).unwrap(), tensor.into()];
        assert_eq!(others.map(|value| value.type_word()), ["complex", "tuple", "int", "tensor"]);
        assert_eq!(Value::Named(Named::new("a.b", Value::Null).unwrap()).type_word(), "named");
    }

    #[test]
    fn equality_is_exact() {
        assert_ne!(Value::Float(0.0), Value::Float(-0.0));
        assert_eq!(Value::Float(f64::NAN), Value::Float(f64::NAN));
        assert_ne!(Value::List(vec![]), Value::Tuple(vec![]));
        let (ab, ba) = (Dict::from_iter([("a", 1), ("b", 2)]), Dict::from_iter([("b", 2), ("a", 1)]));
        assert_ne!(ab, ba);
    }
}
