//! `cairn diff`: what differs between two files, in structure and in content.

use std::collections::HashSet;
use std::path::PathBuf;

use cairnfile::{Cairn, Node, Place, TensorRef, ValueRef};
use indicatif::ProgressBar;
use serde_json::json;

use crate::change::{Change, Kind, print};
use crate::common::{Failure, Outcome, Ui, count, in_file, open};
use crate::compare::{by_bytes, by_checksum};
use crate::show;
use crate::ties::Ties;
use crate::values::below;

const AFTER_HELP: &str = "\
Tensors are compared by their stored checksums first and read only where these differ or cannot be
compared. Block size and kind of layout (planned or streamed) do not count; order of dict keys, memory
layout of tensors and sharing do. Exit code 1 if the files differ.

Examples:
  cairn diff before.cairn after.cairn
  cairn diff --fast epoch1.cairn epoch2.cairn
  cairn diff --json a.cairn b.cairn | jq -r '.changes[].address'";

/// Compare two files in structure, content, sharing and metadata.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The first file.
    a: PathBuf,
    /// The second file.
    b: PathBuf,
    /// Do not read the elements of tensors whose checksums differ.
    #[arg(long, conflicts_with = "bytes")]
    fast: bool,
    /// Read the elements even where checksums are equal.
    #[arg(long)]
    bytes: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let total = a.tensors().map(|t| t.byte_len()).sum::<cairnfile::Result<u64>>()?;
    let mut differ = Differ {
        args,
        sides: (&a, &b),
        ties: (Ties::of(&a)?, Ties::of(&b)?),
        bar: ui.bar(total, "comparing"),
        done: HashSet::new(),
        by_checksum: 0,
        by_bytes: 0,
        metadata: true,
        changes: Vec::new(),
    };
    differ.values(a.metadata(), b.metadata(), &mut String::new())?;
    differ.metadata = false;
    differ.values(a.root(), b.root(), &mut String::new())?;
    differ.bar.finish_and_clear();
    differ.report(ui)
}

struct Differ<'c> {
    args: &'c Args,
    sides: (&'c Cairn<'c>, &'c Cairn<'c>),
    ties: (Ties, Ties),
    bar: ProgressBar,
    /// Pairs of tensors that were compared.
    done: HashSet<(u32, u32)>,
    by_checksum: u64,
    by_bytes: u64,
    /// Whether the walk is in the metadata.
    metadata: bool,
    changes: Vec<Change>,
}

impl<'c> Differ<'c> {
    fn report(&self, ui: &Ui) -> Outcome {
        let equal = self.changes.is_empty();
        if ui.json {
            ui.print_json(&json!({
                "a": self.args.a.display().to_string(),
                "b": self.args.b.display().to_string(),
                "equal": equal,
                "compared": { "by_checksum": self.by_checksum, "by_bytes": self.by_bytes },
                "changes": self.changes.iter().map(Change::json).collect::<Vec<_>>(),
            }))?;
        } else if equal {
            let checked = format!("{} by checksum, {} by bytes", count(self.by_checksum, "tensor"), self.by_bytes);
            ui.confirm(&format!("{} and {} hold the same: {checked}", self.args.a.display(), self.args.b.display()))?;
        } else {
            ui.print(|out| print(out, &self.changes, ui.quiet))?;
        }
        if equal { Ok(()) } else { Err(Failure::Negative) }
    }

    fn change(&mut self, kind: Kind, address: &str, a: String, b: String) {
        self.changes.push(Change { kind, address: address.to_owned(), metadata: self.metadata, a, b, difference: None });
    }

    fn values(&mut self, a: ValueRef<'c>, b: ValueRef<'c>, address: &mut String) -> Outcome {
        let (x, y) = (a.node()?, b.node()?);
        match (&x, &y) {
            (Node::Named(n, x), Node::Named(m, y)) => {
                if n != m {
                    self.change(Kind::Name, address, (*n).to_owned(), (*m).to_owned());
                }
                self.values(*x, *y, address)
            }
            (Node::Dict(_), Node::Dict(_)) => self.dicts(a, b, address),
            (Node::List(_), Node::List(_)) | (Node::Tuple(_), Node::Tuple(_)) => self.lists(a, b, address),
            (Node::Tensor(x), Node::Tensor(y)) | (Node::LongBytes(x), Node::LongBytes(y)) => self.tensors(x, y, address),
            _ => {
                if !same_scalar(&x, &y) {
                    let same_type = show::type_word(&x) == show::type_word(&y);
                    let kind = if same_type { Kind::Value } else { Kind::Type };
                    self.change(kind, address, describe(a)?, describe(b)?);
                }
                Ok(())
            }
        }
    }

    fn dicts(&mut self, a: ValueRef<'c>, b: ValueRef<'c>, address: &mut String) -> Outcome {
        let (mut a_order, mut b_order) = (Vec::new(), Vec::new());
        for (place, item) in a.items() {
            let Place::Key(key) = &place else { continue };
            match b.get(key.clone()) {
                Some(other) => {
                    below(&place, address, |address| self.values(item, other, address))?;
                    a_order.push(place);
                }
                None => below(&place, address, |address| self.removed(item, address))?,
            }
        }
        for (place, item) in b.items() {
            let Place::Key(key) = &place else { continue };
            match a.get(key.clone()) {
                Some(_) => b_order.push(place),
                None => below(&place, address, |address| self.added(item, address))?,
            }
        }
        if let Some((x, y)) = a_order.iter().zip(&b_order).find(|(x, y)| x != y) {
            self.change(Kind::Order, address, show::label(x), show::label(y));
        }
        Ok(())
    }

    fn lists(&mut self, a: ValueRef<'c>, b: ValueRef<'c>, address: &mut String) -> Outcome {
        let (mut xs, mut ys) = (a.items(), b.items());
        loop {
            match (xs.next(), ys.next()) {
                (Some((place, x)), Some((_, y))) => below(&place, address, |address| self.values(x, y, address))?,
                (Some((place, x)), None) => below(&place, address, |address| self.removed(x, address))?,
                (None, Some((place, y))) => below(&place, address, |address| self.added(y, address))?,
                (None, None) => return Ok(()),
            }
        }
    }

    fn removed(&mut self, value: ValueRef<'c>, address: &str) -> Outcome {
        self.change(Kind::Removed, address, describe(value)?, String::new());
        Ok(())
    }

    fn added(&mut self, value: ValueRef<'c>, address: &str) -> Outcome {
        self.change(Kind::Added, address, String::new(), describe(value)?);
        Ok(())
    }

    fn tensors(&mut self, a: &TensorRef<'c>, b: &TensorRef<'c>, address: &str) -> Outcome {
        if let Some((a, b)) = Ties::compare((self.sides.0, &self.ties.0, a), (self.sides.1, &self.ties.1, b), address)? {
            self.change(Kind::Sharing, address, a, b);
        }
        if !self.done.insert((a.number(), b.number())) {
            return Ok(());
        }
        let ((a_type, a_shape), (b_type, b_shape)) = ((a.dtype()?, a.shape()?), (b.dtype()?, b.shape()?));
        if a_type != b_type {
            self.change(Kind::Dtype, address, show::tensor(a)?, show::tensor(b)?);
        } else if a_shape != b_shape {
            self.change(Kind::Shape, address, format!("{a_shape:?}"), format!("{b_shape:?}"));
        } else {
            if a.strides()? != b.strides()? {
                self.change(Kind::Layout, address, show::tensor(a)?, show::tensor(b)?);
            }
            self.contents(a, b, address)?;
        }
        self.bar.inc(a.byte_len()?);
        Ok(())
    }

    fn contents(&mut self, a: &TensorRef<'c>, b: &TensorRef<'c>, address: &str) -> Outcome {
        let stored = by_checksum((self.sides.0, a), (self.sides.1, b))?;
        match stored {
            Some(true) if !self.args.bytes => {
                self.by_checksum += 1;
                return Ok(());
            }
            Some(false) if self.args.fast => {
                self.by_checksum += 1;
                self.change(Kind::Content, address, String::new(), String::new());
                return Ok(());
            }
            _ => self.by_bytes += 1,
        }
        if let Some(difference) = self.read_both(a, b, address)? {
            let (x, y) = (difference.a.clone(), difference.b.clone());
            self.change(Kind::Content, address, x, y);
            if let Some(change) = self.changes.last_mut() {
                change.difference = Some(difference);
            }
        }
        Ok(())
    }

    /// A damaged tensor is an error, never a difference; it says in which file.
    fn read_both(&self, a: &TensorRef<'c>, b: &TensorRef<'c>, address: &str) -> Result<Option<crate::compare::Difference>, Failure> {
        by_bytes(a, b).map_err(|failure| match failure {
            Failure::Refused(error) => {
                let damaged = if a.read().is_err() { &self.args.a } else { &self.args.b };
                in_file(damaged)(error.context(&format!("tensor {address:?}")))
            }
            other => other,
        })
    }
}

/// Equal type and bits.
fn same_scalar(a: &Node<'_>, b: &Node<'_>) -> bool {
    match (a, b) {
        (Node::Null, Node::Null) => true,
        (Node::Bool(a), Node::Bool(b)) => a == b,
        (Node::Int(a), Node::Int(b)) => a == b,
        (Node::BigInt(a), Node::BigInt(b)) => a == b,
        (Node::Float(a), Node::Float(b)) => a.to_bits() == b.to_bits(),
        (Node::Complex(a, b), Node::Complex(c, d)) => (a.to_bits(), b.to_bits()) == (c.to_bits(), d.to_bits()),
        (Node::Str(a), Node::Str(b)) => a == b,
        (Node::Bytes(a), Node::Bytes(b)) => a == b,
        _ => false,
    }
}

/// A value in a few words.
fn describe(value: ValueRef<'_>) -> Result<String, Failure> {
    let node = value.node()?;
    Ok(match (value.tensor()?, show::scalar(&node, 40)) {
        (_, Some(text)) => text,
        (Some(tensor), None) => show::tensor(&tensor)?,
        (None, None) => show::kind(&node)?,
    })
}
