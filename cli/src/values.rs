//! Values of a mapped file one by one, so that only what is taken is read and what is shared stays shared.

use cairnfile::{Dict, Named, Node, Place, Tensor, TensorRef, Value, ValueRef};

use crate::common::Failure;

/// Reads `value` and everything below it; `address` is where it stands, for errors.
pub(crate) fn take<'c>(value: ValueRef<'c>, address: &mut String) -> Result<Value<'c>, Failure> {
    Ok(match value.node()? {
        Node::List(_) => Value::List(items(value, address)?),
        Node::Tuple(_) => Value::Tuple(items(value, address)?),
        Node::Dict(_) => Value::Dict(dict(value, address)?),
        Node::Named(name, inner) => Value::Named(Named::new(name, take(inner, address)?)?),
        leaf => take_leaf(leaf, address)?,
    })
}

fn items<'c>(value: ValueRef<'c>, address: &mut String) -> Result<Vec<Value<'c>>, Failure> {
    value.items().map(|(place, item)| below(&place, address, |address| take(item, address))).collect()
}

fn dict<'c>(value: ValueRef<'c>, address: &mut String) -> Result<Dict<'c>, Failure> {
    let mut dict = Dict::new();
    for (place, item) in value.items() {
        let taken = below(&place, address, |address| take(item, address))?;
        if let Place::Key(key) = place {
            dict.insert(key, taken);
        }
    }
    Ok(dict)
}

/// Calls `f` with the address one step further down.
pub(crate) fn below<T>(place: &Place, address: &mut String, f: impl FnOnce(&mut String) -> T) -> T {
    let len = address.len();
    place.push_to(address);
    let result = f(address);
    address.truncate(len);
    result
}

/// A value without items.
fn take_leaf<'c>(node: Node<'c>, address: &str) -> Result<Value<'c>, Failure> {
    Ok(match node {
        Node::Bool(b) => Value::Bool(b),
        Node::Int(n) => Value::Int(n),
        Node::BigInt(n) => Value::BigInt(n),
        Node::Float(x) => Value::Float(x),
        Node::Complex(re, im) => Value::Complex(re, im),
        Node::Str(text) => Value::Str(text.into()),
        Node::Bytes(bytes) => Value::Bytes(bytes.into()),
        Node::LongBytes(tensor) => Value::Bytes(read(&tensor, address)?.row_major_bytes()?.into_owned().into()),
        Node::Tensor(tensor) => Value::Tensor(read(&tensor, address)?),
        _ => Value::Null,
    })
}

/// Reads a tensor; an error names it.
pub(crate) fn read<'c>(tensor: &TensorRef<'c>, address: &str) -> Result<Tensor<'c>, Failure> {
    Ok(tensor.read().map_err(|error| error.context(&format!("tensor {address:?}")))?)
}

/// The same value in memory of its own.
pub(crate) fn to_static(value: Value<'_>) -> Result<Value<'static>, Failure> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Bool(b) => Value::Bool(b),
        Value::Int(n) => Value::Int(n),
        Value::BigInt(n) => Value::BigInt(n),
        Value::Float(x) => Value::Float(x),
        Value::Complex(re, im) => Value::Complex(re, im),
        Value::Str(text) => Value::Str(text.into_owned().into()),
        Value::Bytes(bytes) => Value::Bytes(bytes.into_owned().into()),
        Value::List(items) => Value::List(items.into_iter().map(to_static).collect::<Result<_, _>>()?),
        Value::Tuple(items) => Value::Tuple(items.into_iter().map(to_static).collect::<Result<_, _>>()?),
        Value::Dict(dict) => Value::Dict(dict_to_static(dict)?),
        Value::Named(named) => {
            let (name, value) = named.into_parts();
            Value::Named(Named::new(&name, to_static(value)?)?)
        }
        Value::Tensor(tensor) => Value::Tensor(tensor.to_owned_row_major()?),
    })
}

/// The same dict in memory of its own.
pub(crate) fn dict_to_static(dict: Dict<'_>) -> Result<Dict<'static>, Failure> {
    let mut owned = Dict::new();
    for (key, value) in dict {
        owned.insert(key, to_static(value)?);
    }
    Ok(owned)
}
