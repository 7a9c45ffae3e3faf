//! What the reference codec says of a file, in the form that `vectors/README.md` asks of every reader.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use cairnfile::{Cairn, Code, Error, Key, Node, OpenOptions, Place, TensorRef, ValueRef};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

/// The answer, and the exit status that goes with it: 0 accept, 1 refuse, 3 unsupported.
pub fn judge(file: &[u8]) -> (Json, u8) {
    // Of a planned file the trailer belongs to level V.
    match OpenOptions::new().check_trailer(false).threads(1).from_bytes(file) {
        Err(error) => (json!({ "open": outcome(Err(&error)) }), status(&error)),
        Ok(cairn) => {
            let (verify, status) = verify(&cairn);
            let places = places(&cairn, file);
            let tensors: Vec<_> = cairn.tensors().zip(places).map(|(tensor, offset)| describe(&tensor, offset)).collect();
            let (metadata, root) = (tree(cairn.metadata()), tree(cairn.root()));
            (json!({ "open": "accept", "metadata": metadata, "root": root, "tensors": tensors, "verify": verify }), status)
        }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn outcome(result: std::result::Result<(), &Error>) -> Json {
    result.map_or_else(|error| of_code(error.code()), |()| "accept".into())
}

pub fn of_code(code: Code) -> Json {
    json!({ "class": code.class().name(), "code": code.name() })
}

fn status(error: &Error) -> u8 {
    if error.class().name() == "unsupported" { 3 } else { 1 }
}

/// Level V, its first fault in the order of SPEC.md §12.4, where the library reports all by offset.
fn verify(cairn: &Cairn<'_>) -> (Json, u8) {
    let faults = match cairn.verify(&|_| Ok(())) {
        Ok(report) => report.faults,
        Err(error) => return (outcome(Err(&error)), status(&error)),
    };
    let step = |code: Code| match code {
        Code::IndexCrc | Code::IndexCopy => 2,
        Code::Padding => 3,
        Code::BlockCrc => 4,
        Code::TailBits | Code::BoolValue => 5,
        _ => 1,
    };
    if let Some(first) = faults.iter().map(|fault| &fault.error).min_by_key(|error| step(error.code())).filter(|e| step(e.code()) < 5) {
        return (outcome(Err(first)), status(first));
    }
    let errors: Vec<_> = cairn.tensors().filter_map(|tensor| tensor.read().err()).collect();
    let first = errors.iter().find(|error| error.code() != Code::BufferKind).or(errors.first());
    (outcome(first.map_or(Ok(()), Err)), first.map_or(0, status))
}

fn describe(tensor: &TensorRef<'_>, offset: u64) -> Json {
    let known = "open has checked the index";
    let texts = |numbers: Vec<u64>| numbers.iter().map(u64::to_string).collect::<Vec<_>>();
    let mut object = json!({
        "dtype": tensor.dtype().expect(known).name(),
        "shape": texts(tensor.shape().expect(known)),
        "strides": tensor.strides().expect(known).map(texts),
        "buffer": tensor.buffer().expect(known).map(|number| number.to_string()),
        "offset": offset.to_string(),
    });
    match tensor.read() {
        Err(error) => object["read"] = outcome(Err(&error)),
        Ok(tensor) => {
            object["read"] = "accept".into();
            object["sha256"] = sha256(&tensor.row_major_bytes().expect("it was read")).into();
        }
    }
    object
}

/// The offset of each tensor in its buffer, which the library keeps to itself.
fn places(cairn: &Cairn<'_>, file: &[u8]) -> Vec<u64> {
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let frame = if cairn.is_streamed() { file.len() - 64 } else { 0 };
    let mut at = usize::try_from(u64_at(frame + 24)).unwrap();
    let mut count = u32_at(at);
    at += 4;
    for _ in 0..count {
        at += 8 + u32_at(at + 4).next_multiple_of(8);
    }
    count = u32_at(at);
    at += 4;
    for _ in 0..count {
        at += 10 + usize::from(file[at + 9]);
    }
    at += 4 + 16 * cairn.buffer_count() + 4 * cairn.block_count() as usize;
    count = u32_at(at);
    at += 4;
    let mut places = Vec::new();
    for _ in 0..count {
        places.push(u64_at(at + 8));
        at += 18 + 8 * usize::from(file[at + 16]) * (1 + usize::from(file[at + 17] & 1));
    }
    places
}

/// A value of the tree, tagged.
fn tree(value: ValueRef<'_>) -> Json {
    let items = || value.items().map(|(_, item)| tree(item)).collect::<Vec<_>>();
    match value.node().expect("open has checked the index") {
        Node::Null => json!(["null"]),
        Node::Bool(b) => json!(["bool", b]),
        Node::Int(n) => json!(["int", n.to_string()]),
        Node::BigInt(n) => json!(["int", decimal(n.to_le_bytes())]),
        Node::Float(x) => json!(["float", bits(x)]),
        Node::Complex(re, im) => json!(["complex", bits(re), bits(im)]),
        Node::Str(text) => json!(["str", text]),
        Node::Bytes(bytes) => json!(["bytes", hex(bytes)]),
        Node::LongBytes(tensor) => json!(["named", "bytes", ["tensor", tensor.number()]]),
        Node::List(_) => json!(["list", items()]),
        Node::Tuple(_) => json!(["tuple", items()]),
        Node::Dict(_) => json!(["dict", value.items().map(|(place, item)| json!([key(&place), tree(item)])).collect::<Vec<_>>()]),
        Node::Named(name, inner) => json!(["named", name, tree(inner)]),
        Node::Tensor(tensor) => json!(["tensor", tensor.number()]),
    }
}

fn key(place: &Place) -> Json {
    match place {
        Place::Key(Key::Str(text)) => json!(["str", text]),
        Place::Key(Key::Int(n)) => json!(["int", n.to_string()]),
        Place::Key(Key::Bytes(bytes)) => json!(["bytes", hex(bytes)]),
        Place::Position(n) => unreachable!("a dict has no position {n}"),
    }
}

fn bits(x: f64) -> String {
    format!("{:016x}", x.to_bits())
}

/// Two's complement, little-endian, as a decimal number.
fn decimal(digits: &[u8]) -> String {
    let negative = digits.last().is_some_and(|last| *last >= 0x80);
    let mut magnitude = digits.to_vec();
    if negative {
        let mut carry = true;
        for byte in &mut magnitude {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut limbs: Vec<u64> = Vec::new();
    for byte in magnitude.iter().rev() {
        let mut carry = u64::from(*byte);
        for limb in &mut limbs {
            carry += *limb << 8;
            *limb = carry % LIMB;
            carry /= LIMB;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut text = String::from(if negative { "-" } else { "" });
    text += &limbs.last().copied().unwrap_or(0).to_string();
    limbs.iter().rev().skip(1).for_each(|limb| text += &format!("{limb:09}"));
    text
}

const LIMB: u64 = 1_000_000_000;
