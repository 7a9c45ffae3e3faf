//! Dict keys: the public [`Key`], and the tables that find duplicates and look keys up without owned strings.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

use crate::bytes::{Input, Parsed, finish, table_index};
use crate::value::{self, BYTES, INT, Items, RawKey, STR};

/// A dict key. Keys are equal when type and bytes are equal: `1`, `"1"` and `b"1"` are three keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Text.
    Str(String),
    /// A 64-bit integer.
    Int(i64),
    /// Raw bytes.
    Bytes(Vec<u8>),
}

impl Key {
    /// How many bytes the key counts towards the path limit.
    pub(crate) fn path_len(&self) -> usize {
        match self {
            Self::Str(s) => s.len(),
            Self::Int(_) => 8,
            Self::Bytes(b) => b.len(),
        }
    }

    /// The key as text where it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    pub(crate) fn with_raw<T>(&self, f: impl FnOnce(RawKey<'_>) -> T) -> T {
        match self {
            Self::Str(s) => f(RawKey { tag: STR, bytes: s.as_bytes() }),
            Self::Int(n) => f(RawKey { tag: INT, bytes: &n.to_le_bytes() }),
            Self::Bytes(b) => f(RawKey { tag: BYTES, bytes: b }),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> crate::Result<()> {
        match self {
            Self::Str(s) => value::put_bytes(out, STR, s.as_bytes()),
            Self::Int(n) => {
                value::put_int(out, *n);
                Ok(())
            }
            Self::Bytes(b) => value::put_bytes(out, BYTES, b),
        }
    }
}

impl From<RawKey<'_>> for Key {
    fn from(raw: RawKey<'_>) -> Self {
        match (raw.tag, raw.bytes.first_chunk()) {
            (INT, Some(n)) => Self::Int(i64::from_le_bytes(*n)),
            (STR, _) => Self::Str(String::from_utf8_lossy(raw.bytes).into_owned()),
            _ => Self::Bytes(raw.bytes.to_vec()),
        }
    }
}

impl From<&str> for Key {
    fn from(s: &str) -> Self {
        Self::Str(s.to_owned())
    }
}

impl From<String> for Key {
    fn from(s: String) -> Self {
        Self::Str(s)
    }
}

impl From<i64> for Key {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<&[u8]> for Key {
    fn from(b: &[u8]) -> Self {
        Self::Bytes(b.to_vec())
    }
}

/// The key as it reads in source code, control characters escaped: `"a"`, `1`, `b"\xff"`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(s) => write!(f, "{s:?}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Bytes(b) => write!(f, "b\"{}\"", b.escape_ascii()),
        }
    }
}

/// Fewest entries for which a table is kept: below, walking the dict is as fast.
const MIN_TABLE: u32 = 9;

/// Where keys are, by keyed hash: one word an entry (hash in the high half, offset in the index in the low), sorted
/// within each dict. The hash is keyed at random, so a file cannot be made to collide.
#[derive(Debug)]
pub(crate) struct KeyTables {
    state: RandomState,
    words: Vec<u64>,
    dicts: Vec<Dict>,
}

#[derive(Clone, Copy, Debug)]
struct Dict {
    at: u32,
    start: u32,
    count: u32,
}

impl KeyTables {
    /// Room for all tables of values that take `len` bytes, so that memory follows the file's size, not its claims.
    pub(crate) fn with_room(len: usize) -> Self {
        Self { state: RandomState::new(), words: Vec::with_capacity(len / 8), dicts: Vec::new() }
    }

    /// The word for a key found at `at`.
    pub(crate) fn word(&self, key: RawKey<'_>, at: u32) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u8(key.tag);
        hasher.write(key.bytes);
        (hasher.finish() & !u64::from(u32::MAX)) | u64::from(at)
    }

    /// Whether a dict's table is kept: never more bytes of table than of dict.
    pub(crate) fn keeps(items: Items) -> bool {
        items.count >= MIN_TABLE && (u64::from(items.count) + 4) * 8 <= u64::from(items.len)
    }

    /// Makes room for the table of the dict at `at`; the slots are filled while it is walked.
    pub(crate) fn reserve(&mut self, at: u32, count: u32) -> usize {
        let start = self.words.len();
        self.words.resize(start + table_index(count), 0);
        // The index is below 2^29 bytes, so the words are below 2^26.
        self.dicts.push(Dict { at, start: u32::try_from(start).unwrap_or(u32::MAX), count });
        start
    }

    pub(crate) fn slot(&mut self, start: usize, i: usize) -> &mut u64 {
        &mut self.words[start + i]
    }

    pub(crate) fn slots(&mut self, start: usize, count: u32) -> &mut [u64] {
        &mut self.words[start..start + table_index(count)]
    }

    /// Offset in `index` of `key` in the dict at `at`; `None` when the dict has no table.
    pub(crate) fn find(&self, index: &[u8], at: u32, key: RawKey<'_>) -> Option<Option<u32>> {
        let dict = self.dicts[self.dicts.binary_search_by_key(&at, |d| d.at).ok()?];
        let words = &self.words[table_index(dict.start)..][..table_index(dict.count)];
        let hash = self.word(key, 0) >> 32;
        let from = words.partition_point(|w| w >> 32 < hash);
        let same_hash = words[from..].iter().take_while(|w| **w >> 32 == hash);
        Some(same_hash.map(|w| offset_of(*w)).find(|o| key_at(index, *o) == Some(key)))
    }
}

fn offset_of(word: u64) -> u32 {
    (word & u64::from(u32::MAX)).try_into().unwrap_or(u32::MAX)
}

fn key_at(index: &[u8], at: u32) -> Option<RawKey<'_>> {
    finish(value::key(Input::new(index.get(table_index(at)..)?, 0))).ok().map(|(_, key)| key)
}

/// Sorts the words of one dict and returns the offset of a key that another one equals.
pub(crate) fn duplicate(words: &mut [u64], index: &[u8]) -> Option<u32> {
    words.sort_unstable();
    words.chunk_by(|a, b| a >> 32 == b >> 32).filter(|same| same.len() > 1).find_map(|same| {
        let mut offsets: Vec<u32> = same.iter().map(|w| offset_of(*w)).collect();
        offsets.sort_unstable_by_key(|o| key_at(index, *o).map(|k| (k.tag, k.bytes)));
        offsets.windows(2).find(|pair| key_at(index, pair[0]) == key_at(index, pair[1])).map(|pair| pair[0].max(pair[1]))
    })
}

/// The parser of one key, as a [`Key`].
pub(crate) fn parse(input: Input<'_>) -> Parsed<'_, Key> {
    let (rest, raw) = value::key(input)?;
    Ok((rest, raw.into()))
}
