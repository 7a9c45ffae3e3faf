//! A file taken apart, as far as its own fields lead.

use super::support::raw::{self, DICT, FRAME, LIST, RawBuffer, RawDtype, RawExtension, RawFile, RawTensor, TUPLE};

/// A value taken apart; a dict's keys and values take turns.
#[derive(Clone)]
pub enum Part {
    Leaf(Vec<u8>),
    Items(u8, Vec<Part>),
    Named(Vec<u8>, Box<Part>),
}

impl Part {
    /// The whole of `bytes`, if it is a value.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        value(&mut reader, 0).filter(|_| reader.0.is_empty())
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Leaf(bytes) => bytes.clone(),
            Self::Named(name, value) => raw::named_raw(name, &value.encode()),
            Self::Items(tag, items) => {
                let body: Vec<u8> = items.iter().flat_map(Self::encode).collect();
                let count = if *tag == DICT { items.len() / 2 } else { items.len() };
                raw::container(*tag, count as u32, body.len() as u32, &body)
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn table<T>(&mut self, record: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.u32()?).map(|_| record(self)).collect()
    }
}

fn value(reader: &mut Reader<'_>, depth: usize) -> Option<Part> {
    let before = reader.0;
    let fixed = |reader: &mut Reader<'_>, n: usize| reader.take(n).map(|_| ());
    match reader.u8()? {
        1..=3 => {}
        4 | 6 => fixed(reader, 8)?,
        7 => fixed(reader, 16)?,
        14 => fixed(reader, 4)?,
        5 | 8 | 9 => {
            let len = reader.u32()? as usize;
            fixed(reader, len)?;
        }
        13 if depth < 200 => {
            let len = reader.u32()? as usize;
            return Some(Part::Named(reader.take(len)?.to_vec(), Box::new(value(reader, depth + 1)?)));
        }
        tag @ (LIST | TUPLE | DICT) if depth < 200 => {
            let (_, len) = (reader.u32()?, reader.u32()? as usize);
            let (mut body, mut items) = (Reader(reader.take(len)?), vec![]);
            while !body.0.is_empty() {
                items.push(value(&mut body, depth + 1)?);
            }
            return Some(Part::Items(tag, items));
        }
        _ => return None,
    }
    Some(Part::Leaf(before[..before.len() - reader.0.len()].to_vec()))
}

/// The parts of a file whose lengths and counts lead through it; all else about it may be wrong.
pub fn take_apart(bytes: &[u8]) -> Option<RawFile> {
    let field = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let streamed = *bytes.get(10)? & 1 == 1;
    let frame = if streamed { bytes.len().checked_sub(FRAME)? } else { 0 };
    let (start, length) = (field(frame + 24)?, field(frame + 32)?);
    let mut reader = Reader(bytes.get(start..start.checked_add(length)?)?);
    let log2_block = bytes[12].clamp(10, 23);
    let extensions = reader.table(|r| {
        let (tag, len) = (r.u32()?, r.u32()? as usize);
        let payload = r.take(len)?;
        r.take(len.next_multiple_of(8) - len)?;
        Some(RawExtension::new(tag, payload))
    })?;
    let dtypes = reader.table(|r| {
        let (elements, bytes, class, len) = (r.u32()?, r.u32()?, r.u8()?, r.u8()?);
        Some(RawDtype { elements, bytes, class, name: r.take(len.into())?.to_vec() })
    })?;
    let mut end = if streamed { FRAME } else { FRAME + length };
    let mut blocks = 0_usize;
    let buffers = {
        let records = reader.table(|r| Some((r.u64()? as usize, r.u32()?, r.u32()?)))?;
        let place = |(len, kind, owner): (usize, u32, u32)| {
            let start = end.next_multiple_of(if len >= 65_536 { 4096 } else { 64 });
            end = start.checked_add(len)?;
            blocks += len.div_ceil(1 << log2_block);
            Some(RawBuffer::of_kind(kind, owner, bytes.get(start..end)?.to_vec()))
        };
        records.into_iter().map(place).collect::<Option<Vec<_>>>()?
    };
    reader.take(blocks * 4)?;
    let tensors = reader.table(|r| {
        let (dtype, buffer, offset, rank, flags) = (r.u32()?, r.u32()?, r.u64()?, r.u8()?, r.u8()?);
        let dims = (0..rank).map(|_| r.u64()).collect::<Option<Vec<_>>>()?;
        let strides = if flags & 1 == 1 { (0..rank).map(|_| r.u64()).collect::<Option<Vec<_>>>()? } else { vec![] };
        Some(RawTensor { dtype, buffer, offset, rank: None, flags, dims, strides })
    })?;
    let metadata = value(&mut reader, 0)?.encode();
    let root = reader.0.to_vec();
    Some(RawFile { log2_block, streamed, extensions, dtypes, buffers, tensors, metadata, root, ..RawFile::new() })
}
