//! `cairn repair`: header, index, trailer and padding from what is intact of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cairnfile::repair::{self, Repair};
use cairnfile::{Cairn, Error, Report};
use serde_json::{Value as Json, json};

use crate::common::{Failure, Outcome, Ui, check_output, count, escape, human, in_file, style, styled, ticks};
use crate::formats::{Input, replace};
use crate::verify;

const AFTER_HELP: &str = "\
A planned file has header and index twice, at its start and at its end; each mends the other. Padding is
zero. Tensor data is stored once: what is damaged there stays, is listed, and makes the exit code 1.
The mended file is written beside the old one, checked, and only then takes its place.

Examples:
  cairn repair model.cairn
  cairn repair model.cairn -o mended.cairn
  cairn repair model.cairn --dry-run";

/// Restore a damaged header, index or trailer from the other copy; list what cannot be restored.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The damaged file.
    file: PathBuf,
    /// Write the mended file here instead of replacing FILE.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Only say what would be restored; the exit code is 1 if there is something.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Replace OUTPUT if it exists.
    #[arg(short, long, requires = "output")]
    force: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    if let Some(output) = &args.output {
        check_output(output, args.force || args.dry_run)?;
    }
    let failed = |error| Failure::io(format!("cannot read {}", args.file.display()), error);
    let file = File::open(&args.file).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let repair = repair::plan(&|at, n| read_at(&file, at, n), len).map_err(in_file(&args.file))?;
    // What a dry run would restore is nowhere to be checked.
    let report = if args.dry_run && !repair.is_empty(len) { None } else { Some(mend(args, ui, &file, &repair, len)?) };
    let job = Job { args, repair: &repair, len, report: report.as_ref() };
    if ui.json {
        ui.print_json(&job.json())?;
    } else {
        ui.print(|out| job.print(out, ui))?;
    }
    match report {
        Some(report) if !report.is_intact() => Err(Failure::Negative),
        None if !repair.is_empty(len) => Err(Failure::Negative),
        _ => Ok(()),
    }
}

/// `len` bytes of a file from `at` on, or as many as there are.
pub(crate) fn read_at(mut file: &File, at: u64, len: u64) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::io(format!("cannot read {len} bytes at byte {at}"), error);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    file.take(len).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Writes the mended file, unless there is nothing to mend and nowhere else to write it; checks every byte of it.
fn mend(args: &Args, ui: &Ui, file: &File, repair: &Repair, len: u64) -> Result<Report, Failure> {
    let target = args.output.as_ref().unwrap_or(&args.file);
    if repair.is_empty(len) && (args.output.is_none() || args.dry_run) {
        return check(file, target, ui);
    }
    let mut report = None;
    let bar = ui.bar(repair.file_len, "writing");
    replace(target, &bar, |out| {
        copy(file, out.file(), repair)?;
        report = Some(check(out.file(), target, ui)?);
        Ok(())
    })?;
    bar.finish_and_clear();
    report.ok_or_else(|| Failure::Usage("nothing was checked".to_owned()))
}

/// The mended file, in `out`.
pub(crate) fn copy(mut file: &File, out: &mut File, repair: &Repair) -> Outcome {
    file.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut file.take(repair.file_len), out)?;
    out.set_len(repair.file_len)?;
    for patch in &repair.patches {
        out.seek(SeekFrom::Start(patch.offset))?;
        out.write_all(&patch.bytes)?;
    }
    Ok(())
}

/// Opens and verifies a file that has no name yet.
fn check(file: &File, target: &Path, ui: &Ui) -> Result<Report, Failure> {
    let bytes = Input::map(file).map_err(|e| Failure::io("cannot map the mended file", e))?;
    let cairn = Cairn::from_bytes(&bytes).map_err(in_file(target))?;
    let bar = ui.bar(cairn.file_len(), "checking");
    let report = cairn.verify(&ticks(&bar)).map_err(in_file(target));
    bar.finish_and_clear();
    report
}

/// What to tell.
struct Job<'j> {
    args: &'j Args,
    repair: &'j Repair,
    len: u64,
    report: Option<&'j Report>,
}

impl Job<'_> {
    fn target(&self) -> &Path {
        self.args.output.as_ref().unwrap_or(&self.args.file)
    }

    fn print(&self, out: &mut dyn Write, ui: &Ui) -> Outcome {
        let file = escape(&self.target().display().to_string());
        let done = if self.args.dry_run { "would restore" } else { "restored" };
        if !ui.quiet || self.args.dry_run {
            for patch in &self.repair.patches {
                let bytes = u64::try_from(patch.bytes.len()).unwrap_or(u64::MAX);
                writeln!(out, "{file}: {} {}, {} at byte {}", styled(style::YELLOW, done), patch.what, human(bytes), patch.offset)?;
            }
            if let Some(line) = self.length_line() {
                writeln!(out, "{file}: {line}")?;
            }
            if self.repair.is_empty(self.len) {
                writeln!(out, "{file}: header, index, trailer and padding are as they were written")?;
            }
        }
        self.report.map_or(Ok(()), |report| verify::print(out, self.target(), report, ui.quiet))
    }

    /// What happens to the length of the file.
    fn length_line(&self) -> Option<String> {
        let (now, then) = (self.len, self.repair.file_len);
        let would = if self.args.dry_run { "would be " } else { "" };
        match now.cmp(&then) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(format!("{would}cut to {}, {} had been appended", count(then, "byte"), human(now - then))),
            std::cmp::Ordering::Less => Some(format!("{would}lengthened to {}, {} had been lost", count(then, "byte"), human(then - now))),
        }
    }

    fn json(&self) -> Json {
        let patches = self.repair.patches.iter().map(|p| json!({ "what": p.what, "offset": p.offset, "bytes": p.bytes.len() }));
        json!({
            "file": self.args.file.to_string_lossy(),
            "output": self.target().to_string_lossy(),
            "dry_run": self.args.dry_run,
            "restored": patches.collect::<Vec<_>>(),
            "file_bytes_before": self.len,
            "file_bytes": self.repair.file_len,
            "intact": self.report.map(Report::is_intact),
            "faults": self.report.map(|r| r.faults.iter().map(verify::fault_json).collect::<Vec<_>>()),
        })
    }
}
