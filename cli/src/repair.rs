//! `cairn repair`: header, index, trailer and padding from what is intact of them, and tensor data from parity.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cairnfile::repair::{self, Healing, Repair};
use cairnfile::{Cairn, Error, Report};
use serde_json::{Value as Json, json};

use crate::common::{Failure, Outcome, Ui, check_output, count, escape, human, in_file, style, styled, ticks};
use crate::formats::{Input, replace};
use crate::verify;

const AFTER_HELP: &str = "\
A planned file has header and index twice, at its start and at its end; each mends the other. Padding is
zero. Tensor data is computed from parity, where the file was written with --parity and the damage is within
it; what is damaged beyond that stays, is listed, and makes the exit code 1.
The mended file is written beside the old one, checked, and only then takes its place.

Examples:
  cairn repair model.cairn
  cairn repair model.cairn -o mended.cairn
  cairn repair model.cairn --dry-run";

/// Restore a damaged header, index or trailer from the other copy, and data from parity; list what cannot be restored.
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
    let damage = examine(&repair, &file, args, ui)?;
    let nothing = repair.is_empty(len) && damage.as_ref().is_none_or(|damage| damage.is_empty() || !damage.is_possible());
    // What a dry run would restore is nowhere to be checked.
    let report = if args.dry_run && !nothing {
        None
    } else if nothing && (args.output.is_none() || args.dry_run) {
        Some(check(&file, args.output.as_ref().unwrap_or(&args.file), ui)?)
    } else {
        Some(mend(args, ui, &file, &repair, damage.as_ref())?)
    };
    let job = Job { args, repair: &repair, damage: damage.as_ref(), len, report: report.as_ref() };
    if ui.json {
        ui.print_json(&job.json())?;
    } else {
        ui.print(|out| job.print(out, ui))?;
    }
    match report {
        Some(report) if !report.is_intact() => Err(Failure::Negative),
        None => Err(Failure::Negative),
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

/// Fills `memory` from byte `at` of a file on, with zeros where it has ended.
fn fill(mut file: &File, at: u64, memory: &mut [u8]) -> Result<(), Error> {
    let failed = |error| Error::io(format!("cannot read at byte {at}"), error);
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut rest = memory;
    while !rest.is_empty() {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => rest = &mut rest[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    rest.fill(0);
    Ok(())
}

/// What parity says of the data, where the file has any.
fn examine(repair: &Repair, file: &File, args: &Args, ui: &Ui) -> Result<Option<Healing>, Failure> {
    let bar = ui.bar(repair.file_len, "examining");
    let found = repair.examine(&|at, memory| fill(file, at, memory), &ticks(&bar)).map_err(in_file(&args.file));
    bar.finish_and_clear();
    found
}

/// Writes the mended file and checks every byte of it.
fn mend(args: &Args, ui: &Ui, file: &File, repair: &Repair, damage: Option<&Healing>) -> Result<Report, Failure> {
    let target = args.output.as_ref().unwrap_or(&args.file);
    let mut report = None;
    let bar = ui.bar(repair.file_len, "writing");
    replace(target, &bar, |out| {
        copy(file, out.file(), repair)?;
        if let Some(damage) = damage.filter(|damage| damage.is_possible() && !damage.is_empty()) {
            heal(out.file(), repair, damage).map_err(in_file(&args.file))?;
        }
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

/// Computes what is damaged in `out`, which is whole but for that.
fn heal(out: &File, repair: &Repair, damage: &Healing) -> Result<(), Error> {
    let mut write = |at: u64, bytes: &[u8]| {
        let mut out = out;
        out.seek(SeekFrom::Start(at)).and_then(|_| out.write_all(bytes)).map_err(|e| Error::io("cannot write the mended file", e))
    };
    repair.heal(damage, &|at, memory| fill(out, at, memory), &mut write)
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
    damage: Option<&'j Healing>,
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
            if let Some(line) = self.parity_line() {
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

    /// What parity could do.
    fn parity_line(&self) -> Option<String> {
        let damage = self.damage.filter(|damage| !damage.is_empty())?;
        let lost = damage.damaged.len() + damage.damaged_parity.len();
        let of = count(u64::try_from(lost).unwrap_or(u64::MAX), "damaged shard");
        let size = human(damage.shard_bytes);
        Some(match (damage.is_possible(), self.args.dry_run) {
            (false, _) => format!("{of} of {size}: more than the {} that parity can compute", damage.parity),
            (true, true) => format!("{} {of} of {size} from parity", styled(style::YELLOW, "would compute")),
            (true, false) => format!("{} {of} of {size} from parity", styled(style::YELLOW, "computed")),
        })
    }

    fn json(&self) -> Json {
        let parity = self.damage.map(|damage| {
            json!({
                "shard_bytes": damage.shard_bytes,
                "shards": damage.shards,
                "parity_shards": damage.parity,
                "damaged": damage.damaged,
                "damaged_parity": damage.damaged_parity,
                "possible": damage.is_possible(),
            })
        });
        let patches = self.repair.patches.iter().map(|p| json!({ "what": p.what, "offset": p.offset, "bytes": p.bytes.len() }));
        json!({
            "file": self.args.file.to_string_lossy(),
            "output": self.target().to_string_lossy(),
            "dry_run": self.args.dry_run,
            "restored": patches.collect::<Vec<_>>(),
            "file_bytes_before": self.len,
            "file_bytes": self.repair.file_len,
            "parity": parity,
            "intact": self.report.map(Report::is_intact),
            "faults": self.report.map(|r| r.faults.iter().map(verify::fault_json).collect::<Vec<_>>()),
        })
    }
}
