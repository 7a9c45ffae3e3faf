//! `cairn convert`: files of other formats to Cairn and back.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use cairnfile::{Cairn, Dict, Error, Storage, Tensor, Value, ValueRef, WriteOptions};
use serde_json::json;

use crate::common::{Failure, Outcome, Ui, check_output, count, human, in_file, options_like, owned_metadata, save};
use crate::formats::flat::{self, Allowed, Entry};
use crate::formats::{Document, Format, Input, npy, npz, replace, safetensors, unsupported, within};
use crate::values;

const AFTER_HELP: &str = "\
The input's format is found by its content, the output's by its name or --to.

What the target cannot hold is an error that names the entry: dtypes, lists, numbers, int keys,
type names, nested dicts, tied tensors and metadata. Options allow some of it to be lost.
The input must not be changed while it is read.

Examples:
  cairn convert model.safetensors model.cairn
  cairn convert model.cairn guarded.cairn --parity 2%
  cairn convert model.cairn model.safetensors --flatten . --untie
  cairn convert array.npy array.cairn
  cairn convert state.cairn weight.npy --address /encoder/weight
  cairn convert arrays.npz arrays.safetensors";

/// Convert safetensors, .npy and .npz files to Cairn and back.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The file to read.
    input: PathBuf,
    /// The file to write.
    output: PathBuf,
    /// The output's format, where its name does not say it.
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    /// Convert only the value at this address of a Cairn file.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Join the keys of nested dicts with SEP, for a format that is flat.
    #[arg(long, value_name = "SEP")]
    flatten: Option<String>,
    /// Write tensors that share memory once each, where a format cannot say that they do.
    #[arg(long)]
    untie: bool,
    /// Drop type names such as ordered_dict, where a format cannot say them.
    #[arg(long)]
    drop_names: bool,
    /// Drop the metadata.
    #[arg(long)]
    drop_metadata: bool,
    /// Deflate the members of a .npz file.
    #[arg(long)]
    compress: bool,
    /// Add parity to a Cairn file, by which `cairn repair` computes this share of its data again: 2% or 0.5%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    parity: Option<u16>,
    /// Do not wait until a Cairn file is on the disk, as `cp` does not: a power cut may then lose it.
    #[arg(long)]
    no_sync: bool,
    /// Replace OUTPUT if it exists.
    #[arg(short, long)]
    force: bool,
}

impl Args {
    /// The output's format, once it is sure that every option means something for it.
    fn target(&self) -> Result<Format, Failure> {
        let to = self.to.or_else(|| Format::of_name(&self.output));
        let Some(to) = to else {
            let text = format!("{}: its name says no format that is known here; --to names one", self.output.display());
            return Err(Failure::Usage(text));
        };
        let flat = matches!(to, Format::Safetensors | Format::Npz);
        let idle = [
            ("--flatten", self.flatten.is_some() && !flat),
            ("--untie", self.untie && !flat),
            ("--drop-names", self.drop_names && to == Format::Cairn),
            ("--compress", self.compress && to != Format::Npz),
            ("--no-sync", self.no_sync && to != Format::Cairn),
            ("--parity", self.parity.is_some() && to != Format::Cairn),
        ];
        match idle.iter().find(|(_, idle)| *idle) {
            Some((option, _)) => Err(Failure::Usage(format!("{option} means nothing for a {} file", to.name()))),
            None => Ok(to),
        }
    }

    fn allowed(&self) -> Allowed {
        Allowed { flatten: self.flatten.clone(), untie: self.untie, drop_names: self.drop_names }
    }
}

/// Ten-thousandths of `2%`, `0.25 %` or `2`.
fn share(text: &str) -> Result<u16, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let share = format!("{whole}{part:0<2}").parse::<u16>().ok();
    let fits = |share: &u16| (1..=10_000).contains(share) && part.len() <= 2 && digits(whole) && digits(part) && !whole.is_empty();
    share.filter(fits).ok_or_else(|| "a share is from 0.01% to 100%, with two decimals at most".to_owned())
}

/// What was done.
struct Done {
    from: Format,
    to: Format,
    tensors: u64,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    let to = args.target()?;
    check_output(&args.output, args.force)?;
    let input = Input::open(&args.input)?;
    let in_input = |failure| within(&args.input.display().to_string(), failure);
    let from = Format::of_bytes(&input).map_err(in_input)?;
    if args.address.is_some() && from != Format::Cairn {
        return Err(Failure::Usage(format!("--address needs a Cairn file, {} is a {} file", args.input.display(), from.name())));
    }
    let job = Job { args, ui, to };
    let tensors = job.convert(&input, from).map_err(|failure| match failure {
        // The library's errors have their file.
        Failure::Message { .. } => in_input(failure),
        other => other,
    })?;
    report(args, ui, &Done { from, to, tensors })
}

fn report(args: &Args, ui: &Ui, done: &Done) -> Outcome {
    let bytes = std::fs::metadata(&args.output).map_err(|e| Failure::io(format!("cannot look at {}", args.output.display()), e))?.len();
    if ui.json {
        return ui.print_json(&json!({
            "input": args.input.to_string_lossy(),
            "output": args.output.to_string_lossy(),
            "from": word(done.from),
            "to": word(done.to),
            "tensors": done.tensors,
            "file_bytes": bytes,
        }));
    }
    let size = human(bytes);
    ui.confirm(&format!("wrote {} from {}: {}, {size}", args.output.display(), args.input.display(), count(done.tensors, "tensor")))
}

fn word(format: Format) -> String {
    clap::ValueEnum::to_possible_value(&format).map_or(String::new(), |v| v.get_name().to_owned())
}

/// One conversion.
struct Job<'j> {
    args: &'j Args,
    ui: &'j Ui,
    to: Format,
}

impl Job<'_> {
    /// Reads and writes; returns how many tensors there were.
    fn convert(&self, input: &[u8], from: Format) -> Result<u64, Failure> {
        let document = match from {
            Format::Cairn => return self.convert_cairn(input),
            Format::Safetensors => safetensors::read(input)?,
            Format::Npz => npz::read(input)?,
            Format::Npy => Document { root: npy::read(Storage::borrowed(input))?.into(), metadata: Dict::new() },
        };
        self.write(document, WriteOptions::new())
    }

    fn convert_cairn(&self, input: &[u8]) -> Result<u64, Failure> {
        let in_input = in_file(&self.args.input);
        let cairn = Cairn::from_bytes(input).map_err(&in_input)?;
        let mut address = self.args.address.clone().unwrap_or_default();
        let value = cairn.get(&address).map_err(&in_input)?;
        self.check(value, &mut address).map_err(&in_input)?;
        let root = values::take(value, &mut address)?;
        let metadata = owned_metadata(&cairn)?.unwrap_or_default();
        self.write(Document { root, metadata }, options_like(&cairn)?)
    }

    /// Verifies all tensors, which are then only taken: so that it is seen to go on.
    fn check(&self, value: ValueRef<'_>, address: &mut String) -> Result<(), Error> {
        let bar = self.ui.bar(value_bytes(value)?, "checking");
        value.visit(address, &mut |at, value| {
            let Some(tensor) = value.tensor()? else { return Ok(()) };
            tensor.read().map_err(|e| e.context(&format!("tensor {at:?}")))?;
            bar.inc(tensor.byte_len()?);
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes the output; returns how many tensors it has.
    fn write(&self, document: Document<'_>, options: WriteOptions) -> Result<u64, Failure> {
        let metadata = if self.args.drop_metadata { Dict::new() } else { document.metadata };
        let root = &document.root;
        match self.to {
            Format::Cairn => {
                let options = options.metadata(metadata).durable(!self.args.no_sync);
                let options = self.args.parity.into_iter().fold(options, WriteOptions::parity);
                save(&self.args.output, root, &options, self.ui)?;
                Ok(tensors(root))
            }
            Format::Safetensors => {
                let entries = flat::entries(root, self.to, &self.args.allowed())?;
                self.replace(&entries, |out| safetensors::write(out, &entries, &metadata))?;
                self.note_layouts(&entries, |tensor| tensor.is_row_major());
                Ok(number(entries.len()))
            }
            Format::Npz => {
                self.refuse_metadata(&metadata)?;
                let entries = flat::entries(root, self.to, &self.args.allowed())?;
                self.replace(&entries, |out| npz::write(out, &entries, self.args.compress))?;
                self.note_layouts(&entries, npy::keeps_layout);
                Ok(number(entries.len()))
            }
            Format::Npy => {
                self.refuse_metadata(&metadata)?;
                let entries = [Entry { name: String::new(), tensor: flat::single(root, &self.args.allowed())? }];
                self.replace(&entries, |out| npy::write(out, entries[0].tensor))?;
                self.note_layouts(&entries, npy::keeps_layout);
                Ok(1)
            }
        }
    }

    fn replace(
        &self,
        entries: &[Entry<'_>],
        write: impl FnOnce(&mut BufWriter<&mut crate::formats::Progressed<'_>>) -> Outcome,
    ) -> Outcome {
        let bytes = entries.iter().map(|entry| entry.tensor.byte_len()).fold(0, u64::saturating_add);
        let bar = self.ui.bar(bytes, "writing");
        replace(&self.args.output, &bar, |out| {
            let mut out = BufWriter::new(out);
            write(&mut out)?;
            Ok(out.flush()?)
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    fn refuse_metadata(&self, metadata: &Dict<'_>) -> Outcome {
        match metadata.iter().next() {
            None => Ok(()),
            Some((key, _)) => {
                let text = format!("metadata {key}: a {} file has no metadata; --drop-metadata drops it all", self.to.name());
                Err(unsupported(text))
            }
        }
    }

    /// Says how many tensors come out with another memory layout.
    fn note_layouts(&self, entries: &[Entry<'_>], keeps: impl Fn(&Tensor<'_>) -> bool) {
        let lost = entries.iter().filter(|entry| !keeps(entry.tensor)).count();
        if lost > 0 {
            self.ui.note(&format!(
                "{} with strides written row-major, as a {} file has no other layout",
                count(number(lost), "tensor"),
                self.to.name()
            ));
        }
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Bytes of all tensors, tied ones each time.
fn value_bytes(value: ValueRef<'_>) -> Result<u64, Error> {
    let mut sum = 0u64;
    value.visit(&mut String::new(), &mut |_, value| {
        sum = sum.saturating_add(value.tensor()?.map_or(Ok(0), |t| t.byte_len())?);
        Ok(())
    })?;
    Ok(sum)
}

/// How many leaves are tensors.
fn tensors(value: &Value<'_>) -> u64 {
    match value {
        Value::Tensor(_) => 1,
        Value::List(items) | Value::Tuple(items) => items.iter().map(tensors).sum(),
        Value::Dict(dict) => dict.iter().map(|(_, item)| tensors(item)).sum(),
        Value::Named(named) => tensors(named.value()),
        _ => 0,
    }
}
