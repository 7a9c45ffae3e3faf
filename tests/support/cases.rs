//! Files with a known verdict, made with [`RawFile`]. SPEC.md's section on conformance says what a verdict is.
//!
//! A refused file has one fault, and everything else in it is signed anew, so that only the named rule refuses it.

mod accept;
mod incidents;
mod parity;
mod reject;
mod small;

use super::raw::*;

/// What a reader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Accept,
    /// Refused with the code of this name; the class follows from the code.
    Reject(&'static str),
}

#[derive(Clone, Debug)]
pub struct Case {
    /// Unique, in kebab-case.
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// The verdict from header, length and index (in a streamed file, from the trailer too).
    pub open: Expect,
    /// The verdict after everything else was checked too.
    pub verify: Expect,
    /// What it shows, in one sentence.
    pub comment: &'static str,
}

/// The accepted case whose tensor 0 lies in a buffer of unknown kind, and the code that taking that tensor gives.
pub const OPAQUE_TENSOR: (&str, &str) = ("buffer-kind-unknown", "buffer-kind");

/// Files that every reader accepts.
pub fn accepted() -> Vec<Case> {
    let mut list = Cases(vec![]);
    accept::fill(&mut list);
    small::accept(&mut list);
    parity::accept(&mut list);
    incidents::accept(&mut list);
    list.0
}

/// Files that every reader refuses, at open or when verified.
pub fn rejected() -> Vec<Case> {
    let mut list = Cases(vec![]);
    reject::fill(&mut list);
    small::reject(&mut list);
    parity::reject(&mut list);
    incidents::reject(&mut list);
    list.0
}

/// The registered dtypes: name, class, elements per group, bytes per group.
pub const DTYPES: &[(&str, u8, u32, u32)] = &[
    ("bool", SCALAR, 1, 1),
    ("i8", SCALAR, 1, 1),
    ("i16", SCALAR, 1, 2),
    ("i32", SCALAR, 1, 4),
    ("i64", SCALAR, 1, 8),
    ("u8", SCALAR, 1, 1),
    ("u16", SCALAR, 1, 2),
    ("u32", SCALAR, 1, 4),
    ("u64", SCALAR, 1, 8),
    ("f16", SCALAR, 1, 2),
    ("bf16", SCALAR, 1, 2),
    ("f32", SCALAR, 1, 4),
    ("f64", SCALAR, 1, 8),
    ("c32", SCALAR, 1, 4),
    ("c64", SCALAR, 1, 8),
    ("c128", SCALAR, 1, 16),
    ("f8_e3m4", SCALAR, 1, 1),
    ("f8_e4m3", SCALAR, 1, 1),
    ("f8_e4m3b11fnuz", SCALAR, 1, 1),
    ("f8_e4m3fn", SCALAR, 1, 1),
    ("f8_e4m3fnuz", SCALAR, 1, 1),
    ("f8_e5m2", SCALAR, 1, 1),
    ("f8_e5m2fnuz", SCALAR, 1, 1),
    ("f8_e8m0fnu", SCALAR, 1, 1),
    ("f6_e2m3fn", PACKED, 4, 3),
    ("f6_e3m2fn", PACKED, 4, 3),
    ("f4_e2m1fn", PACKED, 2, 1),
    ("i4", PACKED, 2, 1),
    ("u4", PACKED, 2, 1),
    ("i2", PACKED, 4, 1),
    ("u2", PACKED, 4, 1),
    ("i1", PACKED, 8, 1),
    ("u1", PACKED, 8, 1),
    ("q4_0", BLOCK, 32, 18),
    ("q4_1", BLOCK, 32, 20),
    ("q5_0", BLOCK, 32, 22),
    ("q5_1", BLOCK, 32, 24),
    ("q8_0", BLOCK, 32, 34),
    ("q8_1", BLOCK, 32, 36),
    ("q2_k", BLOCK, 256, 84),
    ("q3_k", BLOCK, 256, 110),
    ("q4_k", BLOCK, 256, 144),
    ("q5_k", BLOCK, 256, 176),
    ("q6_k", BLOCK, 256, 210),
    ("q8_k", BLOCK, 256, 292),
    ("iq2_xxs", BLOCK, 256, 66),
    ("iq2_xs", BLOCK, 256, 74),
    ("iq2_s", BLOCK, 256, 82),
    ("iq3_xxs", BLOCK, 256, 98),
    ("iq3_s", BLOCK, 256, 110),
    ("iq1_s", BLOCK, 256, 50),
    ("iq1_m", BLOCK, 256, 56),
    ("iq4_nl", BLOCK, 32, 18),
    ("iq4_xs", BLOCK, 256, 136),
    ("tq1_0", BLOCK, 256, 54),
    ("tq2_0", BLOCK, 256, 66),
    ("mxfp4", BLOCK, 32, 17),
    ("nvfp4", BLOCK, 64, 36),
    ("q1_0", BLOCK, 128, 18),
    ("q2_0", BLOCK, 64, 18),
];

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &'static str, bytes: Vec<u8>, open: Expect, verify: Expect, comment: &'static str) {
        self.0.push(Case { name, bytes, open, verify, comment });
    }

    fn accept(&mut self, name: &'static str, file: &RawFile, comment: &'static str) {
        self.add(name, file.build(), Expect::Accept, Expect::Accept, comment);
    }

    /// With a buffer of unknown kind: only its tensors are unsupported, not the file.
    fn opaque(&mut self, name: &'static str, file: &RawFile, comment: &'static str) {
        self.verify(name, OPAQUE_TENSOR.1, file.build(), comment);
    }

    /// Refused at open.
    fn open(&mut self, name: &'static str, code: &'static str, file: &RawFile, comment: &'static str) {
        self.open_bytes(name, code, file.build(), comment);
    }

    fn open_bytes(&mut self, name: &'static str, code: &'static str, bytes: Vec<u8>, comment: &'static str) {
        self.add(name, bytes, Expect::Reject(code), Expect::Reject(code), comment);
    }

    /// Accepted at open, refused when verified.
    fn verify(&mut self, name: &'static str, code: &'static str, bytes: Vec<u8>, comment: &'static str) {
        self.add(name, bytes, Expect::Accept, Expect::Reject(code), comment);
    }
}

/// A name made in a loop.
fn leak(name: String) -> &'static str {
    name.leak()
}

/// Bytes without zeros, so that damage and shifts show.
fn data(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8 + 1).collect()
}

/// A registered dtype.
fn dtype(name: &str) -> RawDtype {
    let (_, class, elements, bytes) = *DTYPES.iter().find(|d| d.0 == name).unwrap();
    RawDtype::new(name, class, elements, bytes)
}

/// A file with `value` as its root.
fn root(value: Vec<u8>) -> RawFile {
    RawFile { root: value, ..RawFile::new() }
}

/// A file with `value` as its metadata.
fn metadata(value: Vec<u8>) -> RawFile {
    RawFile { metadata: value, ..RawFile::new() }
}

/// A file with these tensors in a list, in buffers of these lengths.
fn tensors(dtypes: &[&str], buffers: &[usize], tensors: &[RawTensor]) -> RawFile {
    tensors_of(dtypes.iter().map(|name| dtype(name)).collect(), buffers, tensors)
}

fn tensors_of(dtypes: Vec<RawDtype>, buffers: &[usize], tensors: &[RawTensor]) -> RawFile {
    RawFile {
        dtypes,
        buffers: buffers.iter().map(|&length| RawBuffer::new(data(length))).collect(),
        tensors: tensors.to_vec(),
        root: numbered(tensors.len()),
        ..RawFile::new()
    }
}

/// A list of the first `count` tensors.
fn numbered(count: usize) -> Vec<u8> {
    list(&(0..count as u32).map(tensor).collect::<Vec<_>>())
}

/// One u8 vector in a buffer of its own.
fn vector(length: usize) -> RawFile {
    tensors(&["u8"], &[length], &[RawTensor::new(0, 0, 0, &[length as u64])])
}

/// A u8 vector over the whole of buffer 0, with `other` beside it.
fn beside(length: usize, other: RawTensor) -> RawFile {
    tensors(&["u8"], &[length], &[RawTensor::new(0, 0, 0, &[length as u64]), other])
}

fn repeat(depth: usize, value: Vec<u8>, wrap: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    (0..depth).fold(value, |value, _| wrap(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let mut names: Vec<_> = accepted().iter().chain(&rejected()).map(|case| case.name).collect();
        let is_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        names.iter().for_each(|name| assert!(name.chars().all(is_kebab), "{name}"));
        names.sort_unstable();
        names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
    }

    #[test]
    fn enough_cases() {
        assert!(accepted().len() >= 35 && rejected().len() >= 130);
        assert!(accepted().iter().any(|case| case.name == OPAQUE_TENSOR.0));
    }

    #[test]
    fn same_bytes_every_time() {
        for (first, second) in rejected().iter().zip(rejected()) {
            assert!(first.bytes == second.bytes, "{}", first.name);
        }
    }
}
