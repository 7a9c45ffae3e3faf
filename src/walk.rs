//! One pass over metadata and root that checks every rule on values, and builds nothing but the key tables.
//! `Spec §7.9, §9, §12`.

use nom::Parser;
use nom::bytes::complete::take;

use crate::bytes::{Input, Parsed, finish, refuse};
use crate::error::{Code, Error, Result};
use crate::keys::KeyTables;
use crate::limits::{MAX_DEPTH, MAX_PATH_LEN};
use crate::value::{self, BYTES_NAME, Head, Items, RawKey, STR};

/// What the walk asks about tensors, whose entries can be read but may break rules of their own.
pub(crate) trait Tensors {
    /// How many tensors the table has.
    fn count(&self) -> u32;
    /// Whether tensor `number` has the form that SPEC.md §9.5 demands of long bytes, but for being alone in its buffer.
    fn is_long_bytes(&self, number: u32) -> bool;
}

/// What was found: offsets of metadata and root, the key tables, the tensors that are long bytes and where, and the first
/// fault.
pub(crate) struct Walked {
    pub(crate) metadata: u32,
    pub(crate) root: u32,
    pub(crate) keys: KeyTables,
    pub(crate) long_bytes: Vec<(u32, u64)>,
    pub(crate) outcome: Result<()>,
}

/// Walks the metadata and then the root, which must end the index; `beside` is whether other cores may help.
pub(crate) fn walk(index: &[u8], input: Input<'_>, tensors: &(impl Tensors + Sync), beside: bool) -> Walked {
    let keys = KeyTables::with_room(input.bytes.len(), beside);
    let base = input.offset - crate::bytes::from_usize(index.len() - input.bytes.len());
    let mut walk = Walk { index, base, tensors, keys, next_tensor: 0, long_bytes: Vec::new(), in_metadata: true };
    let metadata = walk.at(input);
    let (root, outcome) = match walk.both(input) {
        Ok(root) => (root, Ok(())),
        Err(error) => (metadata, Err(error)),
    };
    Walked { metadata, root, keys: walk.keys, long_bytes: walk.long_bytes, outcome }
}

struct Walk<'a> {
    index: &'a [u8],
    /// Absolute offset of the index.
    base: u64,
    tensors: &'a dyn Tensors,
    keys: KeyTables,
    next_tensor: u32,
    /// Tensors that are long bytes, ascending, and where.
    long_bytes: Vec<(u32, u64)>,
    in_metadata: bool,
}

impl<'a> Walk<'a> {
    fn at(&self, input: Input<'_>) -> u32 {
        // The index is below 2^29 bytes.
        u32::try_from(input.offset - self.base).unwrap_or(u32::MAX)
    }

    /// Metadata and root; returns the offset of the root.
    fn both(&mut self, input: Input<'a>) -> Result<u32> {
        let (rest, ()) = finish(self.metadata(input)).map_err(|e| self.earlier(e))?;
        self.in_metadata = false;
        let root = self.at(rest);
        let (rest, ()) = finish(self.value(rest, 1, 0)).map_err(|e| self.earlier(e))?;
        if !rest.bytes.is_empty() {
            let detail = format!("{} bytes follow the root value in the index", rest.bytes.len());
            return Err(Error::at(Code::IndexLong, rest.offset, detail));
        }
        if self.next_tensor != self.tensors.count() {
            let detail = format!("tensor {} is in the table but not in the root", self.next_tensor);
            return Err(Error::at(Code::TensorOrder, rest.offset, detail));
        }
        self.keys.finish();
        Ok(root)
    }

    fn metadata(&mut self, input: Input<'a>) -> Parsed<'a, ()> {
        match input.bytes.first() {
            Some(&value::DICT) | None => self.value(input, 1, 0),
            Some(_) => refuse(Error::at(Code::Metadata, input.offset, "the metadata is not a dict")),
        }
    }

    fn value(&mut self, input: Input<'a>, depth: u32, path: u32) -> Parsed<'a, ()> {
        check_depth(depth, input)?;
        if let Some(number) = value::tensor_number(input.bytes) {
            self.tensor(input, number).or_else(refuse)?;
            return Ok((nom::Input::take_from(&input, 5), ()));
        }
        if let [value::NULL..=value::TRUE, ..] = input.bytes {
            return Ok((nom::Input::take_from(&input, 1), ()));
        }
        let (rest, head) = value::head(input)?;
        match head {
            Head::List(items) | Head::Tuple(items) => self.list(rest, items, depth, path),
            Head::Dict(items) => self.dict(rest, self.at(input), items, depth, path),
            Head::Named(name) if name == BYTES_NAME => self.long_bytes(rest, depth + 1),
            Head::Named(_) => self.value(rest, depth + 1, path),
            Head::Tensor(number) => {
                self.tensor(input, number).or_else(refuse)?;
                Ok((rest, ()))
            }
            _ => Ok((rest, ())),
        }
    }

    fn list(&mut self, rest: Input<'a>, items: Items, depth: u32, path: u32) -> Parsed<'a, ()> {
        let (after, mut body) = take(items.len).parse(rest)?;
        body = body.items();
        for _ in 0..items.count {
            body = self.value(body, depth + 1, path)?.0;
        }
        check_end(body)?;
        Ok((after, ()))
    }

    fn dict(&mut self, rest: Input<'a>, at: u32, items: Items, depth: u32, path: u32) -> Parsed<'a, ()> {
        let (after, mut body) = take(items.len).parse(rest)?;
        body = body.items();
        self.keys.begin();
        // Tag, count and byte length; then each key, and at least a tag for its value.
        let mut own = 9;
        for _ in 0..items.count {
            let (len, path) = self.key(body, depth, path)?;
            own += crate::bytes::from_usize(len) + 1;
            body = self.value(nom::Input::take_from(&body, len), depth + 1, path)?.0;
        }
        check_end(body)?;
        self.keys.end(self.index, at, own).or_else(|at| self.equal_keys(at))?;
        Ok((after, ()))
    }

    /// `error`, or the equal keys in front of it: keys are compared when their dict ends, which it then did not.
    #[cold]
    fn earlier(&mut self, error: Error) -> Error {
        self.keys.first_duplicate(self.index).map_or(error, |at| self.equal_key(at))
    }

    #[cold]
    fn equal_key(&self, at: u32) -> Error {
        Error::at(Code::KeyDuplicate, self.base + u64::from(at), "a dict has two equal keys; this is the second")
    }

    fn equal_keys<T>(&self, at: u32) -> std::result::Result<T, nom::Err<Error>> {
        refuse(self.equal_key(at))
    }

    /// One key: remembers it and returns its length with its tag, and the key bytes of the path including it.
    fn key(&mut self, input: Input<'a>, depth: u32, path: u32) -> std::result::Result<(usize, u32), nom::Err<Error>> {
        let other_key = matches!(input.bytes.first(), Some(&value::INT | &value::BYTES));
        if self.in_metadata && depth == 1 && other_key {
            return refuse(Error::at(Code::Metadata, input.offset, "a key of the metadata is not a str"));
        }
        // The parser's outcome is a large one; this loop is what opening a file of many tensors spends its time in.
        let Some((key, len)) = RawKey::read(input.bytes) else { return value::refused_key(input) };
        let path = u64::from(path) + crate::bytes::from_usize(key.bytes.len());
        let Some(path) = u32::try_from(path).ok().filter(|p| *p <= MAX_PATH_LEN) else {
            return refuse(Error::at(
                Code::PathLimit,
                input.offset,
                format!("the keys along a path take {path} bytes, the most is {MAX_PATH_LEN}"),
            ));
        };
        if key.tag == STR {
            value::check_text(key.bytes, input.offset + 5).or_else(refuse)?;
        }
        let at = self.at(input);
        self.keys.add(self.index, key, at).or_else(|at| self.equal_keys(at))?;
        Ok((len, path))
    }

    fn tensor(&mut self, input: Input<'_>, number: u32) -> Result<()> {
        let at = input.offset;
        if self.in_metadata {
            return Err(Error::at(Code::Metadata, at, "the metadata contains a tensor"));
        }
        if number >= self.tensors.count() {
            let detail = format!("tensor {number} is not among the {} of the table", self.tensors.count());
            return Err(Error::at(Code::TensorReference, at + 1, detail));
        }
        if number > self.next_tensor {
            let detail = format!("tensor {number} appears before tensor {}", self.next_tensor);
            return Err(Error::at(Code::TensorOrder, at + 1, detail));
        }
        if number < self.next_tensor && self.long_bytes.binary_search_by_key(&number, |(number, _)| *number).is_ok() {
            return Err(Error::at(Code::NamedBytes, at + 1, format!("tensor {number} is a bytes value and referenced again")));
        }
        self.next_tensor += u32::from(number == self.next_tensor);
        Ok(())
    }

    fn long_bytes(&mut self, input: Input<'a>, depth: u32) -> Parsed<'a, ()> {
        check_depth(depth, input)?;
        let (rest, head) = value::head(input)?;
        let Head::Tensor(number) = head else {
            return refuse(Error::at(Code::NamedBytes, input.offset, "a value named `bytes` is not a tensor"));
        };
        let first = number == self.next_tensor;
        self.tensor(input, number).or_else(refuse)?;
        if !first || !self.tensors.is_long_bytes(number) {
            return refuse(not_long_bytes(number, input.offset));
        }
        self.long_bytes.push((number, input.offset));
        Ok((rest, ()))
    }
}

/// What is wrong with tensor `number`, which a `bytes` value at `at` names.
#[cold]
pub(crate) fn not_long_bytes(number: u32, at: u64) -> Error {
    let detail = format!("tensor {number} is named `bytes`, but is not one u8 vector of its own of more than 65536 elements");
    Error::at(Code::NamedBytes, at, detail)
}

fn check_depth(depth: u32, at: Input<'_>) -> std::result::Result<(), nom::Err<Error>> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    refuse(Error::at(Code::DepthLimit, at.offset, format!("values nest deeper than {MAX_DEPTH}")))
}

fn check_end(body: Input<'_>) -> std::result::Result<(), nom::Err<Error>> {
    if body.bytes.is_empty() {
        return Ok(());
    }
    let detail = format!("a container's items end {} bytes before its byte length says", body.bytes.len());
    refuse(Error::at(Code::ValueLength, body.offset, detail))
}
