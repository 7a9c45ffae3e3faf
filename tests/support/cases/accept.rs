//! What every reader accepts, and each numeric bound at its last legal value.

use super::*;

pub(super) fn fill(cases: &mut Cases) {
    frames(cases);
    scalars(cases);
    containers(cases);
    keys(cases);
    names(cases);
    dtypes(cases);
    shapes(cases);
    views(cases);
    buffers(cases);
    extensions(cases);
}

fn frames(cases: &mut Cases) {
    cases.accept("smallest-planned", &RawFile::new(), "The smallest planned file has 256 bytes.");
    cases.accept("smallest-streamed", &RawFile::streamed(), "The smallest streamed file has 192 bytes.");
    for log2_block in [12, 22] {
        cases.accept(
            leak(format!("block-size-2-{log2_block}")),
            &RawFile { log2_block, ..vector(5000) },
            "The smallest and the largest block size.",
        );
    }
    cases.accept(
        "index-without-padding",
        &metadata(object(&[("pad", str_(&"x".repeat(25)))])),
        "An index of exactly 64 bytes needs no padding before the next part.",
    );
}

fn scalars(cases: &mut Cases) {
    cases.accept("bools", &root(list(&[bool_(false), bool_(true)])), "False and true.");
    cases.accept("ints", &root(list(&[0, 1, -1, i64::MIN, i64::MAX, 1 << 53].map(int))), "Ints up to both bounds of 64 bits.");
    cases.accept(
        "bigint-smallest",
        &root(list(&[bigint(&above_i64(9)), bigint(&below_i64(9))])),
        "2^63 and -2^63-1 are the first ints that do not fit.",
    );
    cases.accept(
        "bigint-longest",
        &root(list(&[bigint(&above_i64(8192)), bigint(&below_i64(8192)), bigint(&[0x7F; 8192]), bigint(&[0x80; 8192])])),
        "Big ints of 8192 bytes, the longest.",
    );
    cases.accept(
        "floats",
        &root(list(
            &[
                0,
                1 << 63,
                0x3FF0_0000_0000_0000,
                0x7FF0_0000_0000_0000,
                0xFFF0_0000_0000_0000,
                0x7FF8_0000_DEAD_BEEF,
                0xFFF8_0000_0000_0000,
                0x7FF0_0000_0000_0001,
                1,
                0x7FEF_FFFF_FFFF_FFFF,
            ]
            .map(float),
        )),
        "Both zeros, one, infinities, NaNs with payload, sign and signal, smallest subnormal, largest.",
    );
    cases.accept(
        "complex",
        &root(list(&[complex(1 << 63, 0x7FF8_0000_0000_0001), complex(0, 0x4000_0000_0000_0000)])),
        "Complex numbers keep the bits of both parts.",
    );
    cases.accept(
        "strings",
        &root(list(&["", "a", "nul\0inside", "\u{e9}", "e\u{301}", "\u{10FFFF}", "\u{FEFF}", "\u{202E}", "日本語", "🪨"].map(str_))),
        "Any Unicode text, normalized or not.",
    );
    cases.accept("bytes", &root(list(&[bytes(b""), bytes(&[0xFF, 0, 0x80])])), "Bytes need not be text.");
    cases.accept("bytes-longest", &root(bytes(&data(65536))), "65536 bytes are the most inside the index.");
}

/// The least positive int of this many bytes that is minimal.
pub(super) fn above_i64(length: usize) -> Vec<u8> {
    let mut digits = vec![0; length];
    digits[length - 2] = 0x80;
    digits
}

/// The greatest negative int of this many bytes that is minimal.
pub(super) fn below_i64(length: usize) -> Vec<u8> {
    above_i64(length).iter().map(|digit| !digit).collect()
}

fn containers(cases: &mut Cases) {
    let empty = [list(&[]), tuple(&[]), dict(&[])];
    for (name, value) in ["list-empty", "tuple-empty", "dict-empty"].into_iter().zip(&empty) {
        cases.accept(name, &root(value.clone()), "An empty container as the root.");
    }
    cases.accept("containers-nested-empty", &root(list(&[list(&empty), tuple(&empty)])), "Empty containers in others.");
    cases.accept(
        "containers-nested",
        &root(object(&[
            ("list", list(&[int(1), tuple(&[null(), list(&[bool_(true)])])])),
            ("dict", object(&[("a", object(&[("a", str_("same key, other dict"))]))])),
            ("named", named("my.type", &list(&[named("other.type", &null())]))),
        ])),
        "Every container in another.",
    );
    cases.accept("depth-128-lists", &root(repeat(127, null(), |v| list(&[v]))), "The root is depth 1, so null is at 128.");
    cases.accept(
        "depth-128-mixed",
        &root(repeat(31, list(&[list(&[list(&[null()])])]), |v| named("a.b", &tuple(&[list(&[dict(&[(int(1), v)])])])))),
        "A named value is a level like any other; an empty list would be too.",
    );
    cases.accept("depth-128-empty-list", &root(repeat(127, list(&[]), |v| tuple(&[v]))), "An empty container at depth 128.");
    cases.accept(
        "metadata-depth-128",
        &metadata(object(&[("k", repeat(126, null(), |v| list(&[v])))])),
        "The metadata is depth 1 as well.",
    );
    cases.accept(
        "metadata",
        &metadata(object(&[
            ("", str_("empty key")),
            ("nested", dict(&[(int(3), list(&[float(0)])), (bytes(b"x"), named("a.b", &bigint(&above_i64(9))))])),
            ("text", str_("any")),
        ])),
        "Only the top level of the metadata is restricted to str keys.",
    );
    cases.accept(
        "dict-of-2000",
        &root(dict(&(0..2000).map(|i| (int(i * 4096), null())).collect::<Vec<_>>())),
        "Keys that differ only in high bits.",
    );
}

fn keys(cases: &mut Cases) {
    cases.accept(
        "keys-all-kinds",
        &root(dict(&[
            (str_("z"), null()),
            (str_("a"), null()),
            (int(i64::MIN), null()),
            (int(i64::MAX), null()),
            (bytes(&[0xFF, 0xFE]), null()),
        ])),
        "Str, int and bytes keys, in insertion order.",
    );
    cases.accept(
        "keys-look-alike",
        &root(dict(&[(str_("1"), null()), (int(1), null()), (bytes(b"1"), null()), (int(0x31), null())])),
        "Keys are equal only when tag and bytes are.",
    );
    cases.accept("keys-empty", &root(dict(&[(str_(""), null()), (bytes(b""), null()), (int(0), null())])), "Empty str and bytes keys.");
    cases.accept(
        "keys-unicode",
        &root(object(&[("\u{e9}", null()), ("e\u{301}", null()), ("\u{202E}", null()), ("🪨", null())])),
        "Keys that look alike differ when their bytes do.",
    );
    cases.accept(
        "keys-control",
        &root(object(&[("\0", null()), ("\n", null()), ("\x1b[2J", null()), ("../../x", null()), ("~0/~1", null())])),
        "Keys are opaque, never paths.",
    );
    cases.accept(
        "key-same-in-siblings",
        &root(list(&[object(&[("a", null())]), object(&[("a", object(&[("a", null())]))])])),
        "Keys are unique within one dict only.",
    );
    cases.accept("path-4096-str", &root(object(&[(&"k".repeat(4096), null())])), "One key of 4096 bytes.");
    cases.accept("path-4096-bytes", &root(dict(&[(bytes(&[0; 4096]), null())])), "One bytes key of 4096 bytes.");
    cases.accept(
        "path-4096-mixed",
        &root(dict(&[(int(-1), list(&[named("a.b", &object(&[(&"k".repeat(4000), object(&[(&"é".repeat(44), null())]))]))]))])),
        "An int key counts 8, positions and type names nothing, text its bytes: 8 + 4000 + 88.",
    );
    cases.accept("path-4096-twice", &root(object(&[(&"a".repeat(4096), null()), (&"b".repeat(4096), null())])), "Siblings do not add up.");
    cases.accept("metadata-path-4096", &metadata(object(&[(&"k".repeat(4096), null())])), "The same bound in the metadata.");
}

fn names(cases: &mut Cases) {
    let mut file = tensors(&["f32"], &[4], &[RawTensor::new(0, 0, 0, &[])]);
    file.root = list(&[
        named("numpy_scalar", &tensor(0)),
        named("ordered_dict", &object(&[("b", int(1)), ("a", int(2))])),
        named("counter", &object(&[("x", int(3))])),
        named("default_dict", &tuple(&[str_("list"), object(&[])])),
        named("default_dict", &tuple(&[null(), object(&[])])),
        named("named_tuple", &tuple(&[str_("Point"), object(&[("x", int(1)), ("y", int(2))])])),
        named("torch_size", &tuple(&[int(2), int(3)])),
        named("enum", &tuple(&[str_("Color"), str_("RED")])),
        named("dtype", &str_("bfloat16")),
        named("torch_device", &str_("cuda:0")),
    ]);
    cases.accept("named-registered", &file, "Every registered type name but `bytes`.");
    cases.accept(
        "named-other-form",
        &root(list(&[named("torch_size", &str_("not a tuple")), named("counter", &null())])),
        "Only `bytes` has a checked form; other registered names with another form come back as name and value.",
    );
    cases.accept(
        "named-unknown",
        &root(list(&[named("my.type", &null()), named(".", &null()), named("A!/~.b", &int(1))])),
        "Private names contain a dot and any visible ASCII.",
    );
    cases.accept("named-unregistered", &root(named("future_type_2", &int(1))), "A registered form this version does not list.");
    cases.accept("named-longest", &root(named(&format!("a.{}", "b".repeat(253)), &null())), "A type name of 255 bytes.");
    cases.accept("named-shortest", &root(named("x", &null())), "A type name of one byte.");
    cases.accept("named-bytes", &named_bytes(65537), "Bytes too long for the index, at their shortest.");
}

/// A file whose root is `named("bytes", …)`.
pub(super) fn named_bytes(length: usize) -> RawFile {
    RawFile { root: named("bytes", &tensor(0)), ..vector(length) }
}

fn dtypes(cases: &mut Cases) {
    let mut file = RawFile::new();
    for (number, &(name, class, elements, bytes)) in DTYPES.iter().enumerate() {
        let fill = if name == "bool" { vec![0, 1] } else { data(2 * bytes as usize) };
        file.dtypes.push(RawDtype::new(name, class, elements, bytes));
        file.buffers.push(RawBuffer::new(fill));
        file.tensors.push(RawTensor::new(number as u32, number as u32, 0, &[2 * u64::from(elements)]));
    }
    file.root = numbered(DTYPES.len());
    cases.accept("dtypes-registered", &file, "Every registered dtype with its geometry, two groups each.");

    let one = |dtype: RawDtype, elements: u64, bytes: usize| tensors_of(vec![dtype], &[bytes], &[RawTensor::new(0, 0, 0, &[elements])]);
    cases.accept("dtype-private", &one(RawDtype::scalar("my.F24", 3), 4, 12), "A private name, with capitals.");
    cases.accept(
        "dtype-unknown",
        &one(RawDtype::scalar("i256", 32), 2, 64),
        "A registered form that this version does not list is carried as opaque bytes.",
    );
    cases.accept("dtype-name-longest", &one(RawDtype::scalar(&format!(".{}", "~".repeat(254)), 1), 1, 1), "A dtype name of 255 bytes.");
    cases.accept("dtype-name-shortest", &one(RawDtype::scalar(".", 1), 1, 1), "A dot alone is a private name.");
    cases.accept("dtype-bytes-65535", &one(RawDtype::scalar("my.wide", 65535), 1, 65535), "The widest group.");
    cases.accept(
        "dtype-block-widest",
        &one(RawDtype::new("my.sparse", BLOCK, u32::MAX, 1), u32::MAX.into(), 1),
        "The most elements per group.",
    );
    cases.accept("dtype-block-of-two", &one(RawDtype::new("my.pair", BLOCK, 2, 1), 4, 2), "The fewest elements per block.");
    cases.accept(
        "dtype-packed-bits",
        &one(RawDtype::new("my.bits", PACKED, 524_280, 65535), 524_280, 65535),
        "One bit per element in the widest group.",
    );
    cases.accept("dtype-packed-whole-bytes", &one(RawDtype::new("my.two", PACKED, 2, 2), 4, 4), "8 bits per element may be packed.");
    let partial = [("i4", 3), ("u1", 9), ("i2", 5), ("f6_e2m3fn", 5)];
    let mut file = tensors(&partial.map(|p| p.0), &[2, 2, 2, 6], &[]);
    for (number, (_, elements)) in (0..).zip(partial) {
        file.tensors.push(RawTensor::new(number, number, 0, &[elements]));
    }
    let fills: [&[u8]; 4] = [&[0x21, 0x0F], &[0xFF, 0x01], &[0xFF, 0x03], &[1, 2, 3, 0x3F, 0, 0]];
    file.buffers.iter_mut().zip(fills).for_each(|(buffer, fill)| buffer.data = fill.to_vec());
    file.root = numbered(4);
    cases.accept("packed-partial-group", &file, "A last partial group with all its own bits set and its tail bits zero.");
    cases.accept(
        "block-rows",
        &tensors(&["q8_0"], &[6 * 34], &[RawTensor::new(0, 0, 0, &[3, 64])]),
        "The last axis of a block tensor holds two groups.",
    );
    cases.accept(
        "block-empty",
        &tensors(&["q4_0"], &[], &[RawTensor::empty(0, &[0]), RawTensor::empty(0, &[0, 32]), RawTensor::empty(0, &[3, 0])]),
        "Zero is a whole number of groups.",
    );
}

fn shapes(cases: &mut Cases) {
    cases.accept("tensor-0d", &tensors(&["f64"], &[8], &[RawTensor::new(0, 0, 0, &[])]), "Rank 0 is one element.");
    cases.accept("tensor-root", &RawFile { root: tensor(0), ..vector(3) }, "The root may be a tensor.");
    cases.accept(
        "tensor-empty",
        &tensors(&["f32", "i4"], &[], &[RawTensor::empty(0, &[0]), RawTensor::empty(0, &[2, 0, 3]), RawTensor::empty(1, &[0])]),
        "Empty tensors have no buffer and differ by dtype and shape.",
    );
    let huge = |name: &str, dims: &[u64]| tensors(&[name], &[], &[RawTensor::empty(0, dims)]);
    cases.accept("tensor-empty-huge", &huge("u8", &[0, 1 << 62]), "A zero extent beside a huge one.");
    cases.accept("tensor-size-u8-at", &huge("u8", &[0, (1 << 63) - 1]), "2^63-1 bytes if the zero were one.");
    cases.accept("tensor-size-f64-at", &huge("f64", &[(1 << 60) - 1, 0]), "The last count whose bytes fit.");
    cases.accept("tensor-size-c128-at", &huge("c128", &[0, (1 << 59) - 1]), "The last count whose bytes fit.");
    cases.accept("tensor-size-u1-at", &huge("u1", &[0, (1 << 63) - 1]), "For bits the number of elements is the bound.");
    cases.accept("rank-64", &tensors(&["u8"], &[1], &[RawTensor::new(0, 0, 0, &[1; 64])]), "The highest rank.");
    cases.accept("rank-64-empty", &huge("u8", &[0; 64]), "The highest rank, empty.");
    cases.accept(
        "bool-values",
        &{
            let mut file = tensors(&["bool"], &[4], &[RawTensor::new(0, 0, 0, &[2, 2])]);
            file.buffers[0].data = vec![0, 1, 1, 0];
            file
        },
        "Bools are 0 and 1.",
    );
}

fn views(cases: &mut Cases) {
    let new = RawTensor::new;
    cases.accept(
        "tied",
        &RawFile { root: object(&[("embed", tensor(0)), ("head", tensor(0))]), ..vector(8) },
        "One tensor at two addresses.",
    );
    cases.accept(
        "views-nested",
        &tensors(&["f32", "u8"], &[16], &[new(0, 0, 0, &[4]), new(1, 0, 5, &[3]), new(0, 0, 4, &[2])]),
        "Views of different dtypes inside a whole.",
    );
    cases.accept(
        "views-chain",
        &tensors(&["u8"], &[20], &[new(0, 0, 9, &[11]), new(0, 0, 0, &[4]), new(0, 0, 3, &[7])]),
        "Each overlaps the next by one byte, and together they cover the buffer.",
    );
    cases.accept(
        "views-same-bytes",
        &tensors(&["i4", "u8"], &[4], &[new(0, 0, 0, &[8]), new(0, 0, 0, &[2, 4]), new(1, 0, 0, &[4])]),
        "The same bytes in another shape and another dtype; whole groups may be shared.",
    );
    cases.accept(
        "view-columns",
        &tensors(&["f32"], &[96], &[new(0, 0, 0, &[4, 6]), new(0, 0, 8, &[4, 2]).strided(&[6, 1])]),
        "Columns 2 and 3 of a matrix.",
    );
    cases.accept(
        "view-last-column",
        &tensors(&["u8"], &[12], &[new(0, 0, 0, &[3, 4]), new(0, 0, 3, &[3]).strided(&[4])]),
        "A strided view that ends with its buffer.",
    );
    cases.accept(
        "view-columns-over-chain",
        &tensors(&["u8"], &[12], &[new(0, 0, 0, &[7]), new(0, 0, 6, &[6]), new(0, 0, 0, &[6]).strided(&[2])]),
        "A strided view over two overlapping tensors.",
    );
    cases.accept("fortran", &tensors(&["f32"], &[24], &[new(0, 0, 0, &[2, 3]).strided(&[1, 2])]), "Column-major is dense.");
    cases.accept(
        "permuted",
        &tensors(&["u16"], &[48], &[new(0, 0, 0, &[2, 3, 4]).strided(&[1, 8, 2])]),
        "A permutation of three axes is dense.",
    );
    cases.accept(
        "transposed-and-base",
        &tensors(&["u8"], &[6], &[new(0, 0, 0, &[3, 2]), new(0, 0, 0, &[2, 3]).strided(&[1, 2])]),
        "A matrix and its transpose share their bytes.",
    );
    cases.accept(
        "strides-extent-one",
        &tensors(&["u8"], &[6], &[new(0, 0, 0, &[1, 2, 1, 3]).strided(&[0, 1, 0, 2])]),
        "Axes of extent one have stride zero.",
    );
    cases.accept(
        "strides-loose",
        &tensors(&["u8"], &[100], &[new(0, 0, 0, &[100]), new(0, 0, 0, &[3, 3]).strided(&[3, 7])]),
        "Each stride is just greater than the reach of those before it.",
    );
    cases.accept(
        "strides-gap",
        &tensors(&["u8"], &[100], &[new(0, 0, 0, &[100]), new(0, 0, 1, &[2, 3, 4]).strided(&[13, 4, 1])]),
        "One element is left out between the outer steps; with 12 they would be row-major.",
    );
    cases.accept(
        "alignment-64",
        &tensors_of(
            vec![dtype("u8"), RawDtype::scalar("my.b128", 128), RawDtype::scalar("my.b96", 96)],
            &[256],
            &[new(0, 0, 0, &[256]), new(1, 0, 64, &[1]), new(2, 0, 32, &[2])],
        ),
        "Alignment is the largest power of two in the group, at most 64.",
    );
    cases.accept(
        "tensor-order-first-appearance",
        &RawFile {
            root: list(&[object(&[("x", tensor(0))]), tensor(1), tensor(0), named("a.b", &tensor(2)), tensor(1)]),
            ..tensors(&["u8"], &[1, 1, 1], &[new(0, 0, 0, &[1]), new(0, 1, 0, &[1]), new(0, 2, 0, &[1])])
        },
        "Only the first appearances count.",
    );
}

fn buffers(cases: &mut Cases) {
    for length in [65535, 65536, 65537] {
        let file = vector(length);
        let alignment = if length < 65536 { 64 } else { 4096 };
        assert_eq!(file.layout().buffers[0].start, alignment.max(128 + 64));
        cases.accept(leak(format!("buffer-{length}")), &file, "From 65536 bytes on a buffer starts at a multiple of 4096.");
    }
    let pair = || {
        tensors(
            &["u8"],
            &[65, 65536, 1],
            &[RawTensor::new(0, 0, 0, &[65]), RawTensor::new(0, 1, 0, &[65536]), RawTensor::new(0, 2, 0, &[1])],
        )
    };
    cases.accept("buffers-mixed", &pair(), "A large buffer between small ones.");
    cases.accept("streamed-buffers", &RawFile { streamed: true, ..pair() }, "The same, streamed.");
    let mut file = pair();
    file.streamed = true;
    file.tensors.reverse();
    cases.accept("streamed-buffer-order", &file, "A streamed file's buffers lie in the order they were written.");
    for (name, length) in [("blocks-exact", 8192), ("blocks-partial", 8193)] {
        cases.accept(name, &RawFile { log2_block: 12, ..vector(length) }, "Several blocks, the last one whole or not.");
    }
    cases.accept("streamed-blocks", &RawFile { streamed: true, log2_block: 12, ..pair() }, "Blocks are cut per buffer, not across them.");
}

fn extensions(cases: &mut Cases) {
    let mut file = vector(4);
    let tags = [1, 2, 7, 0x4000_0000, 0x7FFF_FFFF];
    file.extensions = tags.iter().zip([0, 1, 7, 8, 9]).map(|(&tag, n)| RawExtension::new(tag, &data(n))).collect();
    cases.accept("extension-skippable", &file, "Extensions without the top bit are skipped, whatever their length.");

    let extended = |buffer: RawBuffer, tensor: Option<RawTensor>| {
        let mut file = vector(4);
        file.extensions.push(RawExtension::new(9, b"about the rest"));
        file.buffers.push(buffer);
        file.tensors.extend(tensor);
        file.root = numbered(file.tensors.len());
        file
    };
    cases.accept(
        "buffer-auxiliary",
        &extended(RawBuffer::of_kind(1, 9, data(100)), None),
        "An auxiliary buffer belongs to an extension, and nobody views it.",
    );
    let mut file = extended(RawBuffer::of_kind(1, 9, data(100)), None);
    file.buffers.push(RawBuffer::of_kind(1, 9, data(65536)));
    cases.accept("buffer-auxiliary-twice", &file, "Two of one owner.");

    let mut file = tensors(&["f32"], &[], &[RawTensor::new(0, 0, 0, &[1000])]);
    file.extensions.push(RawExtension::new(9, b"encoded"));
    file.buffers.push(RawBuffer::of_kind(7, 9, data(10)));
    cases.opaque(OPAQUE_TENSOR.0, &file, "The length of a buffer of unknown kind need not fit its tensors.");
    file.buffers[0].data = vec![];
    cases.opaque("buffer-kind-unknown-empty", &file, "A buffer of an unknown kind may have no bytes here.");
    file.buffers[0].data = data(65536);
    file.tensors.push(RawTensor::new(0, 0, 1 << 40, &[5]));
    file.tensors.push(RawTensor::new(0, 0, 1 << 20, &[5, 5]).strided(&[1, 10]));
    file.root = numbered(3);
    cases.opaque("buffer-kind-unknown-views", &file, "Extents and sharing in an unknown kind are not checked.");
    cases.opaque(
        "buffer-kind-unknown-beside",
        &extended(RawBuffer::of_kind(2, 9, data(10)), Some(RawTensor::new(0, 1, 0, &[64]))),
        "The tensors of other buffers stay readable.",
    );
    let mut file = extended(RawBuffer::of_kind(u32::MAX, 9, vec![]), Some(RawTensor::new(0, 1, 0, &[64])));
    file.streamed = true;
    file.buffers.swap(0, 1);
    file.tensors[0].buffer = 1;
    file.tensors[1].buffer = 0;
    cases.opaque("streamed-buffer-kind-empty", &file, "An empty buffer of an unknown kind first in a streamed file.");
}
