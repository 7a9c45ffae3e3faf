//! `cairn salvage`: what is intact of a broken file, in a new one.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use cairnfile::{Dict, Error, Named, Node, Place, Storage, Tensor, TensorRef, Value, ValueRef, WriteOptions, repair};
use serde_json::{Value as Json, json};

use crate::common::{Failure, Outcome, Ui, check_output, count, escape, human, in_file, options_like, save, style, styled};
use crate::formats::Input;
use crate::repair::{copy, read_at};
use crate::values::{below, read};

const AFTER_HELP: &str = "\
Header and index are taken from whichever copy is intact, also where the file was cut short or something was
appended. Each tensor whose blocks are all there and match their checksums is kept, with its name, its layout and
what it shares. In the place of a lost one stands `cairn.lost`, with its dtype, shape and the reason; --drop leaves the
place out. A streamed file has its index at the end: if that is gone nobody can tell its tensors apart, and only --raw is left.
The exit code is 1 if something was lost.

Examples:
  cairn salvage broken.cairn saved.cairn
  cairn salvage broken.cairn saved.cairn --drop
  cairn salvage broken.cairn bytes.cairn --raw";

/// Write what is intact of a broken or truncated file to a new one, and list what was lost.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The broken file, which is not changed.
    input: PathBuf,
    /// The file to write.
    output: PathBuf,
    /// Leave out lost tensors instead of marking their places.
    #[arg(long, conflicts_with = "raw")]
    drop: bool,
    /// Write all bytes of the file as one u8 tensor, whatever they are.
    #[arg(long)]
    raw: bool,
    /// Replace OUTPUT if it exists.
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    check_output(&args.output, args.force)?;
    let failed = |error| Failure::io(format!("cannot read {}", args.input.display()), error);
    let file = File::open(&args.input).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if args.raw {
        return raw(args, ui, &file, len);
    }
    let structure = repair::structure(&|at, n| read_at(&file, at, n), len).map_err(|error| no_index(args, error))?;
    // The broken file is left as it is: a file of no name, where there must be room for the output too, gets the structure.
    let directory = args.output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut mended = tempfile::tempfile_in(directory).map_err(|e| Failure::io("cannot create a temporary file", e))?;
    copy(&file, &mut mended, &structure)?;
    let bytes = Input::map(&mended).map_err(|e| Failure::io("cannot map the temporary file", e))?;
    let cairn = cairnfile::Cairn::from_bytes(&bytes).map_err(in_file(&args.input))?;
    let mut salvage = Salvage { drop: args.drop, taken: HashMap::new(), tensors: 0, losses: Vec::new() };
    let root = salvage.value(cairn.root(), &mut String::new())?.unwrap_or(Value::Null);
    let written = save(&args.output, &root, &options_like(&cairn)?.unshare(true), ui)?;
    report(args, ui, &salvage, written)?;
    if salvage.losses.is_empty() { Ok(()) } else { Err(Failure::Negative) }
}

fn no_index(args: &Args, error: Error) -> Failure {
    in_file(&args.input)(error.context("no index is left that tells the tensors apart (--raw writes the bytes as they are)"))
}

/// The bytes themselves.
fn raw(args: &Args, ui: &Ui, file: &File, len: u64) -> Outcome {
    let bytes = Input::map(file).map_err(|e| Failure::io(format!("cannot map {}", args.input.display()), e))?;
    let tensor = Tensor::new(cairnfile::DType::U8, &[len], Storage::borrowed(&bytes))?;
    let written = save(&args.output, &tensor.into(), &WriteOptions::new(), ui)?;
    if ui.json {
        return ui.print_json(&json!({ "input": args.input.to_string_lossy(), "output": args.output.to_string_lossy(), "raw": len }));
    }
    ui.confirm(&format!("wrote {}: {} as they are, {}", args.output.display(), count(len, "byte"), human(written)))
}

/// A tensor that did not come out intact, at one of its places.
struct Loss {
    address: String,
    dtype: String,
    shape: Vec<u64>,
    error: String,
    code: &'static str,
}

/// Builds the value of what is intact.
struct Salvage<'c> {
    drop: bool,
    /// Tensors by number: each is read once, and tied ones stay tied.
    taken: HashMap<u32, Option<Tensor<'c>>>,
    tensors: u64,
    losses: Vec<Loss>,
}

impl<'c> Salvage<'c> {
    /// The value, or nothing where it is lost and its place is to be left out.
    fn value(&mut self, value: ValueRef<'c>, address: &mut String) -> Result<Option<Value<'c>>, Failure> {
        Ok(Some(match value.node()? {
            Node::Tensor(tensor) => return self.tensor(tensor, address, Value::Tensor),
            Node::LongBytes(tensor) => {
                return self.tensor(tensor, address, |t| Value::Bytes(t.row_major_bytes().map_or(Vec::new(), |b| b.into_owned()).into()));
            }
            Node::Named(name, inner) => match self.value(inner, address)? {
                // What stands for a lost value has not the form that the name promises.
                Some(inner) if !is_mark(&inner) => Value::Named(Named::new(name, inner)?),
                other => return Ok(other),
            },
            Node::List(_) => Value::List(self.items(value, address)?),
            Node::Tuple(_) => Value::Tuple(self.items(value, address)?),
            Node::Dict(_) => {
                let mut dict = Dict::new();
                for (place, item) in value.items() {
                    let kept = below(&place, address, |address| self.value(item, address))?;
                    if let (Place::Key(key), Some(kept)) = (place, kept) {
                        dict.insert(key, kept);
                    }
                }
                Value::Dict(dict)
            }
            _ => crate::values::take(value, address)?,
        }))
    }

    fn items(&mut self, value: ValueRef<'c>, address: &mut String) -> Result<Vec<Value<'c>>, Failure> {
        let mut items = Vec::new();
        for (place, item) in value.items() {
            items.extend(below(&place, address, |address| self.value(item, address))?);
        }
        Ok(items)
    }

    fn tensor(
        &mut self,
        tensor: TensorRef<'c>,
        address: &str,
        value: impl Fn(Tensor<'c>) -> Value<'c>,
    ) -> Result<Option<Value<'c>>, Failure> {
        self.tensors += 1;
        if let Some(Some(known)) = self.taken.get(&tensor.number()) {
            return Ok(Some(value(known.clone())));
        }
        match read(&tensor, address) {
            Ok(intact) => {
                self.taken.insert(tensor.number(), Some(intact.clone()));
                Ok(Some(value(intact)))
            }
            Err(Failure::Refused(error)) => {
                let loss = Loss {
                    address: address.to_owned(),
                    dtype: tensor.dtype()?.name().to_owned(),
                    shape: tensor.shape()?,
                    code: error.code().name(),
                    error: error.to_string(),
                };
                let mark = if self.drop { None } else { Some(mark(&loss)?) };
                self.losses.push(loss);
                Ok(mark)
            }
            Err(other) => Err(other),
        }
    }
}

/// The private name of what stands in the place of a lost tensor.
const LOST: &str = "cairn.lost";

fn mark(loss: &Loss) -> Result<Value<'static>, Error> {
    let shape = loss.shape.iter().map(|n| i64::try_from(*n).map_or(Value::Null, Value::Int)).collect();
    let facts = [("dtype", Value::from(loss.dtype.clone())), ("shape", Value::Tuple(shape)), ("reason", Value::from(loss.code.to_owned()))];
    Ok(Value::Named(Named::new(LOST, facts.into_iter().collect::<Dict<'_>>().into())?))
}

fn is_mark(value: &Value<'_>) -> bool {
    matches!(value, Value::Named(named) if named.name() == LOST)
}

fn report(args: &Args, ui: &Ui, salvage: &Salvage<'_>, written: u64) -> Outcome {
    let lost = u64::try_from(salvage.losses.len()).unwrap_or(u64::MAX);
    if ui.json {
        let losses = salvage.losses.iter().map(
            |loss| json!({ "address": loss.address, "dtype": loss.dtype, "shape": loss.shape, "code": loss.code, "error": loss.error }),
        );
        return ui.print_json(&json!({
            "input": args.input.to_string_lossy(),
            "output": args.output.to_string_lossy(),
            "kept": salvage.tensors - lost,
            "lost": losses.collect::<Vec<Json>>(),
            "file_bytes": written,
        }));
    }
    ui.print(|out| {
        for loss in &salvage.losses {
            writeln!(out, "{} {}: {}", styled(style::RED, "lost"), escape(&loss.address), escape(&loss.error))?;
        }
        Ok(())
    })?;
    let of = count(salvage.tensors, "tensor");
    ui.confirm(&format!("wrote {}: {} of {of} intact, {}", args.output.display(), salvage.tensors - lost, human(written)))
}
