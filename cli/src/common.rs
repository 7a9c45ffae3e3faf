//! What all commands share: output, failures and exit codes, progress, opening and saving.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, Class, Code, Error, Plan, Value, WriteOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value as Json;

/// What a command returns.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command ends with another exit code than 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The answer is no and was already given: damage found, files differ.
    Negative,
    /// One or more files were refused, each with an error already reported; the exit code says how.
    Reported(u8),
    /// The command was used wrongly.
    Usage(String),
    /// The library refused.
    Refused(Error),
    /// Something else was refused, such as a file of another format.
    Message {
        /// What kind of fault it is; it decides the exit code.
        class: Class,
        /// One sentence.
        text: String,
    },
    /// Standard output could not be written.
    Output(io::Error),
}

impl Failure {
    /// A refusal of class `class` in one sentence.
    pub(crate) fn message(class: Class, text: impl Into<String>) -> Self {
        Self::Message { class, text: text.into() }
    }

    /// A failure of the operating system while doing `what`.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Refused(Error::io(what, source))
    }

    /// The exit code that `cairn --help` documents.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Negative => 1,
            Self::Reported(code) => *code,
            Self::Usage(_) => 2,
            Self::Refused(error) => class_code(error.class()),
            Self::Message { class, .. } => class_code(*class),
            Self::Output(_) => 5,
        }
    }

    /// Prints the one sentence to stderr.
    pub(crate) fn report(&self) {
        match self {
            Self::Negative | Self::Reported(_) => {}
            _ => drop(writeln!(io::stderr(), "cairn: {}", escape(&self.to_string()))),
        }
    }
}

fn class_code(class: Class) -> u8 {
    match class {
        Class::Usage => 2,
        Class::Unsupported => 3,
        Class::Io => 5,
        _ => 4,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative | Self::Reported(_) => f.write_str("the answer is no"),
            Self::Usage(text) => f.write_str(text),
            Self::Refused(error) => error.fmt(f),
            Self::Message { class, text } => write!(f, "{text} [{class}]"),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// For `?` while writing to standard output; name everything else with [`Failure::io`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// How to talk to the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    /// JSON on stdout instead of text.
    pub(crate) json: bool,
    /// No progress and no confirmations.
    pub(crate) quiet: bool,
}

impl Ui {
    /// Writes to standard output, buffered; styles are dropped where it is no terminal. A reader that closed the pipe
    /// ends the printing quietly, and the command goes on to its exit code.
    pub(crate) fn print(&self, print: impl FnOnce(&mut dyn Write) -> Outcome) -> Outcome {
        let mut out = BufWriter::new(anstream::AutoStream::auto(io::stdout()));
        let done = print(&mut out).and_then(|()| Ok(out.flush()?));
        match done {
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                // What is still buffered has no reader either.
                let _ = out.into_parts();
                Ok(())
            }
            done => done,
        }
    }

    /// Prints one JSON document, indented where it is long.
    pub(crate) fn print_json(&self, json: &Json) -> Outcome {
        self.print(|out| {
            write_json(out, json, 0)?;
            Ok(writeln!(out)?)
        })
    }

    /// A confirmation on stdout, such as "wrote x"; nothing with `--quiet` or `--json`.
    pub(crate) fn confirm(&self, text: &str) -> Outcome {
        if self.quiet || self.json {
            return Ok(());
        }
        self.print(|out| Ok(writeln!(out, "{}", escape(text))?))
    }

    /// A remark on stderr about how the result differs from what one might expect; nothing with `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "cairn: note: {}", escape(text));
        }
    }

    /// A progress bar of `len` bytes on stderr: only on a terminal, not with `--quiet` or `--json`.
    pub(crate) fn bar(&self, len: u64, label: &str) -> ProgressBar {
        if self.quiet || self.json {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(escape(label))
    }
}

/// Longest array or object that stands on one line.
const JSON_LINE: usize = 180;

fn write_json(out: &mut dyn Write, json: &Json, indent: usize) -> io::Result<()> {
    let scalar = |json: &Json| !json.is_array() && !json.is_object();
    let text = json_escaped(&json.to_string());
    match json {
        Json::Array(items) if text.len() > JSON_LINE && !items.iter().all(scalar) => {
            for (i, item) in items.iter().enumerate() {
                write!(out, "{}\n{:2$}", if i == 0 { "[" } else { "," }, "", indent + 2)?;
                write_json(out, item, indent + 2)?;
            }
            write!(out, "\n{:indent$}]", "")
        }
        Json::Object(entries) if text.len() > JSON_LINE => {
            for (i, (key, item)) in entries.iter().enumerate() {
                write!(out, "{}\n{:2$}", if i == 0 { "{" } else { "," }, "", indent + 2)?;
                write!(out, "{}: ", json_escaped(&Json::from(key.as_str()).to_string()))?;
                write_json(out, item, indent + 2)?;
            }
            write!(out, "\n{:indent$}}}", "")
        }
        _ => out.write_all(text.as_bytes()),
    }
}

/// JSON text without characters that act on a terminal; in JSON they stand in strings only.
fn json_escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if !acts(c) {
            safe.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            safe.push_str(&format!("\\u{unit:04x}"));
        }
    }
    safe
}

/// Names the file in an error that does not name it yet: `map_err(in_file(path))`.
pub(crate) fn in_file(path: &Path) -> impl Fn(Error) -> Failure + '_ {
    move |error| {
        let name = path.display().to_string();
        let named = error.class() == Class::Io && error.detail().contains(&name);
        Failure::Refused(if named { error } else { error.context(&name) })
    }
}

/// Opens a file with safe positioned reads.
pub(crate) fn open(path: &Path) -> Result<Cairn<'static>, Failure> {
    Cairn::open(path).map_err(in_file(path))
}

/// Maps a file, so that tensors taken from it one by one keep what they share, without a copy.
pub(crate) fn map(path: &Path) -> Result<Cairn<'static>, Failure> {
    crate::mapping::cairn(path).map_err(in_file(path))
}

/// Moves `bar` with the bytes done.
pub(crate) fn ticks(bar: &ProgressBar) -> impl Fn(u64) -> cairnfile::Result<()> + Sync {
    |n| {
        bar.inc(n);
        Ok(())
    }
}

/// Writes `value` to `path` durably, with a progress bar; returns the file's length.
pub(crate) fn save(path: &Path, value: &Value<'_>, options: &WriteOptions, ui: &Ui) -> Result<u64, Failure> {
    let hint = |error: Error| match error.code() {
        Code::SharingLost => error.context("a view without its base; `cairn extract --unshare` writes copies"),
        _ => error,
    };
    let plan = Plan::new(value, options).map_err(|error| in_file(path)(hint(error)))?;
    let len = plan.file_len();
    let bar = ui.bar(len, "writing");
    plan.save(path, &ticks(&bar)).map_err(in_file(path))?;
    bar.finish_and_clear();
    Ok(len)
}

/// Refuses to replace an existing file unless told to.
pub(crate) fn check_output(path: &Path, force: bool) -> Outcome {
    if force || !path.exists() {
        return Ok(());
    }
    Err(Failure::Usage(format!("{} exists already: --force replaces it", path.display())))
}

/// The options that write a file like `cairn`: its block size, its share of parity and its metadata.
pub(crate) fn options_like(cairn: &Cairn<'_>) -> Result<WriteOptions, Failure> {
    let log2 = u8::try_from(cairn.block_size().trailing_zeros()).unwrap_or(0);
    let options = WriteOptions::new().block_log2(log2).parity(cairn.parity().unwrap_or(0));
    Ok(match owned_metadata(cairn)? {
        Some(dict) => options.metadata(dict),
        None => options,
    })
}

/// The metadata in memory of its own, where there is any.
pub(crate) fn owned_metadata(cairn: &Cairn<'_>) -> Result<Option<cairnfile::Dict<'static>>, Failure> {
    match crate::values::take(cairn.metadata(), &mut String::new())? {
        Value::Dict(dict) if !dict.is_empty() => crate::values::dict_to_static(dict).map(Some),
        _ => Ok(None),
    }
}

/// Calls `f` for every file, reports what is refused and goes on; the highest exit code is that of the whole.
pub(crate) fn each_file(files: &[PathBuf], mut f: impl FnMut(&Path) -> Outcome) -> Outcome {
    let mut worst = 0;
    for path in files {
        if let Err(failure) = f(path) {
            failure.report();
            worst = worst.max(failure.exit_code());
        }
    }
    if worst == 0 { Ok(()) } else { Err(Failure::Reported(worst)) }
}

/// Text that came from a file, made safe to print: control characters, characters that reorder or hide text, and
/// line breaks are shown as escapes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if acts(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// Control characters, bidi marks and overrides, zero-width characters, line separators and tags.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
        '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// `bytes` in the largest binary unit, three digits: `1.21 MiB`.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = usize::try_from((bytes.ilog2() / 10).saturating_sub(1)).unwrap_or(0).min(UNITS.len() - 1);
    // Hundredths, so that no float is needed.
    let hundredths = (u128::from(bytes) * 100) >> (10 * (unit + 1));
    match hundredths {
        0..1000 => format!("{}.{:02} {}", hundredths / 100, hundredths % 100, UNITS[unit]),
        1000..10000 => format!("{}.{} {}", hundredths / 100, hundredths % 100 / 10, UNITS[unit]),
        _ => format!("{} {}", hundredths / 100, UNITS[unit]),
    }
}

/// `1 tensor`, `2 tensors`.
pub(crate) fn count(n: impl Into<u64>, what: &str) -> String {
    let n = n.into();
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The styles of the terminal output; dropped in a pipe.
pub(crate) mod style {
    use anstyle::{AnsiColor, Style};

    /// Headings.
    pub(crate) const BOLD: Style = Style::new().bold();
    /// What matters less.
    pub(crate) const DIM: Style = Style::new().dimmed();
    /// Damage and removals.
    pub(crate) const RED: Style = AnsiColor::Red.on_default();
    /// Intact and additions.
    pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
    /// Types.
    pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default();
    /// Changes.
    pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
}

/// `text` in `style`.
pub(crate) fn styled(style: anstyle::Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (10_240, "10.0 KiB"), (123_456_789, "117 MiB"), (u64::MAX, "15.9 EiB")];
        assert!(cases.iter().all(|(bytes, text)| human(*bytes) == *text));
    }

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(escape("a\u{1b}[31mé\n\u{202e}"), "a\\u{1b}[31mé\\n\\u{202e}");
    }
}
