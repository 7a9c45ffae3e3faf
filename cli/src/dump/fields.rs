//! The fields of an index, one after the other. It takes nothing for granted, so that a damaged index is shown as far
//! as it makes sense, and it checks no more than it needs for that.

use cairnfile::hard_limits::{LARGE_ALIGN, LARGE_BUFFER, MAX_DEPTH, PART_ALIGN};

use super::lines::Lines;
use crate::common::{Failure, count};
use crate::show;

/// Why a walk ends early.
pub(super) enum Stop {
    /// The bytes make no sense from here on.
    Here(String),
    /// The output failed.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

type Step<T> = Result<T, Stop>;

/// One buffer as the index states it.
pub(super) struct Buffer {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) kind: u32,
    pub(super) crcs: Vec<u32>,
    /// Numbers of the tensors that view it.
    pub(super) tensors: Vec<u32>,
}

/// What the rest of the file can be found with.
#[derive(Default)]
pub(super) struct Layout {
    pub(super) buffers: Vec<Buffer>,
    dtypes: Vec<String>,
}

/// Where the walk is.
pub(super) struct Fields<'b, 'l, 'o> {
    bytes: &'b [u8],
    at: usize,
    /// Offset of the index in the file.
    base: u64,
    lines: &'l mut Lines<'o>,
}

/// How deep a value is, and how far its lines are indented.
#[derive(Clone, Copy, Default)]
struct Level {
    depth: u32,
    indent: usize,
}

impl Level {
    fn below(self, indent: usize) -> Self {
        Self { depth: self.depth + 1, indent: self.indent + indent }
    }
}

/// How the index lies in the file.
pub(super) struct Place {
    pub(super) base: u64,
    pub(super) data_start: u64,
    pub(super) block_log2: u8,
}

/// Prints the fields of the index `bytes` and returns what they say, with the reason to stop before the end and the
/// number of bytes that were understood.
pub(super) fn walk(bytes: &[u8], place: &Place, lines: &mut Lines<'_>) -> Result<(Layout, usize, Option<String>), Failure> {
    let mut layout = Layout::default();
    let mut fields = Fields { bytes, at: 0, base: place.base, lines };
    let stop = match fields.index(&mut layout, place) {
        Ok(()) if fields.at == bytes.len() => None,
        Ok(()) => Some("the index goes on behind its root".to_owned()),
        Err(Stop::Here(why)) => Some(why),
        Err(Stop::Failed(failure)) => return Err(failure),
    };
    Ok((layout, fields.at, stop))
}

impl<'b> Fields<'b, '_, '_> {
    /// The next `n` bytes, printed with what `meaning` makes of them.
    fn take(&mut self, n: usize, meaning: impl FnOnce(&[u8]) -> String) -> Step<&'b [u8]> {
        let field = self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end));
        let Some(field) = field else {
            return Err(Stop::Here(format!(
                "a field of {n} bytes does not fit into the {} that are left of the index",
                self.bytes.len() - self.at
            )));
        };
        self.lines.field(self.base + u64::try_from(self.at).unwrap_or(0), field, &meaning(field))?;
        self.at += n;
        Ok(field)
    }

    fn u8(&mut self, meaning: impl FnOnce(u8) -> String) -> Step<u8> {
        Ok(number(self.take(1, |b| meaning(b[0]))?).to_le_bytes()[0])
    }

    fn u32(&mut self, meaning: impl FnOnce(u32) -> String) -> Step<u32> {
        Ok(narrow(number(self.take(4, |b| meaning(narrow(number(b))))?)))
    }

    fn u64(&mut self, meaning: impl FnOnce(u64) -> String) -> Step<u64> {
        Ok(number(self.take(8, |b| meaning(number(b)))?))
    }

    fn index(&mut self, layout: &mut Layout, place: &Place) -> Step<()> {
        for _ in 0..self.u32(|n| format!("extensions: {n}"))? {
            self.extension()?;
        }
        for i in 0..self.u32(|n| format!("dtypes: {n}"))? {
            let name = self.dtype(i)?;
            layout.dtypes.push(name);
        }
        self.buffers(layout, place)?;
        for i in 0..self.u32(|n| format!("tensors: {n}"))? {
            self.tensor(i, layout)?;
        }
        self.value("metadata: ", Level::default())?;
        self.value("root: ", Level::default())
    }

    fn extension(&mut self) -> Step<()> {
        self.u32(|tag| format!("  extension tag {tag:#010x}{}", if tag >> 31 == 1 { ", must be understood" } else { "" }))?;
        let len = self.u32(|n| format!("  payload of {}", count(n, "byte")))?;
        self.take(size(len), |_| "  payload".to_owned())?;
        self.take(size(len.wrapping_neg() & 7), |_| "  padding to 8".to_owned())?;
        Ok(())
    }

    fn dtype(&mut self, i: u32) -> Step<String> {
        self.u32(|n| format!("  dtype {i}: elements in a group: {n}"))?;
        self.u32(|n| format!("    bytes of a group: {n}"))?;
        self.u8(|class| format!("    class {class}, {}", ["scalar", "packed", "block"].get(usize::from(class)).unwrap_or(&"not defined")))?;
        let len = self.u8(|n| format!("    name of {}", count(n, "byte")))?;
        let name = self.take(len.into(), |name| format!("    {}", name.escape_ascii()))?;
        Ok(name.escape_ascii().to_string())
    }

    /// The buffer table and the block checksums behind it.
    fn buffers(&mut self, layout: &mut Layout, place: &Place) -> Step<()> {
        let mut end = place.data_start;
        for i in 0..self.u32(|n| format!("buffers: {n}"))? {
            let start = |len: u64| end.checked_next_multiple_of(if len >= LARGE_BUFFER { LARGE_ALIGN } else { PART_ALIGN });
            let len = self.u64(|len| format!("  buffer {i}: {}, at byte {}", count(len, "byte"), start(len).unwrap_or(u64::MAX)))?;
            let kind = self
                .u32(|kind| format!("    kind {kind}, {}", ["tensor bytes", "auxiliary"].get(size(kind)).unwrap_or(&"of an extension")))?;
            self.u32(|owner| format!("    owner {owner:#x}"))?;
            let start = start(len).filter(|start| start.checked_add(len).is_some());
            let Some(start) = start else { return Err(Stop::Here(format!("buffer {i} would end past 2^64"))) };
            layout.buffers.push(Buffer { start, len, kind, crcs: Vec::new(), tensors: Vec::new() });
            end = start + len;
        }
        for (i, buffer) in layout.buffers.iter_mut().enumerate() {
            for block in 0..buffer.len.div_ceil(1 << place.block_log2) {
                buffer.crcs.push(self.u32(|crc| format!("  CRC of buffer {i}, block {block}: {crc:08x}"))?);
            }
        }
        Ok(())
    }

    fn tensor(&mut self, i: u32, layout: &mut Layout) -> Step<()> {
        let name = |n: u32| layout.dtypes.get(size(n)).map_or("not in the table", String::as_str);
        self.u32(|dtype| format!("  tensor {i}: dtype {dtype}, {}", name(dtype)))?;
        let buffer = self.u32(|n| if n == u32::MAX { "    no buffer".to_owned() } else { format!("    buffer {n}") })?;
        self.u64(|offset| format!("    at byte {offset} of it"))?;
        let rank = self.u8(|rank| format!("    rank {rank}"))?;
        let flags = self.u8(|flags| format!("    flags {flags:#x}{}", if flags & 1 == 1 { ", strides follow" } else { "" }))?;
        let list = |what: &str, bytes: &[u8]| format!("    {what} {:?}", bytes.chunks(8).map(number).collect::<Vec<_>>());
        self.row(usize::from(rank) * 8, |bytes| list("shape", bytes))?;
        if flags & 1 == 1 {
            self.row(usize::from(rank) * 8, |bytes| list("strides", bytes))?;
        }
        if let Some(buffer) = layout.buffers.get_mut(size(buffer)) {
            buffer.tensors.push(i);
        }
        Ok(())
    }

    /// A field that may have no bytes, and then has no line.
    fn row(&mut self, n: usize, meaning: impl FnOnce(&[u8]) -> String) -> Step<&'b [u8]> {
        if n == 0 { Ok(&[]) } else { self.take(n, meaning) }
    }

    fn value(&mut self, label: &str, level: Level) -> Step<()> {
        if level.depth >= MAX_DEPTH {
            return Err(Stop::Here(format!("values nest deeper than {MAX_DEPTH}")));
        }
        let lead = format!("{}{label}", "  ".repeat(level.indent));
        match self.bytes.get(self.at) {
            Some(0x01) => self.take(1, |_| lead + "null").map(drop),
            Some(0x02) => self.take(1, |_| lead + "false").map(drop),
            Some(0x03) => self.take(1, |_| lead + "true").map(drop),
            Some(0x04) => self.take(9, |b| format!("{lead}int {}", number(&b[1..]).cast_signed())).map(drop),
            Some(0x05) => self.text(&lead, "big int", &hex),
            Some(0x06) => self.take(9, |b| format!("{lead}float {}", show::float(f64::from_bits(number(&b[1..]))))).map(drop),
            Some(0x07) => self.take(17, |b| format!("{lead}complex {}", complex(&b[1..]))).map(drop),
            Some(0x08) => self.text(&lead, "str", &quoted),
            Some(0x09) => self.text(&lead, "bytes", &escaped),
            Some(0x0A) => self.items(&lead, "list", false, level),
            Some(0x0B) => self.items(&lead, "tuple", false, level),
            Some(0x0C) => self.items(&lead, "dict", true, level),
            Some(0x0D) => {
                self.text(&lead, "type name", &escaped)?;
                self.value("of ", level.below(1))
            }
            Some(0x0E) => self.take(5, |b| format!("{lead}tensor {}", number(&b[1..]))).map(drop),
            Some(tag) => Err(Stop::Here(format!("value tag {tag:#04x} is not defined"))),
            None => Err(Stop::Here("the index ends before its root does".to_owned())),
        }
    }

    /// Tag and length, then the bytes on lines of their own.
    fn text(&mut self, lead: &str, what: &str, show: &dyn Fn(&[u8]) -> String) -> Step<()> {
        let head = self.take(5, |b| format!("{lead}{what} of {}", count(number(&b[1..]), "byte")))?;
        let indent = lead.len() - lead.trim_start().len();
        self.row(size(narrow(number(&head[1..]))), |bytes| format!("{:indent$}  {}", "", show(bytes)))?;
        Ok(())
    }

    fn items(&mut self, lead: &str, what: &str, keyed: bool, level: Level) -> Step<()> {
        let head =
            self.take(9, |b| format!("{lead}{what} of {} in {}", count(number(&b[1..5]), "item"), count(number(&b[5..]), "byte")))?;
        for i in 0..number(&head[1..5]) {
            if keyed {
                self.key(level.indent + 1)?;
                self.value("", level.below(2))?;
            } else {
                self.value(&format!("[{i}] "), level.below(1))?;
            }
        }
        Ok(())
    }

    fn key(&mut self, indent: usize) -> Step<()> {
        let lead = format!("{}key: ", "  ".repeat(indent));
        match self.bytes.get(self.at) {
            Some(0x04) => self.take(9, |b| format!("{lead}int {}", number(&b[1..]).cast_signed())).map(drop),
            Some(0x08) => self.text(&lead, "str", &quoted),
            Some(0x09) => self.text(&lead, "bytes", &escaped),
            Some(tag) => Err(Stop::Here(format!("tag {tag:#04x} is not that of a key"))),
            None => Err(Stop::Here("the index ends inside a dict".to_owned())),
        }
    }
}

fn quoted(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| "not UTF-8".to_owned(), |text| show::quoted(text, 100))
}

fn escaped(bytes: &[u8]) -> String {
    show::bytes(bytes, 50)
}

fn hex(bytes: &[u8]) -> String {
    cairnfile::Value::integer(bytes).map_or_else(|e| e.detail().to_owned(), |value| format!("{value:?}"))
}

fn complex(bytes: &[u8]) -> String {
    let part = |b: &[u8]| f64::from_bits(number(b));
    show::complex(part(&bytes[..8]), part(&bytes[8..]))
}

/// At most eight little-endian bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Four bytes' worth of a number.
pub(super) fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
