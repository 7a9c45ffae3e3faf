//! Addresses of places that are yet to be made: dict keys all the way.

use cairnfile::Key;

use crate::common::Failure;

/// The dict keys that `address` consists of.
pub(crate) fn keys(address: &str) -> Result<Vec<Key>, Failure> {
    let bad = || Failure::Usage(format!("{address:?} is not an address of dict keys"));
    if !address.is_empty() && !address.starts_with('/') {
        return Err(bad());
    }
    address.split('/').skip(1).map(|token| key(token).ok_or_else(bad)).collect()
}

fn key(token: &str) -> Option<Key> {
    if let Some(digits) = token.strip_prefix("~i") {
        return digits.parse().ok().map(Key::Int);
    }
    if let Some(hex) = token.strip_prefix("~b") {
        let pair = |i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok();
        return (0..hex.len()).step_by(2).map(pair).collect::<Option<_>>().map(Key::Bytes);
    }
    let escapes = token.matches('~').count();
    if escapes != token.matches("~0").count() + token.matches("~1").count() {
        return None;
    }
    Some(Key::Str(token.replace("~1", "/").replace("~0", "~")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_keys() {
        let found = keys("/a~1b/~i-3/~bff00/~0").ok();
        assert_eq!(found, Some(vec![Key::from("a/b"), Key::Int(-3), Key::Bytes(vec![255, 0]), Key::from("~")]));
        assert!(keys("a").is_err() && keys("/~2").is_err() && keys("/~ix").is_err() && keys("/~bf").is_err());
    }
}
