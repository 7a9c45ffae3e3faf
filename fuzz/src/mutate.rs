//! A mutator that knows the format: it takes a file apart, changes a few things, and puts it together again with right
//! lengths, places and checksums, so that one mutation is one step between files and not one step out of them.

use cairnfile::DType;

use super::dice::Dice;
use super::parts::{Part, take_apart};
use super::support::raw::{
    self, BLOCK, DICT, Frame, LIST, NO_BUFFER, RawBuffer, RawDtype, RawExtension, RawFile, RawTensor, SCALAR, TUPLE,
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

impl Part {
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
    let mut part = Part::of(bytes).unwrap_or_else(|| Part::Leaf(bytes.to_vec()));
    part.change(dice);
    part.encode()
}
