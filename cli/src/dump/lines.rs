//! Lines of a dump: offset, at most sixteen bytes, meaning.

use std::io::Write;

use serde_json::{Value as Json, json};

use crate::common::{Outcome, escape, style, styled};

/// Bytes of a line.
pub(super) const WIDTH: usize = 16;

/// Where lines go.
pub(super) enum Sink<'o> {
    Text(&'o mut dyn Write),
    Json(Vec<Json>),
    /// Only what a walk returns is wanted.
    Nothing,
}

pub(super) struct Lines<'o> {
    pub(super) sink: Sink<'o>,
    /// Keep what is usually left out.
    pub(super) all: bool,
}

impl Lines<'_> {
    pub(super) fn heading(&mut self) -> Outcome {
        if let Sink::Text(out) = &mut self.sink {
            writeln!(out, "{}", styled(style::BOLD, format_args!("offset    {:47}  meaning", "bytes")))?;
        }
        Ok(())
    }

    /// The name of a part.
    pub(super) fn part(&mut self, name: &str) -> Outcome {
        match &mut self.sink {
            Sink::Text(out) => writeln!(out, "\n{}", styled(style::BOLD, escape(name)))?,
            Sink::Json(rows) => rows.push(json!({ "part": name })),
            Sink::Nothing => {}
        }
        Ok(())
    }

    /// A remark between lines.
    pub(super) fn note(&mut self, text: &str) -> Outcome {
        match &mut self.sink {
            Sink::Text(out) => writeln!(out, "          {}", styled(style::RED, format_args!("!! {}", escape(text))))?,
            Sink::Json(rows) => rows.push(json!({ "note": text })),
            Sink::Nothing => {}
        }
        Ok(())
    }

    /// The bytes of one field, all of them.
    pub(super) fn field(&mut self, offset: u64, bytes: &[u8], meaning: &str) -> Outcome {
        match &mut self.sink {
            Sink::Text(out) => text(*out, offset, bytes, meaning),
            Sink::Json(rows) => {
                rows.push(json!({ "offset": offset, "bytes": hex(bytes), "meaning": meaning }));
                Ok(())
            }
            Sink::Nothing => Ok(()),
        }
    }

    /// Bytes without structure: the first and the last line stand for many.
    pub(super) fn run(&mut self, offset: u64, bytes: &[u8], meaning: &str) -> Outcome {
        if self.all || bytes.len() <= 3 * WIDTH {
            return self.field(offset, bytes, meaning);
        }
        let last = (bytes.len() - 1) / WIDTH * WIDTH;
        self.field(offset, &bytes[..WIDTH], meaning)?;
        match &mut self.sink {
            Sink::Text(out) => writeln!(out, "{:8}  {:47}  {} more bytes", "…", "…", last - WIDTH)?,
            Sink::Json(rows) => rows.push(json!({ "left_out": last - WIDTH })),
            Sink::Nothing => {}
        }
        self.field(offset + u64::try_from(last).unwrap_or(0), &bytes[last..], "")
    }
}

fn text(out: &mut dyn Write, mut offset: u64, bytes: &[u8], meaning: &str) -> Outcome {
    let mut meaning = escape(meaning);
    for line in bytes.chunks(WIDTH) {
        let row = format!("{offset:08x}  {:47}  {meaning}", hex(line));
        writeln!(out, "{}", row.trim_end())?;
        meaning.clear();
        offset += u64::try_from(line.len()).unwrap_or(0);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    pairs.join(" ")
}
