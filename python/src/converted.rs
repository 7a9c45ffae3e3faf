//! Memory that was converted before it was saved (byte order, lazy conjugates): whether something else that is saved
//! shares it, since that would come back as two copies.

use std::ops::Range;

use cairnfile::{Code, Error, Result, Value};

/// Refuses `sources`, the memory that tensors were converted from, if another tensor of `value` lies in it too.
pub(crate) fn check(sources: impl Iterator<Item = Range<usize>>, value: &Value<'static>) -> Result<()> {
    let mut spans: Vec<(Range<usize>, bool)> = sources.filter(|source| !source.is_empty()).map(|source| (source, true)).collect();
    if spans.is_empty() {
        return Ok(());
    }
    collect(value, &mut spans);
    spans.sort_unstable_by_key(|(span, _)| (span.start, span.end));
    let (mut end, mut end_of_converted) = (0, 0);
    for (span, converted) in spans {
        if span.start < end_of_converted || (converted && span.start < end) {
            return Err(Error::new(
                Code::SharingLost,
                "a tensor that must be converted (its byte order, or a lazy conjugate or negative) shares memory with another: copy it before, or pass copy=True",
            ));
        }
        end = end.max(span.end);
        if converted {
            end_of_converted = end_of_converted.max(span.end);
        }
    }
    Ok(())
}

/// Adds the memory of the tensors under `value`.
fn collect(value: &Value<'static>, out: &mut Vec<(Range<usize>, bool)>) {
    match value {
        Value::Tensor(tensor) => {
            if let Some(span) = tensor.span().filter(|span| !span.is_empty()) {
                let start = span.as_ptr().addr();
                out.push((start..start + span.len(), false));
            }
        }
        Value::List(items) | Value::Tuple(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Dict(dict) => dict.iter().for_each(|(_, item)| collect(item, out)),
        Value::Named(named) => collect(named.value(), out),
        _ => {}
    }
}
