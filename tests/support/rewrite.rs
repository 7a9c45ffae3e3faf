//! Writes an open file again from what was read of it: planned files by the planned writer, streamed ones by the
//! streaming writer in the order of their buffers.

use std::collections::HashMap;

use cairnfile::{Cairn, Dict, Named, Node, Place, Result, Storage, StreamWriter, Tensor, TensorRef, Value, ValueRef, WriteOptions};

pub fn options(cairn: &Cairn<'_>) -> WriteOptions {
    let mut metadata = Dict::new();
    for (place, value) in cairn.metadata().items() {
        if let Place::Key(key) = place {
            metadata.insert(key, owned(value));
        }
    }
    WriteOptions::new().metadata(metadata).block_log2(u8::try_from(cairn.block_size().trailing_zeros()).unwrap())
}

/// A value of the metadata, which has no tensors to borrow.
fn owned(value: ValueRef<'_>) -> Value<'static> {
    let items = |value: ValueRef<'_>| value.items().map(|(_, item)| owned(item)).collect();
    match value.node().unwrap() {
        Node::Str(text) => Value::from(text.to_owned()),
        Node::Bytes(bytes) => Value::from(bytes.to_vec()),
        Node::List(_) => Value::List(items(value)),
        Node::Tuple(_) => Value::Tuple(items(value)),
        Node::Dict(_) => Value::Dict(
            value
                .items()
                .map(|(place, item)| match place {
                    Place::Key(key) => (key, owned(item)),
                    Place::Position(n) => unreachable!("a dict has no position {n}"),
                })
                .collect(),
        ),
        Node::Named(name, inner) => Value::Named(Named::new(name, owned(inner)).unwrap()),
        Node::Null => Value::Null,
        Node::Bool(b) => Value::Bool(b),
        Node::Int(n) => Value::Int(n),
        Node::BigInt(n) => Value::BigInt(n),
        Node::Float(x) => Value::Float(x),
        Node::Complex(re, im) => Value::Complex(re, im),
        Node::LongBytes(_) | Node::Tensor(_) => unreachable!("metadata has no tensors"),
    }
}

pub fn rewrite(cairn: &Cairn<'_>) -> Result<Vec<u8>> {
    let options = options(cairn);
    if !cairn.is_streamed() {
        return cairnfile::to_bytes(&cairn.load()?, &options);
    }
    let root = cairn.load()?;
    let mut stream = StreamWriter::new(Vec::new(), &options)?;
    let mut storages = HashMap::new();
    for number in 0..u32::try_from(cairn.buffer_count()).unwrap() {
        let views: Vec<TensorRef<'_>> = cairn.tensors().filter(|t| t.buffer().unwrap() == Some(number)).collect();
        let start = views.iter().map(|t| t.file_range().unwrap().start).min().unwrap();
        let end = views.iter().map(|t| t.file_range().unwrap().end).max().unwrap();
        let bytes = assemble(&views, start, end);
        storages.insert(number, (stream.append_storage(end - start, [bytes])?, start));
    }
    stream.finish(&over(&root, cairn.root(), &storages))
}

fn assemble(views: &[TensorRef<'_>], start: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
    for view in views {
        let at = usize::try_from(view.file_range().unwrap().start - start).unwrap();
        let tensor = view.read().unwrap();
        let span = tensor.span().unwrap();
        bytes[at..at + span.len()].copy_from_slice(span);
    }
    bytes
}

/// `value` with its tensors over the storages of the new stream.
fn over(value: &Value<'_>, at: ValueRef<'_>, storages: &HashMap<u32, (Storage<'static>, u64)>) -> Value<'static> {
    let items = |values: &[Value<'_>]| values.iter().zip(at.items()).map(|(v, (_, at))| over(v, at, storages)).collect();
    match value {
        Value::List(values) => Value::List(items(values)),
        Value::Tuple(values) => Value::Tuple(items(values)),
        Value::Dict(dict) => Value::Dict(dict.iter().zip(at.items()).map(|((k, v), (_, at))| (k.clone(), over(v, at, storages))).collect()),
        Value::Named(named) => {
            let Node::Named(name, inner) = at.node().unwrap() else { unreachable!("read as named") };
            Value::Named(Named::new(name, over(named.value(), inner, storages)).unwrap())
        }
        Value::Tensor(tensor) => {
            let place = at.tensor().unwrap().unwrap();
            let (storage, offset) = match place.buffer().unwrap() {
                None => (Storage::borrowed(&[]), 0),
                Some(buffer) => (storages[&buffer].0.clone(), place.file_range().unwrap().start - storages[&buffer].1),
            };
            Value::Tensor(Tensor::view(tensor.dtype().clone(), tensor.shape(), tensor.byte_strides(), storage, offset).unwrap())
        }
        Value::Bytes(bytes) => Value::from(bytes.to_vec()),
        Value::Str(text) => Value::from(text.to_string()),
        Value::Null => Value::Null,
        Value::Bool(b) => Value::Bool(*b),
        Value::Int(n) => Value::Int(*n),
        Value::BigInt(n) => Value::BigInt(n.clone()),
        Value::Float(x) => Value::Float(*x),
        Value::Complex(re, im) => Value::Complex(*re, *im),
    }
}
