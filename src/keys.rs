//! Dict keys: the public [`Key`], and the tables that find duplicates and look keys up without owned strings.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::bytes::{Input, finish, from_usize, table_index};
use crate::hash::KeyedState;
use crate::limits::MAX_DEPTH;
use crate::parallel::join;
use crate::value::{self, BYTES, INT, RawKey, STR};

/// A dict key. Keys are equal when type and bytes are equal: `1`, `"1"` and `b"1"` are three keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.with_raw(|raw| raw.hash(state));
    }
}

impl From<RawKey<'_>> for Key {
    fn from(raw: RawKey<'_>) -> Self {
        match (raw.tag, raw.bytes.first_chunk()) {
            (INT, Some(n)) => Self::Int(i64::from_le_bytes(*n)),
            (STR, _) => Self::Str(text(raw.bytes)),
            _ => Self::Bytes(raw.bytes.to_vec()),
        }
    }
}

/// The text that `bytes`, which `open` has found to be text, spell.
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
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
const MIN_TABLE: usize = 9;

/// Where keys are, by keyed hash: one word an entry (hash in the high half, offset in the index in the low), sorted
/// within each dict. The hash is keyed at random, so a file cannot be made to collide.
///
/// All words are in one allocation that no file outgrows:
///
/// ```text
/// during the walk   | words of the dicts being walked: a stack → |   free   | ← tables that are kept |
/// after it          | heads of the tables, by place of the dict  |   free   |   tables               |
/// ```
///
/// An entry's key and value take 6 bytes or more, and fewer than 8 only in 2 + 384 entries of any one dict: its keys
/// are distinct, and have no bytes or one. So the words of a dict that is being walked take at most 48 words more
/// than its own bytes (without those of dicts inside it), and those of a table that is kept take less than them.
#[derive(Debug)]
pub(crate) struct KeyTables {
    /// How many words there will be, once there are any.
    room: usize,
    words: Vec<u64>,
    /// Where the stack ends and the tables begin.
    stack: usize,
    tables: usize,
    /// Where the words of each dict that is being walked begin.
    open: Vec<usize>,
    /// How many tables there are; known after the walk.
    heads: usize,
    /// Whether other cores may help.
    beside: bool,
}

impl KeyTables {
    /// For values that take `len` bytes, so that memory follows the file's size, not its claims.
    pub(crate) fn with_room(len: usize, beside: bool) -> Self {
        let room = (len / 6).min(len / 8 + 48 * table_index(MAX_DEPTH));
        Self { room, words: Vec::new(), stack: 0, tables: 0, open: Vec::new(), heads: 0, beside }
    }

    /// The word for a key found at `at`.
    fn word(key: RawKey<'_>, at: u32) -> u64 {
        (KeyedState.hash_one(key) & !u64::from(u32::MAX)) | u64::from(at)
    }

    /// Begins a dict.
    pub(crate) fn begin(&mut self) {
        self.open.push(self.stack);
    }

    /// Adds a key, found at `at`, to the dict that was begun last. `Err` is the offset of a key that another one of
    /// its dict equals.
    pub(crate) fn add(&mut self, index: &[u8], key: RawKey<'_>, at: u32) -> std::result::Result<(), u32> {
        if self.stack == self.tables {
            self.make_room(index)?;
        }
        self.words[self.stack] = Self::word(key, at);
        self.stack += 1;
        Ok(())
    }

    /// The first words; after that there are as many as distinct keys can need, and equal ones must be among them.
    #[cold]
    fn make_room(&mut self, index: &[u8]) -> std::result::Result<(), u32> {
        if self.words.is_empty() {
            self.words = vec![0; self.room.max(1)];
            self.tables = self.words.len();
            return Ok(());
        }
        if let Some(at) = self.first_duplicate(index) {
            return Err(at);
        }
        let more = self.words.len();
        self.words.splice(self.tables..self.tables, std::iter::repeat_n(0, more));
        self.tables += more;
        Ok(())
    }

    /// The first key that equals an earlier one of its dict, in the dicts that are being walked. Whatever stands behind
    /// a key of an outer dict stands behind those of the inner ones too, so the outermost dict comes first.
    #[cold]
    pub(crate) fn first_duplicate(&mut self, index: &[u8]) -> Option<u32> {
        let ends = self.open.iter().skip(1).copied().chain([self.stack]);
        let ranges = self.open.iter().copied().zip(ends);
        let (words, beside) = (&mut self.words, self.beside);
        ranges.into_iter().find_map(|(start, end)| duplicate(&mut words[start..end], index, beside))
    }

    /// Ends the dict at `at`, which has `own` bytes but for the insides of its values; keeps its table if that is
    /// smaller. `Err` is the offset of a key that another one equals.
    pub(crate) fn end(&mut self, index: &[u8], at: u32, own: u64) -> std::result::Result<(), u32> {
        let start = self.open.pop().unwrap_or(self.stack);
        if let Some(at) = duplicate(&mut self.words[start..self.stack], index, self.beside) {
            return Err(at);
        }
        let count = self.stack - start;
        // One word more for the table's head, and one for the head's place.
        let worth_it = count >= MIN_TABLE && from_usize(count + 4) * 8 <= own;
        if worth_it && start + count < self.tables {
            self.tables -= count + 1;
            self.words.copy_within(start..self.stack, self.tables + 1);
            self.words[self.tables] = u64::from(at) << 32 | from_usize(count);
        }
        self.stack = start;
        Ok(())
    }

    /// Ends the walk: puts the places of all tables in order.
    pub(crate) fn finish(&mut self) {
        let mut table = self.tables;
        while table < self.words.len() && self.heads < self.tables {
            let head = self.words[table];
            self.words[self.heads] = head & !u64::from(u32::MAX) | from_usize(table);
            self.heads += 1;
            table += table_index(offset_of(head)) + 1;
        }
        self.words[..self.heads].sort_unstable();
    }

    /// Offset in `index` of `key` in the dict at `at`; `None` when the dict has no table.
    pub(crate) fn find(&self, index: &[u8], at: u32, key: RawKey<'_>) -> Option<Option<u32>> {
        let heads = &self.words[..self.heads];
        let head = heads[heads.binary_search_by_key(&u64::from(at), |head| head >> 32).ok()?];
        let table = &self.words[table_index(offset_of(head))..];
        let words = &table[1..][..table_index(offset_of(table[0]))];
        let hash = Self::word(key, 0) >> 32;
        let from = words.partition_point(|w| w >> 32 < hash);
        let same_hash = words[from..].iter().take_while(|w| **w >> 32 == hash);
        Some(same_hash.map(|w| offset_of(*w)).find(|o| key_at(index, *o) == Some(key)))
    }
}

/// The low half of a word.
fn offset_of(word: u64) -> u32 {
    (word & u64::from(u32::MAX)).try_into().unwrap_or(u32::MAX)
}

fn key_at(index: &[u8], at: u32) -> Option<RawKey<'_>> {
    finish(value::key(Input::new(index.get(table_index(at)..)?, 0))).ok().map(|(_, key)| key)
}

/// Sorts words, whose bits up to `high` are as good as random but for the low half: by eight bits at a time into as many
/// parts, in place, until the parts are small or of one hash. With `beside`, another core sorts half of them.
pub(crate) fn sort(words: &mut [u64], high: u32, beside: bool) {
    const SMALL: usize = 32;
    const MANY: usize = 1 << 13;
    let Some(low) = high.checked_sub(8).filter(|low| *low >= 32 && words.len() > SMALL) else { return words.sort_unstable() };
    let ends = partition(words, low);
    let sort_parts = |mut words: &mut [u64], ends: &[usize], mut start: usize| {
        for end in ends {
            let (part, rest) = std::mem::take(&mut words).split_at_mut(end - start);
            if part.len() > 1 {
                sort(part, low, false);
            }
            (words, start) = (rest, *end);
        }
    };
    let (first, second) = ends.split_at(128);
    let middle = first[127];
    let beside = beside && words.len() >= MANY;
    let (lower, upper) = words.split_at_mut(middle);
    join(beside, || sort_parts(lower, first, 0), || sort_parts(upper, second, middle));
}

/// Puts words into 256 parts by the eight bits from `low` on; the ends of the parts.
fn partition(words: &mut [u64], low: u32) -> [usize; 256] {
    let part = |word: u64| usize::from((word >> low).to_le_bytes()[0]);
    let mut ends = [0; 256];
    words.iter().for_each(|word| ends[part(*word)] += 1);
    let mut next = [0; 256];
    let mut end = 0;
    for (next, count) in next.iter_mut().zip(&mut ends) {
        (*next, end) = (end, end + *count);
        *count = end;
    }
    for i in 0..256 {
        while next[i] < ends[i] {
            let home = part(words[next[i]]);
            // Where it belongs, if it is there already.
            words.swap(next[i], next[home]);
            next[home] += 1;
        }
    }
    ends
}

/// Sorts the words of one dict by hash and returns the offset of the first key that an earlier one equals.
fn duplicate(words: &mut [u64], index: &[u8], beside: bool) -> Option<u32> {
    sort(words, u64::BITS, beside);
    let same_hash = words.chunk_by_mut(|a, b| a >> 32 == b >> 32).filter(|same| same.len() > 1);
    let second = same_hash.filter_map(|same| {
        let count = same.len();
        let key = |word: u64| key_at(index, offset_of(word)).map(|k| (k.tag, k.bytes));
        // They come by offset. Behind one that equals the first there is none that is earlier, and few are in front of it.
        let first = key(same[0]);
        let twin = same[1..].iter().position(|word| key(*word) == first);
        let same = &mut same[..twin.map_or(usize::MAX, |at| at.saturating_add(2)).min(count)];
        same.sort_unstable_by(|a, b| key(*a).cmp(&key(*b)).then(a.cmp(b)));
        same.windows(2).filter(|pair| key(pair[0]) == key(pair[1])).map(|pair| offset_of(pair[1])).min()
    });
    second.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dict, Value};

    #[test]
    fn sorting_by_parts_is_sorting() {
        for n in [0, 1, 33, 300, 70_000] {
            let mut words: Vec<u64> =
                (0..n).map(|at| KeyTables::word(RawKey { tag: INT, bytes: &[] }, at) ^ KeyedState.hash_one(at % 5000)).collect();
            let mut expected = words.clone();
            expected.sort_unstable();
            sort(&mut words, u64::BITS, true);
            assert_eq!(words, expected);
        }
    }
    #[test]
    fn keys_as_text() {
        let keys = [Key::from("a\n"), Key::from(-1), Key::from(&b"\xffa"[..])];
        assert_eq!(keys.each_ref().map(Key::as_str), [Some("a\n"), None, None]);
        assert_eq!(keys.each_ref().map(Key::path_len), [2, 8, 2]);
        assert_eq!(keys.map(|key| key.to_string()), ["\"a\\n\"", "-1", "b\"\\xffa\""]);
    }
    /// Dicts inside a dict, each of nine keys or so, and where the tables say that their keys are.
    #[test]
    fn tables_find_keys() {
        let dict = |names: &[String]| Value::Dict(names.iter().map(|name| (Key::from(name.clone()), Value::Null)).collect());
        let names = |n: usize, len: usize| (0..n).map(|i| format!("{i:.>len$}")).collect::<Vec<_>>();
        // Nine keys: a table takes as many bytes as tags, lengths and 41 bytes of names.
        let mut least = names(8, 4);
        least.push("nine.name".to_owned());
        let mut below = names(8, 4);
        below.push("ninename".to_owned());
        let dicts = [(names(8, 40), false), (names(9, 40), true), (least, true), (below, false), (names(300, 9), true)];
        let outer: Dict<'_> = dicts.iter().enumerate().map(|(i, (names, _))| (Key::from(format!("{i:050}")), dict(names))).collect();
        let bytes = crate::to_bytes(&Value::List(vec![Value::Dict(outer)]), &crate::WriteOptions::new()).unwrap();
        let cairn = crate::Cairn::from_bytes(&bytes).unwrap();
        let index = cairn.index_bytes();
        for (i, (names, kept)) in dicts.iter().enumerate() {
            let key = format!("{i:050}");
            let place = index.windows(key.len()).position(|window| window == key.as_bytes()).unwrap() + key.len();
            let dict_at = u32::try_from(place).unwrap();
            let find = |name: &str| cairn.index.keys.find(index, dict_at, RawKey { tag: STR, bytes: name.as_bytes() });
            for name in names {
                let found = find(name);
                assert_eq!(found.is_some(), *kept, "{i} {name}");
                assert!(found.is_none_or(|at| key_at(index, at.unwrap()).unwrap().bytes == name.as_bytes() && at.unwrap() > dict_at));
            }
            assert_eq!(find("x"), kept.then_some(None));
        }
    }

    /// Words of one hash, which a file cannot be made to have but with equal keys.
    #[test]
    fn equal_keys_are_found_among_equal_hashes() {
        let seconds = |keys: &[&str]| {
            let (mut index, mut words) = (Vec::new(), Vec::new());
            for key in keys {
                words.push(7 << 32 | from_usize(index.len()));
                Key::from(*key).encode(&mut index).unwrap();
            }
            let at = duplicate(&mut words, &index, false)?;
            Some(table_index(at) / 6)
        };
        assert_eq!(seconds(&["a", "b", "c"]), None);
        assert_eq!(seconds(&["a", "b", "b"]), Some(2));
        assert_eq!(seconds(&["a", "b", "c", "b", "a"]), Some(3));
        assert_eq!(seconds(&["a", "b", "a", "b", "a"]), Some(2));
    }
}
