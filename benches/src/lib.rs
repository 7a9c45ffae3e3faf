//! Workloads that the benches share. Contents do not matter to a codec without compression; they are cheap to make
//! and not zero.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use cairnfile::{DType, Dict, Storage, Tensor, Value};
use safetensors::tensor::{Dtype, TensorView};

/// Tensors by name: shape and bytes, all f32.
pub struct Workload {
    /// Name, shape, bytes.
    pub tensors: Vec<(String, Vec<u64>, Vec<u8>)>,
}

impl Workload {
    /// `count` tensors of 64 elements, named as in a model.
    pub fn small(count: usize) -> Self {
        let tensor = |i| (format!("model.layers.{i:06}.weight"), vec![64], pattern(256));
        Self { tensors: (0..count).map(tensor).collect() }
    }

    /// The shapes of a GPT-2 of `layers` layers, 12 for 498 MB with its embedding.
    pub fn gpt2(layers: usize) -> Self {
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[u64]| tensors.push((name, shape.to_vec(), pattern(shape.iter().product::<u64>() * 4)));
        add("wte.weight".into(), &[50257, 768]);
        add("wpe.weight".into(), &[1024, 768]);
        for layer in 0..layers {
            for (part, shape) in [
                ("ln_1.weight", &[768][..]),
                ("ln_1.bias", &[768]),
                ("attn.c_attn.weight", &[768, 2304]),
                ("attn.c_attn.bias", &[2304]),
                ("attn.c_proj.weight", &[768, 768]),
                ("attn.c_proj.bias", &[768]),
                ("ln_2.weight", &[768]),
                ("ln_2.bias", &[768]),
                ("mlp.c_fc.weight", &[768, 3072]),
                ("mlp.c_fc.bias", &[3072]),
                ("mlp.c_proj.weight", &[3072, 768]),
                ("mlp.c_proj.bias", &[768]),
            ] {
                add(format!("h.{layer}.{part}"), shape);
            }
        }
        Self { tensors }
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, _, bytes)| bytes.len() as u64).sum()
    }

    /// As a Cairn value that borrows the bytes.
    ///
    /// # Panics
    /// Never: the shapes are those of the bytes.
    #[allow(clippy::unwrap_used)]
    pub fn value(&self) -> Value<'_> {
        let tensors = self.tensors.iter();
        let dict: Dict<'_> =
            tensors.map(|(name, shape, bytes)| (name.clone(), Tensor::new(DType::F32, shape, Storage::borrowed(bytes)).unwrap())).collect();
        Value::from(dict)
    }

    /// As safetensors views.
    ///
    /// # Panics
    /// Never: the shapes are those of the bytes.
    #[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    pub fn views(&self) -> Vec<(&str, TensorView<'_>)> {
        self.tensors
            .iter()
            .map(|(name, shape, bytes)| {
                let shape = shape.iter().map(|d| *d as usize).collect();
                (name.as_str(), TensorView::new(Dtype::F32, shape, bytes).unwrap())
            })
            .collect()
    }
}

fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 24 & 0xFF) as u8).collect()
}

/// What the machine itself takes to write these bytes: allocate, then write in large calls.
///
/// # Errors
/// Those of the file system.
pub fn plain_write(path: &Path, workload: &Workload) -> std::io::Result<File> {
    let mut file = File::create(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, workload.bytes())?;
    let mut pending = Vec::with_capacity(4 << 20);
    for (_, _, bytes) in &workload.tensors {
        if pending.len() + bytes.len() > 4 << 20 {
            file.write_all(&pending)?;
            pending.clear();
        }
        if bytes.len() >= 1 << 20 { bytes.chunks(4 << 20).try_for_each(|c| file.write_all(c))? } else { pending.extend_from_slice(bytes) }
    }
    file.write_all(&pending)?;
    Ok(file)
}
