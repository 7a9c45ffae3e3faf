//! `cairn verify`: every byte of every file, one line a fault.

use std::io::Write;
use std::path::{Path, PathBuf};

use cairnfile::{Code, Error, Fault, OpenOptions, Report};
use serde_json::{Map, Value as Json, json};

use crate::common::{Failure, Outcome, Ui, count, each_file, escape, human, in_file, style, styled, ticks};

const AFTER_HELP: &str = "\
Exit code 1 if a file is damaged, 3 to 5 if one cannot be opened at all; the highest of all files counts.
A file whose header or index is damaged may be mended by `cairn repair`.

Examples:
  cairn verify model.cairn
  cairn verify --quiet /checkpoints/*.cairn || echo damaged
  cairn verify --json *.cairn | jq '.[] | select(.intact | not)'";

/// Check every byte of files; name tensor, block and offset of each fault.
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
        let result = check(path, ui);
        if ui.json {
            reports.push(json(path, &result));
        }
        let report = result?;
        if !ui.json {
            ui.print(|out| print(out, path, &report, ui.quiet))?;
        }
        outcome(path, &report)
    });
    if ui.json {
        ui.print_json(&Json::Array(reports))?;
    }
    done
}

fn outcome(path: &Path, report: &Report) -> Outcome {
    if !report.is_intact() {
        return Err(Failure::Negative);
    }
    if report.unsupported > 0 {
        let detail = format!("{} in buffers that only an extension can read: use a newer reader", count(report.unsupported, "tensor"));
        return Err(in_file(path)(Error::new(Code::BufferKind, detail)));
    }
    Ok(())
}

/// Opens without a look at the trailer of a planned file, so that a fault there is one of the report's.
fn check(path: &Path, ui: &Ui) -> Result<Report, Failure> {
    let cairn = OpenOptions::new().check_trailer(false).open(path).map_err(in_file(path))?;
    let bar = ui.bar(cairn.file_len(), &path.display().to_string());
    let report = cairn.verify(&ticks(&bar)).map_err(in_file(path));
    bar.finish_and_clear();
    report
}

/// Prints the faults and a summary, as `cairn verify` does.
pub(crate) fn print(out: &mut dyn Write, path: &Path, report: &Report, quiet: bool) -> Outcome {
    let file = escape(&path.display().to_string());
    for fault in &report.faults {
        // What was given up is no damage, but nobody knows.
        let what = if fault.error.code() == Code::Budget { "undecided" } else { "damaged" };
        writeln!(out, "{file}: {}: {}", styled(style::RED, what), escape(&describe(fault)))?;
    }
    let checked = format!("{} and {} checked", human(report.bytes), count(report.blocks, "block"));
    if report.is_intact() && !quiet {
        writeln!(out, "{file}: {}, {checked}", styled(style::GREEN, "intact"))?;
    }
    if !report.is_intact() {
        let faults = count(u64::try_from(report.faults.len()).unwrap_or(u64::MAX), "fault");
        let touched = count(report.touched, "tensor");
        writeln!(out, "{file}: {}, {touched} touched, {checked}", styled(style::RED, faults))?;
    }
    Ok(())
}

/// Tensor, offset and what is wrong there; for a block, the library's sentence names it.
fn describe(fault: &Fault) -> String {
    let mut text = String::new();
    if let Some(address) = &fault.address {
        text.push_str(&format!("tensor {}", if address.is_empty() { "at the root" } else { address }));
        if fault.touched > 1 {
            text.push_str(&format!(" and {} more", fault.touched - 1));
        }
        text.push_str(", ");
    }
    if let Some(offset) = fault.error.offset() {
        text.push_str(&format!("byte {offset}: "));
    }
    text + fault.error.detail()
}

fn json(path: &Path, result: &Result<Report, Failure>) -> Json {
    let file = path.display().to_string();
    match result {
        Ok(report) => json!({
            "file": file,
            "intact": report.is_intact(),
            "unsupported": report.unsupported,
            "bytes": report.bytes,
            "blocks": report.blocks,
            "touched": report.touched,
            "faults": report.faults.iter().map(fault_json).collect::<Vec<_>>(),
        }),
        Err(Failure::Refused(error)) => json!({ "file": file, "intact": false, "refused": error_json(error) }),
        Err(other) => json!({ "file": file, "intact": false, "refused": { "detail": other.to_string() } }),
    }
}

pub(crate) fn fault_json(fault: &Fault) -> Json {
    let mut json = error_json(&fault.error);
    json.insert("buffer".into(), fault.buffer.into());
    json.insert("block".into(), fault.block.into());
    json.insert("tensors".into(), fault.tensors.clone().into());
    json.insert("touched".into(), fault.touched.into());
    Json::Object(json)
}

fn error_json(error: &Error) -> Map<String, Json> {
    let mut json = Map::new();
    json.insert("class".into(), error.class().name().into());
    json.insert("code".into(), error.code().name().into());
    json.insert("offset".into(), error.offset().into());
    json.insert("section".into(), error.section().into());
    json.insert("detail".into(), error.detail().into());
    json
}
