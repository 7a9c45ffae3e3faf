//! A mutator that knows the format: it takes a file apart, changes a few things, and puts it together again with right
//! lengths, places and checksums, so that one mutation is one step between files and not one step out of them.

use cairnfile::DType;

use super::support::raw::{
    self, BLOCK, DICT, FRAME, Frame, LIST, NO_BUFFER, RawBuffer, RawDtype, RawExtension, RawFile, RawTensor, SCALAR, TUPLE,
};
use super::support::resign;

/// As libFuzzer wants it: changes `data[..size]` in its room and returns the new size. `default` is libFuzzer's own
/// mutator, which gets every fourth turn.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, default: fn(&mut [u8], usize, usize) -> usize) -> usize {
    let mut dice = Dice(seed.into());
    let room = max_size.min(data.len());
    if !dice.one_in(4)
        && let Some(file) = rebuild(&data[..size], &mut dice)
        && file.len() <= room
    {
        data[..file.len()].copy_from_slice(&file);
        return file.len();
    }
    let size = default(data, size, max_size);
    if !dice.one_in(4) {
        resign(&mut data[..size]);
    }
    size
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        b ^ (b >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }

    fn pick_mut<'v, T>(&mut self, from: &'v mut [T]) -> Option<&'v mut T> {
        let n = self.below(from.len());
        from.get_mut(n)
    }

    /// Near `old`, small, or at an edge of some range.
    fn number(&mut self, old: u64) -> u64 {
        match self.below(8) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            2 => old ^ (1 << self.below(64)),
            3 => old.wrapping_mul(2),
            4 => (1_u64 << self.below(64)).wrapping_sub(self.below(2) as u64),
            5 => u64::MAX - self.below(2) as u64,
            6 => old / 2,
            _ => self.below(9) as u64,
        }
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }
}

fn rebuild(bytes: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let mut file = if dice.one_in(500) { RawFile::new() } else { take_apart(bytes)? };
    for _ in 0..=dice.below(3) {
        file = change(file, dice);
    }
    Some(file.build())
}

fn change(mut file: RawFile, dice: &mut Dice) -> RawFile {
    match dice.below(18) {
        0 => dtype(&mut file.dtypes, dice),
        1 => shuffle(&mut file.dtypes, dice),
        2 | 3 => buffer(&mut file.buffers, dice),
        4 => shuffle(&mut file.buffers, dice),
        5 | 6 => tensor(&mut file, dice),
        7 => add_tensor(&mut file, dice),
        8 => file.root = all_tensors(file.tensors.len(), dice),
        9 => extension(&mut file.extensions, dice),
        10 => file.streamed ^= true,
        11 => return frame(file, dice),
        12 => return index(file, dice),
        13 => **dice.pick_mut(&mut [&mut file.slack_before_index, &mut file.slack_before_trailer]).unwrap() = 1 << dice.below(8),
        14 => file.metadata = change_value(&file.metadata, dice),
        _ => file.root = change_value(&file.root, dice),
    }
    file
}

/// Takes one out, doubles it, or puts it elsewhere.
fn shuffle<T: Clone>(items: &mut Vec<T>, dice: &mut Dice) {
    if items.is_empty() {
        return;
    }
    let (from, to) = (dice.below(items.len()), dice.below(items.len()));
    match dice.below(3) {
        0 => drop(items.remove(from)),
        1 => items.insert(to, items[from].clone()),
        _ => items.swap(from, to),
    }
}

fn dtype(dtypes: &mut [RawDtype], dice: &mut Dice) {
    let known: Vec<DType> = DType::registered().collect();
    let Some(dtype) = dice.pick_mut(dtypes) else { return };
    match dice.below(6) {
        0 => dtype.elements = dice.number(dtype.elements.into()) as u32,
        1 => dtype.bytes = dice.number(dtype.bytes.into()) as u32,
        2 => dtype.class = dice.below(4) as u8,
        3 => dtype.name = dice.pick(&[b"x.y".to_vec(), b"later".to_vec(), b"X".to_vec(), vec![], vec![b'.'; 255]]).unwrap(),
        _ => {
            let picked = dice.pick(&known).unwrap();
            let geometry = picked.geometry();
            let class = SCALAR + geometry.class as u8;
            assert!(class <= BLOCK);
            *dtype = RawDtype::new(picked.name(), class, geometry.elements, geometry.bytes);
        }
    }
}

fn buffer(buffers: &mut [RawBuffer], dice: &mut Dice) {
    let Some(buffer) = dice.pick_mut(buffers) else { return };
    match dice.below(8) {
        0 => buffer.kind = dice.below(4) as u32,
        1 => buffer.owner = dice.below(4) as u32,
        2 => buffer.length = Some(dice.number(buffer.data.len() as u64)).filter(|n| !(1 << 13..1 << 24).contains(n)),
        3 => buffer.data.truncate(dice.below(buffer.data.len() + 1)),
        4 => buffer.data.fill(0),
        5 => {
            let more = dice.bytes(40);
            buffer.data.extend(more);
        }
        _ => {
            if let Some(byte) = dice.pick_mut(&mut buffer.data) {
                *byte = dice.next() as u8;
            }
        }
    }
}

fn tensor(file: &mut RawFile, dice: &mut Dice) {
    let tables = (file.dtypes.len(), file.buffers.len());
    match dice.pick_mut(&mut file.tensors) {
        Some(tensor) if !dice.one_in(6) => field(tensor, tables, dice),
        _ => shuffle(&mut file.tensors, dice),
    }
}

fn field(tensor: &mut RawTensor, (dtypes, buffers): (usize, usize), dice: &mut Dice) {
    match dice.below(10) {
        0 => tensor.dtype = dice.below(dtypes + 1) as u32,
        1 => tensor.buffer = dice.pick(&[NO_BUFFER, dice.0 as u32 % (buffers as u32 + 1)]).unwrap(),
        2 => tensor.offset = dice.number(tensor.offset),
        3 => tensor.flags ^= 1 << dice.below(3),
        4 => shuffle(&mut tensor.dims, dice),
        5 => shuffle(&mut tensor.strides, dice),
        6 => transpose(tensor, dice),
        7 => {
            if let Some(stride) = dice.pick_mut(&mut tensor.strides) {
                *stride = dice.number(*stride);
            }
        }
        8 => tensor.dims.insert(dice.below(tensor.dims.len() + 1), dice.below(3) as u64),
        _ => {
            if let Some(dim) = dice.pick_mut(&mut tensor.dims) {
                *dim = dice.number(*dim);
            }
        }
    }
}

/// Strides of the row-major layout of the axes in another order.
fn transpose(tensor: &mut RawTensor, dice: &mut Dice) {
    let mut axes: Vec<usize> = (0..tensor.dims.len()).collect();
    shuffle(&mut axes, dice);
    tensor.flags |= 1;
    tensor.strides = vec![0; tensor.dims.len()];
    let mut step = 1_u64;
    for axis in axes {
        if tensor.dims[axis] > 1 {
            tensor.strides[axis] = step;
        }
        step = step.wrapping_mul(tensor.dims[axis].max(1));
    }
}

/// Another view, at the end of the table and of the root.
fn add_tensor(file: &mut RawFile, dice: &mut Dice) {
    let Some(mut tensor) = dice.pick(&file.tensors) else { return };
    field(&mut tensor, (file.dtypes.len(), file.buffers.len()), dice);
    if dice.one_in(3) {
        tensor.buffer = file.buffers.len() as u32;
        let data = dice.bytes(40);
        file.buffers.push(RawBuffer::new(data));
    }
    let reference = raw::tensor(file.tensors.len() as u32);
    file.tensors.push(tensor);
    file.root = raw::list(&[file.root.clone(), reference]);
}

/// A root that has every tensor once.
fn all_tensors(count: usize, dice: &mut Dice) -> Vec<u8> {
    let items: Vec<_> = (0..count as u32).map(raw::tensor).collect();
    match dice.below(3) {
        0 => raw::list(&items),
        1 => raw::tuple(&items),
        _ => raw::dict(&items.into_iter().enumerate().map(|(n, item)| (raw::int(n as i64), item)).collect::<Vec<_>>()),
    }
}

fn extension(extensions: &mut Vec<RawExtension>, dice: &mut Dice) {
    match dice.pick_mut(extensions) {
        Some(extension) if dice.one_in(2) => match dice.below(3) {
            0 => extension.tag = dice.number(extension.tag.into()) as u32,
            1 => extension.payload = dice.bytes(20),
            _ => extension.length = Some(dice.number(extension.payload.len() as u64) as u32),
        },
        Some(_) if dice.one_in(2) => shuffle(extensions, dice),
        _ => {
            let payload = dice.bytes(20);
            extensions.push(RawExtension::new(1 + extensions.len() as u32, &payload));
        }
    }
}

fn frame(file: RawFile, dice: &mut Dice) -> RawFile {
    let (field, roll, big) = (dice.below(9), dice.next(), dice.number(256));
    let edit = move |frame: &mut Frame| match field {
        0 => frame.version = roll as u16 % 3,
        1 => frame.flags ^= 1 << (roll % 16),
        2 => frame.log2_block = 11 + (roll % 13) as u8,
        3 => frame.reserved_low[0] = roll as u8,
        4 => frame.file_length = big,
        5 => frame.index_offset = big,
        6 => frame.index_length = big,
        7 => frame.index_crc = roll as u32,
        _ => frame.reserved_high[15] = roll as u8,
    };
    match dice.below(4) {
        0 => file.on_header(edit),
        1 => file.on_trailer(edit),
        2 => RawFile { log2_block: 10 + (roll % 14) as u8, ..file },
        _ => file.on_frames(edit),
    }
}

/// The index has a byte too many, too few or wrong, and the right checksum.
fn index(file: RawFile, dice: &mut Dice) -> RawFile {
    let (what, at, byte) = (dice.below(3), dice.next() as usize, dice.next() as u8);
    file.on_index(move |index| {
        let at = at % index.len().max(1);
        match what {
            0 => index.insert(at, byte),
            1 if !index.is_empty() => drop(index.remove(at)),
            _ => index.iter_mut().skip(at).take(1).for_each(|b| *b = byte),
        }
    })
}

/// A value taken apart; a dict's keys and values take turns.
#[derive(Clone)]
enum Part {
    Leaf(Vec<u8>),
    Items(u8, Vec<Part>),
    Named(Vec<u8>, Box<Part>),
}

impl Part {
    fn encode(&self) -> Vec<u8> {
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

    fn change(&mut self, dice: &mut Dice) {
        match self {
            Self::Items(tag, items) => match dice.below(6) {
                0 => shuffle(items, dice),
                1 => *tag = dice.pick(&[LIST, TUPLE, DICT]).unwrap(),
                2 => items.extend([scalar(dice), scalar(dice)]),
                _ => match dice.pick_mut(items) {
                    Some(item) => item.change(dice),
                    None => *self = scalar(dice),
                },
            },
            Self::Named(name, value) if dice.one_in(3) => match name.len() {
                1..20 if dice.one_in(2) => {
                    *name = dice.pick(&[b"bytes".to_vec(), b"enum".to_vec(), b"a.b".to_vec(), b"?".to_vec()]).unwrap()
                }
                _ => *self = (**value).clone(),
            },
            Self::Named(_, value) => value.change(dice),
            Self::Leaf(bytes) => match dice.below(5) {
                0 => *self = Self::Items(LIST, vec![self.clone()]),
                1 => *self = Self::Named(b"a.b".to_vec(), Box::new(self.clone())),
                2 => *self = scalar(dice),
                _ => dice.pick_mut(bytes).into_iter().for_each(|byte| *byte = dice.number((*byte).into()) as u8),
            },
        }
    }
}

fn scalar(dice: &mut Dice) -> Part {
    let n = dice.number(7);
    let text = dice.bytes(12);
    Part::Leaf(match dice.below(11) {
        0 => raw::null(),
        1 => raw::bool_(n.is_multiple_of(2)),
        2 => raw::float(n),
        3 => raw::complex(n, !n),
        4 => raw::bytes(&text),
        5 => raw::bigint(&text),
        6 => raw::str_(&String::from_utf8_lossy(&text)),
        7 => raw::str_raw(&text),
        8 => raw::tensor(n as u32),
        _ => raw::int(n as i64),
    })
}

fn change_value(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut part = value(&mut Reader(bytes), 0).unwrap_or_else(|| Part::Leaf(bytes.to_vec()));
    part.change(dice);
    part.encode()
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
fn take_apart(bytes: &[u8]) -> Option<RawFile> {
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
