//! The file that SPEC.md, Appendix A, takes apart byte by byte. Also a module of `examples/worked_example.rs`.
#![allow(unreachable_pub)]

use cairnfile::{Dict, Result, Tensor, Value, WriteOptions};

/// The bytes of the worked example.
///
/// # Errors
/// None.
pub fn worked_example() -> Result<Vec<u8>> {
    let mut root = Dict::new();
    root.insert("weight", Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0])?);
    root.insert("bias", Tensor::from_vec(&[2], vec![0.5f32, -0.5])?);
    root.insert("layers", vec![Value::from("linear"), Value::from(2i64)]);
    let options = WriteOptions::new().metadata(Dict::from_iter([("made by", "hand")]));
    cairnfile::to_bytes(&Value::from(root), &options)
}
