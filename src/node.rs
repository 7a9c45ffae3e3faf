//! Values where they lie: [`ValueRef`] decodes the index on demand and builds nothing.

use crate::address::{self, Step};
use crate::bytes::{Input, finish, table_index};
use crate::error::{Code, Error, Result};
use crate::keys::Key;
use crate::read::{Cairn, TensorRef};
use crate::tree::BigInt;
use crate::value::{self, Head, Items, RawKey};

/// A value in an open file.
#[derive(Clone, Copy)]
pub struct ValueRef<'c> {
    pub(crate) cairn: &'c Cairn<'c>,
    /// Offset of the tag in the index.
    at: u32,
}

/// What a [`ValueRef`] is; items stay references.
#[derive(Clone, Debug)]
pub enum Node<'c> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A larger integer.
    BigInt(BigInt),
    /// A float.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// Text, as it lies in the index.
    Str(&'c str),
    /// Bytes of at most 64 KiB, as they lie in the index.
    Bytes(&'c [u8]),
    /// Bytes above 64 KiB: a u8 vector.
    LongBytes(TensorRef<'c>),
    /// A list and its length.
    List(usize),
    /// A tuple and its length.
    Tuple(usize),
    /// A dict and its length.
    Dict(usize),
    /// A value with a type name.
    Named(&'c str, ValueRef<'c>),
    /// A tensor.
    Tensor(TensorRef<'c>),
}

/// The place of an item in its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A list or tuple position.
    Position(usize),
    /// A dict key.
    Key(Key),
}

impl Place {
    /// Appends the token of this place to an address.
    pub fn push_to(&self, address: &mut String) {
        match self {
            Self::Position(n) => address::push_position(address, *n),
            Self::Key(key) => address::push_key(address, key),
        }
    }
}

impl<'c> ValueRef<'c> {
    pub(crate) fn new(cairn: &'c Cairn<'c>, at: u32) -> Self {
        Self { cairn, at }
    }

    pub(crate) fn is_root(self) -> bool {
        self.at == self.cairn.index.root
    }

    fn input(self) -> Input<'c> {
        Input::new(&self.cairn.index_bytes()[table_index(self.at)..], self.at.into())
    }

    /// The head of a value that `open` has walked.
    fn head(self) -> Result<(Input<'c>, Head<'c>)> {
        finish(value::head(self.input()))
    }

    fn at(self, input: Input<'c>) -> Self {
        Self { at: u32::try_from(input.offset).unwrap_or(u32::MAX), ..self }
    }

    /// What the value is.
    ///
    /// # Errors
    /// None for a file that `open` accepted.
    pub fn node(self) -> Result<Node<'c>> {
        let (rest, head) = self.head()?;
        Ok(match head {
            Head::Null => Node::Null,
            Head::Bool(b) => Node::Bool(b),
            Head::Int(n) => Node::Int(n),
            Head::BigInt(digits) => Node::BigInt(BigInt::from_minimal(digits)),
            Head::Float(bits) => Node::Float(f64::from_bits(bits)),
            Head::Complex(re, im) => Node::Complex(f64::from_bits(re), f64::from_bits(im)),
            Head::Str(text) => Node::Str(text),
            Head::Bytes(bytes) => Node::Bytes(bytes),
            Head::List(items) => Node::List(table_index(items.count)),
            Head::Tuple(items) => Node::Tuple(table_index(items.count)),
            Head::Dict(items) => Node::Dict(table_index(items.count)),
            Head::Named(name) => self.named(name, rest)?,
            Head::Tensor(number) => Node::Tensor(TensorRef::new(self.cairn, number)),
        })
    }

    fn named(self, name: &'c str, rest: Input<'c>) -> Result<Node<'c>> {
        let value = self.at(rest);
        match (name, value.head()?.1) {
            (value::BYTES_NAME, Head::Tensor(number)) => Ok(Node::LongBytes(TensorRef::new(self.cairn, number))),
            _ => Ok(Node::Named(name, value)),
        }
    }

    /// The items of a list, tuple or dict with their places; of a named value, those of its value. Nothing for the
    /// rest.
    pub fn items(self) -> impl Iterator<Item = (Place, ValueRef<'c>)> {
        self.raw_items().enumerate().map(|(i, (key, item))| (key.map_or(Place::Position(i), |key| Place::Key(key.into())), item))
    }

    /// The same items, with the keys of a dict as they lie in the index.
    pub(crate) fn raw_items(self) -> impl Iterator<Item = (Option<RawKey<'c>>, ValueRef<'c>)> {
        let (mut rest, items, dict) = self.container().unwrap_or((self.input(), Items { count: 0, len: 0 }, false));
        (0..items.count).map_while(move |_| {
            let mut key = None;
            if dict {
                let (after, found) = finish(value::key(rest)).ok()?;
                (rest, key) = (after, Some(found));
            }
            let item = self.at(rest);
            rest = finish(value::skip(rest)).ok()?.0;
            Some((key, item))
        })
    }

    /// Steps through names to a container: its first item, its fields, and whether it is a dict.
    fn container(self) -> Option<(Input<'c>, Items, bool)> {
        let (rest, head) = self.head().ok()?;
        match head {
            Head::List(items) | Head::Tuple(items) => Some((rest, items, false)),
            Head::Dict(items) => Some((rest, items, true)),
            Head::Named(_) => self.at(rest).container(),
            _ => None,
        }
    }

    /// The item of a dict at `key`.
    pub fn get(self, key: impl Into<Key>) -> Option<ValueRef<'c>> {
        self.find(&key.into())
    }

    fn find(self, key: &Key) -> Option<ValueRef<'c>> {
        let dict = self.unnamed().ok()?;
        let index = self.cairn.index_bytes();
        let at = key.with_raw(|raw| self.cairn.index.keys.find(index, dict.at, raw));
        match at {
            Some(found) => {
                let entry = Self { at: found?, ..self };
                let (after_key, _) = finish(value::key(entry.input())).ok()?;
                Some(self.at(after_key))
            }
            None => key.with_raw(|raw| dict.raw_items().find(|(key, _)| *key == Some(raw)).map(|(_, item)| item)),
        }
    }

    fn unnamed(self) -> Result<Self> {
        match self.head()? {
            (rest, Head::Named(_)) => self.at(rest).unnamed(),
            _ => Ok(self),
        }
    }

    /// The value at `address`, relative to this one.
    ///
    /// # Errors
    /// `address` if it is not a JSON Pointer, `not-found` if nothing is there.
    pub fn at_address(self, address: &str) -> Result<ValueRef<'c>> {
        let mut value = self;
        for token in address::tokens(address)? {
            value = value.step(token)?.ok_or_else(|| Error::new(Code::NotFound, format!("nothing is at {address:?}")))?;
        }
        Ok(value)
    }

    fn step(self, token: &str) -> Result<Option<ValueRef<'c>>> {
        let key = address::key(token)?;
        let Some((_, _, dict)) = self.container() else { return Ok(None) };
        let step = if dict { Some(Step::Key(key)) } else { address::position(token).map(Step::Position) };
        Ok(match step {
            Some(Step::Key(key)) => self.find(&key),
            Some(Step::Position(n)) => self.raw_items().nth(n).map(|(_, item)| item),
            None => None,
        })
    }

    /// Calls `visit` with the address and the value of everything from here down, in order; `address` is this one's.
    ///
    /// # Errors
    /// The first one `visit` returns.
    pub fn visit(self, address: &mut String, visit: &mut dyn FnMut(&str, ValueRef<'c>) -> Result<()>) -> Result<()> {
        visit(address, self)?;
        for (position, (key, item)) in self.raw_items().enumerate() {
            let len = address.len();
            match key {
                Some(key) => address::push_raw_key(address, key),
                None => address::push_position(address, position),
            }
            item.visit(address, visit)?;
            address.truncate(len);
        }
        Ok(())
    }
}

impl std::fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "value at byte {} of the index", self.at)
    }
}
