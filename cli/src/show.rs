//! Values as text on one line and as JSON.

use cairnfile::{Key, Node, Place, TensorRef, ValueRef};
use serde_json::{Map, Value as Json, json};

use crate::common::{Failure, escape};

/// Text in quotes, shortened to `max` characters; `usize::MAX` keeps all.
pub(crate) fn quoted(text: &str, max: usize) -> String {
    let (shown, rest) = match text.char_indices().nth(max) {
        Some((at, _)) => (&text[..at], "…"),
        None => (text, ""),
    };
    format!("\"{}{rest}\"", escape(&shown.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// `b"…"`, shortened to `max` bytes.
pub(crate) fn bytes(bytes: &[u8], max: usize) -> String {
    let rest = if bytes.len() > max { "…" } else { "" };
    format!("b\"{}{rest}\"", bytes[..bytes.len().min(max)].escape_ascii())
}

/// A float as short as its bits allow; a NaN other than the usual one with its bits.
pub(crate) fn float(x: f64) -> String {
    if x.is_nan() {
        let bits = x.to_bits();
        return if bits == f64::NAN.to_bits() { "nan".to_owned() } else { format!("nan({bits:#x})") };
    }
    format!("{x:?}")
}

/// `(re+imj)`.
pub(crate) fn complex(re: f64, im: f64) -> String {
    let sign = if im.is_sign_negative() { "" } else { "+" };
    format!("({}{sign}{}j)", float(re), float(im))
}

/// A key as it reads in a literal.
pub(crate) fn key(key: &Key) -> String {
    match key {
        Key::Str(text) => quoted(text, usize::MAX),
        Key::Int(n) => n.to_string(),
        Key::Bytes(raw) => bytes(raw, usize::MAX),
    }
}

/// The place of an item as a label: keys that are plain words and could be nothing else stand without quotes.
pub(crate) fn label(place: &Place) -> String {
    match place {
        Place::Position(n) => format!("[{n}]"),
        Place::Key(Key::Str(text)) if is_plain(text) => escape(text),
        Place::Key(other) => key(other),
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '\\' | '[');
    !text.is_empty() && text.chars().all(plain) && text.parse::<i64>().is_err()
}

/// A scalar as a literal of at most about `max` characters; `None` for containers, names and tensors.
pub(crate) fn scalar(node: &Node<'_>, max: usize) -> Option<String> {
    Some(match node {
        Node::Null => "null".to_owned(),
        Node::Bool(b) => b.to_string(),
        Node::Int(n) => n.to_string(),
        Node::BigInt(n) => shortened(n.to_string(), max),
        Node::Float(x) => float(*x),
        Node::Complex(re, im) => complex(*re, *im),
        Node::Str(text) => quoted(text, max),
        Node::Bytes(raw) => bytes(raw, max / 2),
        _ => return None,
    })
}

fn shortened(text: String, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// One word for the type, with the length of what has items: `dict of 3`, `f32`, `ordered_dict: dict of 2`.
pub(crate) fn kind(node: &Node<'_>) -> Result<String, Failure> {
    Ok(match node {
        Node::List(n) => format!("list of {n}"),
        Node::Tuple(n) => format!("tuple of {n}"),
        Node::Dict(n) => format!("dict of {n}"),
        Node::LongBytes(_) => "bytes".to_owned(),
        Node::Tensor(tensor) => tensor.dtype()?.to_string(),
        Node::Named(name, value) => format!("{name}: {}", kind(&value.node()?)?),
        other => type_word(other).to_owned(),
    })
}

/// The type as `--json` spells it.
pub(crate) fn type_word(node: &Node<'_>) -> &'static str {
    match node {
        Node::Null => "null",
        Node::Bool(_) => "bool",
        Node::Int(_) | Node::BigInt(_) => "int",
        Node::Float(_) => "float",
        Node::Complex(..) => "complex",
        Node::Str(_) => "str",
        Node::Bytes(_) | Node::LongBytes(_) => "bytes",
        Node::List(_) => "list",
        Node::Tuple(_) => "tuple",
        Node::Dict(_) => "dict",
        Node::Named(..) => "named",
        Node::Tensor(_) => "tensor",
    }
}

/// Steps through type names: the names from the outside in, and what they name.
pub(crate) fn unname(value: ValueRef<'_>) -> Result<(Vec<&str>, Node<'_>), Failure> {
    let (mut names, mut node) = (Vec::new(), value.node()?);
    while let Node::Named(name, inner) = node {
        names.push(name);
        node = inner.node()?;
    }
    Ok((names, node))
}

/// A tensor without its elements: `f32 [8, 4]`, with strides where it is not row-major.
pub(crate) fn tensor(tensor: &TensorRef<'_>) -> Result<String, Failure> {
    let strides = tensor.strides()?.map_or(String::new(), |s| format!(" strides {s:?}"));
    Ok(format!("{} {:?}{strides}", tensor.dtype()?, tensor.shape()?))
}

/// A tensor without its elements, as JSON; ties have equal numbers.
pub(crate) fn tensor_json(tensor: &TensorRef<'_>) -> Result<Map<String, Json>, Failure> {
    let mut map = Map::new();
    map.insert("dtype".into(), tensor.dtype()?.name().into());
    map.insert("shape".into(), tensor.shape()?.into());
    if let Some(strides) = tensor.strides()? {
        map.insert("strides".into(), strides.into());
    }
    map.insert("bytes".into(), tensor.byte_len()?.into());
    map.insert("tensor".into(), tensor.number().into());
    map.insert("buffer".into(), tensor.buffer()?.into());
    Ok(map)
}

/// A float as JSON; what JSON lacks becomes `{"$float": "nan"}`.
pub(crate) fn float_json(x: f64) -> Json {
    serde_json::Number::from_f64(x).map_or_else(|| json!({ "$float": float(x) }), Json::Number)
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A scalar as JSON; `None` for containers, names and tensors.
pub(crate) fn scalar_json(node: &Node<'_>) -> Option<Json> {
    Some(match node {
        Node::Null => Json::Null,
        Node::Bool(b) => (*b).into(),
        Node::Int(n) => (*n).into(),
        Node::BigInt(n) => json!({ "$int": n.to_string() }),
        Node::Float(x) => float_json(*x),
        Node::Complex(re, im) => json!({ "$complex": [float_json(*re), float_json(*im)] }),
        Node::Str(text) => (*text).into(),
        Node::Bytes(raw) => json!({ "$bytes": hex(raw) }),
        _ => return None,
    })
}

/// A whole value as JSON: what JSON has no word for is an object with one key that begins with `$`. Tensors come
/// without their elements.
pub(crate) fn json(value: ValueRef<'_>) -> Result<Json, Failure> {
    let node = value.node()?;
    Ok(match &node {
        Node::List(_) => Json::Array(items_json(value)?),
        Node::Tuple(_) => json!({ "$tuple": items_json(value)? }),
        Node::Dict(_) => dict_json(value)?,
        Node::Named(name, inner) => json!({ "$named": name, "value": json(*inner)? }),
        Node::Tensor(tensor) => json!({ "$tensor": tensor_json(tensor)? }),
        Node::LongBytes(tensor) => json!({ "$bytes": hex(&tensor.read()?.row_major_bytes()?) }),
        other => scalar_json(other).unwrap_or_default(),
    })
}

fn items_json(value: ValueRef<'_>) -> Result<Vec<Json>, Failure> {
    value.items().map(|(_, item)| json(item)).collect()
}

/// An object where all keys are text and none could be mistaken for a spelling of this module.
fn dict_json(value: ValueRef<'_>) -> Result<Json, Failure> {
    let plain = value.items().all(|(place, _)| matches!(place, Place::Key(Key::Str(text)) if !text.starts_with('$')));
    if plain {
        let mut map = Map::new();
        for (place, item) in value.items() {
            if let Place::Key(Key::Str(text)) = place {
                map.insert(text, json(item)?);
            }
        }
        return Ok(Json::Object(map));
    }
    let pair = |(place, item): (Place, _)| Ok::<_, Failure>(json!([key_json(&place), json(item)?]));
    let pairs = value.items().map(pair).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "$dict": pairs }))
}

fn key_json(place: &Place) -> Json {
    match place {
        Place::Position(n) => (*n).into(),
        Place::Key(Key::Str(text)) => text.as_str().into(),
        Place::Key(Key::Int(n)) => (*n).into(),
        Place::Key(Key::Bytes(raw)) => json!({ "$bytes": hex(raw) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_exact_and_safe() {
        assert_eq!(quoted("a\"\\\u{7}é", 99), "\"a\\\"\\\\\\u{7}é\"");
        assert_eq!(quoted("abcdef", 3), "\"abc…\"");
        assert_eq!(bytes(b"\xff\"a", 9), "b\"\\xff\\\"a\"");
        assert_eq!([float(-0.0), float(1e300), float(f64::NEG_INFINITY)], ["-0.0", "1e300", "-inf"]);
        assert_eq!(complex(1.0, -2.0), "(1.0-2.0j)");
    }
}
