//! Which parts of a file are wanted: all, the value at an address, or what patterns match.

use cairnfile::{Cairn, Code, Error, Node, Pattern, PatternProgress, Place, Result, ValueRef};

/// A value to be built, whole or with some of its items.
pub(crate) enum Picked<'c> {
    Whole(ValueRef<'c>),
    Part(ValueRef<'c>, Vec<(Place, Picked<'c>)>),
}

impl<'c> Picked<'c> {
    /// What `patterns` match: whole values, in the containers they stand in.
    ///
    /// # Errors
    /// `address` for what is no pattern; `not-found` for a pattern that matches nothing.
    pub(crate) fn matching(cairn: &'c Cairn<'c>, patterns: &[String]) -> Result<Self> {
        let parsed = patterns.iter().map(|p| Pattern::new(p)).collect::<Result<Vec<_>>>()?;
        let start = parsed.iter().map(Pattern::start).collect::<Vec<_>>();
        let mut picker = Picker { patterns: &parsed, matched: vec![false; parsed.len()] };
        let picked = picker.pick(cairn.root(), &start, &mut String::new())?;
        if let Some(missed) = picker.matched.iter().position(|matched| !matched) {
            return Err(Error::new(Code::NotFound, format!("nothing matches {:?}", patterns[missed])));
        }
        Ok(picked.unwrap_or_else(|| Self::Part(cairn.root(), Vec::new())))
    }

    /// The values that are wanted whole.
    pub(crate) fn whole(&self, out: &mut Vec<ValueRef<'c>>) {
        match self {
            Self::Whole(value) => out.push(*value),
            Self::Part(_, items) => items.iter().for_each(|(_, item)| item.whole(out)),
        }
    }
}

struct Picker<'p> {
    patterns: &'p [Pattern],
    matched: Vec<bool>,
}

impl Picker<'_> {
    fn pick<'c>(&mut self, value: ValueRef<'c>, progress: &[PatternProgress], address: &mut String) -> Result<Option<Picked<'c>>> {
        let mut accepted = false;
        for ((pattern, progress), matched) in self.patterns.iter().zip(progress).zip(&mut self.matched) {
            let accepts = pattern.accepts(progress);
            accepted |= accepts;
            *matched |= accepts;
        }
        if !progress.iter().any(PatternProgress::may_match_below) {
            return Ok(accepted.then_some(Picked::Whole(value)));
        }
        let items = self.items(value, progress, address)?;
        if accepted {
            // Looked into only for the patterns that match further down.
            return Ok(Some(Picked::Whole(value)));
        }
        Ok(if items.is_empty() { None } else { Some(Picked::Part(value, items)) })
    }

    fn items<'c>(&mut self, value: ValueRef<'c>, progress: &[PatternProgress], address: &mut String) -> Result<Vec<(Place, Picked<'c>)>> {
        let mut items = Vec::new();
        for (place, item) in value.items() {
            let len = address.len();
            place.push_to(address);
            let token = &address[len + 1..];
            let next: Vec<_> = self.patterns.iter().zip(progress).map(|(pattern, progress)| pattern.step(progress, token)).collect();
            let picked = self.pick(item, &next, address)?;
            address.truncate(len);
            items.extend(picked.map(|picked| (place, picked)));
        }
        Ok(items)
    }
}

/// The container under any names, and the names from the outside in.
pub(crate) fn unnamed<'c>(mut value: ValueRef<'c>, names: &mut Vec<&'c str>) -> Result<ValueRef<'c>> {
    while let Node::Named(name, inner) = value.node()? {
        names.push(name);
        value = inner;
    }
    Ok(value)
}
