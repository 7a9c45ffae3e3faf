//! Values from bytes, written and read back.

use cairnfile::{Code, DType, Dict, Error, GroupClass, Key, Named, Storage, Tensor, Value, WriteOptions};

use super::{inplace, inspect, same};

/// What is read of what was written is the same value with the same sharing, and writes the same bytes again.
pub fn values(data: &[u8]) {
    let mut choices = Choices(data);
    let arenas = arenas(&mut choices);
    let mut maker = Maker { choices, arenas: &arenas, tensors: vec![], fuel: 200 };
    let How { options, unshare, streamed, in_place } = maker.how();
    let value = maker.root();
    let write = |value: &Value<'_>| match streamed {
        false => cairnfile::to_bytes(value, &options),
        true => {
            let mut bytes = Vec::new();
            cairnfile::stream_to(&mut bytes, value, &options).map(|()| bytes)
        }
    };
    let bytes = match write(&value) {
        Ok(bytes) => bytes,
        Err(error) => return refused(&error, &value, unshare),
    };
    let cairn = super::open(&bytes, true).expect("what was written opens");
    assert!(cairn.verify(&|_| Ok(())).expect("memory can be read").is_intact());
    assert_eq!(cairn.is_streamed(), streamed);
    let (view, copy) = (cairn.load().expect("intact"), cairn.load_copy().expect("intact"));
    for back in [&view, &copy] {
        same::value(&value, back);
        same::sharing(&value, back, unshare);
        assert!(write(back).expect("what was read can be written") == bytes, "written again it differs");
    }
    if in_place {
        let loose = unshare || same::tensors(&value).iter().zip(same::tensors(&view)).any(|(a, b)| **a != *b);
        inplace::agrees(&value, inplace::Reserved::over(&arenas), &options, &bytes, loose);
    }
    if bytes.len() < 1 << 12 {
        inspect::accepted(&cairn, super::open(&bytes, false).expect("it opened before"), &bytes);
    }
}

/// A refusal needs its reason.
fn refused(error: &Error, value: &Value<'_>, unshare: bool) {
    let tensors = same::tensors(value);
    let reason = match error.code() {
        Code::SharingLost => !unshare && same::any_ranges_meet(&tensors),
        Code::BoolValue => tensors.iter().any(|t| *t.dtype() == DType::BOOL && t.row_major_bytes().unwrap().iter().any(|b| *b > 1)),
        Code::TailBits => tensors.iter().any(|t| t.element_count() % u64::from(t.dtype().geometry().elements) != 0),
        Code::DepthLimit => same::depth(value) > 126 || error.detail().contains("metadata"),
        Code::PathLimit | Code::Metadata => true,
        _ => false,
    };
    assert!(reason, "{error}: {value:?}");
}

/// Choices by the bytes of an input; zeros after its end.
struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    fn number(&mut self) -> i64 {
        i64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.byte()).collect()
    }

    fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(&self.bytes(most)).into_owned()
    }
}

/// Memory for tensors to view: bytes that are bools, zeros, and any bytes.
fn arenas(choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let seed = choices.byte();
    let any = (0..600_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect();
    vec![(0..200).map(|n| (seed >> (n % 7)) & 1).collect(), vec![0; 100], any]
}

/// How to write.
struct How {
    options: WriteOptions,
    unshare: bool,
    streamed: bool,
    in_place: bool,
}

struct Maker<'d, 'm> {
    choices: Choices<'d>,
    arenas: &'m [Vec<u8>],
    tensors: Vec<Tensor<'m>>,
    /// Values that may still be made.
    fuel: usize,
}

impl<'m> Maker<'_, 'm> {
    fn how(&mut self) -> How {
        let bits = self.choices.byte();
        let mut metadata = Dict::new();
        for _ in 0..bits >> 6 {
            // Made of memory that lives on: metadata takes no tensors anyway.
            let key = self.choices.text(6);
            let value = match self.choices.below(4) {
                0 => Value::from(self.choices.text(20)),
                1 => Value::List(vec![Value::Int(self.choices.number()), Value::Null]),
                2 => Value::Dict(Dict::from_iter([(self.choices.number(), true)])),
                _ => Value::Float(f64::from_bits(self.choices.number() as u64)),
            };
            metadata.insert(key, value);
        }
        let unshare = bits & 1 == 1;
        let log2 = 12 + bits / 4 % 11;
        let options = WriteOptions::new().metadata(metadata).unshare(unshare).block_log2(log2).threads(1);
        let streamed = bits & 2 == 2;
        How { options, unshare, streamed, in_place: !streamed && self.choices.byte() > 160 }
    }

    fn root(&mut self) -> Value<'m> {
        let deep = match self.choices.byte() {
            byte @ 0..130 if byte % 16 == 15 => byte,
            _ => 0,
        };
        let value = match self.choices.below(6) {
            0 => self.value(0),
            n => Value::List((0..4 * n).map(|_| self.value(0)).collect()),
        };
        (0..deep).fold(value, |value, n| if n % 5 == 4 { Value::Tuple(vec![value]) } else { Value::List(vec![value]) })
    }

    fn value(&mut self, depth: usize) -> Value<'m> {
        self.fuel = self.fuel.saturating_sub(1);
        if self.fuel == 0 {
            return Value::Null;
        }
        let choices = &mut self.choices;
        let kind = choices.below(if depth > 8 { 24 } else { 32 });
        match kind {
            0 => Value::Null,
            1 => Value::Bool(choices.byte() & 1 == 1),
            2 => Value::Int(choices.number()),
            3 => Value::integer(&choices.bytes(20)).unwrap(),
            4 => Value::Float(f64::from_bits(choices.number() as u64)),
            5 => Value::Complex(f64::from_bits(choices.number() as u64), -0.0),
            6 => Value::from(choices.text(20)),
            7 => Value::from(choices.bytes(20)),
            8 if choices.byte() == 77 => Value::from(vec![choices.byte(); 65_530 + choices.below(12)]),
            8..19 => self.tensor(),
            19..24 => match self.tensors.len() {
                0 => Value::List(vec![]),
                n => Value::Tensor(self.tensors[self.choices.below(n)].clone()),
            },
            24..26 => Value::List(self.items(depth)),
            26 => Value::Tuple(self.items(depth)),
            27..30 => Value::Dict((0..self.choices.below(14)).map(|_| (self.key(), self.value(depth + 1))).collect()),
            _ => {
                let name = ["ordered_dict", "torch_size", "a.b", "enum"][self.choices.below(4)];
                Value::Named(Named::new(name, self.value(depth + 1)).unwrap())
            }
        }
    }

    fn items(&mut self, depth: usize) -> Vec<Value<'m>> {
        (0..self.choices.below(8)).map(|_| self.value(depth + 1)).collect()
    }

    fn key(&mut self) -> Key {
        match self.choices.below(8) {
            0 => Key::Int(self.choices.number()),
            1 => Key::Bytes(self.choices.bytes(6)),
            2 if self.choices.byte() > 250 => Key::Str(self.choices.text(3).repeat(self.choices.below(256) * 16)),
            _ => Key::Str(self.choices.text(6)),
        }
    }

    /// A tensor somewhere in an arena, or null where it would not fit.
    fn tensor(&mut self) -> Value<'m> {
        let dtype = self.dtype();
        let mut shape: Vec<u64> = (0..self.choices.below(5)).map(|_| [2, 3, 1, 4, 0, 5, 7, 16][self.choices.below(8)]).collect();
        if let (GroupClass::Block, Some(last)) = (dtype.geometry().class, shape.last_mut()) {
            *last *= u64::from(dtype.geometry().elements);
        }
        // Mostly memory without bits that the dtype forbids.
        let calm = match dtype.geometry().class {
            GroupClass::Packed => 1..2,
            _ if dtype == DType::BOOL => 0..2,
            _ => 0..3,
        };
        let arena = if self.choices.byte() == 7 { 2 } else { calm.start + self.choices.below(calm.len()) };
        let arena: &'m [u8] = &self.arenas[arena];
        let cut = self.choices.below(8) * 4;
        let width = if self.choices.byte() % 8 == 7 { 1 } else { dtype.geometry().bytes as usize };
        let offset = self.choices.below(9) * width;
        let strides = (dtype.geometry().class == GroupClass::Scalar).then(|| self.strides(&shape, width as i64)).flatten();
        let storage = match self.choices.below(4) {
            0 => Storage::shared(arena.to_vec()),
            _ => Storage::borrowed(&arena[cut..]),
        };
        match Tensor::view(dtype, &shape, strides.as_deref(), storage, offset as u64) {
            Ok(tensor) => {
                self.tensors.push(tensor.clone());
                Value::Tensor(tensor)
            }
            Err(_) => Value::Null,
        }
    }

    fn dtype(&mut self) -> DType {
        let private = |name, class, elements, bytes| DType::private(name, class, elements, bytes).unwrap();
        match self.choices.below(16) {
            0 => private("x.three", GroupClass::Scalar, 1, 3),
            1 => private("x.twelve", GroupClass::Scalar, 1, 12),
            2 => private("x.five", GroupClass::Packed, 8, 5),
            3 => private("x.block", GroupClass::Block, 4, 6),
            n => [
                DType::U8,
                DType::F32,
                DType::BOOL,
                DType::F64,
                DType::C128,
                DType::I4,
                DType::U1,
                DType::F6_E2M3FN,
                DType::Q4_0,
                DType::I16,
            ][n % 10]
                .clone(),
        }
    }

    /// Row-major, transposed, with gaps, repeated, reversed or odd strides in bytes.
    fn strides(&mut self, shape: &[u64], width: i64) -> Option<Vec<i64>> {
        let how = self.choices.below(10);
        if how < 4 {
            return None;
        }
        let mut axes: Vec<usize> = (0..shape.len()).rev().collect();
        if let (4.., true) = (how, shape.len() > 1) {
            axes.swap(0, self.choices.below(shape.len()));
        }
        let mut strides = vec![0; shape.len()];
        let mut step = width;
        for axis in axes {
            strides[axis] = step;
            step *= shape[axis].max(1) as i64 + i64::from(how == 6);
        }
        let axis = self.choices.below(shape.len());
        if let Some(stride) = strides.get_mut(axis) {
            match how {
                7 => *stride = 0,
                8 => *stride = -*stride,
                9 => *stride += i64::from(self.choices.byte() as i8),
                _ => {}
            }
        }
        Some(strides)
    }
}
