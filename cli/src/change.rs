//! One difference between two files, as a line and as JSON.

use std::io::Write;

use serde_json::{Map, Value as Json, json};

use crate::common::{Outcome, count, escape, style, styled};
use crate::compare::Difference;

/// What is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Added,
    Removed,
    Type,
    Name,
    Value,
    Dtype,
    Shape,
    Layout,
    Content,
    Order,
    Sharing,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Type => "type",
            Self::Name => "type name",
            Self::Value => "value",
            Self::Dtype => "dtype",
            Self::Shape => "shape",
            Self::Layout => "layout",
            Self::Content => "content",
            Self::Order => "key order",
            Self::Sharing => "sharing",
        }
    }
}

/// One difference.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) address: String,
    pub(crate) metadata: bool,
    /// What the first and the second file have.
    pub(crate) a: String,
    pub(crate) b: String,
    /// Where the elements differ.
    pub(crate) difference: Option<Difference>,
}

impl Change {
    pub(crate) fn json(&self) -> Json {
        let mut map = Map::new();
        map.insert("part".into(), if self.metadata { "metadata" } else { "root" }.into());
        map.insert("address".into(), self.address.as_str().into());
        map.insert("change".into(), self.kind.word().into());
        if !self.a.is_empty() {
            map.insert("a".into(), self.a.as_str().into());
        }
        if !self.b.is_empty() {
            map.insert("b".into(), self.b.as_str().into());
        }
        if let Some(found) = &self.difference {
            map.insert(
                "differing".into(),
                json!({ "unit": found.unit, "count": found.differing, "of": found.total, "first": found.first }),
            );
        }
        Json::Object(map)
    }

    fn line(&self) -> String {
        let place = if self.metadata { "metadata " } else { "" };
        let address = if self.address.is_empty() { "(root)".to_owned() } else { escape(&self.address) };
        let (a, b) = (escape(&self.a), escape(&self.b));
        match (self.kind, &self.difference) {
            (Kind::Added, _) => styled(style::GREEN, format!("+ {place}{address}  {b}")),
            (Kind::Removed, _) => styled(style::RED, format!("- {place}{address}  {a}")),
            (Kind::Content, Some(found)) => {
                let differing = format!("{} of {}", found.differing, count(found.total, found.unit));
                self.changed(place, &address, &format!("{differing}, first at {:?}: {a} → {b}", found.first))
            }
            (Kind::Content, None) => self.changed(place, &address, "the checksums differ"),
            (Kind::Order, _) => self.changed(place, &address, &format!("{a} stands where {b} does")),
            _ => self.changed(place, &address, &format!("{a} → {b}")),
        }
    }

    fn changed(&self, place: &str, address: &str, text: &str) -> String {
        let mark = styled(style::YELLOW, format!("~ {place}{address}"));
        format!("{mark}  {}: {text}", self.kind.word())
    }
}

/// One line a change, and a summary.
pub(crate) fn print(out: &mut dyn Write, changes: &[Change], quiet: bool) -> Outcome {
    for change in changes {
        writeln!(out, "{}", change.line())?;
    }
    if quiet {
        return Ok(());
    }
    let of = |kind| changes.iter().filter(|c| c.kind == kind).count();
    let (added, removed) = (of(Kind::Added), of(Kind::Removed));
    let changed = changes.len() - added - removed;
    Ok(writeln!(out, "{added} added, {removed} removed, {changed} changed")?)
}
