//! Trees as the flat name → tensor lists that other formats hold, without losing anything in silence.

use std::collections::HashSet;

use cairnfile::{Dict, Key, Place, Tensor, Value};

use super::{Format, unsupported};
use crate::common::{Failure, Outcome};

/// What the caller allows to be lost.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// Join the keys of nested dicts with this.
    pub(crate) flatten: Option<String>,
    /// Write tensors that share memory once each.
    pub(crate) untie: bool,
    /// Drop the names of types.
    pub(crate) drop_names: bool,
}

/// A tensor and its name.
pub(crate) struct Entry<'v> {
    pub(crate) name: String,
    pub(crate) tensor: &'v Tensor<'v>,
}

/// The tensors under `root` with their names, in order; refuses everything that a flat `format` cannot say.
pub(crate) fn entries<'v>(root: &'v Value<'v>, format: Format, allowed: &Allowed) -> Result<Vec<Entry<'v>>, Failure> {
    let mut walk = Walk { format, allowed, entries: Vec::new(), names: HashSet::new() };
    match walk.unnamed(root, "")? {
        Value::Dict(dict) => walk.dict(dict, "", "")?,
        Value::Tensor(_) => {
            let text = format!("the root is a tensor: a {} file holds tensors by name, a .npy file holds one tensor", format.name());
            return Err(unsupported(text));
        }
        other => return Err(unsupported(format!("the root is {}: a {} file holds tensors by name", word(other), format.name()))),
    }
    if !allowed.untie {
        check_untied(&walk.entries, format)?;
    }
    Ok(walk.entries)
}

/// The only tensor of a format that holds one.
pub(crate) fn single<'v>(root: &'v Value<'v>, allowed: &Allowed) -> Result<&'v Tensor<'v>, Failure> {
    match (Walk { format: Format::Npy, allowed, entries: Vec::new(), names: HashSet::new() }).unnamed(root, "")? {
        Value::Tensor(tensor) => Ok(tensor),
        other => Err(unsupported(format!("the root is {}: a .npy file holds one tensor; --address chooses one", word(other)))),
    }
}

/// `a dict`, `an int`, `null`.
fn word(value: &Value<'_>) -> String {
    match value.type_word() {
        word @ ("null" | "bytes") => word.to_owned(),
        word @ "int" => format!("an {word}"),
        word => format!("a {word}"),
    }
}

struct Walk<'v, 'r> {
    format: Format,
    allowed: &'r Allowed,
    entries: Vec<Entry<'v>>,
    names: HashSet<String>,
}

impl<'v> Walk<'v, '_> {
    fn unnamed(&self, value: &'v Value<'v>, address: &str) -> Result<&'v Value<'v>, Failure> {
        match value {
            Value::Named(named) if self.allowed.drop_names => self.unnamed(named.value(), address),
            Value::Named(named) => {
                let text = format!(
                    "{address:?} has the type name {}, which a {} file cannot hold; --drop-names drops type names",
                    named.name(),
                    self.format.name()
                );
                Err(unsupported(text))
            }
            value => Ok(value),
        }
    }

    fn dict(&mut self, dict: &'v Dict<'v>, prefix: &str, address: &str) -> Outcome {
        for (key, value) in dict.iter() {
            let mut address = address.to_owned();
            Place::Key(key.clone()).push_to(&mut address);
            let Key::Str(text) = key else {
                return Err(unsupported(format!("{address:?} has the key {key}: the names in a {} file are str", self.format.name())));
            };
            self.item(value, format!("{prefix}{text}"), &address)?;
        }
        Ok(())
    }

    fn item(&mut self, value: &'v Value<'v>, name: String, address: &str) -> Outcome {
        match self.unnamed(value, address)? {
            Value::Tensor(tensor) => self.add(name, tensor, address),
            Value::Dict(dict) => self.nested(dict, &name, address),
            other => Err(unsupported(format!("{address:?} is {}: a {} file holds only tensors", word(other), self.format.name()))),
        }
    }

    fn nested(&mut self, dict: &'v Dict<'v>, name: &str, address: &str) -> Outcome {
        let Some(separator) = &self.allowed.flatten else {
            let text = format!("{address:?} is a dict: a {} file is flat; --flatten . joins the keys with a dot", self.format.name());
            return Err(unsupported(text));
        };
        if dict.is_empty() {
            return Err(unsupported(format!(
                "{address:?} is an empty dict, of which nothing would be left in a {} file",
                self.format.name()
            )));
        }
        let prefix = format!("{name}{separator}");
        self.dict(dict, &prefix, address)
    }

    fn add(&mut self, name: String, tensor: &'v Tensor<'v>, address: &str) -> Outcome {
        if !self.names.insert(name.clone()) {
            return Err(unsupported(format!("{address:?} would have the name {name:?}, which another tensor has: use another separator")));
        }
        self.entries.push(Entry { name, tensor });
        Ok(())
    }
}

/// Refuses tensors that share memory: equal ones and overlapping views.
fn check_untied(entries: &[Entry<'_>], format: Format) -> Outcome {
    let mut ranges: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry.tensor.span().filter(|span| !span.is_empty()).map(|span| (span.as_ptr_range(), entry)))
        .collect();
    ranges.sort_by_key(|(range, _)| (range.start, range.end));
    let mut widest: Option<&(std::ops::Range<*const u8>, &Entry<'_>)> = None;
    for item in &ranges {
        if let Some((range, entry)) = widest.filter(|(range, _)| item.0.start < range.end) {
            let how = if *range == item.0 { "are tied" } else { "share memory" };
            let (a, b) = (&entry.name, &item.1.name);
            let text = format!("{a:?} and {b:?} {how}, which a {} file cannot say; --untie writes each for itself", format.name());
            return Err(unsupported(text));
        }
        widest = match widest {
            Some(wide) if wide.0.end >= item.0.end => Some(wide),
            _ => Some(item),
        };
    }
    Ok(())
}
