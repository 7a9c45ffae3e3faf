//! Failures that other formats and their readers had, each as a Cairn file with the like of it: the 26 rows of B1 in
//! the research on reliability. `vectors/README.md` names those of which a file can show nothing or only a part.

use super::*;

pub(super) fn accept(cases: &mut Cases) {
    cases.accept(
        "incident-04-zero-extents",
        &tensors(&["f32"], &[], &[RawTensor::empty(0, &[0]), RawTensor::empty(0, &[0, (1 << 61) - 1]), RawTensor::empty(0, &[1, 0, 2])]),
        "GHSA-3p75-pq92-q28f: an extent of zero was used as a divisor. It is legal here, also beside a huge one.",
    );
    cases.accept(
        "incident-12-overlap-by-one-byte",
        &tensors(&["u8"], &[7], &[RawTensor::new(0, 0, 0, &[4]), RawTensor::new(0, 0, 3, &[4])]),
        "Overlapping extents: here two views of one buffer, said so by the file, and equal bytes by construction.",
    );
    cases.accept(
        "incident-17-names-look-alike",
        &root(object(&[
            ("caf\u{e9}", int(1)),
            ("cafe\u{301}", int(2)),
            ("", int(3)),
            ("\0", int(4)),
            ("../../x", int(5)),
            ("\u{202E}", int(6)),
        ])),
        "Unicode twins, the empty name, NUL, paths: keys are opaque and compared by bytes, so these are six keys.",
    );
    cases.accept(
        "incident-19-path-is-text",
        &RawFile {
            metadata: object(&[("external_data", str_("../../../etc/passwd"))]),
            root: object(&[("location", str_("/etc/passwd")), ("url", str_("file:///etc/passwd"))]),
            ..RawFile::new()
        },
        "ONNX CVE-2022-25882 and Keras CVE-2026-1462: the file named other files. Nothing here is followed: it is text.",
    );
    cases.accept(
        "incident-20-name-is-data",
        &root(named("os.system", &tuple(&[str_("true")]))),
        "torch CVE-2025-32434, Keras CVE-2025-1550: loading ran code. A type name comes back as a name.",
    );
    cases.accept(
        "incident-24-optional-extension",
        &RawFile { extensions: vec![RawExtension::new(0x3FFF_FFFF, b"later")], ..RawFile::new() },
        "Version confusion: an unknown extension that may be ignored is.",
    );
}

pub(super) fn reject(cases: &mut Cases) {
    sizes(cases);
    structure(cases);
    carriers(cases);
    damage(cases);
}

fn sizes(cases: &mut Cases) {
    let count = |tensors| RawFile { counts: RawCounts { tensors: Some(tensors), ..RawCounts::default() }, ..RawFile::new() };
    for (label, tensors) in [("2-31", 1 << 31), ("2-32-minus-1", u32::MAX)] {
        cases.open(
            leak(format!("incident-01-count-{label}")),
            "index-short",
            &count(tensors),
            "CVE-2024-21836 and its kin in GGUF: a count of tensors was trusted before memory was asked for.",
        );
    }
    let mut file = beside(4, RawTensor::new(0, 1, 0, &[1]));
    file.buffers.push(RawBuffer::new(data(1)));
    file.buffers[0].length = Some(1 << 63);
    file.buffers[1].length = Some((1 << 63) + 64);
    cases.open(
        "incident-02-sum-wraps",
        "buffer-length",
        &file,
        "CVE-2025-53630 and CVE-2026-27940: the sum of padded sizes wraps to 64, and the read overflows the heap.",
    );
    let full = |name: &str, dims: &[u64]| tensors(&[name], &[64], &[RawTensor::new(0, 0, 0, dims)]);
    cases.open(
        "incident-03-product-wraps",
        "tensor-size",
        &full("u8", &[(1 << 42) + 1, 1 << 22]),
        "llama.cpp PR 18674: the product of the extents wraps to 2^22.",
    );
    for (label, dims) in [("last", [u64::MAX, 0]), ("first", [0, u64::MAX])] {
        cases.open(
            leak(format!("incident-03-zero-{label}")),
            "tensor-size",
            &tensors(&["u8"], &[], &[RawTensor::empty(0, &dims)]),
            "llama.cpp PR 18674: a zero hides an extent of 2^64-1, wherever it stands.",
        );
    }
    cases.open(
        "incident-04-zero-beside-2-63",
        "tensor-size",
        &tensors(&["f32"], &[], &[RawTensor::empty(0, &[0, 1 << 63])]),
        "GHSA-3p75-pq92-q28f: an extent of zero beside one of 2^63.",
    );
    for (label, log2_block) in [("0", 0), ("31", 31), ("63", 63), ("64", 64)] {
        cases.open(
            leak(format!("incident-05-exponent-{label}")),
            "block-size",
            &RawFile { log2_block, ..RawFile::new() },
            "GHSA-96jg: an alignment of the file's choice wraps or amplifies. The block size is the only such field here.",
        );
    }
    let mut file = vector(100);
    file.buffers[0].align = Some(2048);
    cases.open(
        "incident-05-other-alignment",
        "file-layout",
        &file,
        "GHSA-96jg: a buffer at another alignment than the one fixed alignment.",
    );
    cases.open(
        "incident-06-extent-plus-1",
        "tensor-extent",
        &beside(100, RawTensor::new(0, 0, 0, &[101])),
        "CVE-2026-7482: an extent one past the data was read into the heap and exported.",
    );
    cases.open(
        "incident-06-extent-plus-4096",
        "tensor-extent",
        &beside(100, RawTensor::new(0, 0, 4096, &[100])),
        "CVE-2026-7482: the same, one page further.",
    );
    let whole = vector(100).build();
    cases.open_bytes(
        "incident-06-cut-by-1",
        "truncated",
        whole[..whole.len() - 1].to_vec(),
        "CVE-2026-7482: the file is a byte shorter than it says.",
    );
    let nested = repeat(300, null(), |value| named("x", &value));
    cases.open(
        "incident-07-depth-301",
        "depth-limit",
        &RawFile { streamed: true, ..root(nested) },
        "gguf for Python: nesting ran the stack over. 300 levels stand for any number of them.",
    );
    cases.open(
        "incident-08-bytes-1-gib",
        "bytes-limit",
        &root(counted(0x09, 1 << 30, b"abc")),
        "ggml PR 1516: strings and arrays of 1 GiB were let through. A limit is judged before the bytes it counts.",
    );
    cases.open(
        "incident-08-key-4097",
        "path-limit",
        &RawFile { streamed: true, ..root(object(&[(&"k".repeat(4097), null())])) },
        "ggml PR 1516: names have a limit.",
    );
    cases.open(
        "incident-09-rank-255",
        "tensor-rank",
        &tensors(&["u8"], &[], &[RawTensor { rank: Some(255), ..RawTensor::empty(0, &[0; 255]) }]),
        "safetensors takes a rank of 200,000. The field here ends at 255, and the limit is 64.",
    );
    let many: Vec<_> = (0..20).map(|n| RawTensor::empty(0, &[0, n / 2])).collect();
    cases.open(
        "incident-09-empty-tensors",
        "tensor-duplicate",
        &tensors(&["u8"], &[], &many),
        "safetensors opens 100,000 empty entries. Here equal ones are one tensor, and each costs its bytes of the index.",
    );
    cases.open(
        "incident-21-8-tib",
        "tensor-extent",
        &full("f32", &[1 << 41]),
        "Keras CVE-2026-0897 and NumPy: a file of some hundred bytes asks for 8 TiB.",
    );
    cases.open(
        "incident-21-2-40-2-40-0",
        "tensor-size",
        &tensors(&["u8"], &[], &[RawTensor::empty(0, &[1 << 40, 1 << 40, 0])]),
        "Keras CVE-2026-0897: a product above all limits under a zero.",
    );
    cases.open(
        "incident-25-offset-2-32-plus-4",
        "tensor-extent",
        &beside(100, RawTensor::new(0, 0, (1 << 32) + 4, &[8])),
        "A 32-bit reader that cuts the offset to 32 bits reads at 4.",
    );
    cases.open(
        "incident-25-length-2-32-plus-100",
        "index-short",
        &{
            let mut file = vector(100);
            file.buffers[0].length = Some((1 << 32) + 100);
            file.buffers[0].crcs = Some(vec![crc32(&data(100))]);
            file
        },
        "A 32-bit reader that cuts the length to 32 bits finds one block of 100 bytes.",
    );
}

fn structure(cases: &mut Cases) {
    let pair = || tensors(&["f32", "u8"], &[4, 4], &[RawTensor::new(0, 0, 0, &[1]), RawTensor::new(1, 1, 0, &[4])]);
    cases.open(
        "incident-10-key-twice",
        "key-duplicate",
        &RawFile { root: object(&[("x", tensor(0)), ("x", tensor(1))]), ..pair() },
        "safetensors: one name twice, one f32 to the reader that keeps the last, four u8 to the one that keeps the first.",
    );
    cases.open(
        "incident-11-empty-in-buffer",
        "tensor-buffer",
        &beside(8, RawTensor::new(0, 0, 0, &[0])),
        "safetensors: an empty tensor at the offset of another passed the check for overlaps.",
    );
    cases.open(
        "incident-11-empty-with-offset",
        "tensor-offset",
        &beside(8, RawTensor { offset: 4, ..RawTensor::empty(0, &[0]) }),
        "safetensors: an empty tensor in the middle of another.",
    );
    cases.open(
        "incident-12-identical",
        "tensor-duplicate",
        &tensors(&["u8"], &[4], &[RawTensor::new(0, 0, 0, &[4]), RawTensor::new(0, 0, 0, &[4])]),
        "Two entries with one extent are one tensor.",
    );
    cases.open(
        "incident-13-gap",
        "view-cover",
        &tensors(&["u8"], &[72], &[RawTensor::new(0, 0, 0, &[4]), RawTensor::new(0, 0, 64, &[8])]),
        "A gap between two tensors, in which anything can hide.",
    );
    let mut file = vector(100);
    file.slack_before_index = 64;
    cases.open("incident-13-gap-of-64", "file-layout", &file, "A gap of one alignment unit between two parts.");
}

fn carriers(cases: &mut Cases) {
    let whole = || vector(100).build();
    cases.open_bytes(
        "incident-13-trailing-byte",
        "trailing-bytes",
        [whole(), vec![0]].concat(),
        "One zero after the end: fastsafetensors took it, others did not.",
    );
    let zip_end = [b"PK\x05\x06".as_slice(), &[0; 18]].concat();
    cases.open_bytes(
        "incident-13-zip-tail",
        "trailing-bytes",
        [whole(), zip_end].concat(),
        "A ZIP archive is found from its end: one file, two formats.",
    );
    cases.open_bytes("incident-13-pickle-tail", "trailing-bytes", [whole(), b"\x80\x04N.".to_vec()].concat(), "A pickle appended.");
    let layout = vector(100).layout();
    let mut file = whole();
    file[layout.buffers[0].end..layout.buffers[0].end + 4].copy_from_slice(b"\x80\x04N.");
    cases.verify("incident-13-padding", "padding", file, "A pickle in the padding between two parts.");
    cases.open_bytes(
        "incident-14-byte-before-magic",
        "magic",
        [b"#".to_vec(), whole()].concat(),
        "The header as a carrier: a byte before the magic.",
    );
    cases.open_bytes(
        "incident-14-text-mode",
        "magic",
        [b"\x89CAIRN\n".as_slice(), &whole()[8..]].concat(),
        "The header as a carrier: line ends changed on the way.",
    );
    cases.open(
        "incident-14-reserved",
        "reserved",
        &RawFile::new().on_frames(|frame| frame.reserved_high.copy_from_slice(b"\x80\x04cos\nsystem\n.\0\0")),
        "The header as a carrier: a pickle in the reserved bytes.",
    );
    cases.open_bytes(
        "incident-20-pickle",
        "magic",
        [b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.".as_slice(), &[0; 232]].concat(),
        "A pickle under our suffix: no reader here falls back to another format.",
    );
    cases.open_bytes(
        "incident-23-hdf5",
        "magic",
        [b"\x89HDF\r\n\x1A\n".as_slice(), &[0; 56]].concat(),
        "HDF5, CVE-2016-4333 and later: a large reader is a large target. Its signature begins with the byte that ours does.",
    );
    cases.open_bytes(
        "incident-22-noise",
        "header-crc",
        [MAGIC.as_slice(), &(0_u32..248).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>()].concat(),
        "NumPy raises errors that it does not document. Noise behind the magic has a class and a code like all else.",
    );
    for (label, text) in [("invalid", b"\xFFx".as_slice()), ("overlong", b"\xC0\xAE\xC0\xAE/x")] {
        cases.open(
            leak(format!("incident-17-name-{label}")),
            "value-utf8",
            &root(dict(&[(str_raw(text), null())])),
            "A name that is not UTF-8; the overlong one reads as `../x` in a lenient decoder.",
        );
    }
    for (label, version) in [("0", 0), ("2", 2), ("65535", 65535)] {
        cases.open(
            leak(format!("incident-24-version-{label}")),
            "version",
            &RawFile { version, ..RawFile::new() },
            "GGML's lineage: files of another version were read as if they were not.",
        );
    }
    cases.open("incident-24-flag", "flags", &RawFile { flags: 0x8000, ..RawFile::new() }, "GGML's lineage: an unknown feature bit.");
    cases.open(
        "incident-24-required-extension",
        "extension-unknown",
        &RawFile { extensions: vec![RawExtension::new(0xBFFF_FFFF, b"later")], ..RawFile::new() },
        "GGML's lineage: an unknown feature that must be understood.",
    );
    cases.open(
        "incident-25-big-endian",
        "version",
        &RawFile::new().on_frames(|frame| frame.version = frame.version.swap_bytes()),
        "A writer on a big-endian host forgot to swap: its version is 256.",
    );
}

fn damage(cases: &mut Cases) {
    let layout = vector(100).layout();
    let flip = |at: usize| {
        let mut file = vector(100).build();
        file[at] ^= 1;
        file
    };
    cases.open_bytes(
        "incident-15-index-crc",
        "index-crc",
        flip(70),
        "picklescan CVE-2025-10156: a bad checksum stopped the scanner and not the loader. It stops every reader here.",
    );
    cases.verify(
        "incident-15-data-crc",
        "block-crc",
        flip(layout.buffers[0].start),
        "picklescan CVE-2025-10156: the index is good, the data is not: a scanner and a loader give the same verdict.",
    );
    let file = tensors(&["f32"], &[16], &[RawTensor::new(0, 0, 0, &[4])]);
    let name = file.layout().front.start + file.index().windows(3).position(|bytes| bytes == b"f32").unwrap();
    let mut bytes = file.build();
    bytes[name] = b'i';
    cases.open_bytes("incident-16-dtype", "index-crc", bytes, "safetensors: a flip from F32 to I32 went unseen.");
    let mut file = tensors(&["bool"], &[3], &[RawTensor::new(0, 0, 0, &[3])]);
    file.buffers[0].data = vec![0, 2, 1];
    cases.verify("incident-18-bool", "bool-value", file.build(), "safetensors: a bool of 2 is undefined behaviour in strict languages.");
    let mut file = vector(100).build();
    file[layout.buffers[0].clone()].fill(0);
    cases.verify(
        "incident-26-zero-filled",
        "block-crc",
        file,
        "safetensors issue 762: a file that was overwritten while mapped came back as zeros.",
    );
}
