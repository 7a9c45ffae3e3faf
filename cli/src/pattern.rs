//! Address patterns: globs over the tokens of an address.

use cairnfile::Key;

use crate::common::Failure;

/// A pattern such as `/layers/*/weight` or `/**/bias`: `*` and `?` stay within one token, the token `**` is any number
/// of tokens, `\` takes the next character as it is.
#[derive(Debug)]
pub(crate) struct Pattern {
    tokens: Vec<String>,
}

/// How far into a pattern a walk down the tree has come: the tokens that may be next.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Vec<usize>);

impl Pattern {
    /// Parses a pattern.
    pub(crate) fn new(text: &str) -> Result<Self, Failure> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(Failure::Usage(format!("{text:?} is not an address pattern: it is empty or begins with '/'")));
        }
        Ok(Self { tokens: text.split('/').skip(1).map(str::to_owned).collect() })
    }

    /// The progress at the root.
    pub(crate) fn start(&self) -> Progress {
        self.close(vec![0])
    }

    /// The progress one token further down.
    pub(crate) fn step(&self, progress: &Progress, token: &str) -> Progress {
        let mut next = Vec::new();
        for at in &progress.0 {
            match self.tokens.get(*at) {
                Some(glob) if glob == "**" => next.push(*at),
                Some(glob) if glob_matches(glob, token) => next.push(at + 1),
                _ => {}
            }
        }
        self.close(next)
    }

    /// Whether the pattern matches here.
    pub(crate) fn accepts(&self, progress: &Progress) -> bool {
        progress.0.contains(&self.tokens.len())
    }

    /// Whether the pattern can still match further down.
    pub(crate) fn may_match_below(progress: &Progress) -> bool {
        !progress.0.is_empty()
    }

    /// Lets `**` stand for no token at all.
    fn close(&self, mut states: Vec<usize>) -> Progress {
        let mut i = 0;
        while let Some(at) = states.get(i).copied() {
            if self.tokens.get(at).is_some_and(|t| t == "**") && !states.contains(&(at + 1)) {
                states.push(at + 1);
            }
            i += 1;
        }
        states.sort_unstable();
        states.dedup();
        Progress(states)
    }
}

/// Whether `glob` is `token`, `*` any characters and `?` any one.
fn glob_matches(glob: &str, token: &str) -> bool {
    let (glob, token): (Vec<char>, Vec<char>) = (glob.chars().collect(), token.chars().collect());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let (same, width) = match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
                continue;
            }
            Some('\\') if g + 1 < glob.len() => (token.get(t) == glob.get(g + 1), 2),
            Some('?') => (t < token.len(), 1),
            Some(c) => (token.get(t) == Some(c), 1),
            None if t == token.len() => return true,
            None => (false, 1),
        };
        if same {
            (g, t) = (g + width, t + 1);
            continue;
        }
        // The last star takes one character more.
        match star {
            Some((at, from)) if from < token.len() => {
                star = Some((at, from + 1));
                (g, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
}

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

    fn matches(pattern: &str, address: &str) -> bool {
        let Ok(pattern) = Pattern::new(pattern) else { return false };
        let progress = address.split('/').skip(1).fold(pattern.start(), |p, token| pattern.step(&p, token));
        pattern.accepts(&progress)
    }

    #[test]
    fn stars_stay_in_a_token() {
        assert!(matches("/a/*/w", "/a/0/w") && matches("/a/*", "/a/") && matches("/*.w?", "/0.w1"));
        assert!(!matches("/a/*", "/a/0/w") && !matches("/a", "/ab") && !matches("/a", "/a/b"));
        assert!(matches("/a*b*c", "/aXbbXc") && !matches("/a*b*c", "/aXbbX"));
    }

    #[test]
    fn double_stars_cross_tokens() {
        assert!(matches("/**/w", "/w") && matches("/**/w", "/a/b/w") && matches("/**", "") && matches("/**", "/a/b"));
        assert!(!matches("/**/w", "/a/w/b") && matches("/a/**/b/**/c", "/a/b/b/x/c"));
    }

    #[test]
    fn backslash_is_literal() {
        assert!(matches("/\\*", "/*") && !matches("/\\*", "/a"));
    }

    #[test]
    fn addresses_become_keys() {
        let found = keys("/a~1b/~i-3/~bff00/~0").ok();
        assert_eq!(found, Some(vec![Key::from("a/b"), Key::Int(-3), Key::Bytes(vec![255, 0]), Key::from("~")]));
        assert!(keys("a").is_err() && keys("/~2").is_err() && keys("/~ix").is_err() && keys("/~bf").is_err());
    }
}
