//! What the tests of the command share: a directory, files in it, and runs of the built binary.

// Each test binary uses a part of this, and a test may panic.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use cairnfile::{DType, Dict, Named, Storage, Tensor, Value, WriteOptions};
use serde_json::Value as Json;

/// A directory of one test, removed at its end.
pub struct Dir(tempfile::TempDir);

/// What a run of the command gave.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Fails the test unless the exit code is `code`; a failed run never panicked.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}", self.out))
    }

    /// The lines of stdout that contain `word`.
    pub fn lines_with(&self, word: &str) -> Vec<&str> {
        self.out.lines().filter(|line| line.contains(word)).collect()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs `cairn` with `args` in this directory.
    pub fn cairn(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    pub fn save(&self, name: &str, value: &Value<'_>) {
        self.save_with(name, value, &WriteOptions::new());
    }

    pub fn save_with(&self, name: &str, value: &Value<'_>, options: &WriteOptions) {
        cairnfile::save_with(self.path(name), value, options).unwrap();
    }

    pub fn load(&self, name: &str) -> Value<'static> {
        cairnfile::load(self.path(name)).unwrap()
    }

    pub fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// Offset of the first byte of the first tensor.
    pub fn data_start(&self, name: &str) -> u64 {
        let cairn = cairnfile::Cairn::open(self.path(name)).unwrap();
        cairn.tensors().next().unwrap().file_range().unwrap().start
    }

    /// Changes one byte of a file.
    pub fn flip(&self, name: &str, at: u64) {
        let mut bytes = std::fs::read(self.path(name)).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

pub fn f32s(shape: &[u64], numbers: &[f32]) -> Value<'static> {
    Tensor::from_vec(shape, numbers.to_vec()).unwrap().into()
}

/// `model`: `/layers/0..3` with weight and bias, `/config`, `/tied` (the weight of layer 0), metadata.
pub fn model() -> Value<'static> {
    let weights: Vec<Value<'_>> = (0u16..3).map(|i| f32s(&[4, 2], &[f32::from(i) + 0.5; 8])).collect();
    let tied = weights[0].clone();
    let layer = |(i, weight)| {
        let bias = f32s(&[2], &[0.25, f32::from(i)]);
        Value::from(Dict::from_iter([("weight", weight), ("bias", bias)]))
    };
    let layers: Vec<_> = (0u8..3).zip(weights).map(layer).collect();
    let sizes = Value::Tuple(vec![4.into(), 2.into()]);
    let config = Dict::from_iter([("name", Value::from("small")), ("sizes", sizes), ("rate", Value::Float(0.1))]);
    let config = Named::new("ordered_dict", config.into()).unwrap();
    Dict::from_iter([("config", Value::from(config)), ("layers", layers.into()), ("tied", tied)]).into()
}

pub fn metadata() -> Dict<'static> {
    Dict::from_iter([("author", Value::from("test")), ("epoch", Value::from(3))])
}

/// A value of every kind, under the keys of every kind.
pub fn every_kind() -> Value<'static> {
    let mut dict = Dict::new();
    dict.insert("null", Value::Null);
    dict.insert("bool", true);
    dict.insert("int", -7);
    dict.insert("big", Value::integer(&(1i128 << 70).to_le_bytes()).unwrap());
    dict.insert("float", Value::Float(f64::NEG_INFINITY));
    dict.insert("complex", Value::Complex(1.0, -0.5));
    dict.insert("str", "line\nbreak");
    dict.insert("bytes", vec![0u8, 255]);
    dict.insert("long", vec![7u8; 70_000]);
    dict.insert("list", vec![Value::Null, 1.into()]);
    dict.insert("tuple", Value::Tuple(vec![1.into()]));
    dict.insert(5i64, Named::new("my.type", Value::from("x")).unwrap());
    dict.insert(&b"\xfe"[..], Dict::new());
    dict.insert("half", Tensor::new(DType::F16, &[2], Storage::shared(vec![0, 0x3C, 0, 0xC0])).unwrap());
    dict.insert("i4", Tensor::new(DType::I4, &[3], Storage::shared(vec![0xF1, 0x07])).unwrap());
    dict.insert("q4_0", Tensor::new(DType::Q4_0, &[32], Storage::shared(vec![0xAB; 18])).unwrap());
    dict.insert("empty", Tensor::new(DType::U8, &[1 << 40, 0], Storage::borrowed(&[])).unwrap());
    let private = DType::private("numpy.V3", cairnfile::GroupClass::Scalar, 1, 3).unwrap();
    dict.insert("void", Tensor::new(private, &[2], Storage::shared(vec![1, 2, 3, 4, 5, 6])).unwrap());
    dict.into()
}
