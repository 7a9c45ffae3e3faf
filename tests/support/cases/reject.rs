//! What every reader refuses. The comment says so where the named rule is not the only one broken.

use super::accept::{above_i64, below_i64, named_bytes};
use super::*;

pub(super) fn fill(cases: &mut Cases) {
    starts(cases);
    header_fields(cases);
    file_lengths(cases);
    streamed_trailer(cases);
    planned_trailer(cases);
    index_range(cases);
    index_copy(cases);
    layout(cases);
    stale(cases);
    count_bombs(cases);
    extensions(cases);
    dtypes(cases);
    buffers(cases);
    tensor_records(cases);
    tensor_sizes(cases);
    tensor_strides(cases);
    numbering(cases);
    sharing(cases);
    scalars(cases);
    containers(cases);
    keys(cases);
    names(cases);
    named_bytes_values(cases);
    metadata_rules(cases);
    padding(cases);
    blocks(cases);
    elements(cases);
}

/// The bytes with one bit of byte `at` turned over.
fn flip(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

type EditFrame = fn(&mut Frame);

/// A streamed file with bytes in it.
fn streamed_vector() -> RawFile {
    RawFile { streamed: true, ..vector(100) }
}

fn starts(cases: &mut Cases) {
    let planned = vector(100).build();
    let streamed = streamed_vector().build();
    for length in [0, 1, 7, 8, 63] {
        cases.open_bytes(leak(format!("prefix-{length}")), "too-short", planned[..length].to_vec(), "Cut inside the header.");
    }
    for length in [64, 65, planned.len() - 64, planned.len() - 1] {
        cases.open_bytes(leak(format!("prefix-{length}")), "truncated", planned[..length].to_vec(), "Cut after the header.");
    }
    for length in [63, 64, 127, 128, 129, streamed.len() - 64, streamed.len() - 1] {
        let code = if length < 64 { "too-short" } else { "trailer-missing" };
        let name = leak(format!("streamed-prefix-{length}"));
        cases.open_bytes(name, code, streamed[..length].to_vec(), "A streamed file cut before its end.");
    }
    cases.open_bytes("magic-other-short", "magic", b"PK\x03\x04".to_vec(), "Too short, and no prefix of the magic either.");
    for at in 0..8 {
        cases.open_bytes(leak(format!("magic-byte-{at}")), "magic", flip(planned.clone(), at), "A wrong byte in the magic.");
    }
    let mangle = |from: &[u8], to: &[u8]| {
        let at = planned.windows(from.len()).position(|window| window == from).unwrap();
        [&planned[..at], to, &planned[at + from.len()..]].concat()
    };
    cases.open_bytes("magic-crlf-to-lf", "magic", mangle(b"\r\n", b"\n"), "Mangled as text from DOS.");
    cases.open_bytes("magic-lf-to-crlf", "magic", mangle(b"\n", b"\r\n"), "Mangled as text to DOS.");
    cases.open_bytes("magic-seven-bits", "magic", mangle(b"\x89", b"\x09"), "Mangled by a 7-bit channel.");
    cases.open_bytes("magic-after-byte", "magic", [b"\n", planned.as_slice()].concat(), "A byte before the magic.");
    cases.open_bytes("magic-after-bom", "magic", [b"\xEF\xBB\xBF", planned.as_slice()].concat(), "A byte order mark.");
    cases.open_bytes("pickle", "magic", [b"\x80\x04N.".as_slice(), &[0; 252]].concat(), "A pickle under our suffix.");
}

fn header_fields(cases: &mut Cases) {
    for version in [0, 2, 256, 65535] {
        let name = leak(format!("version-{version}"));
        cases.open(name, "version", &RawFile { version, ..RawFile::new() }, "A version that this reader does not know.");
    }
    cases.open(
        "version-2-other-layout",
        "version",
        &RawFile { version: 2, flags: 0xFF0, log2_block: 40, ..RawFile::new() },
        "Nothing but magic, checksum and version is looked at in a newer file.",
    );
    cases.open(
        "version-2-bad-crc",
        "header-crc",
        &RawFile { version: 2, ..RawFile::new() }.on_header(|h| h.crc = Some(0)),
        "The checksum comes before the version, so this one is broken, not newer.",
    );
    for bit in 2..16 {
        let file = RawFile { flags: 1 << bit, ..RawFile::new() };
        cases.open(leak(format!("flag-{bit}")), "flags", &file, "A flag that version 1 does not define.");
    }
    for at in 0..3 {
        let file = RawFile::new().on_frames(move |frame| frame.reserved_low[at] = 1);
        cases.open(leak(format!("reserved-{}", at + 13)), "reserved", &file, "A reserved byte is not zero.");
    }
    for at in 0..16 {
        let file = RawFile::new().on_frames(move |frame| frame.reserved_high[at] = 1);
        cases.open(leak(format!("reserved-{}", at + 44)), "reserved", &file, "A reserved byte is not zero.");
    }
    cases.open("role-header", "role", &RawFile::new().on_header(|h| h.flags |= TRAILER), "The header says trailer.");
    cases.open(
        "role-swapped",
        "role",
        &RawFile::new().on_frames(|frame| frame.flags ^= TRAILER),
        "The header says trailer and the trailer says header.",
    );
    for log2_block in [0, 11, 23, 255] {
        let name = leak(format!("block-size-2-{log2_block}"));
        cases.open(name, "block-size", &RawFile { log2_block, ..RawFile::new() }, "Outside 2^12 to 2^22.");
    }
    let fields: [(&str, EditFrame); 4] = [
        ("streamed-header-length", |h| h.file_length = 192),
        ("streamed-header-index-offset", |h| h.index_offset = 64),
        ("streamed-header-index-length", |h| h.index_length = 26),
        ("streamed-header-index-crc", |h| h.index_crc = 1),
    ];
    for (name, edit) in fields {
        cases.open(name, "streamed-fields", &RawFile::streamed().on_header(edit), "Only the trailer states it.");
    }
    cases.open(
        "planned-called-streamed",
        "streamed-fields",
        &RawFile::new().on_frames(|frame| frame.flags |= STREAMED),
        "A planned file with the streamed flag in header and trailer.",
    );
    cases.open(
        "streamed-called-planned",
        "file-length",
        &RawFile::streamed().on_frames(|frame| frame.flags &= !STREAMED),
        "A streamed file without its flag states no length in the header.",
    );
}

fn file_lengths(cases: &mut Cases) {
    let lengths = [
        ("file-length-0", "file-length", 0),
        ("file-length-191", "file-length", 191),
        ("file-length-192", "trailing-bytes", 192),
        ("file-length-minus-1", "trailing-bytes", 255),
        ("file-length-plus-1", "truncated", 257),
        ("file-length-2-63-minus-1", "truncated", (1 << 63) - 1),
        ("file-length-2-63", "file-length", 1 << 63),
        ("file-length-2-64-minus-1", "file-length", u64::MAX),
    ];
    for (name, code, length) in lengths {
        let file = RawFile::new().on_header(move |h| h.file_length = length).on_trailer(move |t| t.file_length = length);
        cases.open(name, code, &file, "The stated length is not the real one; 192 and 2^63-1 are the bounds.");
    }
    let (a, b) = (vector(100).build(), vector(5).build());
    cases.open_bytes("trailing-byte", "trailing-bytes", [a.as_slice(), &[0]].concat(), "One byte after the trailer.");
    cases.open_bytes("trailing-zip", "trailing-bytes", [a.as_slice(), b"PK\x05\x06"].concat(), "The end of an archive.");
    cases.open_bytes("joined-planned", "trailing-bytes", [a.as_slice(), &b].concat(), "Two planned files joined.");
    cases.open(
        "file-in-tail",
        "file-layout",
        &vector(100).on_frames(|frame| frame.file_length += 448).on_bytes(|file| {
            let tail = vector(5).build();
            assert_eq!(tail.len(), 448);
            file.extend(tail);
        }),
        "The stated length includes a whole second file; the first one's trailer is not at the end either.",
    );
    let (a, b) = (streamed_vector().build(), RawFile::streamed().build());
    cases.open_bytes(
        "joined-streamed",
        "trailing-bytes",
        [a.as_slice(), &b].concat(),
        "Two streamed files joined: the last trailer states less than there is.",
    );
    cases.open_bytes("streamed-trailing-byte", "trailer-missing", [a.as_slice(), &[0]].concat(), "The last 64 bytes are no trailer.");
    cases.open_bytes("streamed-trailing-zeros", "trailer-missing", [a.as_slice(), &[0; 64]].concat(), "Zeros behind.");
    cases.open_bytes(
        "streamed-trailer-twice",
        "trailing-bytes",
        [a.as_slice(), &a[a.len() - 64..]].concat(),
        "A second trailer behind the first.",
    );
}

fn streamed_trailer(cases: &mut Cases) {
    let end = streamed_vector().build().len();
    let flipped = |at: usize| flip(streamed_vector().build(), at);
    cases.open_bytes("streamed-trailer-magic", "trailer-missing", flipped(end - 64), "A trailer begins with the magic.");
    cases.open_bytes("streamed-trailer-crc", "trailer-crc", flipped(end - 1), "The trailer's checksum.");
    cases.open_bytes("streamed-trailer-stale", "trailer-crc", flipped(end - 40), "A byte of the trailer, not signed anew.");
    let fields: [(&str, &str, EditFrame); 15] = [
        ("streamed-trailer-version", "version", |t| t.version = 2),
        ("streamed-trailer-flag", "flags", |t| t.flags |= 4),
        ("streamed-trailer-reserved-15", "reserved", |t| t.reserved_low[2] = 1),
        ("streamed-trailer-reserved-44", "reserved", |t| t.reserved_high[0] = 1),
        ("streamed-trailer-role", "role", |t| t.flags &= !TRAILER),
        ("streamed-trailer-block-size-11", "block-size", |t| t.log2_block = 11),
        ("streamed-trailer-block-size-differs", "trailer-mismatch", |t| t.log2_block = 17),
        ("streamed-trailer-planned", "trailer-mismatch", |t| t.flags &= !STREAMED),
        ("streamed-length-minus-1", "trailing-bytes", |t| t.file_length -= 1),
        ("streamed-length-plus-1", "truncated", |t| t.file_length += 1),
        ("streamed-length-191", "file-length", |t| t.file_length = 191),
        ("streamed-length-2-63", "file-length", |t| t.file_length = 1 << 63),
        ("streamed-index-length-25", "index-length", |t| t.index_length = 25),
        ("streamed-index-length-huge", "index-length", |t| t.index_length = (1 << 29) - 8),
        ("streamed-index-limit", "index-limit", |t| t.index_length = (1 << 29) - 7),
    ];
    for (name, code, edit) in fields {
        cases.open(name, code, &streamed_vector().on_trailer(edit), "One field of a streamed file's trailer.");
    }
    cases.open_bytes(
        "streamed-length-128",
        "file-length",
        RawFile::streamed()
            .on_trailer(|t| (t.file_length, t.index_offset, t.index_length, t.index_crc) = (128, 64, 0, 0))
            .on_bytes(|file| drop(file.drain(64..128)))
            .build(),
        "Header and trailer alone; the length is checked before the index, which is missing too.",
    );
    let index = streamed_vector().layout().back;
    for (name, code, offset) in [
        ("streamed-index-offset-header", "index-offset", 0),
        ("streamed-index-offset-63", "index-offset", 63),
        ("streamed-index-past-trailer", "index-length", index.start + 64),
    ] {
        let at = offset as u64;
        let moved = streamed_vector().on_trailer(move |t| t.index_offset = at).build();
        let crc = crc32(&moved[offset..offset + index.len()]);
        let file = streamed_vector().on_trailer(move |t| (t.index_offset, t.index_crc) = (at, crc));
        cases.open(name, code, &file, "The index would lie in the header or reach into the trailer.");
    }
    cases.open(
        "streamed-index-offset-huge",
        "index-length",
        &streamed_vector().on_trailer(|t| t.index_offset = u64::MAX),
        "The end of the index overflows.",
    );
}

/// Level V, because a planned file opens from its header.
fn planned_trailer(cases: &mut Cases) {
    let end = vector(100).build().len();
    let flipped = |at: usize| flip(vector(100).build(), at);
    cases.verify("trailer-magic", "trailer-magic", flipped(end - 64), "The trailer's first byte.");
    cases.verify("trailer-crc", "trailer-crc", flipped(end - 1), "The trailer's checksum.");
    cases.verify("trailer-stale", "trailer-crc", flipped(end - 40), "A byte of the trailer, not signed anew.");
    let zeros = vector(100).on_bytes(|file| {
        let trailer = file.len() - 64;
        file[trailer..].fill(0);
    });
    cases.verify("trailer-zeros", "trailer-magic", zeros.build(), "The trailer was never written.");
    let header_twice = vector(100).on_trailer(|t| (t.flags, t.index_offset) = (0, 64));
    cases.verify("trailer-is-header", "role", header_twice.build(), "The header again in the trailer's place.");
    let fields: [(&str, &str, EditFrame); 11] = [
        ("trailer-version", "version", |t| t.version = 2),
        ("trailer-flag", "flags", |t| t.flags |= 4),
        ("trailer-reserved-13", "reserved", |t| t.reserved_low[0] = 1),
        ("trailer-reserved-59", "reserved", |t| t.reserved_high[15] = 1),
        ("trailer-role", "role", |t| t.flags &= !TRAILER),
        ("trailer-block-size-23", "block-size", |t| t.log2_block = 23),
        ("trailer-block-size-differs", "trailer-mismatch", |t| t.log2_block = 17),
        ("trailer-streamed", "trailer-mismatch", |t| t.flags |= STREAMED),
        ("trailer-length", "trailer-mismatch", |t| t.file_length += 64),
        ("trailer-index-length", "trailer-mismatch", |t| t.index_length += 1),
        ("trailer-index-crc", "trailer-mismatch", |t| t.index_crc ^= 1),
    ];
    for (name, code, edit) in fields {
        cases.verify(name, code, vector(100).on_trailer(edit).build(), "One field of a planned file's trailer.");
    }
    for (name, shift) in [("trailer-index-offset", 64), ("trailer-index-offset-huge", 1 << 63)] {
        let file = vector(100).on_trailer(move |t| t.index_offset += shift);
        cases.verify(name, "trailer-mismatch", file.build(), "The index copy is not where the layout puts it.");
    }
    let front = vector(100).on_trailer(|t| t.index_offset = 64);
    cases.verify("trailer-index-offset-front", "trailer-mismatch", front.build(), "The trailer points to the first index.");
}

fn index_range(cases: &mut Cases) {
    cases.open(
        "index-length-25",
        "index-length",
        &RawFile::new().on_index(|index| index.truncate(25)),
        "25 bytes hold no index; it is cut short as well, which is seen later.",
    );
    let crc = crc32(&RawFile::new().build()[64..192]);
    let stretched = RawFile::new()
        .on_header(move |h| (h.index_length, h.index_crc) = (128, crc))
        .on_trailer(move |t| (t.index_length, t.index_crc) = (128, crc));
    cases.open(
        "index-length-at",
        "file-layout",
        &stretched,
        "The longest index that fits before the trailer, but with no room for its copy; it goes on after the root as well.",
    );
    for (name, code, length) in [
        ("index-length-above", "index-length", 129),
        ("index-length-past-end", "index-length", 193),
        ("index-length-0", "index-length", 0),
        ("index-length-limit", "index-length", (1 << 29) - 8),
        ("index-limit", "index-limit", (1 << 29) - 7),
        ("index-limit-huge", "index-limit", u64::MAX),
    ] {
        let file = RawFile::new().on_header(move |h| h.index_length = length).on_trailer(move |t| t.index_length = length);
        cases.open(name, code, &file, "In a file of 256 bytes; 2^29-8 is the limit, and above it the limit is named.");
    }
    for offset in [0, 63, 65, 128, u64::MAX] {
        let file = RawFile::new().on_header(move |h| h.index_offset = offset);
        cases.open(leak(format!("index-offset-{offset}")), "index-offset", &file, "A planned file's index is at 64.");
    }
    cases.open("index-trailing-byte", "index-long", &RawFile { index_tail: vec![0], ..RawFile::new() }, "A byte after the root value.");
    cases.open(
        "index-trailing-value",
        "index-long",
        &RawFile { index_tail: null(), ..RawFile::streamed() },
        "A value after the root value.",
    );
    cases.open("index-short-int", "index-short", &root(vec![4, 1, 2, 3, 4, 5, 6, 7]), "An int of seven bytes ends the index.");
    cases.open("index-short-float", "index-short", &root(vec![6]), "A tag ends the index.");
    cases.open("index-short-str", "index-short", &root(counted(0x08, 2, b"a")), "A str ends the index early.");
    cases.open("index-short-str-huge", "index-short", &root(counted(0x08, u32::MAX, b"a")), "A str of 4 GiB.");
    cases.open("index-short-named", "index-short", &root(named("a.b", &[])), "A named value without its value.");
    cases.open("index-short-tensor", "index-short", &root(tensor(0)[..4].to_vec()), "A tensor number of three bytes.");
    cases.open("index-short-list", "index-short", &root(list(&[])[..8].to_vec()), "A byte length of three bytes.");
    cases.open(
        "index-short-root",
        "index-short",
        &RawFile { root: vec![], metadata: object(&[("", null())]), ..RawFile::new() },
        "The index ends after the metadata.",
    );
}

fn index_copy(cases: &mut Cases) {
    let file = || RawFile { metadata: object(&[("note", bytes(&data(8)))]), ..vector(100) };
    let back = file().layout().back;
    cases.verify("index-copy-stale", "index-crc", flip(file().build(), back.start), "The index copy's first byte.");
    cases.verify("index-copy-stale-end", "index-crc", flip(file().build(), back.end - 1), "The index copy's last byte.");
    // The generator polynomial itself: adding it anywhere leaves a CRC-32 as it is.
    let silent = (1 | 0xEDB8_8320_u64 << 1).to_le_bytes();
    let at = back.start + file().index().windows(8).position(|window| window == data(8)).unwrap();
    let mut forged = file().build();
    forged[at..].iter_mut().zip(&silent).for_each(|(byte, change)| *byte ^= change);
    assert_eq!(crc32(&forged[back.clone()]), crc32(&file().index()));
    cases.verify("index-copy", "index-copy", forged, "The index copy differs in its metadata and has the same checksum.");
}

fn layout(cases: &mut Cases) {
    let mut file = vector(100);
    file.slack_before_index = 64;
    cases.open("layout-gap-before-copy", "file-layout", &file, "64 zeros too many before the index copy.");
    let mut file = vector(100);
    file.slack_before_trailer = 64;
    cases.open("layout-gap-before-trailer", "file-layout", &file, "64 zeros too many before the trailer.");
    let mut file = streamed_vector();
    file.slack_before_index = 64;
    cases.open("streamed-gap-before-index", "index-offset", &file, "64 zeros too many between buffer and index.");
    let mut file = streamed_vector();
    file.slack_before_trailer = 64;
    cases.open("streamed-gap-before-trailer", "file-layout", &file, "64 zeros too many before the trailer.");
    let mut file = vector(65536);
    file.buffers[0].align = Some(64);
    cases.open("layout-large-at-64", "file-layout", &file, "A buffer of 65536 bytes is not at a multiple of 4096.");
    let mut file = vector(65535);
    file.buffers[0].align = Some(4096);
    cases.open("layout-small-at-4096", "file-layout", &file, "A buffer of 65535 bytes is at 4096 instead of 192.");
    let mut file = vector(65536);
    file.streamed = true;
    file.buffers[0].align = Some(64);
    cases.open("streamed-large-at-64", "index-offset", &file, "The index of a streamed file follows from its buffers.");
    let mut file = tensors(&["u8"], &[1, 1], &[RawTensor::new(0, 0, 0, &[1]), RawTensor::new(0, 1, 0, &[1])]);
    file.buffers[1].align = Some(1);
    cases.open("layout-unaligned", "file-layout", &file, "The second buffer follows the first without padding.");
    let mut file = vector(100);
    file.extensions.push(RawExtension::new(5, b""));
    file.buffers.push(RawBuffer::of_kind(1, 5, vec![]));
    file.buffers[1].length = Some(LOST);
    file.buffers[1].crcs = Some(vec![0; 68]);
    cases.open("layout-lost-buffer", "file-layout", &file, "A buffer of 17 MiB that the file does not have.");
}

/// Above what the builder lays out.
const LOST: u64 = 17 << 20;

/// The same kinds of faults, not signed anew.
fn stale(cases: &mut Cases) {
    for at in [8, 10, 12, 13, 16, 24, 32, 40, 44, 60, 63] {
        let name = leak(format!("stale-header-{at}"));
        cases.open_bytes(name, "header-crc", flip(vector(100).build(), at), "A flipped bit in the header.");
    }
    let crc = |crc: u32| vector(100).on_header(move |h| h.crc = Some(crc));
    cases.open("header-crc-zero", "header-crc", &crc(0), "There is no checksum that means absent.");
    cases.open("header-crc-ones", "header-crc", &crc(u32::MAX), "There is no checksum that means absent.");
    let index = vector(100).layout().front;
    for at in [0, 4, 20, 40, 60, 80, index.len() - 1] {
        let name = leak(format!("stale-index-{at}"));
        cases.open_bytes(name, "index-crc", flip(vector(100).build(), 64 + at), "A flipped bit in the index.");
    }
    cases.open("index-crc-zero", "index-crc", &vector(100).on_frames(|f| f.index_crc = 0), "No checksum means absent.");
    let back = streamed_vector().layout().back;
    let flipped = flip(streamed_vector().build(), back.end - 1);
    cases.open_bytes("streamed-stale-index", "index-crc", flipped, "A flipped bit in a streamed file's index.");
    let flipped = flip(RawFile::streamed().build(), 60);
    cases.open_bytes("streamed-stale-header", "header-crc", flipped, "A flipped bit in a streamed file's header.");
}

/// Each table with legal records up to the end of the index, and a count above them.
fn count_bombs(cases: &mut Cases) {
    let mut extensions = RawFile::new();
    extensions.extensions = (1..4).map(|tag| RawExtension::new(tag, b"")).collect();
    let mut dtypes = RawFile::new();
    dtypes.dtypes = ["bool", "u8", "i8"].map(dtype).into();
    let buffers = vector(1);
    let sizes = [&[0, 1], &[0, 2], &[0, 3]].map(|dims| RawTensor::empty(0, dims));
    let records = tensors(&["u8"], &[], &sizes);
    for (part, name, file) in [(0, "extensions", extensions), (1, "dtypes", dtypes), (2, "buffers", buffers), (4, "tensors", records)] {
        let parts = file.parts();
        let at = parts[..part].concat().len();
        let end = at + parts[part].len();
        let count = u32::from_le_bytes(*parts[part].first_chunk().unwrap());
        let index = file.index();
        for (label, count) in [("plus-1", count + 1), ("2-31", 1 << 31), ("2-32-minus-1", u32::MAX)] {
            let mut cut = index[..end].to_vec();
            cut[at..at + 4].copy_from_slice(&count.to_le_bytes());
            let bomb = RawFile::new().on_index(move |index| index.clone_from(&cut));
            let name = leak(format!("count-{name}-{label}"));
            cases.open(name, "index-short", &bomb, "The index ends with the records of this table, fewer than it states.");
        }
    }
    for (name, counts) in [
        ("extensions", RawCounts { extensions: Some(u32::MAX), ..RawCounts::default() }),
        ("dtypes", RawCounts { dtypes: Some(u32::MAX), ..RawCounts::default() }),
        ("buffers", RawCounts { buffers: Some(u32::MAX), ..RawCounts::default() }),
        ("tensors", RawCounts { tensors: Some(u32::MAX), ..RawCounts::default() }),
    ] {
        let name = leak(format!("count-{name}-alone"));
        let file = RawFile { counts, ..RawFile::new() };
        cases.open(name, "index-short", &file, "A count is checked against the bytes left before any record is read.");
    }
    for (name, tag) in [("list", LIST), ("tuple", TUPLE), ("dict", DICT)] {
        for (label, count) in [("2-31", 1 << 31), ("2-32-minus-1", u32::MAX)] {
            let bomb = list(&[container(tag, count, 0, &[]), null()]);
            cases.open(leak(format!("count-{name}-{label}")), "value-length", &root(bomb), "A container without that much in it.");
        }
    }
    let nested = repeat(120, list(&[]), |value| container(LIST, u32::MAX, value.len() as u32, &value));
    cases.open(
        "count-nested",
        "value-length",
        &root(list(&[nested, null()])),
        "120 lists, each of which states 2^32-1 items and holds one.",
    );
}

fn extensions(cases: &mut Cases) {
    let file = |extensions: &[RawExtension]| RawFile { extensions: extensions.to_vec(), ..vector(4) };
    let tags = |tags: &[u32]| file(&tags.iter().map(|&tag| RawExtension::new(tag, b"abc")).collect::<Vec<_>>());
    cases.open("extension-tag-0", "extension-order", &tags(&[0]), "Tag 0 is reserved.");
    cases.open("extension-tag-0-later", "extension-order", &tags(&[1, 0]), "Tag 0 is reserved, and descends.");
    cases.open("extension-twice", "extension-order", &tags(&[4, 4]), "One extension twice.");
    cases.open("extension-descending", "extension-order", &tags(&[4, 3]), "Tags descend.");
    cases.open("extension-must-understand", "extension-unknown", &tags(&[0x8000_0001]), "An unknown required extension.");
    cases.open("extension-must-understand-private", "extension-unknown", &tags(&[3, u32::MAX]), "The highest tag.");
    cases.open(
        "extension-must-understand-other-layout",
        "extension-unknown",
        &RawFile { root: vec![0x0F], ..tags(&[0x8000_0001]) },
        "Extensions come first: a value tag that only the extension defines is not reached.",
    );
    cases.open(
        "extension-frames-first",
        "extension-order",
        &tags(&[0x8000_0002, 0x8000_0001]),
        "All frames are scanned before an unknown tag is refused.",
    );
    for at in 0..5 {
        let mut pad = vec![0; 5];
        pad[at] = 1;
        let extension = RawExtension { pad: Some(pad), ..RawExtension::new(1, b"abc") };
        cases.open(leak(format!("extension-padding-{at}")), "extension-padding", &file(&[extension]), "Padding is zero.");
    }
    for (label, length) in [("2-31", 1 << 31), ("2-32-minus-1", u32::MAX), ("2-32-minus-8", u32::MAX - 7)] {
        let extension = RawExtension { length: Some(length), ..RawExtension::new(1, b"abc") };
        let name = leak(format!("extension-length-{label}"));
        cases.open(name, "index-short", &file(&[extension]), "The payload runs past the index.");
    }
    let extension = RawExtension { pad: Some(vec![0; 4]), ..RawExtension::new(1, &data(20)[..12]) };
    let cut = file(&[extension]).on_index(|index| index.truncate(4 + 8 + 15));
    cases.open("extension-padding-cut", "index-short", &cut, "The index ends inside an extension's padding.");
}

fn dtypes(cases: &mut Cases) {
    let file = |dtype: RawDtype, dims: &[u64], bytes: usize| tensors_of(vec![dtype], &[bytes], &[RawTensor::new(0, 0, 0, dims)]);
    let name = |name: &[u8]| file(RawDtype { name: name.to_vec(), ..RawDtype::scalar("", 1) }, &[4], 4);
    let names: [(&str, &[u8]); 12] = [
        ("dtype-name-empty", b""),
        ("dtype-name-capital", b"F32"),
        ("dtype-name-hyphen", b"my-type"),
        ("dtype-name-space", b"my type.x"),
        ("dtype-name-nul", b"my.type\0"),
        ("dtype-name-control", b"my.\x1F"),
        ("dtype-name-delete", b"my.\x7F"),
        ("dtype-name-latin-1", b"my.\xE9"),
        ("dtype-name-utf8", "my.é".as_bytes()),
        ("dtype-name-no-dot", b"{}"),
        ("dtype-name-long-no-dot", &[b'A'; 255]),
        ("dtype-name-newline", b"u8\n"),
    ];
    for (case, bytes) in names {
        cases.open(case, "dtype-name", &name(bytes), "Neither [a-z0-9_]+ nor visible ASCII with a dot.");
    }
    for class in [3, 255] {
        let dtype = RawDtype::new("my.type", class, 1, 1);
        cases.open(leak(format!("dtype-class-{class}")), "dtype-class", &file(dtype, &[4], 4), "No such class.");
    }
    let geometries = [
        ("dtype-scalar-of-0", SCALAR, 0, 1),
        ("dtype-scalar-of-2", SCALAR, 2, 1),
        ("dtype-packed-of-0", PACKED, 0, 1),
        ("dtype-packed-of-1", PACKED, 1, 1),
        ("dtype-packed-3-to-1", PACKED, 3, 1),
        ("dtype-packed-16-to-1", PACKED, 16, 1),
        ("dtype-packed-5-to-3", PACKED, 5, 3),
        ("dtype-block-of-0", BLOCK, 0, 1),
        ("dtype-block-of-1", BLOCK, 1, 1),
        ("dtype-bytes-0", SCALAR, 1, 0),
        ("dtype-bytes-65536", SCALAR, 1, 65536),
        ("dtype-bytes-2-32-minus-1", BLOCK, 32, u32::MAX),
        ("dtype-packed-bytes-0", PACKED, 2, 0),
    ];
    for (case, class, elements, bytes) in geometries {
        let dtype = RawDtype::new("my.type", class, elements, bytes);
        cases.open(
            case,
            "dtype-geometry",
            &file(dtype, &[elements.max(1).into()], bytes.clamp(1, 65536) as usize),
            "Elements or bytes per group do not fit the class.",
        );
    }
    let registered = [
        ("dtype-f32-of-8-bytes", "f32", SCALAR, 1, 8, 32),
        ("dtype-i8-of-4-bytes", "i8", SCALAR, 1, 4, 16),
        ("dtype-i4-4-to-1", "i4", PACKED, 4, 1, 1),
        ("dtype-i4-block", "i4", BLOCK, 2, 1, 2),
        ("dtype-q4-0-of-20-bytes", "q4_0", BLOCK, 4, 20, 20),
    ];
    for (case, name, class, elements, bytes, length) in registered {
        let dtype = RawDtype::new(name, class, elements, bytes);
        cases.open(case, "dtype-registered", &file(dtype, &[4], length), "A registered name with another geometry.");
    }
    for (case, names) in [("dtype-twice", ["u8", "u8"]), ("dtype-private-twice", ["my.u8", "my.u8"])] {
        let dtypes = names.map(|name| RawDtype::scalar(name, 1)).to_vec();
        let both = [RawTensor::new(0, 0, 0, &[4]), RawTensor::new(1, 0, 0, &[4])];
        cases.open(case, "dtype-duplicate", &tensors_of(dtypes, &[4], &both), "Two dtypes of one name.");
    }
    let dtypes = vec![RawDtype::scalar("my.u", 1), RawDtype::scalar("my.u", 2)];
    let both = [RawTensor::new(0, 0, 0, &[4]), RawTensor::new(1, 0, 0, &[2])];
    cases.open(
        "dtype-twice-other-geometry",
        "dtype-duplicate",
        &tensors_of(dtypes, &[4], &both),
        "A name says one dtype, whatever the geometry.",
    );
}

fn buffers(cases: &mut Cases) {
    let length = |length: u64| {
        let mut file = vector(4);
        file.buffers[0].length = Some(length);
        file
    };
    let mut empty = vector(4);
    empty.buffers.push(RawBuffer::default());
    empty.tensors.push(RawTensor::new(0, 1, 0, &[1]));
    empty.root = numbered(2);
    cases.open("buffer-length-0", "buffer-length", &empty, "Tensor bytes are at least one; a tensor in them reaches too far.");
    let mut auxiliary = vector(4);
    auxiliary.extensions.push(RawExtension::new(9, b""));
    auxiliary.buffers.push(RawBuffer::of_kind(1, 9, vec![]));
    cases.open("buffer-auxiliary-length-0", "buffer-length", &auxiliary, "An auxiliary buffer has bytes.");
    cases.open("buffer-length-2-63", "buffer-length", &length(1 << 63), "Above 2^63-1.");
    cases.open("buffer-length-2-64-minus-1", "buffer-length", &length(u64::MAX), "Placement would overflow.");
    cases.open("buffer-length-2-62", "index-short", &length(1 << 62), "Legal, but the index has not that many block CRCs.");
    let two = |first: u64, second: u64| {
        let mut file = beside(4, RawTensor::new(0, 1, 0, &[1]));
        file.buffers.push(RawBuffer::new(data(1)));
        file.buffers[0].length = Some(first);
        file.buffers[1].length = Some(second);
        file
    };
    // Such a buffer begins at 4096, behind a short index.
    cases.open("buffer-end-at", "index-short", &length((1 << 63) - 1 - 4096), "Ends at 2^63-1, without its block CRCs.");
    cases.open("buffer-end-above", "buffer-length", &length((1 << 63) - 4096), "Ends at 2^63.");
    cases.open("buffer-sum-above", "buffer-length", &two(1 << 62, 1 << 62), "2^63 in all.");
    cases.open("buffer-sum-wraps", "buffer-length", &two((1 << 63) - 1, (1 << 63) + 5), "2^64+4 in all, 4 if it wraps.");

    let owned = |kind: u32, owner: u32| {
        let mut file = vector(4);
        file.extensions.push(RawExtension::new(9, b""));
        file.buffers.push(RawBuffer::of_kind(kind, owner, data(4)));
        if kind != 1 {
            file.tensors.push(RawTensor::new(0, 1, 0, &[4]));
            file.root = numbered(2);
        }
        file
    };
    cases.open("buffer-owned-by-extension", "buffer-owner", &owned(0, 9), "Tensor bytes have no owner.");
    for (case, kind, owner) in [
        ("buffer-auxiliary-owner-0", 1, 0),
        ("buffer-auxiliary-owner-absent", 1, 8),
        ("buffer-kind-2-owner-0", 2, 0),
        ("buffer-kind-7-owner-absent", 7, 0x4000_0009),
    ] {
        cases.open(case, "buffer-owner", &owned(kind, owner), "The owner is no extension of the file.");
    }
    let mut file = owned(1, 9);
    file.buffers.swap(0, 1);
    file.tensors[0].buffer = 1;
    cases.open("buffer-auxiliary-first", "buffer-order", &file, "Auxiliary buffers come after all others.");
    cases.open("streamed-auxiliary-first", "buffer-order", &RawFile { streamed: true, ..file }, "The same, streamed.");
    let mut file = owned(1, 9);
    file.tensors.push(RawTensor::new(0, 1, 0, &[4]));
    file.root = numbered(2);
    cases.open("buffer-auxiliary-viewed", "buffer-viewed", &file, "A tensor views an auxiliary buffer.");
    for (case, kind, owner) in [("buffer-unused", 0, 0), ("buffer-kind-7-unused", 7, 9)] {
        let mut file = owned(kind, owner);
        file.tensors.pop();
        file.root = numbered(1);
        cases.open(case, "buffer-unused", &file, "A buffer that nobody views is auxiliary or not there.");
        let file = RawFile { streamed: true, ..file };
        cases.open(leak(format!("streamed-{case}")), "buffer-unused", &file, "The same, streamed.");
    }
}

fn first_buffer_unused() -> RawFile {
    tensors(&["u8"], &[4, 4], &[RawTensor::new(0, 1, 0, &[4])])
}

fn tensor_records(cases: &mut Cases) {
    let new = RawTensor::new;
    for (case, number) in [("tensor-dtype-1", 1), ("tensor-dtype-2-32-minus-1", u32::MAX)] {
        cases.open(case, "tensor-dtype", &beside(4, new(number, 0, 0, &[4])), "There is one dtype.");
    }
    for (case, number) in [("tensor-buffer-1", 1), ("tensor-buffer-2-32-minus-2", u32::MAX - 1)] {
        cases.open(case, "tensor-buffer", &beside(4, new(0, number, 0, &[2])), "There is one buffer.");
    }
    cases.open("tensor-bytes-without-buffer", "tensor-buffer", &beside(4, RawTensor::empty(0, &[2])), "Two bytes nowhere.");
    cases.open("tensor-0d-without-buffer", "tensor-buffer", &beside(4, RawTensor::empty(0, &[])), "One byte nowhere.");
    cases.open("tensor-empty-with-buffer", "tensor-buffer", &beside(4, new(0, 0, 0, &[0])), "No bytes in a buffer.");
    cases.open(
        "tensor-empty-offset",
        "tensor-offset",
        &beside(4, RawTensor { offset: 8, ..RawTensor::empty(0, &[0]) }),
        "An empty tensor is nowhere.",
    );
    cases.open("rank-65", "tensor-rank", &beside(1, new(0, 0, 0, &[1; 65])), "64 axes are the most.");
    cases.open("rank-255", "tensor-rank", &beside(1, new(0, 0, 0, &[1; 255])), "64 axes are the most.");
    for bit in 1..8 {
        let tensor = RawTensor { flags: 1 << bit, ..new(0, 0, 0, &[2]) };
        cases.open(leak(format!("tensor-flag-{bit}")), "tensor-flags", &beside(4, tensor), "An undefined flag.");
    }
    let groups = |dims: &[u64], groups: usize| tensors(&["q4_0"], &[18 * groups], &[new(0, 0, 0, dims)]);
    cases.open("block-31", "tensor-groups", &groups(&[31], 1), "Less than a group.");
    cases.open("block-33", "tensor-groups", &groups(&[33], 2), "More than a group.");
    cases.open("block-rows-of-half", "tensor-groups", &groups(&[2, 16], 1), "Whole in all, but not on the last axis.");
    cases.open("block-transposed", "tensor-groups", &groups(&[32, 2], 2), "The first axis is whole, the last is not.");
    cases.open("block-0d", "tensor-groups", &groups(&[], 1), "A block dtype needs an axis.");
    cases.open("block-empty-33", "tensor-groups", &tensors(&["q4_0"], &[], &[RawTensor::empty(0, &[0, 33])]), "Even if empty.");

    let misaligned = |name: &str, bytes: u32, offset: u64| {
        let other = if bytes > 16 { RawDtype::scalar(name, bytes) } else { dtype(name) };
        tensors_of(vec![dtype("u8"), other], &[512], &[new(0, 0, 0, &[512]), new(1, 0, offset, &[1])])
    };
    for (case, name, bytes, offset) in [
        ("tensor-offset-f32", "f32", 4, 2),
        ("tensor-offset-f16", "f16", 2, 1),
        ("tensor-offset-c128", "c128", 16, 8),
        ("tensor-offset-wide", "my.b128", 128, 32),
        ("tensor-offset-96", "my.b96", 96, 16),
    ] {
        cases.open(case, "tensor-offset", &misaligned(name, bytes, offset), "Not a multiple of the alignment.");
    }
    let mut block = tensors(&["u8", "nvfp4"], &[72], &[new(0, 0, 0, &[72]), new(1, 0, 2, &[64])]);
    cases.open("tensor-offset-block", "tensor-offset", &block, "36 bytes per group make an alignment of 4.");
    block.tensors[1].offset = 40;
    cases.open("tensor-extent-block", "tensor-extent", &block, "Four bytes past the end.");

    for (case, tensor) in [
        ("tensor-extent-plus-1", new(0, 0, 0, &[101])),
        ("tensor-extent-offset", new(0, 0, 1, &[100])),
        ("tensor-extent-at-end", new(0, 0, 100, &[1])),
        ("tensor-extent-2-63-minus-1", new(0, 0, 0, &[(1 << 63) - 1])),
        ("tensor-extent-offset-wraps", new(0, 0, u64::MAX, &[1])),
        ("tensor-extent-wraps", new(0, 0, u64::MAX - 1, &[4])),
        ("tensor-extent-strided", new(0, 0, 0, &[2, 2]).strided(&[99, 1])),
        ("tensor-extent-strided-offset", new(0, 0, 98, &[2]).strided(&[2])),
        ("tensor-extent-stride-huge", new(0, 0, 0, &[2]).strided(&[(1 << 63) - 2])),
    ] {
        cases.open(case, "tensor-extent", &beside(100, tensor), "A tensor reaches past its buffer.");
    }
    let alone = |dims: &[u64]| tensors(&["f32"], &[16], &[new(0, 0, 0, dims)]);
    cases.open("tensor-extent-f32", "tensor-extent", &alone(&[5]), "Five f32 in 16 bytes.");
    cases.open("tensor-extent-8-tib", "tensor-extent", &alone(&[1 << 41]), "A small file with a huge shape.");
    let twice = |buffers: &[usize], tensor: RawTensor| tensors(&["u8"], buffers, &[tensor.clone(), tensor]);
    cases.open("tensor-twice", "tensor-duplicate", &twice(&[4], new(0, 0, 0, &[4])), "Equal entries are one tensor.");
    cases.open("tensor-empty-twice", "tensor-duplicate", &twice(&[], RawTensor::empty(0, &[0])), "Also empty ones.");
    let mut apart = tensors(&["u8"], &[1], &[RawTensor::empty(0, &[0, 2]), new(0, 0, 0, &[1]), RawTensor::empty(0, &[0, 2])]);
    cases.open("tensor-empty-twice-apart", "tensor-duplicate", &apart, "Also with another between them.");
    apart.tensors = vec![new(0, 0, 0, &[2, 2]).strided(&[1, 2]), new(0, 0, 0, &[4]), new(0, 0, 0, &[2, 2]).strided(&[1, 2])];
    apart.buffers[0].data = data(4);
    cases.open("tensor-strided-twice", "tensor-duplicate", &apart, "Also with strides.");
    let mut opaque = twice(&[4], new(0, 0, 0, &[4]));
    opaque.extensions.push(RawExtension::new(9, b""));
    opaque.buffers[0] = RawBuffer::of_kind(7, 9, data(4));
    cases.open("tensor-opaque-twice", "tensor-duplicate", &opaque, "Also in a buffer of unknown kind.");
}

fn tensor_sizes(cases: &mut Cases) {
    let empty = |name: &str, dims: &[u64]| tensors(&[name], &[], &[RawTensor::empty(0, dims)]);
    let full = |name: &str, dims: &[u64]| tensors(&[name], &[64], &[RawTensor::new(0, 0, 0, dims)]);
    let strided = |strides: &[u64]| tensors(&["f64"], &[64], &[RawTensor::new(0, 0, 0, &[2]).strided(strides)]);
    cases.open("tensor-size-strided-at", "tensor-extent", &strided(&[(1 << 60) - 2]), "2^63-8 bytes, which are not there.");
    for (case, file) in [
        ("tensor-size-u8-above", empty("u8", &[0, 1 << 63])),
        ("tensor-size-u8-above-zero-last", empty("u8", &[1 << 63, 0])),
        ("tensor-size-u8-2-64-minus-1", empty("u8", &[u64::MAX, 0])),
        ("tensor-size-product-zero-last", empty("u8", &[1 << 40, 1 << 40, 0])),
        ("tensor-size-product-zero-first", empty("u8", &[0, 1 << 40, 1 << 40])),
        ("tensor-size-product-wraps-to-0", empty("u8", &[0, 1 << 32, 1 << 32])),
        ("tensor-size-f64-above", empty("f64", &[1 << 60, 0])),
        ("tensor-size-c128-above", empty("c128", &[0, 1 << 59])),
        ("tensor-size-u1-above", empty("u1", &[0, 1 << 63])),
        ("tensor-size-block-above", empty("q8_1", &[0, 1 << 63])),
        ("tensor-size-block-bytes-above", tensors_of(wide_block(), &[], &[RawTensor::empty(0, &[0, 1 << 60])])),
        ("tensor-size-rank-64", empty("u8", &[&[0][..], &[2; 63]].concat())),
        ("tensor-size-strided", strided(&[(1 << 60) - 1])),
        ("tensor-size-full", full("u8", &[1 << 63])),
        ("tensor-size-full-wraps-to-64", full("u8", &[(1 << 58) + 1, 1 << 6])),
        ("tensor-size-full-wraps-to-0", full("f32", &[1 << 31, 1 << 31])),
        ("tensor-size-full-bytes-wrap", full("f32", &[(1 << 62) + 16])),
        ("tensor-size-full-u1", full("u1", &[1 << 32, 1 << 31])),
    ] {
        cases.open(case, "tensor-size", &file, "Elements or bytes, with each extent at least 1, are above 2^63-1.");
    }
}

/// Two elements in 16 bytes: the elements fit where the bytes do not.
fn wide_block() -> Vec<RawDtype> {
    vec![RawDtype::new("my.wide", BLOCK, 2, 16)]
}

fn tensor_strides(cases: &mut Cases) {
    let new = |dims: &[u64], strides: &[u64]| RawTensor::new(0, 0, 0, dims).strided(strides);
    for (case, tensor, comment) in [
        ("strides-row-major", new(&[2, 3], &[3, 1]), "Row-major strides are not written."),
        ("strides-row-major-vector", new(&[4], &[1]), "Row-major strides are not written."),
        ("strides-row-major-ones", new(&[1, 2, 1, 3], &[0, 3, 0, 1]), "Row-major up to axes of extent 1."),
        ("strides-row-major-one", new(&[1], &[0]), "One element is row-major."),
        ("strides-0d", new(&[], &[]), "Rank 0 has no strides to write."),
        ("strides-zero", new(&[2, 3], &[0, 1]), "A repeated axis overlaps itself."),
        ("strides-zero-only", new(&[3], &[0]), "A repeated element."),
        ("strides-extent-1", new(&[1, 2, 3], &[6, 1, 2]), "The stride of an axis of extent 1 is zero."),
        ("strides-reach-2-63-minus-1", new(&[2], &[(1 << 63) - 1]), "The last element's number is above 2^63-2."),
        ("strides-negative", new(&[4], &[u64::MAX]), "As a signed number -1; as what it is, too far."),
        ("strides-wrap", new(&[3, 2], &[1 << 63, 1]), "The last element's number wraps to 1."),
        ("strides-wrap-between", new(&[2, 3, 2], &[8, 1 << 63, 1]), "The reach of two axes wraps below the third's stride."),
        ("strides-equal", new(&[2, 2], &[1, 1]), "Two axes with one stride."),
        ("strides-overlap", new(&[3, 2], &[1, 2]), "The second stride is no greater than the reach of the first."),
        ("strides-overlap-three", new(&[2, 3, 2], &[6, 2, 2]), "The least two axes overlap."),
        ("strides-overlap-outer", new(&[2, 3, 2], &[5, 2, 1]), "The outer stride is no greater than the reach of the inner two."),
    ] {
        cases.open(case, "tensor-strides", &beside(64, tensor), comment);
    }
    let packed = tensors(&["i4"], &[2], &[new(&[2, 2], &[1, 2])]);
    cases.open("strides-packed", "tensor-strides", &packed, "Elements below a byte have no strides.");
    let block = tensors(&["q8_0"], &[4 * 34], &[new(&[2, 64], &[1, 2])]);
    cases.open("strides-block", "tensor-strides", &block, "Groups have no strides.");
    let empty = beside(4, RawTensor::empty(0, &[0, 2, 3]).strided(&[0, 1, 2]));
    cases.open("strides-empty", "tensor-strides", &empty, "An empty tensor has no strides.");
}

fn numbering(cases: &mut Cases) {
    let new = RawTensor::new;
    let pair = || tensors(&["u8"], &[1, 1], &[new(0, 0, 0, &[1]), new(0, 1, 0, &[1])]);
    cases.open(
        "tensor-order",
        "tensor-order",
        &RawFile { root: list(&[tensor(1), tensor(0)]), ..pair() },
        "Tensor 1 appears before tensor 0.",
    );
    cases.open("tensor-order-skip", "tensor-order", &RawFile { root: list(&[tensor(1)]), ..pair() }, "Tensor 0 never appears.");
    cases.open("tensor-unused", "tensor-order", &RawFile { root: list(&[tensor(0)]), ..pair() }, "Tensor 1 never appears.");
    let mut file = vector(4);
    file.tensors.push(RawTensor::empty(0, &[0]));
    cases.open("tensor-empty-unused", "tensor-order", &file, "An empty tensor never appears.");
    for (case, number) in [("tensor-reference", 2), ("tensor-reference-2-32-minus-1", u32::MAX)] {
        let root = list(&[tensor(0), tensor(1), tensor(number)]);
        cases.open(case, "tensor-reference", &RawFile { root, ..pair() }, "There are two tensors.");
    }
    cases.open("tensor-reference-none", "tensor-reference", &root(tensor(0)), "There are no tensors.");

    let dtypes = |uses: &[u32]| {
        let records: Vec<_> = uses.iter().zip(1..).map(|(&dtype, n)| RawTensor::empty(dtype, &[0, n])).collect();
        tensors(&["u8", "i8", "bool"], &[], &records)
    };
    cases.open("dtype-order", "dtype-order", &dtypes(&[1, 0, 2]), "Dtype 1 is used before dtype 0.");
    cases.open("dtype-order-later", "dtype-order", &dtypes(&[0, 0, 2, 1]), "Dtype 2 is used before dtype 1.");
    cases.open("dtype-unused-last", "dtype-order", &dtypes(&[0, 1, 0]), "Dtype 2 is not used.");
    cases.open("dtype-unused-all", "dtype-order", &dtypes(&[]), "No dtype is used.");
    let mut file = pair();
    file.tensors.reverse();
    cases.open("buffer-first-unused", "buffer-order", &first_buffer_unused(), "The first use is of the second buffer.");
    let streamed = RawFile { streamed: true, ..first_buffer_unused() };
    cases.open("streamed-buffer-first-unused", "buffer-unused", &streamed, "In a streamed file only the use counts.");
    cases.open("buffer-order", "buffer-order", &file, "A planned file's first tensor lies in its first buffer.");
}

fn sharing(cases: &mut Cases) {
    let new = RawTensor::new;
    let file = |length: usize, records: &[RawTensor]| tensors(&["u8"], &[length], records);
    for (case, file, comment) in [
        ("cover-head", file(100, &[new(0, 0, 1, &[99])]), "The first byte belongs to nobody."),
        ("cover-tail", file(100, &[new(0, 0, 0, &[99])]), "The last byte belongs to nobody."),
        ("cover-tail-64", file(128, &[new(0, 0, 0, &[64])]), "Half the buffer belongs to nobody."),
        ("cover-hole", file(9, &[new(0, 0, 0, &[4]), new(0, 0, 5, &[4])]), "A byte between belongs to nobody."),
        ("cover-touching", file(8, &[new(0, 0, 0, &[4]), new(0, 0, 4, &[4])]), "They touch and do not overlap: two buffers."),
        (
            "cover-touching-three",
            file(8, &[new(0, 0, 0, &[4]), new(0, 0, 1, &[3]), new(0, 0, 4, &[4])]),
            "The longest of the first two ends where the third begins.",
        ),
        (
            "cover-bridged",
            file(8, &[new(0, 0, 0, &[4]), new(0, 0, 4, &[4]), new(0, 0, 0, &[4]).strided(&[2])]),
            "A strided view over two touching tensors does not join them.",
        ),
        ("cover-strided-only", file(7, &[new(0, 0, 0, &[4]).strided(&[2])]), "No dense tensor covers the gaps."),
        (
            "cover-interleaved",
            file(8, &[new(0, 0, 0, &[4]).strided(&[2]), new(0, 0, 1, &[4]).strided(&[2])]),
            "Two strided views have every byte, but no dense tensor does.",
        ),
        (
            "cover-strided-tail",
            file(9, &[new(0, 0, 0, &[4]), new(0, 0, 0, &[5]).strided(&[2])]),
            "A strided view reaches beyond the dense tensors.",
        ),
        ("cover-fortran", file(8, &[new(0, 0, 0, &[2, 3]).strided(&[1, 2])]), "Dense, but two bytes too short."),
    ] {
        cases.open(case, "view-cover", &file, comment);
    }
    cases.open(
        "partial-twice",
        "view-partial",
        &tensors(&["i4"], &[2], &[new(0, 0, 0, &[3]), new(0, 0, 0, &[1, 3])]),
        "Two tensors with three nibbles each in the same two bytes.",
    );
    cases.open(
        "partial-and-whole",
        "view-partial",
        &tensors(&["i4"], &[2], &[new(0, 0, 0, &[4]), new(0, 0, 0, &[3])]),
        "The fourth nibble of one is the tail of the other.",
    );
    cases.open(
        "partial-and-bytes",
        "view-partial",
        &tensors(&["i4", "u8"], &[2], &[new(0, 0, 0, &[3]), new(1, 0, 0, &[2])]),
        "Seen as bytes.",
    );
    cases.open(
        "partial-inside",
        "view-partial",
        &tensors(&["u4"], &[2], &[new(0, 0, 0, &[4]), new(0, 0, 1, &[1])]),
        "A partial group inside a whole tensor.",
    );
}

fn scalars(cases: &mut Cases) {
    for tag in [0x00, 0x0F, 0x10, 0x7F, 0xFF] {
        cases.open(leak(format!("tag-{tag:02x}")), "value-tag", &root(vec![tag]), "No such tag.");
    }
    cases.open("tag-nested", "value-tag", &root(object(&[("a", vec![0x0F])])), "No such tag, in a dict.");
    cases.open("tag-in-metadata", "value-tag", &metadata(object(&[("a", vec![0])])), "No such tag, in the metadata.");
    let texts: [(&str, &[u8]); 9] = [
        ("utf8-lone-byte", b"\x80"),
        ("utf8-latin-1", b"caf\xE9"),
        ("utf8-overlong-nul", b"\xC0\x80"),
        ("utf8-overlong-slash", b"\xE0\x80\xAF"),
        ("utf8-overlong-four", b"\xF0\x80\x80\x80"),
        ("utf8-surrogate", b"\xED\xA0\x80"),
        ("utf8-surrogate-pair", b"\xED\xA0\xBD\xED\xB2\xA9"),
        ("utf8-above-10ffff", b"\xF4\x90\x80\x80"),
        ("utf8-cut", b"ab\xE2\x82"),
    ];
    for (case, text) in texts {
        cases.open(case, "value-utf8", &root(str_raw(text)), "Not UTF-8.");
    }
    cases.open("utf8-key", "value-utf8", &root(dict(&[(str_raw(b"\xFF"), null())])), "A key that is not UTF-8.");
    cases.open("utf8-metadata", "value-utf8", &metadata(object(&[("a", str_raw(b"\xFF"))])), "Metadata that is not UTF-8.");

    let padded = |digits: Vec<u8>, sign: u8| [digits.as_slice(), &[sign]].concat();
    for (case, digits, comment) in [
        ("bigint-empty", vec![], "No bytes at all."),
        ("bigint-1", vec![5], "Fits 64 bits."),
        ("bigint-8", vec![1, 2, 3, 4, 5, 6, 7, 8], "Fits 64 bits."),
        ("bigint-9-i64-max", padded(i64::MAX.to_le_bytes().to_vec(), 0), "2^63-1 fits 64 bits."),
        ("bigint-9-i64-min", padded(i64::MIN.to_le_bytes().to_vec(), 0xFF), "-2^63 fits 64 bits."),
        ("bigint-9-zero", vec![0; 9], "Zero fits 64 bits."),
        ("bigint-9-minus-one", vec![0xFF; 9], "-1 fits 64 bits."),
        ("bigint-not-minimal", padded(above_i64(9), 0), "A zero byte too many."),
        ("bigint-not-minimal-negative", padded(below_i64(9), 0xFF), "A sign byte too many."),
        ("bigint-8192-not-minimal", padded(above_i64(8191), 0), "The longest, one byte too long."),
    ] {
        cases.open(case, "value-bigint", &root(bigint(&digits)), comment);
    }
    for (case, code, value) in [
        ("bigint-claims-8193", "bigint-limit", counted(0x05, 8193, &above_i64(9))),
        ("bigint-claims-4-gib", "bigint-limit", counted(0x05, u32::MAX, &above_i64(9))),
        ("bytes-claims-65537", "bytes-limit", counted(0x09, 65537, b"abc")),
        ("bytes-claims-4-gib", "bytes-limit", counted(0x09, u32::MAX, b"abc")),
        ("named-name-claims-4-gib", "named-name", counted(0x0D, u32::MAX, b"a.b")),
    ] {
        cases.open(case, code, &root(value), "A length is judged before the bytes it counts, which are not there.");
    }
    cases.open("bigint-8193", "bigint-limit", &root(bigint(&above_i64(8193))), "8192 bytes are the most.");
    cases.open("bytes-65537", "bytes-limit", &root(bytes(&data(65537))), "65536 bytes are the most inside the index.");
    cases.open("bytes-65537-metadata", "bytes-limit", &metadata(object(&[("a", bytes(&data(65537)))])), "The same limit in the metadata.");
}

fn containers(cases: &mut Cases) {
    // Each stands before a null in a list, so that a byte too many is there to be taken.
    let inside = |value: Vec<u8>| root(list(&[value, null()]));
    let two = [null(), null()].concat();
    let pairs = [str_("a"), null(), str_("b"), null()].concat();
    for (name, tag, body) in [("list", LIST, &two), ("tuple", TUPLE, &two), ("dict", DICT, &pairs)] {
        let length = body.len() as u32;
        for (label, count, length) in [
            ("length-plus-1", 2, length + 1),
            ("length-minus-1", 2, length - 1),
            ("length-0", 2, 0),
            ("count-plus-1", 3, length),
            ("count-minus-1", 1, length),
            ("count-0", 0, length),
        ] {
            let file = inside(container(tag, count, length, body));
            cases.open(leak(format!("{name}-{label}")), "value-length", &file, "Count or byte length is not that of the items.");
        }
    }
    cases.open("list-empty-length-1", "value-length", &inside(container(LIST, 0, 1, &[])), "No items, one byte.");
    for (name, length) in [("plus-1", 3), ("4-gib", u32::MAX)] {
        let file = root(container(LIST, 2, length, &two));
        let name = leak(format!("list-root-length-{name}"));
        cases.open(name, "index-short", &file, "The root would reach beyond the index.");
    }
    cases.open("list-length-4-gib", "value-length", &inside(container(LIST, 0, u32::MAX, &[])), "Beyond the list around it.");
    cases.open("list-root-length-minus-1", "value-length", &root(container(LIST, 2, 1, &two)), "The root ends early.");
    cases.open(
        "list-length-past-parent",
        "value-length",
        &inside(list(&[container(LIST, 1, 2, &null())])),
        "The inner list would reach beyond the outer one, though not beyond the index.",
    );
    cases.open("list-cuts-int", "value-length", &inside(container(LIST, 1, 8, &int(1))), "An int reaches out of its list.");
    cases.open("list-cuts-str", "value-length", &inside(list(&[counted(0x08, 2, b"a")])), "A str reaches out of its list.");
    cases.open(
        "list-cuts-named",
        "value-length",
        &inside(list(&[named("a.b", &[])])),
        "The value of a named lies outside the list that holds it.",
    );
    cases.open("dict-key-alone", "value-length", &inside(container(DICT, 1, 6, &str_("a"))), "A key without a value.");
    cases.open("dict-empty-count-1", "value-length", &inside(container(DICT, 1, 0, &[])), "Neither key nor value.");
    cases.open(
        "metadata-length-plus-1",
        "value-length",
        &RawFile { root: list(&[null()]), ..metadata(container(DICT, 0, 1, &[])) },
        "The metadata would reach into the root.",
    );
    for (case, value) in [
        ("depth-129-lists", repeat(128, null(), |v| list(&[v]))),
        ("depth-129-dicts", repeat(128, null(), |v| dict(&[(int(0), v)]))),
        ("depth-129-named", repeat(128, null(), |v| named("a.b", &v))),
        ("depth-129-tuples", repeat(128, list(&[]), |v| tuple(&[v]))),
        ("depth-10000", repeat(10_000, null(), |v| named("a.b", &v))),
    ] {
        cases.open(case, "depth-limit", &root(value), "128 levels are the most.");
    }
    cases.open(
        "metadata-depth-129",
        "depth-limit",
        &metadata(object(&[("k", repeat(127, null(), |v| list(&[v])))])),
        "The same limit in the metadata.",
    );
}

fn keys(cases: &mut Cases) {
    for (name, key) in [
        ("null", null()),
        ("bool", bool_(true)),
        ("bigint", bigint(&above_i64(9))),
        ("float", float(0)),
        ("complex", complex(0, 0)),
        ("list", list(&[])),
        ("tuple", tuple(&[int(1), int(2)])),
        ("dict", dict(&[])),
        ("named", named("a.b", &str_("k"))),
        ("tensor", tensor(0)),
        ("0", vec![0]),
        ("0f", vec![0x0F]),
    ] {
        let file = root(dict(&[(key, int(0))]));
        cases.open(leak(format!("key-{name}")), "key-tag", &file, "Keys are ints, strs or bytes.");
    }
    for (name, key) in [("str", str_("a")), ("empty", str_("")), ("int", int(-1)), ("bytes", bytes(&[0xFF]))] {
        let file = root(dict(&[(key.clone(), int(1)), (str_("between"), null()), (key, int(2))]));
        cases.open(leak(format!("key-twice-{name}")), "key-duplicate", &file, "Keys are unique.");
    }
    let many: Vec<_> = (0..3000).chain([1234]).map(|i| (str_(&format!("key{i}")), null())).collect();
    cases.open("key-twice-of-3000", "key-duplicate", &root(dict(&many)), "One key of 3000 twice.");
    cases.open(
        "key-twice-nested",
        "key-duplicate",
        &root(list(&[named("a.b", &object(&[("a", null()), ("a", null())]))])),
        "Deeper dicts too.",
    );
    cases.open("key-twice-metadata", "key-duplicate", &metadata(object(&[("a", null()), ("a", null())])), "Metadata too.");
    let long = |length: usize| "k".repeat(length);
    for (case, value) in [
        ("path-4097-str", object(&[(&long(4097), null())])),
        ("path-4097-bytes", dict(&[(bytes(&[0; 4097]), null())])),
        ("path-4097-two", object(&[(&long(2048), object(&[(&long(2049), null())]))])),
        ("path-4097-int", dict(&[(int(0), object(&[(&long(4089), null())]))])),
        ("path-4104-int-last", object(&[(&long(4096), dict(&[(int(0), null())]))])),
        ("path-4097-through-list", object(&[(&long(4096), list(&[named("a.b", &tuple(&[object(&[("k", null())])]))]))])),
        ("path-4097-utf8", object(&[(&format!("k{}", "é".repeat(2048)), null())])),
    ] {
        cases.open(case, "path-limit", &root(value), "4096 bytes of keys are the most along a path.");
    }
    cases.open("metadata-path-4097", "path-limit", &metadata(object(&[(&long(4097), null())])), "The same in the metadata.");
}

fn names(cases: &mut Cases) {
    let names: [(&str, &[u8]); 10] = [
        ("named-name-empty", b""),
        ("named-name-capital", b"Point"),
        ("named-name-space", b"my type.x"),
        ("named-name-hyphen", b"my-type"),
        ("named-name-control", b"my.\n"),
        ("named-name-delete", b"my.\x7F"),
        ("named-name-utf8", "my.é".as_bytes()),
        ("named-name-invalid-utf8", b"my.\xFF"),
        ("named-name-256", &[b'a'; 256]),
        ("named-name-256-private", &[b'.'; 256]),
    ];
    for (case, name) in names {
        let file = root(named_raw(name, &null()));
        cases.open(case, "named-name", &file, "Not 1 to 255 bytes of [a-z0-9_]+ or visible ASCII with a dot.");
    }
    cases.open("named-name-metadata", "named-name", &metadata(object(&[("a", named("A", &null()))])), "The same in the metadata.");
}

fn named_bytes_values(cases: &mut Cases) {
    const LONG: usize = 65537;
    let new = RawTensor::new;
    let named_0 = || named("bytes", &tensor(0));
    cases.open("bytes-65536-as-tensor", "named-bytes", &named_bytes(65536), "These fit the index.");
    cases.open("bytes-1-as-tensor", "named-bytes", &named_bytes(1), "This fits the index.");
    let one = |name: &str, length: usize, dims: &[u64]| RawFile { root: named_0(), ..tensors(&[name], &[length], &[new(0, 0, 0, dims)]) };
    cases.open("bytes-of-i8", "named-bytes", &one("i8", LONG, &[65537]), "Bytes are u8.");
    cases.open("bytes-of-u16", "named-bytes", &one("u16", 2 * LONG, &[65537]), "Bytes are u8.");
    cases.open("bytes-of-rank-2", "named-bytes", &one("u8", LONG, &[1, 65537]), "Bytes are a vector.");
    cases.open("bytes-of-rank-0", "named-bytes", &one("u8", 1, &[]), "Bytes are a vector; too short as well.");
    let empty = tensors(&["u8"], &[], &[RawTensor::empty(0, &[0])]);
    cases.open("bytes-empty-as-tensor", "named-bytes", &RawFile { root: named_0(), ..empty }, "These fit the index.");
    for (case, root) in [
        ("bytes-twice", list(&[named_0(), named_0()])),
        ("bytes-and-tensor", list(&[named_0(), tensor(0)])),
        ("tensor-and-bytes", list(&[tensor(0), named_0()])),
    ] {
        cases.open(case, "named-bytes", &RawFile { root, ..vector(LONG) }, "Bytes have no identity: one reference.");
    }
    cases.open(
        "bytes-in-shared-buffer",
        "named-bytes",
        &RawFile { root: list(&[named_0(), tensor(1)]), ..beside(LONG, new(0, 0, 0, &[10])) },
        "Another tensor views the bytes.",
    );
    cases.open(
        "bytes-inside-other",
        "named-bytes",
        &RawFile {
            root: list(&[named_0(), tensor(1)]),
            ..tensors(&["u8"], &[LONG + 1], &[new(0, 0, 0, &[LONG as u64]), new(0, 0, 0, &[LONG as u64 + 1])])
        },
        "The bytes are a view of more.",
    );
    for (case, value) in
        [("bytes-of-null", null()), ("bytes-of-bytes", bytes(b"abc")), ("bytes-of-str", str_("abc")), ("bytes-of-list", list(&[]))]
    {
        cases.open(case, "named-bytes", &root(named("bytes", &value)), "The value is a tensor.");
    }
    cases.open(
        "bytes-of-named",
        "named-bytes",
        &RawFile { root: named("bytes", &named("a.b", &tensor(0))), ..vector(LONG) },
        "The value is the tensor itself.",
    );
}

fn metadata_rules(cases: &mut Cases) {
    for (name, value) in [
        ("null", null()),
        ("list", list(&[])),
        ("str", str_("a")),
        ("named", named("ordered_dict", &object(&[("a", null())]))),
        ("int-key", dict(&[(int(1), null())])),
        ("bytes-key", dict(&[(str_("a"), null()), (bytes(b"b"), null())])),
    ] {
        let name = leak(format!("metadata-{name}"));
        let file = RawFile { root: str_("long enough for an index"), ..metadata(value) };
        cases.open(name, "metadata", &file, "The metadata is a dict with str keys.");
    }
    let inner = object(&[("t", named("bytes", &null()))]);
    cases.open("metadata-bytes-of-null", "named-bytes", &metadata(inner), "A value named `bytes` is a tensor, also here.");
    let file = RawFile { metadata: object(&[("t", named("bytes", &tensor(0)))]), ..vector(65537) };
    cases.open("metadata-bytes-of-tensor", "metadata", &file, "Long bytes are a tensor, so they cannot stand here.");
    let file = RawFile { metadata: object(&[("t", tensor(0))]), ..vector(4) };
    cases.open("metadata-tensor", "metadata", &file, "There are no tensors in the metadata.");
    let file = RawFile { metadata: object(&[("t", list(&[named("a.b", &tensor(0))]))]), ..vector(4) };
    cases.open("metadata-tensor-nested", "metadata", &file, "There are no tensors in the metadata, at any depth.");
}

fn padding(cases: &mut Cases) {
    let three = || {
        tensors(&["u8"], &[1, 65536, 1], &[RawTensor::new(0, 0, 0, &[1]), RawTensor::new(0, 1, 0, &[65536]), RawTensor::new(0, 2, 0, &[1])])
    };
    let large_first = || RawFile { streamed: true, ..vector(65536) };
    let gaps = |prefix: &str, file: RawFile, cases: &mut Cases| {
        let layout = file.layout();
        let first = if file.streamed { FRAME } else { layout.front.end };
        let mut at = first;
        let mut parts = layout.buffers.clone();
        parts.push(layout.back.clone());
        parts.push(layout.trailer..layout.trailer + FRAME);
        for (number, part) in parts.into_iter().enumerate() {
            for (end, byte) in [("first", at), ("last", part.start.saturating_sub(1))] {
                if at < part.start {
                    let name = leak(format!("{prefix}-{number}-{end}"));
                    cases.verify(name, "padding", flip(file.build(), byte), "The first or last byte of a gap is not zero.");
                }
            }
            at = part.end;
        }
    };
    gaps("padding", three(), cases);
    gaps("padding-smallest", RawFile::new(), cases);
    gaps("streamed-padding", RawFile { streamed: true, ..three() }, cases);
    gaps("streamed-padding-large-first", large_first(), cases);
}

fn blocks(cases: &mut Cases) {
    let three = || RawFile { log2_block: 12, ..vector(10_000) };
    let start = three().layout().buffers[0].start;
    for (case, at) in
        [("block-first-byte", 0), ("block-first-end", 4095), ("block-middle", 4096), ("block-last", 8192), ("block-last-byte", 9999)]
    {
        let flipped = flip(three().build(), start + at);
        cases.verify(case, "block-crc", flipped, "A flipped bit in the first, second or last of three blocks.");
    }
    let start = vector(100).layout().buffers[0].start;
    cases.verify("block-only", "block-crc", flip(vector(100).build(), start + 50), "A flipped bit in the only block.");
    let zeros = vector(100).on_bytes(move |file| file[start..start + 100].fill(0));
    cases.verify("block-zeros", "block-crc", zeros.build(), "The block was never written.");
    for (case, crc) in [("block-crc-zero", 0), ("block-crc-ones", u32::MAX)] {
        let mut file = vector(100);
        file.buffers[0].crcs = Some(vec![crc]);
        cases.verify(case, "block-crc", file.build(), "There is no checksum that means absent.");
    }
    let mut file = three();
    let crcs: Vec<_> = file.buffers[0].data.chunks(4096).map(crc32).collect();
    file.buffers[0].crcs = Some(vec![crcs[1], crcs[0], crcs[2]]);
    cases.verify("block-crcs-swapped", "block-crc", file.build(), "Two checksums stand in each other's place.");
    let start = streamed_vector().layout().buffers[0].start;
    cases.verify("streamed-block", "block-crc", flip(streamed_vector().build(), start), "A flipped bit, streamed.");
    for (case, kind) in [("block-auxiliary", 1), ("block-unknown-kind", 7)] {
        let mut file = vector(4);
        file.extensions.push(RawExtension::new(9, b""));
        file.buffers.push(RawBuffer::of_kind(kind, 9, data(100)));
        if kind == 7 {
            file.tensors.push(RawTensor::new(0, 1, 0, &[4]));
            file.root = numbered(2);
        }
        let at = file.layout().buffers[1].start;
        cases.verify(case, "block-crc", flip(file.build(), at), "Blocks of every kind are checked.");
    }
}

fn elements(cases: &mut Cases) {
    let one = |name: &str, elements: u64, bytes: &[u8]| {
        let mut file = tensors(&[name], &[bytes.len()], &[RawTensor::new(0, 0, 0, &[elements])]);
        file.buffers[0].data = bytes.to_vec();
        file.build()
    };
    for (case, name, elements, bytes) in [
        ("tail-i4", "i4", 3, &[0x21, 0x13][..]),
        ("tail-i4-high", "i4", 1, &[0x80]),
        ("tail-u1-1", "u1", 9, &[0xFF, 0x02]),
        ("tail-u1-7", "u1", 7, &[0x80]),
        ("tail-i2", "i2", 5, &[0xFF, 0x04]),
        ("tail-f6-next-byte", "f6_e2m3fn", 1, &[0x3F, 0, 0x80]),
        ("tail-f6-same-byte", "f6_e3m2fn", 5, &[1, 2, 3, 0x40, 0, 0]),
    ] {
        cases.verify(case, "tail-bits", one(name, elements, bytes), "A bit above the last element is set.");
    }
    for (case, bytes) in [("bool-2-first", [2, 0, 1]), ("bool-2-last", [0, 1, 2]), ("bool-255", [1, 255, 0])] {
        cases.verify(case, "bool-value", one("bool", 3, &bytes), "A bool is 0 or 1.");
    }
    let mut file = tensors(&["bool", "u8"], &[4], &[RawTensor::new(0, 0, 2, &[2]), RawTensor::new(1, 0, 0, &[4])]);
    file.buffers[0].data = vec![7, 7, 1, 7];
    cases.verify("bool-in-view", "bool-value", file.build(), "Only the bytes under the bool tensor count, and one is 7.");
}
