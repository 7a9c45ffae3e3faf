//! What the tests of conversions share.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::path::PathBuf;
use std::process::{Command, Output};

use cairnfile::{DType, Dict, Storage, Tensor, Value};

/// A directory with files, and the command in it.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> &Self {
        std::fs::write(self.path(name), bytes).unwrap();
        self
    }

    pub fn save(&self, name: &str, value: &Value<'_>) -> &Self {
        cairnfile::save(self.path(name), value).unwrap();
        self
    }

    pub fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn load(&self, name: &str) -> Value<'static> {
        cairnfile::load(self.path(name)).unwrap()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cairn")).current_dir(self.0.path()).arg("convert").args(arguments).output().unwrap()
    }

    pub fn convert(&self, arguments: &[&str]) -> &Self {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        self
    }

    /// Asserts the exit code, the words of the message, and that nothing was written.
    pub fn refuses(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {message:?} does not have {word:?}");
        }
        assert!(!self.path(arguments[1]).exists());
    }
}

pub fn tensor(dtype: DType, shape: &[u64], bytes: &[u8]) -> Tensor<'static> {
    Tensor::new(dtype, shape, Storage::shared(bytes.to_vec())).unwrap()
}

pub fn dict<'a, V: Into<Value<'a>>>(entries: impl IntoIterator<Item = (&'a str, V)>) -> Value<'a> {
    Value::from(Dict::from_iter(entries.into_iter().map(|(k, v)| (k, v.into()))))
}
