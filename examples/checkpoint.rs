//! Writes a 2 GB checkpoint of 300 bf16 tensors straight into the pages of its file: `checkpoint PATH`.

use cairnfile::{DType, Dict, Plan, Tensor, Value, WriteOptions};

const LAYERS: u64 = 50;
const HIDDEN: u64 = 1296;

fn main() -> cairnfile::Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: checkpoint PATH");
        std::process::exit(2);
    };
    let mut tensors = Vec::new();
    for layer in 0..LAYERS {
        for (name, shape) in parts() {
            tensors.push((format!("layers.{layer}.{name}"), Tensor::reserved(DType::BF16, &shape)?));
        }
    }
    let value = Value::from(tensors.iter().cloned().collect::<Dict<'_>>());
    let options = WriteOptions::new().metadata(Dict::from_iter([("step", 1000i64)]));
    let mut file = Plan::new(&value, &options)?.create(&path)?;
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for (_, tensor) in &tensors {
        for word in file.tensor_mut(tensor)?.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
    }
    file.commit()
}

fn parts() -> [(&'static str, Vec<u64>); 6] {
    [
        ("attention.qkv.weight", vec![3 * HIDDEN, HIDDEN]),
        ("attention.out.weight", vec![HIDDEN, HIDDEN]),
        ("mlp.up.weight", vec![4 * HIDDEN, HIDDEN]),
        ("mlp.down.weight", vec![HIDDEN, 4 * HIDDEN]),
        ("norm.weight", vec![HIDDEN]),
        ("norm.bias", vec![HIDDEN]),
    ]
}
