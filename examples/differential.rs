//! Files for differential tests: `differential FOLDER SEED FIRST COUNT` writes cases FIRST to FIRST + COUNT as
//! `FOLDER/NUMBER.cairn` and prints the kind of each, one a line.
//!
//! A case depends on seed and number alone. Its kind is `valid` (every reader accepts it, or finds a buffer of unknown
//! kind or an extension that it must know), `fields` (a field or two are other than they should be, all checksums
//! right), `index` (bytes of both copies of the index changed, all checksums right), `signed` (bytes of the file
//! changed, checksums made right as far as the fields lead to them) or `stale` (bytes changed and nothing else).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

#[path = "../tests/support/mod.rs"]
mod support;

use support::cases::DTYPES;
use support::raw::*;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seed, first, count] = arguments.as_slice() else {
        eprintln!("usage: differential FOLDER SEED FIRST COUNT");
        std::process::exit(2);
    };
    let [seed, first, count] = [seed, first, count].map(|number| number.parse::<u64>().expect("a number"));
    for number in first..first + count {
        let (kind, bytes) = case(seed, number);
        std::fs::write(format!("{folder}/{number}.cairn"), bytes).unwrap();
        println!("{kind}");
    }
}

fn case(seed: u64, number: u64) -> (&'static str, Vec<u8>) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03));
    let mut file = Maker::new(&mut rng).file();
    match rng.below(20) {
        0..5 => ("valid", file.build()),
        5..12 => {
            for _ in 0..=rng.below(2) {
                spoil(&mut file, &mut rng);
            }
            ("fields", file.build())
        }
        12..15 => {
            let edits = edits(&mut rng);
            ("index", file.on_index(move |index| edits.iter().for_each(|edit| edit.apply(index))).build())
        }
        15..18 => {
            let mut bytes = damaged(&file, &mut rng);
            resign(&mut bytes);
            ("signed", bytes)
        }
        _ => ("stale", damaged(&file, &mut rng)),
    }
}

/// `SplitMix64`.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }

    /// True once in `n`.
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Numbers at which readers err.
    fn odd(&mut self) -> u64 {
        let edge = *self.pick(&[0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 52, 53, 62, 63]);
        let base = 1_u64 << edge;
        match self.below(8) {
            0 => base - 1,
            1 => base + 1,
            2 => 0_u64.wrapping_sub(base),
            3 => self.below(70_000),
            4 => self.below(300),
            5 => 65536 + self.below(3) - 1,
            _ => base,
        }
    }
}

/// Makes a valid file.
struct Maker<'r> {
    rng: &'r mut Rng,
    file: RawFile,
}

/// A dtype of the tables.
#[derive(Clone)]
struct Kind {
    name: String,
    class: u8,
    elements: u64,
    bytes: u64,
}

impl Kind {
    fn alignment(&self) -> u64 {
        (1 << self.bytes.trailing_zeros()).min(64)
    }

    fn length(&self, shape: &[u64]) -> u64 {
        shape.iter().product::<u64>().div_ceil(self.elements) * self.bytes
    }
}

impl<'r> Maker<'r> {
    fn new(rng: &'r mut Rng) -> Self {
        Self { rng, file: RawFile::new() }
    }

    fn file(mut self) -> RawFile {
        self.file.streamed = self.rng.one_in(3);
        self.file.log2_block = if self.rng.one_in(4) { 12 + self.rng.below(11) as u8 } else { 12 };
        self.extensions();
        let tensors = if self.rng.one_in(4) { 0 } else { self.rng.below(5) };
        for _ in 0..tensors {
            match self.rng.below(12) {
                0 => self.empty(),
                1 => self.opaque(),
                2 => self.strided_alone(),
                _ => self.group(),
            }
        }
        self.auxiliary();
        if self.file.streamed && self.rng.one_in(2) {
            self.reorder_buffers();
        }
        self.renumber_dtypes();
        self.file.metadata = self.dict(2, true, &mut Leaves { next: 0, count: 0, bytes: vec![] });
        let count = self.file.tensors.len() as u32;
        let bytes = (0..count).filter(|n| self.is_long_bytes(*n)).collect();
        let mut leaves = Leaves { next: 0, count, bytes };
        let tree = self.value(0, &mut leaves);
        self.file.root = if leaves.next == count {
            tree
        } else {
            let rest: Vec<_> = (leaves.next..count).map(|n| leaves.encode(n)).collect();
            list(&[&[tree], rest.as_slice()].concat())
        };
        self.file
    }

    fn extensions(&mut self) {
        let mut tag = 0;
        for _ in 0..self.rng.below(6).saturating_sub(2).min(2) {
            tag += 1 + self.rng.below(9) as u32;
            let high = if self.rng.one_in(40) { 1 << 31 } else { 0 };
            let length = self.rng.below(20) as usize;
            let payload = self.rng.bytes(length);
            tag |= high;
            self.file.extensions.push(RawExtension::new(tag, &payload));
        }
    }

    fn owner(&mut self) -> Option<u32> {
        if self.file.extensions.is_empty() {
            return None;
        }
        let number = self.rng.below(self.file.extensions.len() as u64) as usize;
        Some(self.file.extensions[number].tag)
    }

    fn dtype(&mut self) -> Kind {
        let of = |&(name, class, elements, bytes): &(&str, u8, u32, u32)| Kind {
            name: name.to_owned(),
            class,
            elements: elements.into(),
            bytes: bytes.into(),
        };
        match self.rng.below(10) {
            0 => of(self.rng.pick(DTYPES)),
            1 => Kind { name: "my.F24".to_owned(), class: SCALAR, elements: 1, bytes: 3 },
            2 => {
                let (elements, bytes) = *self.rng.pick(&[(8, 3), (2, 2), (5, 5), (16, 6)]);
                Kind { name: format!("my.p{elements}x{bytes}"), class: PACKED, elements, bytes }
            }
            _ => {
                let name =
                    *self.rng.pick(&["bool", "u8", "f32", "f32", "f64", "c128", "i4", "u1", "i2", "f6_e2m3fn", "q8_0", "q4_k", "bf16"]);
                of(DTYPES.iter().find(|d| d.0 == name).unwrap())
            }
        }
    }

    /// The number of a dtype in the table.
    fn number(&mut self, kind: &Kind) -> u32 {
        let found = self.file.dtypes.iter().position(|d| d.name == kind.name.as_bytes());
        found.unwrap_or_else(|| {
            self.file.dtypes.push(RawDtype::new(&kind.name, kind.class, kind.elements as u32, kind.bytes as u32));
            self.file.dtypes.len() - 1
        }) as u32
    }

    fn shape(&mut self, kind: &Kind) -> Vec<u64> {
        let rank = *self.rng.pick(&[0, 1, 1, 1, 2, 2, 3, 4, 6]);
        let mut shape: Vec<u64> = (0..rank).map(|_| 1 + self.rng.below(4)).collect();
        if self.rng.one_in(12) {
            shape = vec![1 + self.rng.below(9000 / kind.bytes + 1)];
        }
        if kind.class == BLOCK {
            if shape.is_empty() {
                shape.push(1);
            }
            *shape.last_mut().unwrap() *= kind.elements;
        }
        shape
    }

    /// Adds a tensor unless an equal one is there.
    fn add(&mut self, tensor: RawTensor) {
        let same = |t: &RawTensor| {
            (t.dtype, t.buffer, t.offset, &t.dims, &t.strides)
                == (tensor.dtype, tensor.buffer, tensor.offset, &tensor.dims, &tensor.strides)
        };
        if !self.file.tensors.iter().any(same) {
            self.file.tensors.push(tensor);
        }
    }

    fn empty(&mut self) {
        let kind = self.dtype();
        let mut shape = self.shape(&kind);
        if shape.is_empty() {
            shape.push(kind.elements);
        }
        let axis = self.rng.below(shape.len() as u64) as usize;
        shape[axis] = 0;
        if kind.class != BLOCK && self.rng.one_in(3) {
            shape.push(self.rng.odd().min(1 << 40));
        }
        let number = self.number(&kind);
        self.add(RawTensor::empty(number, &shape));
    }

    /// A tensor in a buffer of a kind that no reader knows.
    fn opaque(&mut self) {
        let Some(owner) = self.owner() else { return self.group() };
        let buffer = self.file.buffers.len() as u32;
        let length = self.rng.below(3) * self.rng.below(60);
        let data = self.rng.bytes(length as usize);
        self.file.buffers.push(RawBuffer::of_kind(2 + self.rng.below(9) as u32, owner, data));
        if self.rng.one_in(3) {
            let number = self.number(&Kind { name: "u8".to_owned(), class: SCALAR, elements: 1, bytes: 1 });
            let length = 65536 + self.rng.below(3);
            return self.add(RawTensor::new(number, buffer, 0, &[length]));
        }
        let kind = self.dtype();
        let (shape, number) = (self.shape(&kind), self.number(&kind));
        let offset = self.rng.below(1 << 40) / kind.alignment() * kind.alignment();
        self.add(RawTensor::new(number, buffer, offset, &shape));
    }

    /// A tensor that is dense in another order of axes, alone in its buffer.
    fn strided_alone(&mut self) {
        let kind = self.dtype();
        let shape = self.shape(&kind);
        if kind.class != SCALAR {
            return self.group();
        }
        let strides = self.strides(&shape, 0);
        let buffer = self.file.buffers.len() as u32;
        let data = self.data(&kind, kind.length(&shape), true);
        self.file.buffers.push(RawBuffer::new(data));
        let number = self.number(&kind);
        let tensor = RawTensor::new(number, buffer, 0, &shape);
        self.add(match strides {
            Some(strides) => tensor.strided(&strides),
            None => tensor,
        });
    }

    /// Legal strides, up to `spread` elements more than dense; none if they are row-major.
    fn strides(&mut self, shape: &[u64], spread: u64) -> Option<Vec<u64>> {
        let mut axes: Vec<usize> = (0..shape.len()).filter(|axis| shape[*axis] > 1).collect();
        for at in (1..axes.len()).rev() {
            axes.swap(at, self.rng.below(at as u64 + 1) as usize);
        }
        let (mut strides, mut reach) = (vec![0; shape.len()], 0);
        for axis in axes {
            strides[axis] = reach + 1 + if spread > 0 { self.rng.below(spread + 1) } else { 0 };
            reach += strides[axis] * (shape[axis] - 1);
        }
        let mut row = 1;
        let row_major = shape.iter().zip(&strides).rev().all(|(extent, stride)| {
            let right = *extent <= 1 || *stride == row;
            row *= extent.max(&1);
            right
        });
        (!row_major).then_some(strides)
    }

    fn data(&mut self, kind: &Kind, length: u64, bools: bool) -> Vec<u8> {
        let mut data = self.rng.bytes(length as usize);
        if bools && kind.name == "bool" {
            data.iter_mut().for_each(|byte| *byte &= 1);
        }
        data
    }

    /// A buffer with a tensor over all of it and views inside.
    fn group(&mut self) {
        let kind = self.dtype();
        let shape = self.shape(&kind);
        let length = kind.length(&shape);
        let count: u64 = shape.iter().product();
        let partial = kind.class == PACKED && !count.is_multiple_of(kind.elements);
        let buffer = self.file.buffers.len() as u32;
        let mut data = self.data(&kind, length, true);
        if partial {
            clear_tail(&kind, count, &mut data);
        }
        let base = RawTensor::new(self.number(&kind), buffer, 0, &shape);
        let mut views = vec![base];
        let others = if partial { 0 } else { self.rng.below(8).saturating_sub(4) };
        for _ in 0..others {
            if let Some((view, is_bool)) = self.view(buffer, length) {
                if is_bool {
                    data.iter_mut().for_each(|byte| *byte &= 1);
                }
                views.push(view);
            }
        }
        let first = self.rng.below(views.len() as u64) as usize;
        views.swap(0, first);
        self.file.buffers.push(RawBuffer::new(data));
        for view in views {
            self.add(view);
        }
    }

    /// A tensor inside a buffer of this length.
    fn view(&mut self, buffer: u32, length: u64) -> Option<(RawTensor, bool)> {
        let kind = self.dtype();
        let mut shape = self.shape(&kind);
        let mut strides = None;
        let mut extent = kind.length(&shape);
        match kind.class {
            SCALAR if self.rng.one_in(2) => {
                let spread = if self.rng.one_in(4) { length / kind.bytes } else { 3 };
                strides = self.strides(&shape, spread);
                if let Some(strides) = &strides {
                    extent = (shape.iter().zip(strides).map(|(extent, stride)| (extent - 1) * stride).sum::<u64>() + 1) * kind.bytes;
                }
            }
            PACKED => {
                shape.push(kind.elements);
                extent = kind.length(&shape);
            }
            _ => {}
        }
        let places = length.checked_sub(extent)? / kind.alignment() + 1;
        let offset = self.rng.below(places) * kind.alignment();
        let number = self.number(&kind);
        let tensor = RawTensor::new(number, buffer, offset, &shape);
        Some((strides.map_or_else(|| tensor.clone(), |strides| tensor.clone().strided(&strides)), kind.name == "bool"))
    }

    fn auxiliary(&mut self) {
        while self.rng.one_in(4) {
            let Some(owner) = self.owner() else { return };
            let length = 1 + self.rng.below(100) as usize;
            let data = self.rng.bytes(length);
            self.file.buffers.push(RawBuffer::of_kind(1, owner, data));
        }
    }

    /// Buffers of a streamed file in any order, auxiliary ones last.
    fn reorder_buffers(&mut self) {
        let viewed = self.file.buffers.iter().filter(|buffer| buffer.kind != 1).count();
        for at in (1..viewed).rev() {
            let other = self.rng.below(at as u64 + 1) as usize;
            self.file.buffers.swap(at, other);
            for tensor in &mut self.file.tensors {
                tensor.buffer = match tensor.buffer as usize {
                    n if n == at => other as u32,
                    n if n == other => at as u32,
                    _ => tensor.buffer,
                };
            }
        }
    }

    /// Dtypes by first use; those that no tensor uses go.
    fn renumber_dtypes(&mut self) {
        let mut order: Vec<u32> = Vec::new();
        for tensor in &mut self.file.tensors {
            let new = order.iter().position(|old| *old == tensor.dtype).unwrap_or_else(|| {
                order.push(tensor.dtype);
                order.len() - 1
            });
            tensor.dtype = new as u32;
        }
        self.file.dtypes = order.iter().map(|old| self.file.dtypes[*old as usize].clone()).collect();
    }

    /// Whether the tensor may stand under the name `bytes`.
    fn is_long_bytes(&self, number: u32) -> bool {
        let tensor = &self.file.tensors[number as usize];
        let alone = self.file.tensors.iter().filter(|other| other.buffer == tensor.buffer).count() == 1;
        let vector = tensor.dims.len() == 1 && tensor.dims[0] > 65536 && tensor.flags == 0 && tensor.offset == 0;
        self.file.dtypes[tensor.dtype as usize].name == b"u8" && vector && alone && tensor.buffer != NO_BUFFER
    }

    fn value(&mut self, depth: u64, leaves: &mut Leaves) -> Vec<u8> {
        if leaves.next < leaves.count && self.rng.one_in(3) {
            let number = leaves.next;
            leaves.next += 1;
            return leaves.encode(number);
        }
        let again = self.rng.below(leaves.next.max(1).into()) as u32;
        if again < leaves.next && !leaves.bytes.contains(&again) && self.rng.one_in(12) {
            return tensor(again);
        }
        let items = if depth > 4 { 0 } else { self.rng.below(5) };
        match self.rng.below(16) {
            0 => null(),
            1 => bool_(self.rng.one_in(2)),
            2 => int(self.rng.odd() as i64),
            3 => {
                let length = 9 + self.rng.below(12) as usize;
                let mut digits = self.rng.bytes(length);
                let (last, before) = (digits[length - 1], digits[length - 2]);
                if (last == 0 && before < 0x80) || (last == 0xFF && before >= 0x80) {
                    digits[length - 1] = 0x35;
                }
                bigint(&digits)
            }
            4 => float(*self.rng.pick(&[0, 1 << 63, 0x7FF0_0000_0000_0001, 0xFFF8_0000_0000_0000, 0x3FF8_0000_0000_0000])),
            5 => complex(self.rng.next(), self.rng.next()),
            6 => str_(&self.text()),
            7 => {
                let length = self.rng.below(20) as usize;
                bytes(&self.rng.bytes(length))
            }
            8 | 9 => list(&(0..items).map(|_| self.value(depth + 1, leaves)).collect::<Vec<_>>()),
            10 => tuple(&(0..items).map(|_| self.value(depth + 1, leaves)).collect::<Vec<_>>()),
            11 => {
                let name = *self.rng.pick(&["numpy_scalar", "ordered_dict", "a.b", ".", "future_2", "My.Type/~1"]);
                named(name, &self.value(depth + 1, leaves))
            }
            _ => self.dict(depth, false, leaves),
        }
    }

    fn text(&mut self) -> String {
        (0..self.rng.below(6))
            .map(|_| *self.rng.pick(&['a', 'b', '/', '~', '\0', 'é', '\u{301}', '日', '🪨', '\u{10FFFF}', '\u{7F}', '1']))
            .collect()
    }

    fn dict(&mut self, depth: u64, only_str: bool, leaves: &mut Leaves) -> Vec<u8> {
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let most = if self.rng.one_in(10) { 30 } else { 5 };
        for _ in 0..self.rng.below(most) {
            let key = match self.rng.below(4) {
                0 if !only_str => int(self.rng.below(5) as i64 - 2),
                1 if !only_str => bytes(self.text().as_bytes()),
                _ => str_(&self.text()),
            };
            if !pairs.iter().any(|(other, _)| *other == key) {
                let value = if depth > 4 { null() } else { self.value(depth + 1, leaves) };
                pairs.push((key, value));
            }
        }
        dict(&pairs)
    }
}

/// The tensors that the root has yet to name.
struct Leaves {
    next: u32,
    count: u32,
    /// Those under the name `bytes`.
    bytes: Vec<u32>,
}

impl Leaves {
    fn encode(&self, number: u32) -> Vec<u8> {
        if self.bytes.contains(&number) { named("bytes", &tensor(number)) } else { tensor(number) }
    }
}

/// Zeroes the bits of the last group above the last element.
fn clear_tail(kind: &Kind, count: u64, data: &mut [u8]) {
    let used = count % kind.elements * (kind.bytes * 8 / kind.elements);
    let start = data.len() - kind.bytes as usize;
    for bit in used..kind.bytes * 8 {
        data[start + (bit / 8) as usize] &= !(1 << (bit % 8));
    }
}

/// Makes one field other than it should be.
fn spoil(file: &mut RawFile, rng: &mut Rng) {
    match rng.below(10) {
        0..4 if !file.tensors.is_empty() => spoil_tensor(file, rng),
        4 if !file.dtypes.is_empty() => spoil_dtype(file, rng),
        5 if !file.buffers.is_empty() => spoil_buffer(file, rng),
        6 => spoil_frame(file, rng),
        7 => spoil_table(file, rng),
        _ => spoil_tree(file, rng),
    }
}

fn spoil_tensor(file: &mut RawFile, rng: &mut Rng) {
    let (number, other) = (rng.below(file.tensors.len() as u64) as usize, rng.below(file.tensors.len() as u64) as usize);
    let small = file.buffers.len() as u64 + 2;
    match rng.below(12) {
        0 => file.tensors.swap(number, other),
        1 => {
            let copy = file.tensors[number].clone();
            file.tensors.insert(other, copy);
        }
        2 => drop(file.tensors.remove(number)),
        choice => {
            let tensor = &mut file.tensors[number];
            let axis = rng.below(tensor.dims.len() as u64) as usize;
            match choice {
                3 => tensor.offset = if rng.one_in(2) { rng.below(40) } else { rng.odd() },
                4 => tensor.dtype = rng.below(4) as u32,
                5 => tensor.buffer = if rng.one_in(4) { NO_BUFFER } else { rng.below(small) as u32 },
                6 => tensor.flags = 1 << rng.below(8),
                7 if !tensor.strides.is_empty() => tensor.strides[axis] = if rng.one_in(3) { rng.odd() } else { rng.below(9) },
                8 if tensor.strides.is_empty() => {
                    let strides: Vec<u64> = tensor.dims.iter().map(|_| rng.below(7)).collect();
                    *tensor = tensor.clone().strided(&strides);
                }
                9 => tensor.rank = Some(rng.below(70) as u8),
                _ if !tensor.dims.is_empty() => tensor.dims[axis] = if rng.one_in(2) { rng.odd() } else { rng.below(12) },
                _ => tensor.dims.push(rng.below(3)),
            }
        }
    }
}

fn spoil_dtype(file: &mut RawFile, rng: &mut Rng) {
    let count = file.dtypes.len() as u64;
    let (number, other) = (rng.below(count) as usize, rng.below(count) as usize);
    let dtype = &mut file.dtypes[number];
    match rng.below(7) {
        0 => file.dtypes.swap(number, other),
        1 => dtype.class = rng.below(4) as u8,
        2 => dtype.elements = rng.odd() as u32,
        3 => dtype.bytes = rng.odd() as u32,
        4 => {
            dtype.name =
                rng.pick(&[&b""[..], b"u8", b"f32", b"A", b"a.b", b"my type", b"x_9", b".", b"\xC3\xA9.", b"a\x7F.", b"bool"]).to_vec()
        }
        5 => drop(file.dtypes.remove(number)),
        _ => {
            let copy = file.dtypes[number].clone();
            file.dtypes.push(copy);
        }
    }
}

fn spoil_buffer(file: &mut RawFile, rng: &mut Rng) {
    let count = file.buffers.len() as u64;
    let (number, other) = (rng.below(count) as usize, rng.below(count) as usize);
    let buffer = &mut file.buffers[number];
    match rng.below(9) {
        0 => file.buffers.swap(number, other),
        1 => buffer.kind = rng.below(4) as u32,
        2 => buffer.owner = rng.below(12) as u32,
        3 => buffer.length = Some(if rng.one_in(2) { rng.below(300) } else { rng.odd() }),
        4 => buffer.align = Some(1 << rng.below(13)),
        5 => drop(file.buffers.remove(number)),
        6 => buffer.crcs = Some((0..buffer.data.len().div_ceil(4096)).map(|_| rng.next() as u32).collect()),
        // Bools above 1, tail bits that are set: signed data that breaks a rule.
        _ if !buffer.data.is_empty() => {
            let at = rng.below(buffer.data.len() as u64) as usize;
            buffer.data[at] ^= 1 << rng.below(8);
        }
        _ => buffer.data = vec![1],
    }
}

fn spoil_frame(file: &mut RawFile, rng: &mut Rng) {
    let (field, number, role) = (rng.below(12), rng.odd(), rng.below(4));
    let bit = rng.below(16);
    let edit = move |frame: &mut Frame| match field {
        0 => frame.version = number as u16,
        1 => frame.flags ^= 1 << bit,
        2 => frame.log2_block = number as u8,
        3 => frame.reserved_low[bit as usize % 3] = number as u8,
        4 => frame.reserved_high[bit as usize] = number as u8,
        5 => frame.file_length = number,
        6 => frame.file_length = frame.file_length.wrapping_add(number),
        7 => frame.index_offset = number,
        8 => frame.index_length = number,
        9 => frame.index_crc ^= number as u32,
        10 => frame.crc = Some(number as u32),
        _ => frame.index_length = frame.index_length.wrapping_add(number),
    };
    let whole = std::mem::take(file);
    *file = match role {
        0 => whole.on_header(edit),
        1 => whole.on_trailer(edit),
        _ => whole.on_frames(edit),
    };
}

fn spoil_table(file: &mut RawFile, rng: &mut Rng) {
    let number = rng.odd() as u32;
    match rng.below(9) {
        0 => file.counts.extensions = Some(number),
        1 => file.counts.dtypes = Some(number),
        2 => file.counts.buffers = Some(number),
        3 => file.counts.tensors = Some(number),
        4 => file.slack_before_index = 64 * rng.below(3) as usize,
        5 => file.slack_before_trailer = 64 * rng.below(3) as usize,
        6 => file.index_tail = rng.bytes(1),
        7 => {
            let mut extension = RawExtension::new(rng.below(12) as u32, &rng.bytes(3));
            if rng.one_in(2) {
                extension.pad = Some(vec![0, 0, 1, 0, 0]);
            }
            file.extensions.push(extension);
        }
        _ => {
            if let Some(extension) = file.extensions.last_mut() {
                extension.length = Some(number);
            } else {
                file.version = number as u16;
            }
        }
    }
}

/// A tree with a wrong byte, length or value.
fn spoil_tree(file: &mut RawFile, rng: &mut Rng) {
    let in_metadata = rng.one_in(3);
    let tree = if in_metadata { &mut file.metadata } else { &mut file.root };
    if tree.is_empty() {
        return;
    }
    let at = rng.below(tree.len() as u64) as usize;
    match rng.below(6) {
        0 => tree[at] = rng.below(18) as u8,
        1 => tree[at] = tree[at].wrapping_add(1),
        2 => tree[at] ^= 1 << rng.below(8),
        3 => drop(tree.remove(at)),
        4 => tree.insert(at, rng.below(16) as u8),
        _ => {
            let odd = match rng.below(9) {
                0 => named("bytes", &tensor(0)),
                1 => tensor(rng.below(6) as u32),
                2 => counted(0x05, rng.odd() as u32, &rng.bytes(9)),
                3 => str_raw(&rng.bytes(3)),
                4 => container(LIST + rng.below(3) as u8, rng.odd() as u32, rng.odd() as u32, &null()),
                5 => named_raw(rng.pick::<&[u8]>(&[b"A", b"", b"a b.c", b"bytes", b"a.\x80"]), &null()),
                6 => dict(&[(str_("k"), null()), (str_("k"), null())]),
                7 => (0..120 + rng.below(12)).fold(null(), |value, _| list(&[value])),
                _ => dict(&[(str_(&"k".repeat(4090 + rng.below(10) as usize)), null())]),
            };
            let whole = tree.clone();
            *tree = if in_metadata { object(&[("m", odd)]) } else { list(&[whole, odd]) };
        }
    }
}

/// A change of a run of bytes.
enum Edit {
    Set(u64, Vec<u8>),
    Flip(u64),
    Insert(u64, Vec<u8>),
    Delete(u64, u64),
    Copy(u64, u64, u64),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u64| (at % bytes.len().max(1) as u64) as usize;
        match self {
            _ if bytes.is_empty() => {}
            Edit::Set(at, new) => {
                let at = place(*at);
                let length = new.len().min(bytes.len() - at);
                bytes[at..at + length].copy_from_slice(&new[..length]);
            }
            Edit::Flip(at) => {
                let place = place(*at / 8);
                bytes[place] ^= 1 << (at % 8);
            }
            Edit::Insert(at, new) => {
                let at = place(*at);
                drop(bytes.splice(at..at, new.iter().copied()));
            }
            Edit::Delete(at, length) => {
                let at = place(*at);
                let end = (at + *length as usize).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            Edit::Copy(from, to, length) => {
                let (from, to) = (place(*from), place(*to));
                let length = (*length as usize).min(bytes.len() - from).min(bytes.len() - to);
                bytes.copy_within(from..from + length, to);
            }
        }
    }
}

fn edits(rng: &mut Rng) -> Vec<Edit> {
    let count = *rng.pick(&[1, 1, 1, 2, 3]);
    let edit = |rng: &mut Rng| {
        let at = rng.next() >> 1;
        match rng.below(9) {
            0 => Edit::Set(at, rng.odd().to_le_bytes().to_vec()),
            1 => Edit::Set(at, (rng.odd() as u32).to_le_bytes().to_vec()),
            2 => Edit::Set(at, vec![rng.below(18) as u8]),
            3 => Edit::Set(at, rng.bytes(1)),
            4 => Edit::Insert(at, rng.bytes(1)),
            5 => Edit::Delete(at, 1 + rng.below(9)),
            6 => Edit::Copy(at, rng.next() >> 1, 1 + rng.below(30)),
            _ => Edit::Flip(at),
        }
    };
    (0..count).map(|_| edit(rng)).collect()
}

/// The file with bytes changed, cut short or followed by more.
fn damaged(file: &RawFile, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = file.build();
    match rng.below(12) {
        0 => bytes.truncate(rng.below(bytes.len() as u64) as usize),
        1 => {
            let length = 1 + rng.below(70) as usize;
            bytes.extend(vec![0; length]);
        }
        2 => bytes.extend(file.build()),
        // Padding and data in particular.
        3 | 4 => {
            let layout = file.layout();
            let places: Vec<usize> = layout.buffers.iter().flat_map(|range| [range.start, range.end]).chain([layout.back.end]).collect();
            let place = *rng.pick(&places);
            let end = bytes.len() - 1;
            bytes[place.min(end)] ^= 1 << rng.below(8);
        }
        _ => edits(rng).iter().for_each(|edit| edit.apply(&mut bytes)),
    }
    bytes
}
