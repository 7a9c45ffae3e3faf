//! Selecting parts of a file by address patterns, before anything of them is read.

use crate::error::{Code, Error, Result};
use crate::node::{Place, ValueRef};
use crate::pattern::{Pattern, PatternProgress};
use crate::read::Cairn;

/// What patterns select of a value.
pub enum Picked<'c> {
    /// The value with everything below it.
    Whole(ValueRef<'c>),
    /// A list, tuple or dict (under any type names) with the items of it that are selected, some but not all or not whole.
    Part(ValueRef<'c>, Vec<(Place, Picked<'c>)>),
}

impl<'c> Picked<'c> {
    /// The values that are selected whole, in order.
    pub fn values(&self) -> Vec<ValueRef<'c>> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect(&self, found: &mut Vec<ValueRef<'c>>) {
        match self {
            Self::Whole(value) => found.push(*value),
            Self::Part(_, items) => items.iter().for_each(|(_, item)| item.collect(found)),
        }
    }
}

impl<'a> Cairn<'a> {
    /// What `patterns` (see [`Pattern`]) select of the root: whole values, in the containers they stand in.
    ///
    /// ```
    /// use cairnfile::{Cairn, Dict, Picked, Value, WriteOptions};
    /// let value = Value::from(Dict::from_iter([("a", 1i64), ("b", 2)]));
    /// let bytes = cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap();
    /// let cairn = Cairn::from_bytes(&bytes).unwrap();
    /// let Picked::Part(_, items) = cairn.pick(&["/b"]).unwrap() else { panic!() };
    /// assert_eq!(items.len(), 1);
    /// ```
    ///
    /// # Errors
    /// `address` for what is no pattern; `not-found` for a pattern that matches nothing.
    pub fn pick<'c>(&'c self, patterns: &[impl AsRef<str>]) -> Result<Picked<'c>> {
        let parsed = patterns.iter().map(|pattern| Pattern::new(pattern.as_ref())).collect::<Result<Vec<_>>>()?;
        let start: Vec<PatternProgress> = parsed.iter().map(Pattern::start).collect();
        let mut picker = Picker { matched: vec![false; parsed.len()], patterns: parsed };
        let picked = picker.pick(self.root(), &start, &mut String::new())?;
        let missed = picker.matched.iter().zip(patterns).find(|(matched, _)| !**matched);
        if let Some((_, pattern)) = missed {
            return Err(Error::new(Code::NotFound, format!("nothing matches {:?}", pattern.as_ref())));
        }
        picked.ok_or_else(|| Error::new(Code::NotFound, "there are no patterns"))
    }
}

struct Picker {
    patterns: Vec<Pattern>,
    /// Which patterns matched anything.
    matched: Vec<bool>,
}

impl Picker {
    fn pick<'c>(&mut self, value: ValueRef<'c>, progress: &[PatternProgress], address: &mut String) -> Result<Option<Picked<'c>>> {
        let mut accepted = false;
        for ((pattern, progress), matched) in self.patterns.iter().zip(progress).zip(&mut self.matched) {
            let accepts = pattern.accepts(progress);
            accepted |= accepts;
            *matched |= accepts;
        }
        let below = progress.iter().any(PatternProgress::may_match_below);
        if accepted && (!below || self.matched.iter().all(|matched| *matched)) {
            return Ok(Some(Picked::Whole(value)));
        }
        // Where one pattern takes all, only to see whether the others match too.
        let (items, complete) = if below { self.items(value, progress, address)? } else { (Vec::new(), true) };
        Ok(match (accepted, items.is_empty()) {
            (true, _) => Some(Picked::Whole(value)),
            (false, true) => None,
            (false, false) if complete => Some(Picked::Whole(value)),
            (false, false) => Some(Picked::Part(value, items)),
        })
    }

    /// The selected items of `value`, and whether they are all of it.
    fn items<'c>(
        &mut self,
        value: ValueRef<'c>,
        progress: &[PatternProgress],
        address: &mut String,
    ) -> Result<(Vec<(Place, Picked<'c>)>, bool)> {
        let (mut items, mut complete) = (Vec::new(), true);
        for (place, item) in value.items() {
            let len = address.len();
            place.push_to(address);
            let token = &address[len + 1..];
            let next: Vec<_> = self.patterns.iter().zip(progress).map(|(pattern, progress)| pattern.step(progress, token)).collect();
            let picked = self.pick(item, &next, address)?;
            address.truncate(len);
            complete &= matches!(picked, Some(Picked::Whole(_)));
            items.extend(picked.map(|picked| (place, picked)));
        }
        Ok((items, complete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Dict, Named, Value};

    fn shown(picked: &Picked<'_>) -> String {
        match picked {
            Picked::Whole(_) => "*".to_owned(),
            Picked::Part(_, items) => {
                let mut address = String::new();
                let item = |(place, picked): &(Place, Picked<'_>)| {
                    address.clear();
                    place.push_to(&mut address);
                    address.clone() + &shown(picked)
                };
                format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn patterns_select_values_in_their_places() {
        let list = Value::Tuple(vec![1i64.into(), 2i64.into()]);
        let named = Value::from(Named::new("test.pair", list.clone()).unwrap());
        let value = Value::from(Dict::from_iter([("a", list), ("b", named), ("c", Value::from(3i64))]));
        let bytes = crate::write::to_bytes(&value, &crate::options::WriteOptions::new()).unwrap();
        let cairn = Cairn::from_bytes(&bytes).unwrap();
        let of = |patterns: &[&str]| cairn.pick(patterns).map(|picked| shown(&picked)).map_err(|e| e.code());
        assert_eq!(of(&[""]).unwrap(), "*");
        assert_eq!(of(&["/a/1"]).unwrap(), "[/a[/1*]]");
        assert_eq!(of(&["/b/0", "/c"]).unwrap(), "[/b[/0*] /c*]");
        // All items of a value are the value.
        assert_eq!(of(&["/b/*", "/a/0"]).unwrap(), "[/a[/0*] /b*]");
        assert_eq!(of(&["/*"]).unwrap(), "*");
        // Below what another pattern takes whole.
        assert_eq!(of(&["/a", "/a/1"]).unwrap(), "[/a*]");
        assert_eq!(of(&["/a", "/a/7"]), Err(Code::NotFound));
        assert_eq!(of(&["/nothing"]), Err(Code::NotFound));
        assert_eq!(of(&[]), Err(Code::NotFound));
        assert_eq!(of(&["a"]), Err(Code::Address));
    }
}
