//! CRC-32 (IEEE 802.3), the one checksum of the format. `Spec §11`.

pub(crate) use crc32fast::Hasher as Crc;

use crate::error::Code;

/// The CRC-32 of `bytes`, as zlib and `crc32fast` compute it.
///
/// ```
/// assert_eq!(cairnfile::crc32(b"123456789"), 0xCBF4_3926);
/// ```
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The sentence an error of `code` carries when the stored and the computed checksum differ.
pub(crate) fn mismatch(code: Code, stored: u32, computed: u32) -> String {
    let what = match code {
        Code::HeaderCrc => "header",
        Code::TrailerCrc => "trailer",
        Code::IndexCrc => "index",
        _ => "block",
    };
    format!("{what} checksum mismatch: stored {stored:08x}, computed {computed:08x}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
