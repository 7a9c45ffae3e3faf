//! Addresses of values: JSON Pointer with escapes for int and bytes keys. `Spec §9.7`.

use std::fmt::Write;

use crate::error::{Code, Error, Result};
use crate::keys::Key;
use crate::value::{INT, RawKey, STR};

/// One step from a container to an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(Key),
    Position(usize),
}

/// Appends the token of a dict key to an address.
pub(crate) fn push_key(address: &mut String, key: &Key) {
    key.with_raw(|raw| push_raw_key(address, raw));
}

/// The same of a key as it lies in the index.
pub(crate) fn push_raw_key(address: &mut String, key: RawKey<'_>) {
    address.push('/');
    match (key.tag, key.bytes.first_chunk()) {
        (STR, _) => push_escaped(address, &String::from_utf8_lossy(key.bytes)),
        (INT, Some(n)) => {
            let _ = write!(address, "~i{}", i64::from_le_bytes(*n));
        }
        _ => {
            address.push_str("~b");
            for b in key.bytes {
                let _ = write!(address, "{b:02x}");
            }
        }
    }
}

fn push_escaped(address: &mut String, mut text: &str) {
    while let Some((before, after)) = text.find(['~', '/']).and_then(|at| Some((&text[..at], text.get(at + 1..)?))) {
        address.push_str(before);
        address.push_str(if text[before.len()..].starts_with('~') { "~0" } else { "~1" });
        text = after;
    }
    address.push_str(text);
}

/// Appends the token of a list position to an address.
pub(crate) fn push_position(address: &mut String, position: usize) {
    let _ = write!(address, "/{position}");
}

/// The tokens of an address, still escaped; what they mean depends on the container.
pub(crate) fn tokens(address: &str) -> Result<impl Iterator<Item = &str>> {
    if !address.is_empty() && !address.starts_with('/') {
        return Err(bad(address, "an address is empty or begins with '/'"));
    }
    Ok(address.split('/').skip(1))
}

/// A token read as a dict key.
pub(crate) fn key(token: &str) -> Result<Key> {
    if let Some(digits) = token.strip_prefix("~i") {
        let n = digits.parse::<i64>().ok().filter(|n| n.to_string() == digits);
        return n.map(Key::Int).ok_or_else(|| bad(token, "after ~i comes a decimal number"));
    }
    if let Some(hex) = token.strip_prefix("~b") {
        return bytes(hex).map(Key::Bytes).ok_or_else(|| bad(token, "after ~b come pairs of lower-case hex digits"));
    }
    let mut text = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '~' { rest.next() } else { None }) {
            ('~', Some('0')) => text.push('~'),
            ('~', Some('1')) => text.push('/'),
            ('~', _) => return Err(bad(token, "after ~ comes 0, 1, i or b")),
            (c, _) => text.push(c),
        }
    }
    Ok(Key::Str(text))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).filter(|_| !c.is_ascii_uppercase());
    let pair = |pair: &[u8]| match pair {
        [a, b] => u8::try_from(digit(*a)? * 16 + digit(*b)?).ok(),
        _ => None,
    };
    hex.as_bytes().chunks(2).map(pair).collect()
}

/// A token read as a list position.
pub(crate) fn position(token: &str) -> Option<usize> {
    token.parse().ok().filter(|n: &usize| n.to_string() == token)
}

fn bad(address: &str, why: &str) -> Error {
    Error::new(Code::Address, format!("{address:?} is not an address: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        let keys = [
            Key::from(""),
            Key::from("a/b~c"),
            Key::from("~i0"),
            Key::from(-7),
            Key::from(i64::MIN),
            Key::from(&b"\x00\xffz"[..]),
            Key::from(&b""[..]),
        ];
        for expected in keys {
            let mut address = String::new();
            push_key(&mut address, &expected);
            let found: Vec<_> = tokens(&address).unwrap().map(|t| key(t).unwrap()).collect();
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn one_spelling_only() {
        assert!(["~i01", "~i+1", "~i-0", "~iA", "~b1", "~bFF", "~2", "~"].iter().all(|t| key(t).is_err()));
        assert!(["01", "+1", "-1", "", "1 "].iter().all(|t| position(t).is_none()));
        assert!(tokens("a").is_err());
        assert_eq!(tokens("").unwrap().count(), 0);
    }
}
