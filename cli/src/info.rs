//! `cairn info`: a file in a few lines.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, Place, VERSION};
use serde_json::{Map, Value as Json, json};

use crate::common::{Failure, Outcome, Ui, count, each_file, escape, human, open, style, styled};
use crate::show;

const AFTER_HELP: &str = "\
Examples:
  cairn info model.cairn
  cairn info --json *.cairn | jq '.[] | {file, file_bytes, tensors}'";

/// Sum up files: version, layout, lengths, counts, bytes by dtype, extensions and metadata.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    let mut reports = Vec::new();
    let done = each_file(&args.files, |path| {
        let cairn = open(path)?;
        let facts = Facts::of(&cairn)?;
        if ui.json {
            reports.push(json(path, &cairn, &facts)?);
            return Ok(());
        }
        ui.print(|out| print(out, path, &cairn, &facts))
    });
    if ui.json {
        ui.print_json(&Json::Array(reports))?;
    }
    done
}

/// What has to be counted.
struct Facts {
    tensors: u64,
    /// Tensors that appear at more than one address.
    tied: u64,
    values: u64,
    /// Number of tensors and their bytes, by dtype.
    by_dtype: BTreeMap<String, (u64, u64)>,
}

impl Facts {
    fn of(cairn: &Cairn<'_>) -> Result<Self, Failure> {
        let mut facts = Self { tensors: 0, tied: 0, values: 0, by_dtype: BTreeMap::new() };
        for tensor in cairn.tensors() {
            let (n, bytes) = facts.by_dtype.entry(tensor.dtype()?.to_string()).or_insert((0, 0));
            (*n, *bytes) = (*n + 1, *bytes + tensor.byte_len()?);
            facts.tensors += 1;
        }
        let mut seen: Vec<u8> = vec![0; cairn.tensors().len()];
        cairn.root().visit(&mut String::new(), &mut |_, value| {
            facts.values += 1;
            if let Some(times) = value.tensor()?.and_then(|t| seen.get_mut(usize::try_from(t.number()).ok()?)) {
                *times = times.saturating_add(1);
                facts.tied += u64::from(*times == 2);
            }
            Ok(())
        })?;
        Ok(facts)
    }
}

fn layout(cairn: &Cairn<'_>) -> &'static str {
    if cairn.is_streamed() { "streamed" } else { "planned" }
}

fn print(out: &mut dyn Write, path: &Path, cairn: &Cairn<'_>, facts: &Facts) -> Outcome {
    writeln!(out, "{}", styled(style::BOLD, escape(&path.display().to_string())))?;
    let both = |bytes: u64| if bytes < 1024 { human(bytes) } else { format!("{} ({bytes} B)", human(bytes)) };
    let copies = if cairn.is_streamed() { "at the end" } else { "in front, and a copy at the end" };
    line(out, "format", format_args!("Cairn {VERSION}, {}", layout(cairn)))?;
    line(out, "file", format_args!("{}", both(cairn.file_len())))?;
    line(out, "index", format_args!("{}, {copies}", both(cairn.index_len())))?;
    line(out, "root", format_args!("{}, {} in all", show::kind(&cairn.root().node()?)?, count(facts.values, "value")))?;
    let tied = if facts.tied == 0 { String::new() } else { format!(", {} of them tied", facts.tied) };
    line(
        out,
        "tensors",
        format_args!("{}{tied}, in {}", facts.tensors, count(u64::try_from(cairn.buffer_count()).unwrap_or(0), "buffer")),
    )?;
    line(out, "blocks", format_args!("{} of {}, a CRC-32 each", cairn.block_count(), human(cairn.block_size())))?;
    for (dtype, (n, bytes)) in &facts.by_dtype {
        line(out, dtype, format_args!("{}, {}", count(*n, "tensor"), both(*bytes)))?;
    }
    if let Some(share) = cairn.parity() {
        line(out, "parity", format_args!("{}.{:02} % of the data can be computed again", share / 100, share % 100))?;
    }
    for (tag, payload) in cairn.extensions() {
        line(out, "extension", format_args!("{tag:#010x}, {} B", payload.len()))?;
    }
    for (place, value) in cairn.metadata().items() {
        let node = value.node()?;
        let text = match show::scalar(&node, 60) {
            Some(text) => text,
            None => show::kind(&node)?,
        };
        line(out, "metadata", format_args!("{}: {text}", show::label(&place)))?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, label: &str, text: std::fmt::Arguments<'_>) -> Outcome {
    Ok(writeln!(out, "  {}  {text}", styled(style::DIM, format_args!("{label:<9}")))?)
}

fn json(path: &Path, cairn: &Cairn<'_>, facts: &Facts) -> Result<Json, Failure> {
    let dtypes: Map<_, _> =
        facts.by_dtype.iter().map(|(name, (n, bytes))| (name.clone(), json!({ "tensors": n, "bytes": bytes }))).collect();
    let extension = |(tag, payload): (u32, &[u8])| json!({ "tag": tag, "bytes": payload.len() });
    let mut metadata = Map::new();
    for (place, value) in cairn.metadata().items() {
        if let Place::Key(key) = place {
            metadata.insert(key.as_str().unwrap_or_default().to_owned(), show::json(value)?);
        }
    }
    Ok(json!({
        "file": path.display().to_string(),
        "version": VERSION,
        "layout": layout(cairn),
        "file_bytes": cairn.file_len(),
        "index_bytes": cairn.index_len(),
        "block_bytes": cairn.block_size(),
        "blocks": cairn.block_count(),
        "buffers": cairn.buffer_count(),
        "tensors": facts.tensors,
        "tied_tensors": facts.tied,
        "values": facts.values,
        "dtypes": dtypes,
        "parity_ten_thousandths": cairn.parity(),
        "extensions": cairn.extensions().map(extension).collect::<Vec<_>>(),
        "metadata": metadata,
    }))
}
