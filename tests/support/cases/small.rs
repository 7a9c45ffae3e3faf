//! Small files for the vectors: those that many refused ones derive from, and bounds that others reach at length.

use super::accept::above_i64;
use super::*;

pub(super) fn accept(cases: &mut Cases) {
    cases.accept("vector-100", &vector(100), "A vector of 100 bytes, from which many refused files derive.");
    cases.accept("vector-4", &vector(4), "A vector of 4 bytes.");
    cases.accept("streamed-vector-100", &RawFile { streamed: true, ..vector(100) }, "The vector of 100 bytes, streamed.");
    cases.accept("bools-three", &bools([1, 0, 1]), "Three bools.");
    cases.accept("view-in-view", &beside(100, RawTensor::new(0, 0, 0, &[99])), "A view that is one byte shorter than the whole.");
    cases.accept("view-first-half", &beside(4, RawTensor::new(0, 0, 0, &[2])), "A view of the first half.");
    cases.accept(
        "extension-one",
        &RawFile { extensions: vec![RawExtension::new(1, b"abc")], ..vector(4) },
        "An extension whose payload has five bytes of padding.",
    );
    cases.accept(
        "dtype-my-type",
        &tensors_of(vec![RawDtype::scalar("my.type", 1)], &[4], &[RawTensor::new(0, 0, 0, &[4])]),
        "A dtype of private form.",
    );
    cases.accept("view-transposed", &beside(64, RawTensor::new(0, 0, 0, &[2, 3]).strided(&[1, 2])), "A column-major view.");
    cases.accept("view-every-second", &beside(64, RawTensor::new(0, 0, 0, &[3]).strided(&[2])), "A view of every second byte.");
    cases.accept("block-rows-one", &tensors(&["q4_0"], &[18], &[RawTensor::new(0, 0, 0, &[1, 32])]), "One group of a block dtype.");
    cases.accept("keys-three", &root(dict(&[(str_("a"), int(1)), (str_("between"), null()), (str_("b"), int(2))])), "Three keys.");
    cases.accept("key-ints", &root(dict(&[(int(-1), int(1)), (str_("between"), null()), (int(-2), int(2))])), "Int keys.");
    cases.accept(
        "buffer-auxiliary-four",
        &{
            let mut file = vector(4);
            file.extensions.push(RawExtension::new(9, b""));
            file.buffers.push(RawBuffer::of_kind(1, 9, data(4)));
            file
        },
        "An auxiliary buffer of four bytes.",
    );
    cases.accept(
        "two-buffers",
        &tensors(&["u8"], &[1, 1], &[RawTensor::new(0, 0, 0, &[1]), RawTensor::new(0, 1, 0, &[1])]),
        "Two tensors that do not share a byte.",
    );
    cases.accept(
        "bool-strided",
        &{
            let mut file = tensors(&["bool", "u8"], &[5], &[RawTensor::new(0, 0, 0, &[3]).strided(&[2]), RawTensor::new(1, 0, 0, &[5])]);
            file.buffers[0].data = vec![1, 7, 0, 7, 1];
            file
        },
        "Only the elements of a strided bool tensor are 0 or 1; the bytes between are another tensor's.",
    );
    cases.accept(
        "path-4096-streamed",
        &RawFile { streamed: true, ..root(object(&[(&"k".repeat(4088), dict(&[(int(0), null())]))])) },
        "Keys of 4096 bytes along a path, an int among them.",
    );
    cases.accept(
        "dtype-bytes-65535-empty",
        &tensors_of(vec![RawDtype::scalar("my.wide", 65535)], &[], &[RawTensor::empty(0, &[0])]),
        "The widest group, in an empty tensor.",
    );
    cases.accept(
        "dtype-packed-bits-empty",
        &tensors_of(vec![RawDtype::new("my.bits", PACKED, 524_280, 65535)], &[], &[RawTensor::empty(0, &[0])]),
        "One bit per element in the widest group, in an empty tensor.",
    );
    cases.opaque(
        "bytes-65537-opaque",
        &opaque_bytes(65537, 1, |file| file),
        "Bytes just too long for the index, in a buffer that only an extension can read.",
    );
    cases.opaque(
        "elements-kind-unknown",
        &opaque_elements(),
        "A bool of 2 and set tail bits in a buffer of unknown kind are not looked at.",
    );
    cases.accept("dict-smallest-pair", &root(object(&[("", null())])), "A pair takes six bytes at least.");
    cases.accept(
        "rank-63",
        &RawFile { streamed: true, ..tensors(&["u8"], &[], &[RawTensor::empty(0, &[0; 63])]) },
        "One axis below the highest rank.",
    );
    cases.accept(
        "bigint-8192-streamed",
        &RawFile { streamed: true, ..root(bigint(&above_i64(8192))) },
        "A big int of 8192 bytes, the longest: 19,726 decimal digits.",
    );
    cases.accept(
        "block-whole-streamed",
        &RawFile { streamed: true, log2_block: 12, ..vector(4096) },
        "A buffer of exactly one block has one block.",
    );
}

/// Elements that no buffer of kind 0 may hold, in one that only an extension can read.
fn opaque_elements() -> RawFile {
    let records = [RawTensor::new(0, 0, 0, &[2]), RawTensor::new(1, 0, 0, &[3])];
    let mut file = tensors(&["bool", "i4"], &[], &records);
    file.extensions.push(RawExtension::new(9, b""));
    file.buffers.push(RawBuffer::of_kind(7, 9, vec![2, 0xFF]));
    file
}

/// Three blocks, the second damaged, under a dense tensor and strided ones: with nothing in it but a gap, with an
/// element in it, and before it.
fn gap() -> Vec<u8> {
    let strided = |offset, stride| RawTensor::new(0, 0, offset, &[2]).strided(&[stride]);
    let records = [RawTensor::new(0, 0, 0, &[8193]), strided(0, 8192), strided(4096, 4096), strided(0, 2)];
    let file = RawFile { streamed: true, log2_block: 12, ..tensors(&["u8"], &[8193], &records) };
    let mut bytes = file.build();
    bytes[file.layout().buffers[0].start + 5000] ^= 1;
    bytes
}

pub(super) fn reject(cases: &mut Cases) {
    for (name, length) in [("bytes-65536-opaque", 65536), ("bytes-65535-opaque", 65535)] {
        cases.open(name, "named-bytes", &opaque_bytes(length, 1, |file| file), "These fit the index.");
    }
    cases.open(
        "bytes-opaque-i8",
        "named-bytes",
        &opaque_bytes(65537, 1, |file| RawFile { dtypes: vec![dtype("i8")], ..file }),
        "Bytes are u8.",
    );
    cases.open(
        "bytes-opaque-rank-2",
        "named-bytes",
        &opaque_bytes(65537, 1, |mut file| {
            file.tensors[0].dims.insert(0, 1);
            file
        }),
        "Bytes are a vector.",
    );
    cases.open(
        "bytes-opaque-strided",
        "named-bytes",
        &opaque_bytes(65537, 1, |mut file| {
            file.tensors[0] = RawTensor::new(0, 0, 0, &[65537]).strided(&[2]);
            file
        }),
        "Bytes have no strides.",
    );
    cases.open(
        "bytes-opaque-offset",
        "named-bytes",
        &opaque_bytes(65537, 1, |mut file| {
            file.tensors[0].offset = 1;
            file
        }),
        "Bytes begin where their buffer does.",
    );
    for (name, root) in [
        ("bytes-opaque-twice", list(&[named("bytes", &tensor(0)), named("bytes", &tensor(0))])),
        ("bytes-opaque-and-tensor", list(&[named("bytes", &tensor(0)), tensor(0)])),
        ("bytes-opaque-after-tensor", list(&[tensor(0), named("bytes", &tensor(0))])),
    ] {
        let file = opaque_bytes(65537, 1, |file| RawFile { root: root.clone(), ..file });
        cases.open(name, "named-bytes", &file, "Bytes have no identity: one reference.");
    }
    cases.open(
        "bytes-opaque-shared",
        "named-bytes",
        &opaque_bytes(65537, 2, |file| RawFile { root: list(&[named("bytes", &tensor(0)), tensor(1)]), ..file }),
        "Another tensor views the bytes.",
    );
    cases.open(
        "metadata-bytes-opaque",
        "metadata",
        &opaque_bytes(65537, 1, |file| RawFile { metadata: object(&[("t", named("bytes", &tensor(0)))]), ..file }),
        "Long bytes are a tensor, so they cannot stand here.",
    );
    cases.open(
        "dtype-bytes-65536-empty",
        "dtype-geometry",
        &tensors_of(vec![RawDtype::scalar("my.wide", 65536)], &[], &[RawTensor::empty(0, &[0])]),
        "65535 bytes per group are the most.",
    );
    for (name, at) in [("block-first-of-two", 4095), ("block-second-of-two", 4096)] {
        let file = RawFile { log2_block: 12, ..vector(5000) };
        let mut bytes = file.build();
        bytes[file.layout().buffers[0].start + at] ^= 1;
        cases.verify(name, "block-crc", bytes, "A flipped bit on one side of the seam between two blocks.");
    }
    cases.verify(
        "block-in-gap",
        "block-crc",
        gap(),
        "A damaged block that a strided tensor only steps over: it may be refused for it or not; one with an element there is.",
    );
    let two = || tensors(&["u8"], &[1, 1], &[RawTensor::new(0, 0, 0, &[1]), RawTensor::new(0, 1, 0, &[1])]);
    for (name, buffer) in [("block-spares-neighbour", 0), ("block-spares-neighbour-before", 1)] {
        let mut bytes = two().build();
        bytes[two().layout().buffers[buffer].start] ^= 1;
        cases.verify(name, "block-crc", bytes, "A damaged block concerns the tensor in it, and not the other one.");
    }
    cases.verify("bool-255-second", "bool-value", bools([1, 255, 1]).build(), "A bool is 0 or 1.");
    let twice = [str_("a"), null(), str_("a"), vec![0]].concat();
    cases.open(
        "key-twice-before-tag",
        "key-duplicate",
        &root(container(DICT, 2, twice.len() as u32, &twice)),
        "The second of two equal keys comes before the value behind it, whose tag is none.",
    );
    cases.open(
        "metadata-tag-0",
        "metadata",
        &RawFile { root: str_("long enough for an index"), ..metadata(vec![0]) },
        "The metadata is no dict, whatever it is instead.",
    );
    let cut = [&[0x04], &[0; 5][..]].concat();
    cases.open(
        "metadata-key-int-cut",
        "metadata",
        &metadata(container(DICT, 1, 6, &cut)),
        "A key of the metadata is judged by its tag before its fields, which are not there.",
    );
    for (name, value) in [("bytes-claims-65536", counted(0x09, 65536, b"abc")), ("bigint-claims-8192", counted(0x05, 8192, b"abc"))] {
        cases.open(name, "index-short", &root(value), "The most that is legal, so it is the missing bytes that are named.");
    }
    for (name, key) in [
        ("path-4097-streamed", object(&[(&"k".repeat(4097), null())])),
        ("path-4097-int-streamed", object(&[(&"k".repeat(4089), dict(&[(int(0), null())]))])),
        ("path-4097-bytes-streamed", dict(&[(bytes(&[0x80; 4097]), null())])),
    ] {
        cases.open(name, "path-limit", &RawFile { streamed: true, ..root(key) }, "4096 bytes of keys are the most along a path.");
    }
    keys_too_long(cases);
}

/// Keys that state more than a path may hold, and than there is.
fn keys_too_long(cases: &mut Cases) {
    for (name, tag, length) in [("key-str-claims-4097", 0x08, 4097), ("key-bytes-claims-65537", 0x09, 65537)] {
        let pair = [counted(tag, length, b"abc"), null()].concat();
        cases.open(
            name,
            "value-length",
            &root(container(DICT, 1, pair.len() as u32, &pair)),
            "A key's bytes are missed before any limit is judged, and the limit of bytes values is not that of keys.",
        );
    }
}

fn bools(values: [u8; 3]) -> RawFile {
    let mut file = tensors(&["bool"], &[3], &[RawTensor::new(0, 0, 0, &[3])]);
    file.buffers[0].data = values.to_vec();
    file
}

/// A value named `bytes` in a buffer that has no bytes here.
fn opaque_bytes(length: u64, views: u64, edit: impl Fn(RawFile) -> RawFile) -> RawFile {
    let mut file = tensors(&["u8"], &[], &[]);
    file.extensions.push(RawExtension::new(9, b""));
    file.buffers.push(RawBuffer::of_kind(7, 9, vec![]));
    file.tensors = (0..views).map(|n| RawTensor::new(0, 0, 0, &[length + n])).collect();
    file.root = named("bytes", &tensor(0));
    edit(file)
}
