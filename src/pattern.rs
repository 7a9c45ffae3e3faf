//! Address patterns: globs over the tokens of an address. Not part of the format: what selects parts of a file.

use crate::error::{Code, Error, Result};

/// A pattern such as `/layers/*/weight` or `/**/bias`: `*` and `?` stay within one token, the token `**` is any number
/// of tokens, `\` takes the next character as it is.
#[derive(Clone, Debug)]
pub struct Pattern {
    tokens: Vec<String>,
}

/// How far into a pattern a walk down the tree has come: the tokens that may be next.
#[derive(Clone, Debug)]
pub(crate) struct PatternProgress(Vec<usize>);

impl PatternProgress {
    /// Whether the pattern can still match here or further down.
    pub(crate) fn may_match_below(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// `address` for a text that is neither empty nor begins with `/`.
    pub fn new(text: &str) -> Result<Self> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(Error::new(Code::Address, format!("{text:?} is not an address pattern: it is empty or begins with '/'")));
        }
        Ok(Self { tokens: text.split('/').skip(1).map(str::to_owned).collect() })
    }

    /// The progress at the root.
    pub(crate) fn start(&self) -> PatternProgress {
        self.close(vec![0])
    }

    /// The progress one token further down.
    pub(crate) fn step(&self, progress: &PatternProgress, token: &str) -> PatternProgress {
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
    pub(crate) fn accepts(&self, progress: &PatternProgress) -> bool {
        progress.0.contains(&self.tokens.len())
    }

    /// Lets `**` stand for no token at all.
    fn close(&self, mut states: Vec<usize>) -> PatternProgress {
        let mut i = 0;
        while let Some(at) = states.get(i).copied() {
            if self.tokens.get(at).is_some_and(|t| t == "**") && !states.contains(&(at + 1)) {
                states.push(at + 1);
            }
            i += 1;
        }
        states.sort_unstable();
        states.dedup();
        PatternProgress(states)
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
}
