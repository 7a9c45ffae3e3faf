//! Names the well-known formats that people hand to us by mistake.

/// The format that `bytes`, the start of a file, belongs to, if it is a known one other than Cairn.
///
/// ```
/// assert_eq!(cairnfile::sniff(b"GGUF\x03\0\0\0"), Some("a GGUF file"));
/// ```
pub fn name(bytes: &[u8]) -> Option<&'static str> {
    const PREFIXES: &[(&[u8], &str)] = &[
        (b"\x93NUMPY", "a NumPy .npy file"),
        (b"PK\x03\x04", "a zip archive (.npz, .keras or a torch.save file)"),
        (b"PK\x05\x06", "an empty zip archive"),
        (b"GGUF", "a GGUF file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"ARROW1\0\0", "an Arrow IPC file"),
        (b"PAR1", "a Parquet file"),
        (b"\x80\x02", "a Python pickle (an old torch.save file?)"),
        (b"\x80\x03", "a Python pickle"),
        (b"\x80\x04", "a Python pickle"),
        (b"\x80\x05", "a Python pickle"),
        (b"\x12\x01\0\0\0\0\0\0", "an MXNet .params file"),
        (b"\x1f\x8b", "gzip data"),
        (b"\x28\xb5\x2f\xfd", "zstd data"),
        (b"\x89CAIRN", "a Cairn file whose line ends were converted in transfer"),
    ];
    let known = PREFIXES.iter().find(|(prefix, _)| bytes.starts_with(prefix));
    known.map(|(_, name)| *name).or_else(|| safetensors(bytes))
}

/// safetensors has no magic: a u64 length of at most 100 MB, then `{`.
fn safetensors(bytes: &[u8]) -> Option<&'static str> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = u64::from_le_bytes(*len);
    (rest.first() == Some(&b'{') && (2..=100_000_000).contains(&len)).then_some("a safetensors file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safetensors_is_known_by_its_length_and_brace() {
        let file = |len: u64, next: &[u8]| [&len.to_le_bytes(), next].concat();
        let known = |bytes: Vec<u8>| name(&bytes) == Some("a safetensors file");
        assert!(known(file(2, b"{}")) && known(file(100_000_000, b"{")));
        assert!(!known(file(1, b"{")) && !known(file(100_000_001, b"{")) && !known(file(2, b"[")) && !known(file(2, b"")));
        assert_eq!(name(b"{"), None);
    }
}
