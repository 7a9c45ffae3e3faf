//! `cairn extract`: part of a file, by address pattern, into a file of its own.

use std::path::PathBuf;

use cairnfile::{Dict, Named, Node, Pattern, PatternProgress, Place, Value, ValueRef};

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
    let patterns = args.patterns.iter().map(|text| Pattern::new(text)).collect::<Result<Vec<_>, _>>()?;
    check_output(&args.output, args.force)?;
    let cairn = map(&args.input)?;
    let mut extractor = Extractor { matched: vec![false; patterns.len()], patterns: &patterns, notes: Vec::new() };
    let start = patterns.iter().map(Pattern::start).collect::<Vec<_>>();
    let kept = extractor.keep(cairn.root(), &start, &mut String::new()).map_err(|failure| match failure {
        Failure::Refused(error) => in_file(&args.input)(error),
        other => other,
    })?;
    let missed = args.patterns.iter().zip(&extractor.matched).find(|(_, matched)| !**matched);
    if let Some((pattern, _)) = missed {
        return Err(Failure::Usage(format!("nothing in {} matches {pattern:?}", args.input.display())));
    }
    extractor.notes.iter().for_each(|note| ui.note(note));
    let value = kept.map_or(Value::Null, |kept| kept.value);
    let len = save(&args.output, &value, &options_like(&cairn)?.unshare(args.unshare), ui)?;
    ui.confirm(&format!("wrote {}, {}", args.output.display(), human(len)))
}

struct Extractor<'p> {
    patterns: &'p [Pattern],
    /// Which patterns matched anything.
    matched: Vec<bool>,
    notes: Vec<String>,
}

/// What was kept of a value.
struct Kept<'c> {
    value: Value<'c>,
    /// Whether nothing was left out.
    whole: bool,
}

impl Extractor<'_> {
    fn keep<'c>(&mut self, value: ValueRef<'c>, progress: &[PatternProgress], address: &mut String) -> Result<Option<Kept<'c>>, Failure> {
        let mut accepted = false;
        for ((pattern, progress), matched) in self.patterns.iter().zip(progress).zip(&mut self.matched) {
            let accepts = pattern.accepts(progress);
            accepted |= accepts;
            *matched |= accepts;
        }
        if accepted {
            self.note_below(value, progress, address);
            return Ok(Some(Kept { value: take(value, address)?, whole: true }));
        }
        if !progress.iter().any(PatternProgress::may_match_below) {
            return Ok(None);
        }
        self.keep_items(value, progress, address)
    }

    /// Notes the patterns that match below what another one keeps whole.
    fn note_below(&mut self, value: ValueRef<'_>, progress: &[PatternProgress], address: &mut String) {
        if self.matched.iter().all(|matched| *matched) {
            return;
        }
        for (place, item) in value.items() {
            let next = below(&place, address, |address| self.step(progress, address));
            for ((pattern, progress), matched) in self.patterns.iter().zip(&next).zip(&mut self.matched) {
                *matched |= pattern.accepts(progress);
            }
            below(&place, address, |address| self.note_below(item, &next, address));
        }
    }

    /// The progress at `address`, one token below where it was `progress`.
    fn step(&self, progress: &[PatternProgress], address: &str) -> Vec<PatternProgress> {
        let token = address.rsplit('/').next().unwrap_or_default();
        self.patterns.iter().zip(progress).map(|(pattern, progress)| pattern.step(progress, token)).collect()
    }

    fn keep_items<'c>(
        &mut self,
        value: ValueRef<'c>,
        progress: &[PatternProgress],
        address: &mut String,
    ) -> Result<Option<Kept<'c>>, Failure> {
        let node = value.node()?;
        if let Node::Named(name, inner) = node {
            let kept = self.keep_items(inner, progress, address)?;
            return kept.map(|kept| self.name(name, kept, address)).transpose();
        }
        let (mut whole, mut items) = (true, Vec::new());
        for (place, item) in value.items() {
            let kept = below(&place, address, |address| {
                let next = self.step(progress, address);
                self.keep(item, &next, address)
            })?;
            whole &= kept.as_ref().is_some_and(|kept| kept.whole);
            items.extend(kept.map(|kept| (place, kept.value)));
        }
        if items.is_empty() {
            return Ok(None);
        }
        let value = match node {
            Node::Dict(_) => Value::Dict(items.into_iter().filter_map(entry).collect::<Dict<'_>>()),
            Node::Tuple(n) => Value::Tuple(self.list(items, n, address)),
            Node::List(n) => Value::List(self.list(items, n, address)),
            _ => return Ok(None),
        };
        Ok(Some(Kept { value, whole }))
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
    fn name<'c>(&mut self, name: &str, kept: Kept<'c>, address: &str) -> Result<Kept<'c>, Failure> {
        if !kept.whole && !matches!(kept.value, Value::Dict(_)) {
            self.notes.push(format!("{address:?} is no longer named {name}"));
            return Ok(kept);
        }
        Ok(Kept { value: Value::Named(Named::new(name, kept.value)?), whole: kept.whole })
    }
}

fn entry((place, value): (Place, Value<'_>)) -> Option<(cairnfile::Key, Value<'_>)> {
    match place {
        Place::Key(key) => Some((key, value)),
        Place::Position(_) => None,
    }
}
