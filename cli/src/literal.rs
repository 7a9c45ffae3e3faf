//! Values as literals over several lines.

use std::io::Write;

use cairnfile::{Node, Place, ValueRef};

use crate::common::{Failure, Outcome, human};
use crate::print::Grid;
use crate::show;

/// Longest text and bytes shown, unless everything is asked for.
const MAX_TEXT: usize = 400;
/// Containers whose literal fits here stand on one line.
const LINE: usize = 96;
/// Tensors of at most this many elements are shown with them.
const SMALL: u64 = 8;

/// Prints `value` and ends the line; tensors show dtype and shape, small ones their elements too.
pub(crate) fn print(out: &mut dyn Write, value: ValueRef<'_>, full: bool) -> Outcome {
    write(out, value, 0, full)?;
    Ok(writeln!(out)?)
}

fn write(out: &mut dyn Write, value: ValueRef<'_>, indent: usize, full: bool) -> Outcome {
    let node = value.node()?;
    let max = if full { usize::MAX } else { MAX_TEXT };
    match &node {
        Node::Named(name, inner) => {
            write!(out, "{name}(")?;
            write(out, *inner, indent, full)?;
            Ok(write!(out, ")")?)
        }
        Node::List(n) => items(out, value, *n, ("[", "]"), indent, full),
        Node::Tuple(1) => items(out, value, 1, ("(", ",)"), indent, full),
        Node::Tuple(n) => items(out, value, *n, ("(", ")"), indent, full),
        Node::Dict(n) => items(out, value, *n, ("{", "}"), indent, full),
        Node::Tensor(tensor) => {
            let small = tensor.shape()?.iter().product::<u64>() <= SMALL;
            write!(out, "tensor({}", show::tensor(tensor)?)?;
            if small {
                write!(out, ", {}", Grid::of(&tensor.read()?, true)?.line()?)?;
            }
            Ok(write!(out, ")")?)
        }
        Node::LongBytes(tensor) if full => Ok(write!(out, "{}", show::bytes(&tensor.read()?.row_major_bytes()?, usize::MAX))?),
        Node::LongBytes(tensor) => Ok(write!(out, "bytes({})", human(tensor.byte_len()?))?),
        scalar => Ok(write!(out, "{}", show::scalar(scalar, max).unwrap_or_default())?),
    }
}

fn items(out: &mut dyn Write, value: ValueRef<'_>, len: usize, brackets: (&str, &str), indent: usize, full: bool) -> Outcome {
    if let Some(line) = one_line(value, len, brackets, full)?.filter(|line| indent + line.chars().count() <= LINE) {
        return Ok(write!(out, "{line}")?);
    }
    writeln!(out, "{}", brackets.0)?;
    for (place, item) in value.items() {
        write!(out, "{:width$}", "", width = indent + 2)?;
        if let Place::Key(key) = &place {
            write!(out, "{}: ", show::key(key))?;
        }
        write(out, item, indent + 2, full)?;
        writeln!(out, ",")?;
    }
    Ok(write!(out, "{:indent$}{}", "", brackets.1.trim_start_matches(','))?)
}

/// A container of plain values as a literal of at most `max` characters; `None` for everything else.
pub(crate) fn short(value: ValueRef<'_>, max: usize) -> Result<Option<String>, Failure> {
    let (_, node) = show::unname(value)?;
    let line = match node {
        Node::List(n) => one_line(value, n, ("[", "]"), false)?,
        Node::Tuple(1) => one_line(value, 1, ("(", ",)"), false)?,
        Node::Tuple(n) => one_line(value, n, ("(", ")"), false)?,
        Node::Dict(n) => one_line(value, n, ("{", "}"), false)?,
        _ => None,
    };
    Ok(line.filter(|line| line.chars().count() <= max))
}

/// The literal on one line, if the container is short and holds no other container with items.
fn one_line(value: ValueRef<'_>, len: usize, brackets: (&str, &str), full: bool) -> Result<Option<String>, Failure> {
    let mut line = brackets.0.to_owned();
    if len > LINE {
        return Ok(None);
    }
    for (i, (place, item)) in value.items().enumerate() {
        let node = item.node()?;
        if item.items().next().is_some() || matches!(node, Node::Tensor(_) | Node::LongBytes(_)) {
            return Ok(None);
        }
        line.push_str(if i > 0 { ", " } else { "" });
        if let Place::Key(key) = &place {
            line.push_str(&format!("{}: ", show::key(key)));
        }
        let mut text = Vec::new();
        write(&mut text, item, 0, full)?;
        line.push_str(&String::from_utf8_lossy(&text));
        if line.len() > 4 * LINE {
            return Ok(None);
        }
    }
    Ok(Some(line + brackets.1))
}
