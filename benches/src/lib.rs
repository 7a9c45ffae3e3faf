//! Workloads that the benches share. Contents do not matter to a codec without compression; they are cheap to make
//! and not zero.

use cairnfile::{DType, Dict, Storage, Tensor, Value};
use safetensors::tensor::{Dtype, TensorView};

/// Tensors by name, all of one dtype.
pub struct Workload {
    /// Name, shape, bytes.
    pub tensors: Vec<(String, Vec<u64>, Vec<u8>)>,
    dtype: DType,
    /// A tensor that has a second name, if one is tied.
    tied: Option<(&'static str, &'static str)>,
}

impl Workload {
    /// The workload called `name`: W1 to W6; nothing for another name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "W1" => Self::gpt2(12),
            "W2" => Self::billion(),
            "W3" => Self::small(100_000),
            "W4" => Self::training(),
            "W5" => Self::one(4_295_000_000),
            "W6" => Self::small(1_000_000),
            _ => return None,
        })
    }

    /// `count` tensors of 64 elements, named as in a model.
    pub fn small(count: usize) -> Self {
        let tensor = |i| (format!("model.layers.{i:06}.weight"), vec![64], pattern(256));
        Self { tensors: (0..count).map(tensor).collect(), dtype: DType::F32, tied: None }
    }

    /// One tensor of about `bytes` bytes.
    pub fn one(bytes: u64) -> Self {
        let elements = bytes / 4;
        Self { tensors: vec![("weight".into(), vec![elements], pattern(elements * 4))], dtype: DType::F32, tied: None }
    }

    /// The shapes of a GPT-2 of `layers` layers, 12 for 498 MB with its embedding, to which its head is tied.
    pub fn gpt2(layers: usize) -> Self {
        let mut shapes = vec![("wte.weight".to_owned(), vec![50257, 768]), ("wpe.weight".to_owned(), vec![1024, 768])];
        for layer in 0..layers {
            shapes.extend(LAYER.iter().map(|(part, shape)| (format!("h.{layer}.{part}"), shape.to_vec())));
        }
        shapes.extend([("ln_f.weight".to_owned(), vec![768]), ("ln_f.bias".to_owned(), vec![768])]);
        Self { tied: Some(("lm_head.weight", "wte.weight")), ..Self::of(DType::F32, 4, shapes) }
    }

    /// A model of about a billion parameters in bf16, 2.47 GB: 16 layers as the Llama family has them.
    fn billion() -> Self {
        let mut shapes = vec![("embed".to_owned(), vec![128_256, 2048])];
        for layer in 0..16 {
            let parts: [(&str, &[u64]); 9] = [
                ("q", &[2048, 2048]),
                ("k", &[512, 2048]),
                ("v", &[512, 2048]),
                ("o", &[2048, 2048]),
                ("gate", &[8192, 2048]),
                ("up", &[8192, 2048]),
                ("down", &[2048, 8192]),
                ("norm1", &[2048]),
                ("norm2", &[2048]),
            ];
            shapes.extend(parts.map(|(part, shape)| (format!("layers.{layer}.{part}"), shape.to_vec())));
        }
        Self::of(DType::BF16, 2, shapes)
    }

    /// GPT-2 with two moments for each of its parameters, 1.49 GB.
    fn training() -> Self {
        let mut all = Self::gpt2(12);
        for moment in ["exp_avg", "exp_avg_sq"] {
            let more = Self::gpt2(12).tensors.into_iter().map(|(name, shape, bytes)| (format!("{moment}.{name}"), shape, bytes));
            all.tensors.extend(more);
        }
        all
    }

    fn of(dtype: DType, width: u64, shapes: Vec<(String, Vec<u64>)>) -> Self {
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let bytes = pattern(shape.iter().product::<u64>() * width);
            (name, shape, bytes)
        });
        Self { tensors: tensors.collect(), dtype, tied: None }
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, _, bytes)| bytes.len() as u64).sum()
    }

    /// As a Cairn value that borrows the bytes. Moments stand under the int keys of an optimizer's state.
    ///
    /// # Panics
    /// Never: the shapes are those of the bytes.
    #[allow(clippy::unwrap_used)]
    pub fn value(&self) -> Value<'_> {
        let (mut model, mut state) = (Dict::new(), Dict::new());
        for (name, shape, bytes) in &self.tensors {
            let tensor = Tensor::new(self.dtype.clone(), shape, Storage::borrowed(bytes)).unwrap();
            match name.strip_prefix("exp_avg") {
                Some(_) => {
                    drop(state.insert(
                        i64::try_from(state.len()).unwrap(),
                        Dict::from_iter([("step", Value::Int(1000)), ("moment", tensor.into())]),
                    ))
                }
                None => drop(model.insert(name.as_str(), tensor)),
            }
        }
        if let Some((name, other)) = self.tied {
            let tensor = model.get(other).unwrap().clone();
            model.insert(name, tensor);
        }
        match state.is_empty() {
            true => model.into(),
            false => Dict::from_iter([("model", model.into()), ("optimizer", Value::from(state)), ("step", 1000i64.into())]).into(),
        }
    }

    /// As safetensors views.
    ///
    /// # Panics
    /// Never: the shapes are those of the bytes.
    #[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    pub fn views(&self) -> Vec<(&str, TensorView<'_>)> {
        let dtype = if self.dtype == DType::BF16 { Dtype::BF16 } else { Dtype::F32 };
        self.tensors
            .iter()
            .map(|(name, shape, bytes)| {
                let shape = shape.iter().map(|d| *d as usize).collect();
                (name.as_str(), TensorView::new(dtype, shape, bytes).unwrap())
            })
            .collect()
    }
}

/// One layer of GPT-2.
const LAYER: [(&str, &[u64]); 12] = [
    ("ln_1.weight", &[768]),
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
];

fn pattern(len: u64) -> Vec<u8> {
    let word = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let mut bytes: Vec<u8> = (1..=len / 8).flat_map(word).collect();
    bytes.extend(&word(0x1234)[..usize::from((len % 8).to_le_bytes()[0])]);
    bytes
}
