//! `cairn dump`: every byte of a file with its meaning, also of a damaged one as far as it makes sense.

mod fields;
mod lines;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cairnfile::hard_limits::{HEADER_LEN, MAX_BLOCK_LOG2, MAX_INDEX_LEN, MIN_BLOCK_LOG2, PART_ALIGN};
use cairnfile::{Class, MAGIC, crc32};
use serde_json::Value as Json;

use self::fields::{Layout, Place, narrow, number, walk};
use self::lines::{Lines, Sink};
use crate::common::{Failure, Outcome, Ui, open};

const AFTER_HELP: &str = "\
Offsets are hexadecimal. Of tensor data, padding and the second index only the first and the last line
are shown unless --all is given. A damaged file is shown as far as it makes sense.

Examples:
  cairn dump model.cairn | less
  cairn dump --all small.cairn";

/// Show every byte of a file: offset, bytes, meaning.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
    /// Leave no line out.
    #[arg(short, long)]
    all: bool,
}

/// Most bytes that are read at once where the file does not say how long a part is.
const PIECE: u64 = 64 << 20;

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    let source = Source::open(&args.file)?;
    if ui.json {
        let mut lines = Lines { sink: Sink::Json(Vec::new()), all: args.all };
        let dumped = dump(&source, &args.file, &mut lines);
        if let Sink::Json(rows) = lines.sink {
            ui.print_json(&Json::Array(rows))?;
        }
        return dumped;
    }
    ui.print(|out| dump(&source, &args.file, &mut Lines { sink: Sink::Text(out), all: args.all }))
}

/// A file that is read piece by piece.
struct Source {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("cannot read {}", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self { file, path: path.to_owned(), len })
    }

    /// As much of a range as the file has.
    fn get(&self, at: u64, len: u64) -> Result<Vec<u8>, Failure> {
        let failed = |error| Failure::io(format!("cannot read {}", self.path.display()), error);
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        file.take(len).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

/// The numbers in a header or trailer, right or wrong.
#[derive(Clone, Copy)]
struct End {
    intact: bool,
    streamed: bool,
    block_log2: u8,
    file_len: u64,
    index_offset: u64,
    index_len: u64,
    index_crc: u32,
}

impl End {
    fn parse(bytes: &[u8]) -> Self {
        let at = |start: usize, len: usize| number(bytes.get(start..start + len).unwrap_or(&[]));
        let crc = crc32(bytes.get(..60).unwrap_or(&[]));
        let block_log2 = bytes.get(12).copied().unwrap_or(0);
        let known = at(8, 2) == 1 && (MIN_BLOCK_LOG2..=MAX_BLOCK_LOG2).contains(&block_log2);
        Self {
            intact: bytes.len() == 64 && bytes.starts_with(&MAGIC) && known && at(60, 4) == u64::from(crc),
            streamed: at(10, 2) & 1 == 1,
            block_log2,
            file_len: at(16, 8),
            index_offset: at(24, 8),
            index_len: at(32, 8),
            index_crc: narrow(at(40, 4)),
        }
    }
}

/// Where the parts of the file are, as the header or trailer that is believed says.
struct Parts {
    end: End,
    /// Offset of each index.
    front: Option<u64>,
    last: u64,
    trailer: u64,
}

impl Parts {
    fn new(end: End) -> Option<Self> {
        let trailer = end.file_len.checked_sub(HEADER_LEN)?;
        let last = trailer.checked_sub(end.index_len.checked_next_multiple_of(PART_ALIGN)?)?;
        let (front, last) = if end.streamed { (None, end.index_offset) } else { (Some(HEADER_LEN), last) };
        (end.index_len <= MAX_INDEX_LEN && last >= HEADER_LEN && last <= trailer).then_some(Self { end, front, last, trailer })
    }
}

fn dump(source: &Source, path: &Path, lines: &mut Lines<'_>) -> Outcome {
    let header = source.get(0, HEADER_LEN)?;
    let trailer = source.get(source.len.saturating_sub(HEADER_LEN), HEADER_LEN)?;
    let (head, tail) = (End::parse(&header), End::parse(&trailer));
    if !header.starts_with(&MAGIC) && !tail.intact {
        // Not ours: the library says what it looks like.
        return open(path).map(drop);
    }
    lines.heading()?;
    let mut dump = Dump { source, lines, at: 0 };
    dump.end("header", &header)?;
    let believed = match (head.intact, head.streamed, tail.intact) {
        (true, false, _) => Ok(head),
        (true, true, true) => Ok(tail),
        (true, true, false) => Err("the trailer, which alone says where the index of a streamed file is, is damaged"),
        (false, _, true) => Ok(tail),
        (false, _, false) => Err("neither header nor trailer is intact"),
    };
    let parts = believed.and_then(|end| Parts::new(end).ok_or("the numbers in it do not fit together"));
    let stop = match parts {
        Ok(parts) => dump.parts(&parts)?,
        Err(why) => Some(why.to_owned()),
    };
    dump.rest(stop)
}

struct Dump<'d, 'o> {
    source: &'d Source,
    lines: &'d mut Lines<'o>,
    /// The first byte that was not shown yet.
    at: u64,
}

impl Dump<'_, '_> {
    /// All parts behind the header, in order; the reason to stop where there is one.
    fn parts(&mut self, parts: &Parts) -> Result<Option<String>, Failure> {
        let data_start = if parts.front.is_some() { HEADER_LEN.saturating_add(parts.end.index_len) } else { HEADER_LEN };
        let place = |base| Place { base, data_start, block_log2: parts.end.block_log2 };
        let mut layout = None;
        if let Some(front) = parts.front {
            self.part("index")?;
            layout = self.index(&place(front), parts)?;
        }
        let layout = match layout {
            Some(layout) => layout,
            None => {
                let copy = self.source.get(parts.last, parts.end.index_len)?;
                let (layout, _, stop) = walk(&copy, &place(parts.last), &mut Lines { sink: Sink::Nothing, all: false })?;
                if let Some(why) = stop.filter(|_| crc32(&copy) != parts.end.index_crc) {
                    return Ok(Some(format!("without an intact index the buffers cannot be found: {why}")));
                }
                layout
            }
        };
        self.buffers(&layout, parts)?;
        self.last_index(&place(parts.last), parts)?;
        self.gap_to(parts.trailer)?;
        let trailer = self.source.get(parts.trailer, HEADER_LEN)?;
        if trailer.is_empty() {
            return Ok(Some("the file ends before its trailer".to_owned()));
        }
        self.end("trailer", &trailer)?;
        Ok((self.at < self.source.len).then(|| "the file should end here".to_owned()))
    }

    fn part(&mut self, name: &str) -> Outcome {
        if self.at < self.source.len { self.lines.part(name) } else { Ok(()) }
    }

    /// Header or trailer.
    fn end(&mut self, name: &str, bytes: &[u8]) -> Outcome {
        self.part(name)?;
        let fields: [(usize, &dyn Fn(u64) -> String); 11] = [
            (8, &|_| if bytes.starts_with(&MAGIC) { "magic".to_owned() } else { "not the magic".to_owned() }),
            (2, &|n| format!("version {n}")),
            (2, &|n| {
                format!(
                    "flags {n:#x}: {}, {}",
                    if n & 1 == 1 { "streamed" } else { "planned" },
                    if n & 2 == 2 { "trailer" } else { "header" }
                )
            }),
            (1, &|n| format!("block size 2^{n}")),
            (3, &|_| "reserved".to_owned()),
            (8, &|n| format!("file length {n}")),
            (8, &|n| format!("index at byte {n}")),
            (8, &|n| format!("index length {n}")),
            (4, &|n| format!("index CRC {n:08x}")),
            (16, &|_| "reserved".to_owned()),
            (4, &|n| format!("own CRC {n:08x}, {}", verdict(u64::from(crc32(bytes.get(..60).unwrap_or(&[]))) == n))),
        ];
        let mut rest = bytes;
        for (len, meaning) in fields {
            let (field, after) = rest.split_at(len.min(rest.len()));
            let meaning = if field.len() < len { "cut off".to_owned() } else { meaning(number(&field[..len.min(8)])) };
            self.field(field, &meaning)?;
            rest = after;
        }
        Ok(())
    }

    fn field(&mut self, bytes: &[u8], meaning: &str) -> Outcome {
        self.lines.field(self.at, bytes, meaning)?;
        self.at += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    fn run(&mut self, bytes: &[u8], meaning: &str) -> Outcome {
        self.lines.run(self.at, bytes, meaning)?;
        self.at += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// An index field by field; what it says if its checksum is right.
    fn index(&mut self, place: &Place, parts: &Parts) -> Result<Option<Layout>, Failure> {
        let bytes = self.source.get(place.base, parts.end.index_len)?;
        let intact = crc32(&bytes) == parts.end.index_crc;
        if !intact {
            self.lines.note(&format!(
                "the index is damaged: CRC {:08x} instead of {:08x}; its fields may be wrong",
                crc32(&bytes),
                parts.end.index_crc
            ))?;
        }
        let (layout, understood, stop) = walk(&bytes, place, self.lines)?;
        self.at = place.base + u64::try_from(understood).unwrap_or(0);
        if let Some(why) = stop {
            self.lines.note(&format!("the index makes no sense from here on: {why}"))?;
            self.run(&bytes[understood..], "rest of the index")?;
        }
        Ok(intact.then_some(layout))
    }

    /// The index at the end: of a streamed file the only one, of a planned file a copy.
    fn last_index(&mut self, place: &Place, parts: &Parts) -> Outcome {
        self.gap_to(place.base)?;
        let Some(front) = parts.front else {
            self.part("index")?;
            return self.index(place, parts).map(drop);
        };
        self.part("index copy")?;
        let (first, copy) = (self.source.get(front, parts.end.index_len)?, self.source.get(place.base, parts.end.index_len)?);
        let meaning = match first.iter().zip(&copy).position(|(a, b)| a != b) {
            None => "as the index above".to_owned(),
            Some(at) => {
                let at = place.base + u64::try_from(at).unwrap_or(0);
                format!("differs from the index above, first at byte {at:#x}; its CRC is {}", verdict(crc32(&copy) == parts.end.index_crc))
            }
        };
        self.run(&copy, &meaning)
    }

    /// Padding up to `offset`.
    fn gap_to(&mut self, offset: u64) -> Outcome {
        while self.at < offset.min(self.source.len) {
            let gap = self.source.get(self.at, (offset - self.at).min(PIECE))?;
            if gap.is_empty() {
                break;
            }
            let meaning = if gap.iter().all(|b| *b == 0) { "padding" } else { "padding, DAMAGED: it is not zero" };
            self.run(&gap, meaning)?;
        }
        Ok(())
    }

    fn buffers(&mut self, layout: &Layout, parts: &Parts) -> Outcome {
        for (i, buffer) in layout.buffers.iter().enumerate() {
            if buffer.start + buffer.len > parts.last {
                return self.lines.note(&format!("buffer {i} would not end before the second index"));
            }
            self.gap_to(buffer.start)?;
            self.part(&format!("buffer {i}{}", viewers(&buffer.tensors, buffer.kind)))?;
            for (block, crc) in buffer.crcs.iter().enumerate() {
                if self.at >= self.source.len {
                    return Ok(());
                }
                let size = (1 << parts.end.block_log2).min(buffer.start + buffer.len - self.at);
                let bytes = self.source.get(self.at, size)?;
                self.run(&bytes, &format!("block {block}, CRC {}", verdict(crc32(&bytes) == *crc)))?;
            }
        }
        Ok(())
    }

    /// What is left of the file, and why it cannot be explained.
    fn rest(&mut self, stop: Option<String>) -> Outcome {
        let Some(why) = stop else { return Ok(()) };
        self.lines.note(&why)?;
        while self.at < self.source.len {
            let bytes = self.source.get(self.at, PIECE)?;
            if bytes.is_empty() {
                break;
            }
            self.run(&bytes, "not explained")?;
        }
        Err(Failure::message(Class::Corrupt, format!("{}: {why}", self.source.path.display())))
    }
}

fn verdict(right: bool) -> &'static str {
    if right { "right" } else { "WRONG" }
}

/// Which tensors are in a buffer.
fn viewers(tensors: &[u32], kind: u32) -> String {
    const SHOWN: usize = 8;
    let list: Vec<String> = tensors.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if tensors.len() > SHOWN { ", …" } else { "" };
    match tensors.len() {
        0 if kind == 1 => ", auxiliary".to_owned(),
        0 => String::new(),
        1 => format!(", tensor {}", list.join(", ")),
        _ => format!(", tensors {}{more}", list.join(", ")),
    }
}
