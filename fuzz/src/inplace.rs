//! The writer that lets tensors be produced in the file, against the one that copies them.

use std::collections::HashMap;
use std::fs;

use cairnfile::{Code, Named, Plan, Storage, Tensor, Value, WriteOptions};

use super::{same, ways};

/// Reserved storages by the address of the memory they stand for.
pub struct Reserved<'m> {
    arenas: &'m [Vec<u8>],
    by_address: HashMap<usize, Storage<'static>>,
}

impl<'m> Reserved<'m> {
    pub fn over(arenas: &'m [Vec<u8>]) -> Self {
        Self { arenas, by_address: HashMap::new() }
    }

    /// `value` with tensors that have no bytes yet, tied as they were.
    fn value(&mut self, value: &Value<'_>) -> Value<'static> {
        match value {
            Value::Tensor(tensor) => Value::Tensor(self.tensor(tensor)),
            Value::List(items) => Value::List(items.iter().map(|item| self.value(item)).collect()),
            Value::Tuple(items) => Value::Tuple(items.iter().map(|item| self.value(item)).collect()),
            Value::Dict(dict) => Value::Dict(dict.iter().map(|(key, item)| (key.clone(), self.value(item))).collect()),
            Value::Named(named) => Value::Named(Named::new(named.name(), self.value(named.value())).unwrap()),
            Value::Str(text) => Value::from(text.to_string()),
            Value::Bytes(bytes) => Value::from(bytes.to_vec()),
            Value::BigInt(n) => Value::BigInt(n.clone()),
            Value::Int(n) => Value::Int(*n),
            Value::Bool(b) => Value::Bool(*b),
            Value::Float(x) => Value::Float(*x),
            Value::Complex(re, im) => Value::Complex(*re, *im),
            Value::Null => Value::Null,
        }
    }

    fn tensor(&mut self, tensor: &Tensor<'_>) -> Tensor<'static> {
        let bytes = tensor.storage().bytes().unwrap();
        let at = bytes.as_ptr().addr();
        let arena = self.arenas.iter().find(|arena| arena.as_ptr_range().contains(&bytes.as_ptr()));
        let (base, len) = arena.map_or((at, bytes.len()), |arena| (arena.as_ptr().addr(), arena.len()));
        let storage = self.by_address.entry(base).or_insert_with(|| Storage::reserved(len as u64)).clone();
        let offset = tensor.offset() + (at - base) as u64;
        Tensor::view(tensor.dtype().clone(), tensor.shape(), tensor.byte_strides(), storage, offset).unwrap()
    }
}

/// `value` makes the bytes `expected` in place too. A layout that has to be copied out cannot be produced in place:
/// `loose` says whether there may be one.
pub fn agrees(value: &Value<'_>, mut reserved: Reserved<'_>, options: &WriteOptions, expected: &[u8], loose: bool) {
    let promised = reserved.value(value);
    let plan = match Plan::new(&promised, &options.clone().durable(false)) {
        Ok(plan) => plan,
        Err(error) => return assert!(loose && error.code() == Code::SharingLost, "{error}"),
    };
    let path = ways::new_file().into_temp_path();
    let mut file = plan.create(&path).expect("room for a temporary file");
    for (promised, tensor) in same::tensors(&promised).into_iter().zip(same::tensors(value)) {
        file.tensor_mut(promised).expect("a reserved tensor of the plan").copy_from_slice(tensor.span().unwrap());
    }
    file.commit().expect("the same elements as before");
    assert!(fs::read(&path).unwrap() == expected, "produced in place it differs");
}
