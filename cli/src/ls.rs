//! `cairn ls`: what is in a file, as a tree, a flat list or JSON.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use cairnfile::{Cairn, Node, TensorRef, ValueRef};
use serde_json::{Map, Value as Json, json};
use unicode_width::UnicodeWidthStr;

use crate::common::{Failure, Outcome, Ui, escape, human, in_file, open, style, styled};
use crate::literal;
use crate::show;
use crate::values::below;

const AFTER_HELP: &str = "\
Examples:
  cairn ls model.cairn
  cairn ls model.cairn /encoder
  cairn ls --flat model.cairn | grep bias
  cairn ls --json model.cairn | jq '.entries[] | select(.dtype == \"bf16\") | .address'";

/// List what is in a file: type, shape, size and address of every value.
///
/// In the tree, containers of a few plain values stand on one line; --flat and --json list each value.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
    /// Where to begin; the root if not given.
    #[arg(default_value = "", hide_default_value = true)]
    address: String,
    /// One line for each value that has no items, beginning with its full address.
    #[arg(long)]
    flat: bool,
    /// List the metadata instead of the root.
    #[arg(long)]
    metadata: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    let cairn = open(&args.file)?;
    let top = if args.metadata { cairn.metadata() } else { cairn.root() };
    let value = top.at_address(&args.address).map_err(in_file(&args.file))?;
    let lister = Lister::new(&cairn, !args.metadata)?;
    if ui.json {
        let mut entries = Vec::new();
        lister.json(value, &mut args.address.clone(), &mut entries)?;
        return ui.print_json(&json!({ "file": args.file.display().to_string(), "entries": entries }));
    }
    let mut rows = Vec::new();
    if args.flat {
        lister.flat(value, &mut args.address.clone(), &mut rows)?;
    } else {
        let name = format!("{}{}", args.file.display(), args.address);
        lister.tree(value, &mut args.address.clone(), &Branch::root(escape(&name)), &mut rows)?;
    }
    ui.print(|out| print(out, &rows))
}

/// Prints the tree of what is at `address`, under the heading `name`.
pub(crate) fn print_tree(cairn: &Cairn<'_>, address: &str, name: &str, out: &mut dyn Write) -> Outcome {
    let mut rows = Vec::new();
    let lister = Lister::new(cairn, true)?;
    lister.tree(cairn.get(address)?, &mut address.to_owned(), &Branch::root(escape(name)), &mut rows)?;
    print(out, &rows)
}

/// One line: the tree or the address, the type, shape and size or the value, and the address.
struct Row {
    name: String,
    kind: String,
    shape: String,
    size: String,
    rest: String,
}

/// The lines that lead to an item: what stands before its own label, and before those of its items.
struct Branch {
    label: String,
    below: String,
}

impl Branch {
    fn root(label: String) -> Self {
        Self { label, below: String::new() }
    }

    fn item(&self, label: &str, last: bool) -> Self {
        let (corner, line) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        Self { label: format!("{}{corner}{label}", self.below), below: format!("{}{line}", self.below) }
    }
}

/// Longest value shown.
const MAX_VALUE: usize = 48;

struct Lister {
    /// Address of the first appearance of each tensor.
    first: HashMap<u32, String>,
    /// How many tensors view each buffer.
    views: HashMap<u32, u32>,
}

impl Lister {
    fn new(cairn: &Cairn<'_>, root: bool) -> Result<Self, Failure> {
        let (mut first, mut views) = (HashMap::new(), HashMap::new());
        for tensor in cairn.tensors() {
            if let Some(buffer) = tensor.buffer()? {
                *views.entry(buffer).or_insert(0) += 1;
            }
        }
        if root {
            cairn.root().visit(&mut String::new(), &mut |address, value| {
                if let Some(tensor) = value.tensor()? {
                    first.entry(tensor.number()).or_insert_with(|| address.to_owned());
                }
                Ok(())
            })?;
        }
        Ok(Self { first, views })
    }

    /// The address that the tensor at `address` is tied to, if it appeared before.
    fn tie(&self, tensor: &TensorRef<'_>, address: &str) -> Option<&str> {
        self.first.get(&tensor.number()).map(String::as_str).filter(|first| *first != address)
    }

    fn row(&self, name: String, value: ValueRef<'_>, address: &str) -> Result<Row, Failure> {
        let node = value.node()?;
        let kind = show::kind(&node)?;
        let (_, inner) = show::unname(value)?;
        let (mut shape, mut size, mut rest) = (String::new(), String::new(), String::new());
        match &inner {
            Node::Tensor(tensor) | Node::LongBytes(tensor) => {
                shape = format!("{:?}", tensor.shape()?);
                size = human(tensor.byte_len()?);
                rest = self.remark(tensor, address)?;
            }
            Node::Dict(_) | Node::List(_) | Node::Tuple(_) => {}
            scalar => rest = show::scalar(scalar, MAX_VALUE).unwrap_or_default(),
        }
        Ok(Row { name, kind, shape, size, rest })
    }

    /// What else there is to say of a tensor: its address, its ties and its layout.
    fn remark(&self, tensor: &TensorRef<'_>, address: &str) -> Result<String, Failure> {
        let mut remark = escape(address);
        if let Some(first) = self.tie(tensor, address) {
            remark.push_str(&format!("  = same tensor as {}", escape(first)));
        } else if tensor.buffer()?.and_then(|b| self.views.get(&b)).is_some_and(|n| *n > 1) {
            remark.push_str(&format!("  shares buffer {}", tensor.buffer()?.unwrap_or_default()));
        }
        if let Some(strides) = tensor.strides()? {
            remark.push_str(&format!("  strides {strides:?}"));
        }
        Ok(remark)
    }

    fn tree(&self, value: ValueRef<'_>, address: &mut String, branch: &Branch, rows: &mut Vec<Row>) -> Outcome {
        let mut row = self.row(branch.label.clone(), value, address)?;
        let short = if branch.below.is_empty() { None } else { literal::short(value, MAX_VALUE)? };
        if let Some(literal) = short {
            row.rest = literal;
            rows.push(row);
            return Ok(());
        }
        rows.push(row);
        let mut items = value.items().peekable();
        while let Some((place, item)) = items.next() {
            let branch = branch.item(&show::label(&place), items.peek().is_none());
            below(&place, address, |address| self.tree(item, address, &branch, rows))?;
        }
        Ok(())
    }

    fn flat(&self, value: ValueRef<'_>, address: &mut String, rows: &mut Vec<Row>) -> Outcome {
        if value.items().next().is_none() {
            let mut row = self.row(escape(address), value, address)?;
            if let Some(rest) = row.rest.strip_prefix(&row.name) {
                row.rest = rest.trim_start().to_owned();
            }
            rows.push(row);
        }
        for (place, item) in value.items() {
            below(&place, address, |address| self.flat(item, address, rows))?;
        }
        Ok(())
    }

    fn json(&self, value: ValueRef<'_>, address: &mut String, entries: &mut Vec<Json>) -> Outcome {
        let (names, node) = show::unname(value)?;
        let mut entry = Map::new();
        entry.insert("address".into(), address.as_str().into());
        entry.insert("type".into(), show::type_word(&node).into());
        if !names.is_empty() {
            entry.insert("names".into(), names.into());
        }
        match &node {
            Node::List(n) | Node::Tuple(n) | Node::Dict(n) => {
                entry.insert("len".into(), (*n).into());
            }
            Node::Tensor(tensor) | Node::LongBytes(tensor) => {
                entry.extend(show::tensor_json(tensor)?);
                if let Some(first) = self.tie(tensor, address) {
                    entry.insert("same_as".into(), first.into());
                }
            }
            scalar => {
                entry.insert("value".into(), show::scalar_json(scalar).unwrap_or_default());
            }
        }
        entries.push(Json::Object(entry));
        value.items().try_for_each(|(place, item)| below(&place, address, |address| self.json(item, address, entries)))
    }
}

/// Widest a column is made for the sake of alignment.
const MAX_COLUMN: usize = 56;

fn print(out: &mut dyn Write, rows: &[Row]) -> Outcome {
    let width = |column: fn(&Row) -> &String| rows.iter().map(|r| column(r).width()).filter(|w| *w <= MAX_COLUMN).max().unwrap_or(0);
    let (name, kind, shape, size) = (width(|r| &r.name), width(|r| &r.kind), width(|r| &r.shape), width(|r| &r.size));
    for row in rows {
        let mut line = pad(&row.name, name);
        line.push_str("  ");
        line.push_str(&styled(style::CYAN, pad(&row.kind, kind)));
        if row.size.is_empty() {
            line.push_str("  ");
            line.push_str(&row.rest);
        } else {
            let gap = " ".repeat(size.saturating_sub(row.size.width()));
            line.push_str(&format!("  {}  {gap}{}", pad(&row.shape, shape), row.size));
            if !row.rest.is_empty() {
                line.push_str(&format!("  {}", styled(style::DIM, &row.rest)));
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}
