//! `cairn get`: one tensor or subtree, printed or written to a file of its own.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, Code, Error, Node, Tensor, TensorRef, Value, ValueRef};
use serde_json::json;

use crate::common::{Failure, Outcome, Ui, check_output, human, in_file, map, open, options_like, save, style, styled};
use crate::literal;
use crate::print::Grid;
use crate::show;
use crate::values::take;

const AFTER_HELP: &str = "\
Only the blocks that are shown or written are read, and each is checked.
A .cairn written here holds the value as its root, without the file's metadata; `extract` keeps both.

Examples:
  cairn get model.cairn /encoder/0/weight
  cairn get model.cairn /encoder/0/weight --rows 0:4
  cairn get model.cairn /encoder/0/weight --slice '0:2, :, -1' --full
  cairn get model.cairn /encoder/0/weight -o weight.npy
  cairn get model.cairn /config --json | jq .
  cairn get model.cairn /encoder -o encoder.cairn";

/// Print one tensor or subtree, or write it to a .npy or .cairn file.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
    /// What to get; the root if not given.
    #[arg(default_value = "", hide_default_value = true)]
    address: String,
    /// Write to this file, a .npy (one tensor) or a .cairn, instead of printing.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Only these rows of the first axis; negative numbers count from the end.
    #[arg(long, value_name = "A:B", conflicts_with = "slice", allow_hyphen_values = true)]
    rows: Option<String>,
    /// Only this part of each axis: `A:B`, `:`, or a position, which takes the axis away.
    #[arg(long, value_name = "S,S,…", allow_hyphen_values = true)]
    slice: Option<String>,
    /// Print everything, however long.
    #[arg(long)]
    full: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    let part = Part::parse(args)?;
    match &args.output {
        Some(output) => write(args, &part, output, ui),
        None => print(args, &part, ui),
    }
}

fn print(args: &Args, part: &Part, ui: &Ui) -> Outcome {
    let cairn = open(&args.file)?;
    let value = find(&cairn, args)?;
    let Some(tensor) = tensor_for(value, part, args)? else {
        return if ui.json { ui.print_json(&show::json(value)?) } else { ui.print(|out| literal::print(out, value, args.full)) };
    };
    if ui.json {
        let part = part.read(&tensor).map_err(|e| in_args(e, args))?;
        let data = Grid::of(&part, true)?.json();
        return ui.print_json(&json!({ "dtype": part.dtype().name(), "shape": part.shape(), "data": data }));
    }
    if args.full || !matches!(part, Part::All) {
        let part = part.read(&tensor).map_err(|e| in_args(e, args))?;
        let heading = heading(part.dtype().name(), part.shape(), part.byte_len());
        return ui.print(|out| print_grid(out, &heading, &Grid::of(&part, args.full)?));
    }
    let grid = Grid::edges(&tensor).map_err(|e| named(e, args))?;
    ui.print(|out| print_grid(out, &heading(tensor.dtype()?.name(), &tensor.shape()?, tensor.byte_len()?), &grid))
}

fn heading(dtype: &str, shape: &[u64], bytes: u64) -> String {
    format!("{}  {shape:?}  {}", styled(style::CYAN, dtype), human(bytes))
}

fn print_grid(out: &mut dyn Write, heading: &str, grid: &Grid<'_>) -> Outcome {
    writeln!(out, "{heading}")?;
    grid.print(out)
}

fn write(args: &Args, part: &Part, output: &Path, ui: &Ui) -> Outcome {
    check_output(output, args.force)?;
    let cairn = map(&args.file)?;
    let value = find(&cairn, args)?;
    let tensor = tensor_for(value, part, args)?;
    let suffix = output.extension().and_then(|s| s.to_str()).unwrap_or_default();
    match (suffix, tensor) {
        ("npy", Some(tensor)) => {
            let tensor = part.read(&tensor).map_err(|e| in_args(e, args))?;
            write_npy(output, &tensor)?;
        }
        ("npy", None) => return Err(Failure::Usage(format!("{:?} is not a tensor: a .npy file holds one tensor", args.address))),
        ("cairn", tensor) => {
            let value = match tensor.filter(|_| !matches!(part, Part::All)) {
                Some(tensor) => Value::Tensor(part.read(&tensor).map_err(|e| in_args(e, args))?),
                None => take(value, &mut args.address.clone()).map_err(|e| named(e, args))?,
            };
            save(output, &value, &options_like(&cairn)?.metadata(cairnfile::Dict::new()), ui)?;
        }
        _ => return Err(Failure::Usage(format!("{}: the output is a .npy or a .cairn file", output.display()))),
    }
    ui.confirm(&format!("wrote {}", output.display()))
}

/// Writes a .npy file whole or not at all.
fn write_npy(output: &Path, tensor: &Tensor<'_>) -> Outcome {
    let mut failure = None;
    let replaced = cairnfile::replace(output, |file| {
        let mut out = std::io::BufWriter::new(file);
        let written = crate::formats::npy::write(&mut out, tensor);
        match written.and_then(|()| out.flush().map_err(Failure::from)) {
            Ok(()) => Ok(()),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Output(error)) => Err(Error::io("cannot write the array", error)),
            Err(other) => {
                let stop = Error::new(Code::Unrepresentable, other.to_string());
                failure = Some(other);
                Err(stop)
            }
        }
    });
    failure.map_or(Ok(()), Err)?;
    replaced.map_err(in_file(output))
}

fn find<'c>(cairn: &'c Cairn<'c>, args: &Args) -> Result<ValueRef<'c>, Failure> {
    cairn.get(&args.address).map_err(in_file(&args.file))
}

/// The tensor that `value` is; something else can be got only whole.
fn tensor_for<'c>(value: ValueRef<'c>, part: &Part, args: &Args) -> Result<Option<TensorRef<'c>>, Failure> {
    match (value.node()?, part) {
        (Node::LongBytes(tensor), part) if !matches!(part, Part::All) => Ok(Some(tensor)),
        (Node::LongBytes(_), _) => Ok(None),
        (_, part) => match value.tensor()? {
            None if !matches!(part, Part::All) => {
                Err(Failure::Usage(format!("{:?} is not a tensor: it has no rows or slices", args.address)))
            }
            tensor => Ok(tensor),
        },
    }
}

/// An error of a read, with file and address.
fn in_args(error: Error, args: &Args) -> Failure {
    in_file(&args.file)(error.context(&format!("tensor {:?}", args.address)))
}

fn named(failure: Failure, args: &Args) -> Failure {
    match failure {
        Failure::Refused(error) => in_file(&args.file)(error),
        other => other,
    }
}

/// Which part of a tensor is wanted.
enum Part {
    All,
    Rows(Axis),
    Slice(Vec<Axis>),
}

/// Which part of one axis is wanted; negative numbers count from the end.
#[derive(Clone, Copy)]
enum Axis {
    Range(i64, Option<i64>),
    Position(i64),
}

impl Axis {
    fn parse(text: &str) -> Option<Self> {
        let Some((start, end)) = text.split_once(':') else { return text.trim().parse().ok().map(Self::Position) };
        let start = if start.trim().is_empty() { 0 } else { start.trim().parse().ok()? };
        let end = if end.trim().is_empty() { None } else { Some(end.trim().parse().ok()?) };
        Some(Self::Range(start, end))
    }

    /// The range in an axis of extent `dim`; one that ends outside is refused by the read.
    fn range(self, dim: u64) -> cairnfile::Result<Range<u64>> {
        let outside = |n: i64| Error::new(Code::OutOfRange, format!("{n} is outside an axis of {dim}"));
        let place = |n: i64| match u64::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) => dim.checked_sub(n.unsigned_abs()).ok_or_else(|| outside(n)),
        };
        match self {
            Self::Range(start, end) => Ok(place(start)?..end.map_or(Ok(dim), place)?),
            Self::Position(n) => Some(place(n)?).filter(|at| *at < dim).map(|at| at..at + 1).ok_or_else(|| outside(n)),
        }
    }
}

impl Part {
    fn parse(args: &Args) -> Result<Self, Failure> {
        let bad = |what: &str, text: &str| Failure::Usage(format!("{text:?} is not {what}"));
        if let Some(text) = &args.rows {
            let axis = Axis::parse(text).filter(|axis| matches!(axis, Axis::Range(..)));
            return axis.map(Self::Rows).ok_or_else(|| bad("a range of rows such as 0:4", text));
        }
        let Some(text) = &args.slice else { return Ok(Self::All) };
        let axes = text.split(',').map(Axis::parse).collect::<Option<Vec<_>>>();
        axes.map(Self::Slice).ok_or_else(|| bad("a slice such as 0:2,:,3", text))
    }

    fn read<'c>(&self, tensor: &TensorRef<'c>) -> cairnfile::Result<Tensor<'c>> {
        let shape = tensor.shape()?;
        match self {
            Self::All => tensor.read(),
            Self::Rows(axis) => tensor.rows(axis.range(shape.first().copied().unwrap_or(0))?),
            Self::Slice(axes) => {
                if axes.len() > shape.len() {
                    return Err(Error::new(Code::OutOfRange, format!("{} slices for {} axes", axes.len(), shape.len())));
                }
                let rest = std::iter::repeat_n(Axis::Range(0, None), shape.len() - axes.len());
                let axes: Vec<Axis> = axes.iter().copied().chain(rest).collect();
                let ranges = axes.iter().zip(&shape).map(|(axis, dim)| axis.range(*dim)).collect::<Result<Vec<_>, _>>()?;
                without_positions(&tensor.slice(&ranges)?, &axes)
            }
        }
    }
}

/// The same elements without the axes of which only a position was wanted.
fn without_positions<'c>(tensor: &Tensor<'c>, axes: &[Axis]) -> cairnfile::Result<Tensor<'c>> {
    let stays = |i: &usize| matches!(axes.get(*i), Some(Axis::Range(..)));
    let kept: Vec<usize> = (0..tensor.shape().len()).filter(stays).collect();
    let shape: Vec<u64> = kept.iter().map(|i| tensor.shape()[*i]).collect();
    let strides = tensor.byte_strides().map(|s| kept.iter().map(|i| s[*i]).collect::<Vec<_>>());
    Tensor::view(tensor.dtype().clone(), &shape, strides.as_deref(), tensor.storage().clone(), tensor.offset())
}
