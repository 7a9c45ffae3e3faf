//! Extension frames, the first part of the index: framing frozen for ever. `Spec §7.2`.

use nom::Parser;
use nom::bytes::complete::take;

use crate::bytes::{Input, Parsed, count, put_u32, refuse, table_index, to_u32, u32};
use crate::error::{Code, Error, Result};
use crate::place::padding;

/// A reader that does not know a tag with this bit must refuse the file.
pub(crate) const MUST_UNDERSTAND: u32 = 1 << 31;

/// An extension as a writer is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    /// The registered or private tag; not 0.
    pub(crate) tag: u32,
    /// What the extension defines; padded with zeros in the file.
    pub(crate) payload: Vec<u8>,
}

/// One frame as it lies in the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) tag: u32,
    pub(crate) payload: &'a [u8],
}

fn frame(input: Input<'_>) -> Parsed<'_, Frame<'_>> {
    let (rest, (tag, len)) = (u32, u32).parse(input)?;
    let (rest, (payload, zeros)) = (take(len), take(padding(len))).parse(rest)?;
    let zeros: Input<'_> = zeros;
    let payload: Input<'_> = payload;
    if zeros.bytes.iter().any(|b| *b != 0) {
        return refuse(Error::at(Code::ExtensionPadding, zeros.offset, format!("the padding of extension {tag:#010x} is not zero")));
    }
    Ok((rest, Frame { tag, payload: payload.bytes }))
}

/// Parses all frames and returns their tags, ascending; then refuses the first one that must be understood and is
/// not in `understood`.
pub(crate) fn parse<'a>(input: Input<'a>, understood: &[u32]) -> Parsed<'a, Vec<u32>> {
    let (mut rest, n) = count(8)(input)?;
    let mut tags = Vec::with_capacity(table_index(n));
    let mut unknown = None;
    for _ in 0..n {
        let at = rest.offset;
        let (after, frame) = frame(rest)?;
        if frame.tag <= tags.last().copied().unwrap_or(0) {
            return refuse(Error::at(Code::ExtensionOrder, at, format!("extension tag {:#010x} does not ascend", frame.tag)));
        }
        if frame.tag & MUST_UNDERSTAND != 0 && !understood.contains(&frame.tag) {
            unknown.get_or_insert((at, frame.tag));
        }
        tags.push(frame.tag);
        rest = after;
    }
    match unknown {
        None => Ok((rest, tags)),
        Some((at, tag)) => {
            let detail = format!("the file needs extension {tag:#010x}, which this reader does not know: use a newer reader");
            refuse(Error::at(Code::ExtensionUnknown, at, detail))
        }
    }
}

/// The frames of an index that was parsed before.
pub(crate) fn frames(index: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let (mut rest, n) = count(8)(Input::new(index, 0)).unwrap_or((Input::new(&[], 0), 0));
    (0..n).map_while(move |_| {
        let (after, frame) = frame(rest).ok()?;
        rest = after;
        Some(frame)
    })
}

/// Encodes `extensions`, which must ascend by tag.
///
/// # Errors
/// `extension-order` if the tags do not ascend strictly from 1.
pub(crate) fn encode(extensions: &[Extension], out: &mut Vec<u8>) -> Result<()> {
    put_u32(out, to_u32(extensions.len(), "extensions")?);
    let mut last = 0;
    for extension in extensions {
        if extension.tag <= last {
            return Err(Error::new(Code::ExtensionOrder, format!("extension tag {:#010x} does not ascend", extension.tag)));
        }
        last = extension.tag;
        let len = to_u32(extension.payload.len(), "extension payload")?;
        put_u32(out, extension.tag);
        put_u32(out, len);
        out.extend_from_slice(&extension.payload);
        out.resize(out.len() + table_index(padding(len)), 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::finish;

    #[test]
    fn encode_then_parse() {
        let list = [Extension { tag: 5, payload: b"abc".to_vec() }, Extension { tag: MUST_UNDERSTAND, payload: vec![] }];
        let mut bytes = Vec::new();
        encode(&list, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 4 + 16 + 8);
        let (rest, tags) = finish(parse(Input::new(&bytes, 0), &[MUST_UNDERSTAND])).unwrap();
        assert_eq!((rest.bytes.len(), tags), (0, vec![5, MUST_UNDERSTAND]));
        let refused = finish(parse(Input::new(&bytes, 0), &[])).unwrap_err();
        assert_eq!((refused.code(), refused.offset()), (Code::ExtensionUnknown, Some(20)));
        assert_eq!(frames(&bytes).map(|f| f.payload.to_vec()).collect::<Vec<_>>(), [b"abc".to_vec(), vec![]]);
    }
}
