//! Cairn files from plain structs, with every length, count and checksum right unless told otherwise.

use std::ops::Range;

pub const MAGIC: [u8; 8] = *b"\x89CAIRN\r\n";
/// Bytes of a header or trailer.
pub const FRAME: usize = 64;
pub const STREAMED: u16 = 1;
pub const TRAILER: u16 = 2;
/// The buffer number of a tensor without bytes.
pub const NO_BUFFER: u32 = u32::MAX;
/// Stated buffer lengths up to here are also laid out; longer ones fall back to the length of the data.
const LAID_OUT: u64 = 1 << 24;

/// The remainders of all bytes, bit by bit.
const REMAINDERS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// CRC-32 (IEEE), byte by byte: fuzzing spends its time here.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| (crc >> 8) ^ REMAINDERS[usize::from(crc as u8 ^ byte)])
}

/// Header or trailer.
#[derive(Clone, Debug)]
pub struct Frame {
    pub magic: [u8; 8],
    pub version: u16,
    pub flags: u16,
    pub log2_block: u8,
    /// Bytes 13..16.
    pub reserved_low: [u8; 3],
    pub file_length: u64,
    pub index_offset: u64,
    pub index_length: u64,
    pub index_crc: u32,
    /// Bytes 44..60.
    pub reserved_high: [u8; 16],
    /// Instead of the right checksum.
    pub crc: Option<u32>,
}

impl Frame {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.push(self.log2_block);
        out.extend(self.reserved_low);
        out.extend(self.file_length.to_le_bytes());
        out.extend(self.index_offset.to_le_bytes());
        out.extend(self.index_length.to_le_bytes());
        out.extend(self.index_crc.to_le_bytes());
        out.extend(self.reserved_high);
        let crc = self.crc.unwrap_or_else(|| crc32(&out));
        out.extend(crc.to_le_bytes());
        out
    }
}

#[derive(Clone, Debug, Default)]
pub struct RawExtension {
    pub tag: u32,
    pub payload: Vec<u8>,
    /// Instead of the payload's length.
    pub length: Option<u32>,
    /// Instead of zeros up to a multiple of 8.
    pub pad: Option<Vec<u8>>,
}

impl RawExtension {
    pub fn new(tag: u32, payload: &[u8]) -> Self {
        Self { tag, payload: payload.to_vec(), ..Self::default() }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.tag.to_le_bytes());
        out.extend(self.length.unwrap_or(self.payload.len() as u32).to_le_bytes());
        out.extend(&self.payload);
        match &self.pad {
            Some(pad) => out.extend(pad),
            None => out.resize(out.len() + self.payload.len().next_multiple_of(8) - self.payload.len(), 0),
        }
    }
}

pub const SCALAR: u8 = 0;
pub const PACKED: u8 = 1;
pub const BLOCK: u8 = 2;

#[derive(Clone, Debug)]
pub struct RawDtype {
    pub elements: u32,
    pub bytes: u32,
    pub class: u8,
    /// At most 255 bytes.
    pub name: Vec<u8>,
}

impl RawDtype {
    pub fn new(name: &str, class: u8, elements: u32, bytes: u32) -> Self {
        Self { elements, bytes, class, name: name.into() }
    }

    pub fn scalar(name: &str, bytes: u32) -> Self {
        Self::new(name, SCALAR, 1, bytes)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.elements.to_le_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.push(self.class);
        out.push(self.name.len().try_into().expect("a dtype's name length is one byte"));
        out.extend(&self.name);
    }
}

#[derive(Clone, Debug, Default)]
pub struct RawBuffer {
    pub data: Vec<u8>,
    pub kind: u32,
    pub owner: u32,
    /// Instead of the data's length; the data is cut or filled with zeros to it, unless it is absurd.
    pub length: Option<u64>,
    /// Instead of the right checksums of its blocks.
    pub crcs: Option<Vec<u32>>,
    /// Instead of the alignment that its length calls for.
    pub align: Option<usize>,
}

impl RawBuffer {
    pub fn new(data: Vec<u8>) -> Self {
        Self { data, ..Self::default() }
    }

    pub fn of_kind(kind: u32, owner: u32, data: Vec<u8>) -> Self {
        Self { data, kind, owner, ..Self::default() }
    }

    fn stated(&self) -> u64 {
        self.length.unwrap_or(self.data.len() as u64)
    }

    /// The bytes as they lie in the file.
    fn stored(&self) -> Vec<u8> {
        let mut bytes = self.data.clone();
        if self.stated() <= LAID_OUT {
            bytes.resize(self.stated() as usize, 0);
        }
        bytes
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.stated().to_le_bytes());
        out.extend(self.kind.to_le_bytes());
        out.extend(self.owner.to_le_bytes());
    }

    fn encode_crcs(&self, block: usize, out: &mut Vec<u8>) {
        match &self.crcs {
            Some(crcs) => out.extend(crcs.iter().flat_map(|crc| crc.to_le_bytes())),
            None => out.extend(self.stored().chunks(block).flat_map(|chunk| crc32(chunk).to_le_bytes())),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct RawTensor {
    pub dtype: u32,
    pub buffer: u32,
    pub offset: u64,
    /// Instead of the number of dims.
    pub rank: Option<u8>,
    pub flags: u8,
    pub dims: Vec<u64>,
    /// Written whatever the flags say.
    pub strides: Vec<u64>,
}

impl RawTensor {
    pub fn new(dtype: u32, buffer: u32, offset: u64, dims: &[u64]) -> Self {
        Self { dtype, buffer, offset, dims: dims.to_vec(), ..Self::default() }
    }

    pub fn empty(dtype: u32, dims: &[u64]) -> Self {
        Self::new(dtype, NO_BUFFER, 0, dims)
    }

    #[must_use]
    pub fn strided(mut self, strides: &[u64]) -> Self {
        self.flags |= 1;
        self.strides = strides.to_vec();
        self
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.dtype.to_le_bytes());
        out.extend(self.buffer.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        out.push(self.rank.unwrap_or(self.dims.len() as u8));
        out.push(self.flags);
        out.extend(self.dims.iter().chain(&self.strides).flat_map(|n| n.to_le_bytes()));
    }
}

/// Counts to state instead of the true ones.
#[derive(Clone, Debug, Default)]
pub struct RawCounts {
    pub extensions: Option<u32>,
    pub dtypes: Option<u32>,
    pub buffers: Option<u32>,
    pub tensors: Option<u32>,
}

/// Where the parts of a built file lie, before the hooks on the final bytes.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The front index; empty in a streamed file.
    pub front: Range<usize>,
    pub buffers: Vec<Range<usize>>,
    /// The index copy; in a streamed file the index.
    pub back: Range<usize>,
    pub trailer: usize,
}

pub type Hook<T> = Option<Box<dyn Fn(&mut T)>>;

/// A file. [`RawFile::build`] places and signs whatever is in it.
pub struct RawFile {
    pub version: u16,
    /// Flags beside those for streamed and trailer.
    pub flags: u16,
    pub log2_block: u8,
    pub streamed: bool,
    pub extensions: Vec<RawExtension>,
    pub dtypes: Vec<RawDtype>,
    pub buffers: Vec<RawBuffer>,
    pub tensors: Vec<RawTensor>,
    pub metadata: Vec<u8>,
    pub root: Vec<u8>,
    /// Bytes of the index after the root.
    pub index_tail: Vec<u8>,
    pub counts: RawCounts,
    /// Zeros too many before the index copy, in a streamed file before the index.
    pub slack_before_index: usize,
    /// Zeros too many before the trailer.
    pub slack_before_trailer: usize,
    pub edit_index: Hook<Vec<u8>>,
    pub edit_header: Hook<Frame>,
    pub edit_trailer: Hook<Frame>,
    pub edit_bytes: Hook<Vec<u8>>,
}

impl Default for RawFile {
    fn default() -> Self {
        Self::new()
    }
}

impl RawFile {
    /// The smallest planned file: no tensors, no metadata, the root is null.
    pub fn new() -> Self {
        Self {
            version: 1,
            flags: 0,
            log2_block: 18,
            streamed: false,
            extensions: vec![],
            dtypes: vec![],
            buffers: vec![],
            tensors: vec![],
            metadata: dict(&[]),
            root: null(),
            index_tail: vec![],
            counts: RawCounts::default(),
            slack_before_index: 0,
            slack_before_trailer: 0,
            edit_index: None,
            edit_header: None,
            edit_trailer: None,
            edit_bytes: None,
        }
    }

    /// The smallest streamed file.
    pub fn streamed() -> Self {
        Self { streamed: true, ..Self::new() }
    }

    /// Edits the index before it is signed; both copies in a planned file.
    #[must_use]
    pub fn on_index(mut self, edit: impl Fn(&mut Vec<u8>) + 'static) -> Self {
        self.edit_index = Some(Box::new(edit));
        self
    }

    /// Edits the header's fields before it is signed.
    #[must_use]
    pub fn on_header(mut self, edit: impl Fn(&mut Frame) + 'static) -> Self {
        self.edit_header = Some(Box::new(edit));
        self
    }

    /// Edits the trailer's fields before it is signed.
    #[must_use]
    pub fn on_trailer(mut self, edit: impl Fn(&mut Frame) + 'static) -> Self {
        self.edit_trailer = Some(Box::new(edit));
        self
    }

    /// Edits the same fields of header and trailer.
    #[must_use]
    pub fn on_frames(self, edit: impl Fn(&mut Frame) + Copy + 'static) -> Self {
        self.on_header(edit).on_trailer(edit)
    }

    /// Edits the finished file; nothing is signed after it.
    #[must_use]
    pub fn on_bytes(mut self, edit: impl Fn(&mut Vec<u8>) + 'static) -> Self {
        self.edit_bytes = Some(Box::new(edit));
        self
    }

    /// Extensions, dtypes, buffers, block CRCs, tensors, metadata and root, encoded.
    pub fn parts(&self) -> [Vec<u8>; 7] {
        let counts = &self.counts;
        let mut crcs = vec![];
        let block = 1_usize.checked_shl(self.log2_block.into()).unwrap_or(1 << 18);
        self.buffers.iter().for_each(|b| b.encode_crcs(block, &mut crcs));
        [
            table(&self.extensions, counts.extensions, RawExtension::encode),
            table(&self.dtypes, counts.dtypes, RawDtype::encode),
            table(&self.buffers, counts.buffers, RawBuffer::encode),
            crcs,
            table(&self.tensors, counts.tensors, RawTensor::encode),
            self.metadata.clone(),
            self.root.clone(),
        ]
    }

    /// The index as it is signed.
    pub fn index(&self) -> Vec<u8> {
        let mut index = self.parts().concat();
        index.extend(&self.index_tail);
        apply(&self.edit_index, &mut index);
        index
    }

    pub fn layout(&self) -> Layout {
        self.place(self.index().len())
    }

    fn place(&self, index_length: usize) -> Layout {
        let front = FRAME..FRAME + if self.streamed { 0 } else { index_length };
        let mut end = front.end;
        let mut buffers = vec![];
        for buffer in &self.buffers {
            let length = buffer.stored().len();
            let start = end.next_multiple_of(buffer.align.unwrap_or(alignment(length)));
            end = start + length;
            buffers.push(start..end);
        }
        let start = end.next_multiple_of(64) + self.slack_before_index;
        let back = start..start + index_length;
        let trailer = back.end.next_multiple_of(64) + self.slack_before_trailer;
        Layout { front, buffers, back, trailer }
    }

    pub fn build(&self) -> Vec<u8> {
        let index = self.index();
        let layout = self.place(index.len());
        let mut out = vec![0; layout.trailer];
        if !self.streamed {
            out[layout.front.clone()].copy_from_slice(&index);
        }
        for (buffer, range) in self.buffers.iter().zip(&layout.buffers) {
            out[range.clone()].copy_from_slice(&buffer.stored());
        }
        out[layout.back.clone()].copy_from_slice(&index);
        let mut trailer = self.trailer(&index, &layout);
        let mut header = self.header(&trailer);
        apply(&self.edit_header, &mut header);
        apply(&self.edit_trailer, &mut trailer);
        out[..FRAME].copy_from_slice(&header.to_bytes());
        out.extend(trailer.to_bytes());
        apply(&self.edit_bytes, &mut out);
        out
    }

    fn trailer(&self, index: &[u8], layout: &Layout) -> Frame {
        Frame {
            magic: MAGIC,
            version: self.version,
            flags: self.flags | TRAILER | if self.streamed { STREAMED } else { 0 },
            log2_block: self.log2_block,
            reserved_low: [0; 3],
            file_length: (layout.trailer + FRAME) as u64,
            index_offset: layout.back.start as u64,
            index_length: index.len() as u64,
            index_crc: crc32(index),
            reserved_high: [0; 16],
            crc: None,
        }
    }

    fn header(&self, trailer: &Frame) -> Frame {
        let header = Frame { flags: trailer.flags & !TRAILER, index_offset: FRAME as u64, ..trailer.clone() };
        if self.streamed { Frame { file_length: 0, index_offset: 0, index_length: 0, index_crc: 0, ..header } } else { header }
    }
}

fn apply<T>(hook: &Hook<T>, to: &mut T) {
    if let Some(edit) = hook {
        edit(to);
    }
}

fn table<T>(records: &[T], count: Option<u32>, encode: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = count.unwrap_or(records.len() as u32).to_le_bytes().to_vec();
    records.iter().for_each(|record| encode(record, &mut out));
    out
}

fn alignment(length: usize) -> usize {
    if length >= 65536 { 4096 } else { 64 }
}

// Values. `int`, `str_` and `bytes` are also the encodings of dict keys.

pub fn null() -> Vec<u8> {
    vec![0x01]
}

pub fn bool_(value: bool) -> Vec<u8> {
    vec![if value { 0x03 } else { 0x02 }]
}

pub fn int(value: i64) -> Vec<u8> {
    tagged(0x04, &value.to_le_bytes())
}

/// `digits`: two's complement, little-endian.
pub fn bigint(digits: &[u8]) -> Vec<u8> {
    counted(0x05, digits.len() as u32, digits)
}

pub fn float(bits: u64) -> Vec<u8> {
    tagged(0x06, &bits.to_le_bytes())
}

pub fn complex(re: u64, im: u64) -> Vec<u8> {
    tagged(0x07, &[re.to_le_bytes(), im.to_le_bytes()].concat())
}

pub fn str_(text: &str) -> Vec<u8> {
    str_raw(text.as_bytes())
}

/// A str of any bytes.
pub fn str_raw(text: &[u8]) -> Vec<u8> {
    counted(0x08, text.len() as u32, text)
}

pub fn bytes(data: &[u8]) -> Vec<u8> {
    counted(0x09, data.len() as u32, data)
}

pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    honest(LIST, items.len(), &items.concat())
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    honest(TUPLE, items.len(), &items.concat())
}

pub fn dict(items: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = items.iter().flat_map(|(key, value)| [key.as_slice(), value].concat()).collect();
    honest(DICT, items.len(), &body)
}

/// A dict with str keys.
pub fn object(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    dict(&items.iter().map(|(key, value)| (str_(key), value.clone())).collect::<Vec<_>>())
}

pub fn named(name: &str, value: &[u8]) -> Vec<u8> {
    named_raw(name.as_bytes(), value)
}

/// A named value whose name is any bytes.
pub fn named_raw(name: &[u8], value: &[u8]) -> Vec<u8> {
    [counted(0x0D, name.len() as u32, name).as_slice(), value].concat()
}

pub fn tensor(number: u32) -> Vec<u8> {
    tagged(TENSOR, &number.to_le_bytes())
}

pub const TENSOR: u8 = 0x0E;
pub const LIST: u8 = 0x0A;
pub const TUPLE: u8 = 0x0B;
pub const DICT: u8 = 0x0C;

/// A container that may lie about its count and its byte length.
pub fn container(tag: u8, count: u32, byte_length: u32, body: &[u8]) -> Vec<u8> {
    tagged(tag, &[&count.to_le_bytes(), &byte_length.to_le_bytes(), body].concat())
}

/// A str, bytes, bigint or name that may lie about its length.
pub fn counted(tag: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    tagged(tag, &[&length.to_le_bytes(), payload].concat())
}

fn honest(tag: u8, count: usize, body: &[u8]) -> Vec<u8> {
    container(tag, count as u32, body.len() as u32, body)
}

fn tagged(tag: u8, fields: &[u8]) -> Vec<u8> {
    [&[tag], fields].concat()
}

/// Recomputes the checksums of blocks, indices, header and trailer, as far as the file's own fields lead to them.
///
/// For fuzzing: any input is fine, nothing is allocated, and the time is linear in the input.
pub fn resign(file: &mut [u8]) {
    if !file.starts_with(&MAGIC) || file.len() < FRAME {
        return;
    }
    let streamed = file[10] & 1 == 1;
    if !streamed {
        resign_index(file, 0, false);
    }
    resign_frame(file, 0);
    let trailer = file.len() - FRAME;
    if trailer >= FRAME && file[trailer..].starts_with(&MAGIC) {
        resign_index(file, trailer, streamed);
        resign_frame(file, trailer);
    }
}

/// Signs the header or trailer at `at`.
pub fn resign_frame(file: &mut [u8], at: usize) {
    let crc = crc32(&file[at..at + 60]);
    put_u32(file, at + 60, crc);
}

/// Signs the index that the frame at `frame` points to.
fn resign_index(file: &mut [u8], frame: usize, streamed: bool) -> Option<()> {
    let start = get_usize(file, frame + 24)?;
    let length = get_usize(file, frame + 32)?;
    let end = start.checked_add(length).filter(|&end| end <= file.len())?;
    let first_buffer = if streamed { FRAME } else { FRAME.checked_add(length)? };
    let log2_block = file[frame + 12];
    let _ = resign_blocks(file, start..end, first_buffer, log2_block);
    let crc = crc32(&file[start..end]);
    put_u32(file, frame + 40, crc)
}

/// Signs blocks until one does not lie in the file or its CRC not in the index.
fn resign_blocks(file: &mut [u8], index: Range<usize>, mut end: usize, log2_block: u8) -> Option<()> {
    let block = if log2_block <= 22 { 1_usize << log2_block } else { return None };
    let (buffers, count) = find_buffers(&file[index.clone()])?;
    let mut slot = index.start + buffers + count * 16;
    for number in 0..count {
        let length = get_usize(file, index.start + buffers + number * 16)?;
        let start = end.checked_next_multiple_of(alignment(length))?;
        end = start.checked_add(length).filter(|&end| end <= file.len())?;
        for at in (start..end).step_by(block) {
            if index.end - slot < 4 {
                return None;
            }
            let crc = crc32(&file[at..end.min(at + block)]);
            put_u32(file, slot, crc)?;
            slot += 4;
        }
    }
    Some(())
}

/// Offset of the first buffer record in the index, and how many there are; all of them lie inside.
fn find_buffers(index: &[u8]) -> Option<(usize, usize)> {
    let mut at = 4;
    for _ in 0..get_u32(index, 0)? {
        let payload = get_u32(index, at + 4)? as usize;
        at = at.checked_add(8)?.checked_add(payload.checked_next_multiple_of(8)?).filter(|&at| at <= index.len())?;
    }
    let dtypes = get_u32(index, at)?;
    at += 4;
    for _ in 0..dtypes {
        let name = *index.get(at + 9)?;
        at += 10 + usize::from(name);
    }
    let count = get_u32(index, at)? as usize;
    at += 4;
    (count <= (index.len() - at) / 16).then_some((at, count))
}

fn get_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*field))
}

fn get_usize(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk::<8>()?;
    u64::from_le_bytes(*field).try_into().ok()
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    bytes.get_mut(at..)?.first_chunk_mut::<4>()?.copy_from_slice(&value.to_le_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn smallest_files() {
        assert_eq!(RawFile::new().index().len(), 26);
        assert_eq!(RawFile::new().build().len(), 256);
        assert_eq!(RawFile::streamed().build().len(), 192);
    }

    #[test]
    fn resign_restores_what_build_signs() {
        for case in super::super::accepted() {
            let mut again = case.bytes.clone();
            resign(&mut again);
            assert!(again == case.bytes, "{}", case.name);
            let trailer = again.len() - FRAME;
            for field in [40, 60, trailer + 40, trailer + 60] {
                again[field] ^= 1;
            }
            if case.bytes[10] & STREAMED as u8 != 0 {
                again[40] ^= 1; // this field is zero there, not a checksum
            }
            resign(&mut again);
            assert!(again == case.bytes, "{}", case.name);
        }
    }

    #[test]
    fn resign_restores_block_crcs() {
        for streamed in [false, true] {
            let mut file = RawFile { streamed, log2_block: 12, root: list(&[tensor(0), tensor(1)]), ..RawFile::new() };
            file.extensions.push(RawExtension::new(3, b"abc"));
            file.dtypes.push(RawDtype::scalar("u8", 1));
            file.buffers.extend([RawBuffer::new(vec![7; 10_000]), RawBuffer::new(vec![9; 70_000])]);
            file.tensors.extend([RawTensor::new(0, 0, 0, &[10_000]), RawTensor::new(0, 1, 0, &[70_000])]);
            let right = file.build();
            file.buffers[0].crcs = Some(vec![0; 3]);
            file.buffers[1].crcs = Some(vec![0; 18]);
            let mut wrong = file.build();
            assert!(wrong != right);
            resign(&mut wrong);
            assert!(wrong == right);
        }
    }

    #[test]
    fn resign_takes_garbage() {
        for case in super::super::rejected().iter().filter(|case| case.bytes.len() < 300) {
            for cut in (0..case.bytes.len()).step_by(3) {
                resign(&mut case.bytes[..cut].to_vec());
                let mut spoilt = case.bytes.clone();
                spoilt[cut] = 0xFF;
                resign(&mut spoilt);
            }
        }
    }
}
