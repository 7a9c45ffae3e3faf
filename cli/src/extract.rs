//! `cairn extract`: part of a file, by address pattern, into a file of its own.

use std::path::PathBuf;

use cairnfile::{Dict, Named, Node, Picked, Place, Value, ValueRef};

use crate::common::{Failure, Outcome, Ui, check_output, count, human, in_file, map, options_like, save};
use crate::values::{below, take};

const AFTER_HELP: &str = "\
A pattern is an address in which `*` is any characters and `?` any one of a token, the token `**` any
number of tokens, and `\\` takes the next character as it is. What matches is kept with everything below it,
in the place where it is: dicts keep its key. A list or tuple of which only some items match keeps those, in
order, so that their positions may change (a note says so); a type name around such a list is dropped.
Metadata and block size are kept. Tensors that are tied or overlap stay so where both are kept.

Examples:
  cairn extract model.cairn encoder.cairn /encoder
  cairn extract model.cairn biases.cairn '/**/bias'
  cairn extract model.cairn two.cairn '/layers/0' '/layers/1' /config";

/// Write the parts of a file that match address patterns to a new file.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The file to take from.
    input: PathBuf,
    /// The file to write.
    output: PathBuf,
    /// What to keep.
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Write views whose base is left out as copies, even if that cuts them off from other views.
    #[arg(long)]
    unshare: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    check_output(&args.output, args.force)?;
    let cairn = map(&args.input)?;
    let picked = cairn.pick(&args.patterns).map_err(in_file(&args.input))?;
    let mut extractor = Extractor { notes: Vec::new() };
    let value = extractor.value(&picked, &mut String::new()).map_err(|failure| match failure {
        Failure::Refused(error) => in_file(&args.input)(error),
        other => other,
    })?;
    extractor.notes.iter().for_each(|note| ui.note(note));
    let len = save(&args.output, &value, &options_like(&cairn)?.unshare(args.unshare), ui)?;
    ui.confirm(&format!("wrote {}, {}", args.output.display(), human(len)))
}

/// Builds what was picked, and notes what that changes.
struct Extractor {
    notes: Vec<String>,
}

impl Extractor {
    fn value<'c>(&mut self, picked: &Picked<'c>, address: &mut String) -> Result<Value<'c>, Failure> {
        match picked {
            Picked::Whole(value) => take(*value, address),
            Picked::Part(value, items) => self.part(*value, items, address),
        }
    }

    fn part<'c>(&mut self, value: ValueRef<'c>, items: &[(Place, Picked<'c>)], address: &mut String) -> Result<Value<'c>, Failure> {
        let node = value.node()?;
        if let Node::Named(name, inner) = node {
            let kept = self.part(inner, items, address)?;
            return self.name(name, kept, address);
        }
        let mut kept = Vec::with_capacity(items.len());
        for (place, item) in items {
            kept.push((place.clone(), below(place, address, |address| self.value(item, address))?));
        }
        Ok(match node {
            Node::Dict(_) => Value::Dict(kept.into_iter().filter_map(entry).collect::<Dict<'_>>()),
            Node::Tuple(len) => Value::Tuple(self.list(kept, len, address)),
            Node::List(len) => Value::List(self.list(kept, len, address)),
            _ => Value::Null,
        })
    }

    /// The kept items of a list of `len`.
    fn list<'c>(&mut self, items: Vec<(Place, Value<'c>)>, len: usize, address: &str) -> Vec<Value<'c>> {
        if items.len() < len {
            let moved = items.iter().enumerate().any(|(i, (place, _))| *place != Place::Position(i));
            let remark = if moved { ", at other positions than before" } else { "" };
            let kept = count(u64::try_from(items.len()).unwrap_or(u64::MAX), "item");
            self.notes.push(format!("the list at {address:?} keeps {kept} of {len}{remark}"));
        }
        items.into_iter().map(|(_, value)| value).collect()
    }

    /// Names what was kept again, unless it is part of a list: a payload of fixed form would lose its meaning.
    fn name<'c>(&mut self, name: &str, kept: Value<'c>, address: &str) -> Result<Value<'c>, Failure> {
        if !matches!(kept, Value::Dict(_)) {
            self.notes.push(format!("{address:?} is no longer named {name}"));
            return Ok(kept);
        }
        Ok(Value::Named(Named::new(name, kept)?))
    }
}

fn entry((place, value): (Place, Value<'_>)) -> Option<(cairnfile::Key, Value<'_>)> {
    match place {
        Place::Key(key) => Some((key, value)),
        Place::Position(_) => None,
    }
}
