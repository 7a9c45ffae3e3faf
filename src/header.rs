//! Header and trailer: one 64-byte structure, at the start and at the end of a file. `Spec §6`.
//!
//! ```text
//!  0        8       10      12  13      16            24             32             40          44      60        64
//!  | magic  | version | flags |bs | zeros | file length | index offset | index length | index CRC | zeros | own CRC |
//! ```

use byteorder::{ByteOrder, LittleEndian};
use nom::Parser;
use nom::bytes::complete::take;

use crate::bytes::{Input, finish, put_u16, put_u32, put_u64, u8, u16, u32, u64};
use crate::checksum::{crc32, mismatch};
use crate::error::{Code, Error, Result};
use crate::limits::{HEADER_LEN, MAX_BLOCK_LOG2, MIN_BLOCK_LOG2};

/// The first eight bytes of every Cairn file.
pub const MAGIC: [u8; 8] = *b"\x89CAIRN\r\n";
/// The version this crate writes, and the only one it reads.
pub const VERSION: u16 = 1;

const FLAG_STREAMED: u16 = 1;
const FLAG_TRAILER: u16 = 2;

/// The fields of a header or trailer that vary between files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) streamed: bool,
    pub(crate) trailer: bool,
    pub(crate) block_log2: u8,
    pub(crate) file_len: u64,
    pub(crate) index_offset: u64,
    pub(crate) index_len: u64,
    pub(crate) index_crc: u32,
}

/// Which of the two a parser expects; decides offsets and codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Header,
    StreamedTrailer,
    PlannedTrailer,
}

/// The bytes of a header or trailer.
pub(crate) fn array(bytes: &[u8]) -> [u8; 64] {
    let mut array = [0; 64];
    array.copy_from_slice(bytes);
    array
}

impl Header {
    /// Parses 64 bytes that begin at `offset` of the file: magic, checksum, version, flags, reserved bytes, role and
    /// block size, in this order. What the numbers must be in this file is [`crate::frame`]'s to say.
    pub(crate) fn parse(bytes: &[u8; 64], offset: u64, role: Role) -> Result<Self> {
        check_magic(bytes, offset, role)?;
        check_crc(bytes, offset, role)?;
        let fields = (u16, u16, u8, take(3usize), u64, u64, u64, u32, take(16usize));
        let input = Input::new(&bytes[8..], offset + 8);
        let (_, (version, flags, block_log2, zeros, file_len, index_offset, index_len, index_crc, more_zeros)) =
            finish({ fields }.parse(input))?;
        check_version(version, offset)?;
        check_flags(flags, offset)?;
        check_reserved(&[zeros, more_zeros])?;
        check_role(flags, offset, role)?;
        check_block_size(block_log2, offset)?;
        let streamed = flags & FLAG_STREAMED != 0;
        let trailer = flags & FLAG_TRAILER != 0;
        Ok(Self { streamed, trailer, block_log2, file_len, index_offset, index_len, index_crc })
    }

    pub(crate) fn encode(&self) -> [u8; 64] {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&MAGIC);
        put_u16(&mut out, VERSION);
        put_u16(&mut out, if self.streamed { FLAG_STREAMED } else { 0 } + if self.trailer { FLAG_TRAILER } else { 0 });
        out.extend_from_slice(&[self.block_log2, 0, 0, 0]);
        put_u64(&mut out, self.file_len);
        put_u64(&mut out, self.index_offset);
        put_u64(&mut out, self.index_len);
        put_u32(&mut out, self.index_crc);
        out.resize(60, 0);
        let crc = crc32(&out);
        put_u32(&mut out, crc);
        let mut bytes = [0; 64];
        bytes.copy_from_slice(&out);
        bytes
    }

    /// The header of a streamed file, written before anything is known.
    pub(crate) fn streamed(block_log2: u8) -> Self {
        let trailer = false;
        Self { streamed: true, trailer, block_log2, file_len: 0, index_offset: 0, index_len: 0, index_crc: 0 }
    }

    /// Refuses numbers in the header of a streamed file: only its trailer knows them.
    pub(crate) fn check_streamed_fields(&self) -> Result<()> {
        if (self.file_len, self.index_offset, self.index_len, self.index_crc) != (0, 0, 0, 0) {
            return Err(Error::at(Code::StreamedFields, 16, "the header of a streamed file must leave bytes 16 to 44 zero"));
        }
        Ok(())
    }

    /// Refuses a trailer, found at `offset`, that does not agree with this header.
    pub(crate) fn check_trailer(&self, trailer: &Self, offset: u64) -> Result<()> {
        let mut fields = vec![
            ("flags", 10, u64::from(self.streamed), u64::from(trailer.streamed)),
            ("block size", 12, self.block_log2.into(), trailer.block_log2.into()),
        ];
        if !self.streamed {
            fields.push(("file length", 16, self.file_len, trailer.file_len));
            fields.push(("index length", 32, self.index_len, trailer.index_len));
            fields.push(("index checksum", 40, self.index_crc.into(), trailer.index_crc.into()));
        }
        for (name, at, expected, found) in fields {
            if expected != found {
                let detail = format!("the trailer's {name} is {found}, the header's {expected}");
                return Err(Error::at(Code::TrailerMismatch, offset + at, detail));
            }
        }
        Ok(())
    }

    pub(crate) fn block_size(&self) -> u64 {
        1 << self.block_log2
    }
}

/// Refuses a file whose first bytes are not those of a Cairn file, however short it is.
pub(crate) fn check_start(bytes: &[u8], file_len: u64) -> Result<()> {
    let common = bytes.len().min(MAGIC.len());
    if bytes[..common] != MAGIC[..common] {
        return Err(not_cairn(bytes));
    }
    if file_len < HEADER_LEN {
        let detail = format!("the file has {file_len} bytes, a header alone takes {HEADER_LEN}");
        return Err(Error::at(Code::TooShort, file_len, detail));
    }
    Ok(())
}

fn not_cairn(bytes: &[u8]) -> Error {
    let detail = match crate::sniff::name(bytes) {
        Some(known) => format!("not a Cairn file: it looks like {known}"),
        None => "not a Cairn file: it does not begin with \\x89CAIRN\\r\\n".to_owned(),
    };
    Error::at(Code::Magic, 0, detail)
}

fn check_magic(bytes: &[u8; 64], offset: u64, role: Role) -> Result<()> {
    if bytes[..8] == MAGIC {
        return Ok(());
    }
    Err(match role {
        Role::Header => not_cairn(bytes),
        Role::StreamedTrailer => {
            let detail = "the file was streamed and does not end with a trailer: it was cut short or never finished";
            Error::at(Code::TrailerMissing, offset, detail)
        }
        Role::PlannedTrailer => {
            Error::at(Code::TrailerMagic, offset, "the trailer does not begin with the magic; `cairn repair` can restore it")
        }
    })
}

fn check_crc(bytes: &[u8; 64], offset: u64, role: Role) -> Result<()> {
    let (stored, computed) = (LittleEndian::read_u32(&bytes[60..]), crc32(&bytes[..60]));
    if stored == computed {
        return Ok(());
    }
    let code = if role == Role::Header { Code::HeaderCrc } else { Code::TrailerCrc };
    Err(Error::at(code, offset + 60, mismatch(code, stored, computed)))
}

fn check_version(version: u16, offset: u64) -> Result<()> {
    if version != VERSION {
        let detail = format!("the file has version {version}, this reader knows {VERSION}: use a newer reader");
        return Err(Error::at(Code::Version, offset + 8, detail));
    }
    Ok(())
}

fn check_flags(flags: u16, offset: u64) -> Result<()> {
    if flags > FLAG_STREAMED + FLAG_TRAILER {
        let detail = format!("flags {flags:#06x} contain one that version {VERSION} does not define: use a newer reader");
        return Err(Error::at(Code::Flags, offset + 10, detail));
    }
    Ok(())
}

fn check_reserved(parts: &[Input<'_>]) -> Result<()> {
    for part in parts {
        if let Some((i, _)) = part.bytes.iter().enumerate().find(|(_, b)| **b != 0) {
            let at = part.offset + crate::bytes::from_usize(i);
            return Err(Error::at(Code::Reserved, at, "a reserved byte is not zero: use a newer reader"));
        }
    }
    Ok(())
}

fn check_role(flags: u16, offset: u64, role: Role) -> Result<()> {
    let trailer = flags & FLAG_TRAILER != 0;
    if trailer == (role == Role::Header) {
        let detail = if trailer { "a trailer stands where the header belongs" } else { "a header stands where the trailer belongs" };
        return Err(Error::at(Code::Role, offset + 10, detail));
    }
    Ok(())
}

fn check_block_size(log2: u8, offset: u64) -> Result<()> {
    if !(MIN_BLOCK_LOG2..=MAX_BLOCK_LOG2).contains(&log2) {
        let detail = format!("block size 2^{log2} is outside 2^{MIN_BLOCK_LOG2} to 2^{MAX_BLOCK_LOG2}");
        return Err(Error::at(Code::BlockSize, offset + 12, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encode_then_parse() {
        let header = Header {
            streamed: false,
            trailer: true,
            block_log2: 20,
            file_len: 1 << 40,
            index_offset: 4096,
            index_len: 99,
            index_crc: 0xDEAD_BEEF,
        };
        let bytes = header.encode();
        assert_eq!(Header::parse(&bytes, 500, Role::PlannedTrailer).unwrap(), header);
        assert_eq!(Header::parse(&bytes, 0, Role::Header).unwrap_err().code(), Code::Role);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = Header::streamed(18).encode();
        for bit in 0..512 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            let code = Header::parse(&bad, 0, Role::Header).unwrap_err().code();
            assert_eq!(code, if bit < 64 { Code::Magic } else { Code::HeaderCrc });
        }
    }
}
