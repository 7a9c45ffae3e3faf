meta:
  id: cairn
  title: Cairn container for tensors, lists and dicts, version 1
  file-extension: cairn
  license: MIT OR Apache-2.0
  ks-version: '0.11'
  endian: le
  bit-endian: le
doc: |
  The layout of a Cairn file, after SPEC.md; section numbers (§) are those of that text, which alone is normative.

  `valid` states the rules about one record, or about a record and the tables before it. Only a field can have `valid`, so empty fields named `check_…`
  carry the rules about several. Kaitai has no sums over a table, so parameters named `…_before` carry what a rule needs of the records before. Not
  stated: checksums, and what needs sorting, sets or a state carried through the value tree; README.md has the list. A file that breaks a rule here is
  no Cairn file of version 1; one that breaks none may still be one that a reader refuses.

  Values nest at most 128 deep (§9.3): `value` is told its depth and refuses more, so recursion is bounded, at 6 to 8 calls of the target language a
  level.

  Some turns are for targets with narrower or signed numbers: `.as<u8>` keeps a computed number at 64 bits, `_ >= 0` refuses u8 above 2^63−1 where they
  are read as negative, `%` has powers of two only, no difference is taken before it is known to be positive, single bytes are masked.
doc-ref: SPEC.md
seq:
  - id: header
    type: header
  - id: first_index
    size: header.len_index
    if: not header.is_streamed
    doc: The first index of a planned file; `index` has it in parts.
  - id: regions
    type: region(index.buffers[_index].ofs, index.buffers[_index].len)
    repeat: expr
    repeat-expr: index.num_buffers
  - id: padding_before_index
    size: -_io.pos % 64
    valid:
      expr: _.length == 0 or _.max == 0
  - id: check_ofs_index
    size: 0
    valid:
      expr: _io.pos == trailer.ofs_index
    doc: §6.11
  - id: last_index
    size: trailer.len_index
    valid:
      expr: header.is_streamed or _ == first_index
    doc: Planned, the second index, equal to the first (§5.3); streamed, the only one.
  - id: padding_before_trailer
    size: -_io.pos % 64
    valid:
      expr: _.length == 0 or _.max == 0
  - id: check_len_file
    size: 0
    valid:
      expr: _io.pos == _io.size - 64
    doc: The trailer stands where the parts before it end, and ends the file (§5.1).
instances:
  trailer:
    pos: _io.size - 64
    type: trailer
    doc: Read ahead, because a streamed file says only there where its index is.
  index:
    pos: 'header.is_streamed ? trailer.ofs_index : 64'
    size: 'header.is_streamed ? trailer.len_index : header.len_index'
    type: index
  max_len:
    value: '0x7fffffffffffffff.as<u8>'
    doc: The limit of file, buffer and tensor lengths (§16).
types:
  header:
    doc: The first 64 bytes (§6). Streamed, the header leaves length and index to the trailer (§6.7).
    seq:
      - id: magic
        contents: [0x89, CAIRN, 0x0d, 0x0a]
      - id: version
        type: u2
        valid: 1
      - id: is_streamed
        type: b1
      - id: is_trailer
        type: b1
        valid: false
      - id: undefined_flags
        type: b14
        valid: 0
      - id: block_size_exponent
        type: u1
        valid:
          min: 12
          max: 22
      - id: reserved
        contents: [0, 0, 0]
      - id: len_file
        type: u8
        valid:
          expr: 'is_streamed ? _ == 0 : (_ >= 192 and _ == _io.size)'
        doc: §6.8
      - id: ofs_index
        type: u8
        valid:
          expr: 'is_streamed ? _ == 0 : _ == 64'
        doc: §6.11
      - id: len_index
        type: u8
        valid:
          expr: 'is_streamed ? _ == 0 : (_ >= 26 and _ <= 536870904 and _ <= len_file - 128)'
        doc: §6.10
      - id: crc_index
        type: u4
        valid:
          expr: not is_streamed or _ == 0
        doc: CRC-32 of the index (§11), not checked here.
      - id: reserved2
        contents: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      - id: crc
        type: u4
        doc: CRC-32 of the 60 bytes before it (§6.2), not checked here.
    instances:
      block_size:
        value: 1 << block_size_exponent
        doc: §6.6
  trailer:
    doc: The last 64 bytes, which agree with the header (§6.9).
    seq:
      - id: magic
        contents: [0x89, CAIRN, 0x0d, 0x0a]
      - id: version
        type: u2
        valid: 1
      - id: is_streamed
        type: b1
        valid: _root.header.is_streamed
      - id: is_trailer
        type: b1
        valid: true
      - id: undefined_flags
        type: b14
        valid: 0
      - id: block_size_exponent
        type: u1
        valid: _root.header.block_size_exponent
      - id: reserved
        contents: [0, 0, 0]
      - id: len_file
        type: u8
        valid:
          expr: _ >= 192 and _ == _io.size
        doc: §6.8
      - id: ofs_index
        type: u8
        valid:
          expr: _ >= 64 and _ <= len_file - 64
        doc: Of the second index, or of a streamed file's only one (§6.11).
      - id: len_index
        type: u8
        valid:
          expr: 'is_streamed ? (_ >= 26 and _ <= 536870904 and _ <= len_file - 64 - ofs_index) : _ == _root.header.len_index'
        doc: §6.10
      - id: crc_index
        type: u4
        valid:
          expr: is_streamed or _ == _root.header.crc_index
        doc: CRC-32 of the index (§11), not checked here.
      - id: reserved2
        contents: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      - id: crc
        type: u4
        doc: CRC-32 of the 60 bytes before it (§6.9), not checked here.
  region:
    doc: The stored bytes of a buffer and the padding before them (§5.2). No offset is stored; `buffer` derives it.
    params:
      - id: ofs
        type: u8
      - id: len
        type: u8
    seq:
      - id: padding
        size: ofs - _io.pos
        valid:
          expr: _.length == 0 or _.max == 0
      - id: data
        size: len
  index:
    doc: Tables, metadata and root (§7). A count is held against the bytes left before anything is read by it (§7.1).
    seq:
      - id: num_extensions
        type: u4
        valid:
          expr: _ <= (_io.size - _io.pos) / 8
      - id: extensions
        type: 'extension(_index == 0 ? 0 : extensions[_index - 1].tag)'
        repeat: expr
        repeat-expr: num_extensions
      - id: num_dtypes
        type: u4
        valid:
          expr: _ <= (_io.size - _io.pos) / 11
      - id: dtypes
        type: dtype
        repeat: expr
        repeat-expr: num_dtypes
      - id: num_buffers
        type: u4
        valid:
          expr: _ <= (_io.size - _io.pos) / 16
      - id: buffers
        type: >-
          buffer(
          _index == 0 ? ofs_first_buffer_min : buffers[_index - 1].ofs_end,
          _index != 0 and buffers[_index - 1].is_auxiliary,
          _index == 0 ? 0 : buffers[_index - 1].num_viewed,
          _index == 0 ? 0 : buffers[_index - 1].num_blocks)
        repeat: expr
        repeat-expr: num_buffers
      - id: check_block_crcs
        size: 0
        valid:
          expr: num_block_crcs <= (_io.size - _io.pos) / 4
      - id: block_crcs
        type: u4
        repeat: expr
        repeat-expr: num_block_crcs
        doc: CRC-32 of each block of each buffer in order (§7.5, §8), not checked here.
      - id: num_tensors
        type: u4
        valid:
          expr: _ <= (_io.size - _io.pos) / 18
      - id: tensors
        type: >-
          tensor(
          _index == 0 ? 0 : tensors[_index - 1].num_dtypes_used,
          _index == 0 ? 0 : tensors[_index - 1].num_buffers_used)
        repeat: expr
        repeat-expr: num_tensors
      - id: check_dtypes_used
        size: 0
        valid:
          expr: 'num_dtypes == (num_tensors == 0 ? 0 : tensors.last.num_dtypes_used)'
        doc: Every dtype is used by a tensor (§7.3).
      - id: check_buffers_used
        size: 0
        valid:
          expr: '_root.header.is_streamed or num_viewed == (num_tensors == 0 ? 0 : tensors.last.num_buffers_used)'
        doc: Every buffer that is not auxiliary is viewed by a tensor (§7.4). For streamed files this takes a set and is not stated.
      - id: metadata
        type: metadata
      - id: root
        type: value(1, 0, num_tensors)
      - id: check_end
        size: 0
        valid:
          expr: _io.eof
        doc: The root ends where the index ends (§7.1).
    instances:
      num_block_crcs:
        value: '(num_buffers == 0 ? 0 : buffers.last.num_blocks).as<u8>'
      num_viewed:
        value: 'num_buffers == 0 ? 0 : buffers.last.num_viewed'
        doc: The number of buffers that are not auxiliary.
      ofs_first_buffer_min:
        value: '(_root.header.is_streamed ? 64 : 64 + _root.header.len_index).as<u8>'
        doc: Where the part before the buffers ends (§5.1).
  extension:
    doc: |
      A frame of unknown bytes (§7.2). Bit 31 of the tag says that a reader must know the extension; no extension is defined, so such a file is refused
      here. Whoever describes one widens the rule.
    params:
      - id: tag_before
        type: u4
    seq:
      - id: tag
        type: u4
        valid:
          expr: _ > tag_before and _ < 0x80000000
      - id: len_payload
        type: u4
        valid:
          expr: _ <= _io.size - _io.pos
      - id: payload
        size: len_payload
      - id: padding
        size: -len_payload % 8
        valid:
          expr: _.length == 0 or _.max == 0
  name:
    doc: |
      A dtype or type name (§7.3): all of it in `[a-z0-9_]`, or all printable ASCII with at least one dot.
    seq:
      - id: chars
        type: name_char(_index == 0 or chars[_index - 1].all_registered, _index != 0 and chars[_index - 1].any_dot)
        repeat: eos
      - id: check_form
        size: 0
        valid:
          expr: chars.last.all_registered or chars.last.any_dot
    instances:
      text:
        pos: 0
        size-eos: true
        type: str
        encoding: ASCII
  name_char:
    params:
      - id: all_registered_before
        type: bool
      - id: any_dot_before
        type: bool
    seq:
      - id: code
        type: u1
        valid:
          min: 0x21
          max: 0x7e
    instances:
      is_registered:
        value: (code >= 0x61 and code <= 0x7a) or (code >= 0x30 and code <= 0x39) or code == 0x5f
      all_registered:
        value: is_registered and all_registered_before
      any_dot:
        value: code == 0x2e or any_dot_before
  dtype:
    doc: Element type (§7.3). n elements take ceil(n / `num_elements`) groups of `len_group` bytes.
    seq:
      - id: num_elements
        type: u4
        doc: Elements per group.
      - id: len_group
        type: u4
        valid:
          min: 1
          max: 65535
        doc: Bytes per group.
      - id: geometry
        type: u1
        enum: geometry
        valid:
          in-enum: true
      - id: check_geometry
        size: 0
        valid:
          expr: 'geometry == geometry::scalar ? num_elements == 1 : num_elements >= 2'
      - id: check_packed
        size: 0
        valid:
          expr: len_group * 8 / num_elements * num_elements == len_group * 8
        if: geometry == geometry::packed
      - id: len_name
        type: u1
        valid:
          min: 1
      - id: name
        size: len_name
        type: name
      - id: check_registered
        type:
          switch-on: name.text
          cases:
            '"bool"': registered(geometry::scalar, 1, 1)
            '"i8"': registered(geometry::scalar, 1, 1)
            '"i16"': registered(geometry::scalar, 1, 2)
            '"i32"': registered(geometry::scalar, 1, 4)
            '"i64"': registered(geometry::scalar, 1, 8)
            '"u8"': registered(geometry::scalar, 1, 1)
            '"u16"': registered(geometry::scalar, 1, 2)
            '"u32"': registered(geometry::scalar, 1, 4)
            '"u64"': registered(geometry::scalar, 1, 8)
            '"f16"': registered(geometry::scalar, 1, 2)
            '"bf16"': registered(geometry::scalar, 1, 2)
            '"f32"': registered(geometry::scalar, 1, 4)
            '"f64"': registered(geometry::scalar, 1, 8)
            '"c32"': registered(geometry::scalar, 1, 4)
            '"c64"': registered(geometry::scalar, 1, 8)
            '"c128"': registered(geometry::scalar, 1, 16)
            '"f8_e3m4"': registered(geometry::scalar, 1, 1)
            '"f8_e4m3"': registered(geometry::scalar, 1, 1)
            '"f8_e4m3b11fnuz"': registered(geometry::scalar, 1, 1)
            '"f8_e4m3fn"': registered(geometry::scalar, 1, 1)
            '"f8_e4m3fnuz"': registered(geometry::scalar, 1, 1)
            '"f8_e5m2"': registered(geometry::scalar, 1, 1)
            '"f8_e5m2fnuz"': registered(geometry::scalar, 1, 1)
            '"f8_e8m0fnu"': registered(geometry::scalar, 1, 1)
            '"f6_e2m3fn"': registered(geometry::packed, 4, 3)
            '"f6_e3m2fn"': registered(geometry::packed, 4, 3)
            '"f4_e2m1fn"': registered(geometry::packed, 2, 1)
            '"i4"': registered(geometry::packed, 2, 1)
            '"u4"': registered(geometry::packed, 2, 1)
            '"i2"': registered(geometry::packed, 4, 1)
            '"u2"': registered(geometry::packed, 4, 1)
            '"i1"': registered(geometry::packed, 8, 1)
            '"u1"': registered(geometry::packed, 8, 1)
            '"q4_0"': registered(geometry::block, 32, 18)
            '"q4_1"': registered(geometry::block, 32, 20)
            '"q5_0"': registered(geometry::block, 32, 22)
            '"q5_1"': registered(geometry::block, 32, 24)
            '"q8_0"': registered(geometry::block, 32, 34)
            '"q8_1"': registered(geometry::block, 32, 36)
            '"q2_k"': registered(geometry::block, 256, 84)
            '"q3_k"': registered(geometry::block, 256, 110)
            '"q4_k"': registered(geometry::block, 256, 144)
            '"q5_k"': registered(geometry::block, 256, 176)
            '"q6_k"': registered(geometry::block, 256, 210)
            '"q8_k"': registered(geometry::block, 256, 292)
            '"iq2_xxs"': registered(geometry::block, 256, 66)
            '"iq2_xs"': registered(geometry::block, 256, 74)
            '"iq2_s"': registered(geometry::block, 256, 82)
            '"iq3_xxs"': registered(geometry::block, 256, 98)
            '"iq3_s"': registered(geometry::block, 256, 110)
            '"iq1_s"': registered(geometry::block, 256, 50)
            '"iq1_m"': registered(geometry::block, 256, 56)
            '"iq4_nl"': registered(geometry::block, 32, 18)
            '"iq4_xs"': registered(geometry::block, 256, 136)
            '"tq1_0"': registered(geometry::block, 256, 54)
            '"tq2_0"': registered(geometry::block, 256, 66)
            '"mxfp4"': registered(geometry::block, 32, 17)
            '"nvfp4"': registered(geometry::block, 64, 36)
            '"q1_0"': registered(geometry::block, 128, 18)
            '"q2_0"': registered(geometry::block, 64, 18)
        doc: The table of §10. Any other name may have any geometry.
    instances:
      alignment:
        value: 'len_group % 64 == 0 ? 64 : len_group & -len_group'
        doc: The largest power of two that divides the bytes per group, at most 64.
  registered:
    doc: No bytes; holds a dtype with a name of §10 against the geometry given there.
    params:
      - id: geometry
        type: u1
        enum: geometry
      - id: num_elements
        type: u4
      - id: len_group
        type: u4
    seq:
      - id: check
        size: 0
        valid:
          expr: _parent.geometry == geometry and _parent.num_elements == num_elements and _parent.len_group == len_group
  buffer:
    doc: |
      A run of bytes that tensors view (§7.4), and its place in the file (§5.2): from 65,536 bytes on at a multiple of 4096, else of 64. The owner of an
      auxiliary buffer, or of one of another kind, is the tag of an extension; that the file holds it is not stated here.
    params:
      - id: ofs_min
        type: u8
        doc: The end of the part before, where the padding begins.
      - id: is_after_auxiliary
        type: bool
      - id: num_viewed_before
        type: u4
      - id: num_blocks_before
        type: u8
    seq:
      - id: len
        type: u8
        valid:
          expr: _ >= 0 and ofs <= _root._io.size - 64 and _ <= _root._io.size - 64 - ofs
        doc: Stored length. It fits between its derived place and the trailer, so no sum of lengths overflows.
      - id: kind
        type: u4
        valid:
          expr: (len != 0 or _ >= 2) and (_ == 1 or not is_after_auxiliary)
        doc: |
          0 tensor bytes, 1 auxiliary, 2 and above defined by the owner. Only the last have length 0; auxiliary buffers follow all others.
      - id: owner
        type: u4
        valid:
          expr: (_ == 0) == (kind == 0)
    instances:
      ofs:
        value: '(ofs_min + (-ofs_min % (len >= 65536 ? 4096 : 64))).as<u8>'
      ofs_end:
        value: (ofs + len).as<u8>
      is_auxiliary:
        value: kind == 1
      num_viewed:
        value: 'is_auxiliary ? num_viewed_before : num_viewed_before + 1'
        doc: Of this buffer and those before it, how many are not auxiliary.
      num_blocks:
        value: (num_blocks_before + (len + _root.header.block_size - 1) / _root.header.block_size).as<u8>
        doc: The blocks (§8.1) of this buffer and those before it.
  tensor:
    doc: |
      An array in a buffer (§7.6). Not stated: that strides do not overlap (§7.7), that the tensors of a buffer form a chain (§7.8), that no two entries are
      equal.
    params:
      - id: num_dtypes_used_before
        type: u4
      - id: num_buffers_used_before
        type: u4
    seq:
      - id: dtype_number
        type: u4
        valid:
          expr: _ < _parent.num_dtypes and _ <= num_dtypes_used_before
        doc: Dtypes are numbered by first use.
      - id: buffer_number
        type: u4
        valid:
          expr: >-
            not has_buffer or (_ < _parent.num_buffers
            and (_root.header.is_streamed or _ <= num_buffers_used_before)
            and not _parent.buffers[_].is_auxiliary)
        doc: 0xffffffff for none. In a planned file buffers are numbered by first use; no tensor views an auxiliary one.
      - id: offset
        type: u8
        valid:
          expr: 'has_buffer ? _ % dtype.alignment == 0 : _ == 0'
        doc: In bytes from the beginning of the buffer.
      - id: rank
        type: u1
        valid:
          max: 64
      - id: has_strides
        type: b1
      - id: undefined_flags
        type: b7
        valid: 0
      - id: axes
        type: 'axis(_index == 0 ? 1 : axes[_index - 1].product, _index != 0 and axes[_index - 1].any_zero)'
        repeat: expr
        repeat-expr: rank
      - id: check_size
        size: 0
        valid:
          expr: num_groups <= _root.max_len / dtype.len_group
      - id: check_groups
        size: 0
        valid:
          expr: rank != 0 and axes.last.extent / dtype.num_elements * dtype.num_elements == axes.last.extent
        if: dtype.geometry == geometry::block
        doc: The last axis of a block dtype is in whole groups.
      - id: check_buffer
        size: 0
        valid:
          expr: has_buffer != is_empty
      - id: check_strides
        size: 0
        valid:
          expr: rank != 0 and not is_empty and dtype.geometry == geometry::scalar
        if: has_strides
      - id: strides
        type: >-
          stride(axes[_index].extent, num_elements / axes[_index].product,
          _index == 0 ? 0 : strides[_index - 1].reach,
          _index == 0 or strides[_index - 1].all_row_major)
        repeat: expr
        repeat-expr: rank
        if: has_strides
      - id: check_not_row_major
        size: 0
        valid:
          expr: not strides.last.all_row_major and strides.last.reach < _root.max_len / dtype.len_group
        if: has_strides
        doc: Row-major strides are not stored; the extent in bytes has the limit of lengths (§7.7).
      - id: check_extent
        size: 0
        valid:
          expr: offset >= 0 and len_extent <= buffer.len and offset <= buffer.len - len_extent
        if: has_bytes
    instances:
      has_buffer:
        value: buffer_number != 0xffffffff
      has_bytes:
        value: has_buffer and buffer.kind == 0
        doc: The bytes of other buffers are their owner's to explain.
      dtype:
        value: _parent.dtypes[dtype_number]
      buffer:
        value: _parent.buffers[buffer_number]
        if: has_buffer
      is_empty:
        value: 'rank != 0 and axes.last.any_zero'
      num_elements:
        value: '(rank == 0 ? 1 : axes.last.product).as<u8>'
        doc: With extents of 0 counted as 1.
      num_groups:
        value: ((num_elements - 1) / dtype.num_elements + 1).as<u8>
      len_extent:
        value: '((has_strides ? strides.last.reach + 1 : num_groups) * dtype.len_group).as<u8>'
        doc: Bytes from the first element to the end of the last.
      data:
        io: _root._io
        pos: buffer.ofs + offset
        size: len_extent
        if: has_bytes
        doc: |
          The bytes from the first element to the end of the last, little-endian. Without strides that is the tensor in row-major order; with them, element
          (i, j, …) is number i × stride + j × stride + … of it.
      num_dtypes_used:
        value: 'dtype_number == num_dtypes_used_before ? dtype_number + 1 : num_dtypes_used_before'
      num_buffers_used:
        value: 'has_buffer and buffer_number == num_buffers_used_before ? buffer_number + 1 : num_buffers_used_before'
        doc: Of meaning in a planned file only.
  axis:
    params:
      - id: product_before
        type: u8
      - id: any_zero_before
        type: bool
    seq:
      - id: extent
        type: u8
        valid:
          expr: _ >= 0 and _ <= _root.max_len / product_before
        doc: Number of positions. With 0 counted as 1, the product of all has the limit of lengths (§7.6).
    instances:
      product:
        value: '(extent == 0 ? product_before : product_before * extent).as<u8>'
      any_zero:
        value: extent == 0 or any_zero_before
  stride:
    doc: The distance in elements between neighbours along an axis (§7.7); 0 exactly on axes of extent 1.
    params:
      - id: extent
        type: u8
      - id: row_major
        type: u8
        doc: What the stride would be in the row-major layout.
      - id: reach_before
        type: u8
      - id: all_row_major_before
        type: bool
    seq:
      - id: stride
        type: u8
        valid:
          expr: '_ >= 0 and (extent == 1 ? _ == 0 : (_ != 0 and _ <= (_root.max_len - 1 - reach_before) / (extent - 1)))'
    instances:
      reach:
        value: (reach_before + (extent - 1) * stride).as<u8>
        doc: After the last axis, the number of the last element.
      all_row_major:
        value: all_row_major_before and (extent == 1 or stride == row_major)
  metadata:
    doc: A dict with str keys and without tensors (§7.9).
    seq:
      - id: tag
        type: u1
        enum: tag
        valid: tag::dict
      - id: body
        type: dict(1, 0, 0, true)
  value:
    doc: One tag and its fields (§9.1). null, false and true have no body.
    params:
      - id: depth
        type: u4
        doc: 1 for metadata and root (§9.3).
      - id: len_path
        type: u4
        doc: What the keys from metadata or root to here take (§9.4).
      - id: num_tensors
        type: u4
        doc: The number of tensors that may be named here; 0 in the metadata.
    seq:
      - id: check_depth
        size: 0
        valid:
          expr: depth <= 128
      - id: tag
        type: u1
        enum: tag
        valid:
          in-enum: true
      - id: body
        type:
          switch-on: tag
          cases:
            tag::int: int_body
            tag::big_int: big_int
            tag::float: float_body
            tag::complex: complex
            tag::str: text
            tag::bytes: octets
            tag::list: sequence(depth, len_path, num_tensors)
            tag::tuple: sequence(depth, len_path, num_tensors)
            tag::dict: dict(depth, len_path, num_tensors, false)
            tag::named: named(depth, len_path, num_tensors)
            tag::tensor: tensor_number(num_tensors)
  int_body:
    seq:
      - id: number
        type: s8
  big_int:
    doc: Two's complement, little-endian, as short as its sign allows and too long for 8 bytes (§9.2).
    seq:
      - id: len
        type: u4
        valid:
          min: 9
          max: 8192
      - id: octets
        size: len
        valid:
          expr: '(_[len - 2] & 0x80) == 0 ? (_[len - 1] & 0xff) != 0x00 : (_[len - 1] & 0xff) != 0xff'
  float_body:
    seq:
      - id: value
        size: 8
        type: binary64
  complex:
    seq:
      - id: real
        size: 8
        type: binary64
      - id: imaginary
        size: 8
        type: binary64
  binary64:
    doc: A float as its bits, which are the value (§9.2), and as a number.
    seq:
      - id: bits
        type: u8
    instances:
      number:
        pos: 0
        type: f8
  text:
    doc: A str (§9.2). Whether bytes that are not UTF-8 are refused is up to the decoder of the target language.
    seq:
      - id: len
        type: u4
        valid:
          expr: _ <= _io.size - _io.pos
      - id: text
        size: len
        type: str
        encoding: UTF-8
  octets:
    seq:
      - id: len
        type: u4
        valid:
          max: 65536
        doc: Longer ones are a tensor under the name `bytes` (§9.5).
      - id: octets
        size: len
  sequence:
    doc: A list or tuple (§9.3). Its items end exactly where `len` says, and fields inside it cannot reach past that.
    params:
      - id: depth
        type: u4
      - id: len_path
        type: u4
      - id: num_tensors
        type: u4
    seq:
      - id: count
        type: u4
      - id: len
        type: u4
        valid:
          expr: _ >= count and _ <= _io.size - _io.pos
      - id: items
        size: len
        type: items(count, depth + 1, len_path, num_tensors)
  items:
    params:
      - id: count
        type: u4
      - id: depth
        type: u4
      - id: len_path
        type: u4
      - id: num_tensors
        type: u4
    seq:
      - id: values
        type: value(depth, len_path, num_tensors)
        repeat: expr
        repeat-expr: count
      - id: check_end
        size: 0
        valid:
          expr: _io.eof
  dict:
    doc: Pairs in order (§9.3, §9.4). That no two keys are equal is not stated.
    params:
      - id: depth
        type: u4
      - id: len_path
        type: u4
      - id: num_tensors
        type: u4
      - id: only_str
        type: bool
        doc: Set for the metadata itself, not for dicts inside it.
    seq:
      - id: count
        type: u4
      - id: len
        type: u4
        valid:
          expr: _ / 6 >= count and _ <= _io.size - _io.pos
      - id: items
        size: len
        type: pairs(count, depth + 1, len_path, num_tensors, only_str)
  pairs:
    params:
      - id: count
        type: u4
      - id: depth
        type: u4
      - id: len_path
        type: u4
      - id: num_tensors
        type: u4
      - id: only_str
        type: bool
    seq:
      - id: pairs
        type: pair(depth, len_path, num_tensors, only_str)
        repeat: expr
        repeat-expr: count
      - id: check_end
        size: 0
        valid:
          expr: _io.eof
  pair:
    params:
      - id: depth
        type: u4
      - id: len_path
        type: u4
      - id: num_tensors
        type: u4
      - id: only_str
        type: bool
    seq:
      - id: key
        type: key(len_path, only_str)
      - id: value
        type: value(depth, len_path + key.len_on_path, num_tensors)
  key:
    doc: Spelled like a value (§9.4), but the limit is that of the whole path, 4096 bytes.
    params:
      - id: len_path
        type: u4
      - id: only_str
        type: bool
    seq:
      - id: tag
        type: u1
        enum: tag
        valid:
          expr: _ == tag::str or (not only_str and (_ == tag::int or _ == tag::bytes))
      - id: number
        type: s8
        if: tag == tag::int
      - id: len
        type: u4
        valid:
          expr: _ <= _io.size - _io.pos
        if: tag != tag::int
      - id: check_path
        size: 0
        valid:
          expr: len_on_path <= 4096 - len_path
      - id: text
        size: len
        type: str
        encoding: UTF-8
        if: tag == tag::str
      - id: octets
        size: len
        if: tag == tag::bytes
    instances:
      len_on_path:
        value: 'tag == tag::int ? 8 : len'
  named:
    doc: |
      A type name and one value (§9.5). Of the rules for the name `bytes` only the first is stated: its value is a tensor.
    params:
      - id: depth
        type: u4
      - id: len_path
        type: u4
      - id: num_tensors
        type: u4
    seq:
      - id: len_name
        type: u4
        valid:
          min: 1
          max: 255
      - id: name
        size: len_name
        type: name
      - id: value
        type: value(depth + 1, len_path, num_tensors)
      - id: check_bytes
        size: 0
        valid:
          expr: value.tag == tag::tensor
        if: name.text == "bytes"
  tensor_number:
    doc: A leaf (§9.6). That tensors first appear in the order of their numbers, and all of them, is not stated.
    params:
      - id: num_tensors
        type: u4
    seq:
      - id: number
        type: u4
        valid:
          expr: _ < num_tensors
enums:
  geometry:
    0: scalar
    1: packed
    2: block
  tag:
    0x01: 'null'
    0x02: 'false'
    0x03: 'true'
    0x04: int
    0x05: big_int
    0x06: float
    0x07: complex
    0x08: str
    0x09: bytes
    0x0a: list
    0x0b: tuple
    0x0c: dict
    0x0d: named
    0x0e: tensor
