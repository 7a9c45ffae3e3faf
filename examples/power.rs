//! What `scripts/power-cut` and `scripts/faults` run: one save, or a look at what a cut of power left.
//!
//! `power WRITER PATH SEED` saves the value of a seed and prints `returned`; writers are `save`, `in-place`, `stream`, and two that
//! are wrong on purpose, `unsynced` and `overwrite`. `power check PATH SEED…` prints which of these the file is, or `torn`.
//! `power load PATH` loads. Exit code 0, or 3 for a typed error, which is printed.

use std::io::Write;
use std::path::Path;

use cairnfile::{Cairn, DType, Dict, Plan, Result, StreamWriter, Tensor, Value, WriteOptions};

const ELEMENTS: u64 = 40_000;

fn numbers(seed: u32, tensor: u32) -> Vec<u32> {
    (0..40_000u32).map(|i| i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(97) + tensor)).collect()
}

fn value(seed: u32) -> Result<Value<'static>> {
    let mut dict = Dict::from_iter([("seed", Value::from(seed))]);
    for tensor in 0..4 {
        dict.insert(i64::from(tensor), Tensor::from_vec(&[ELEMENTS], numbers(seed, tensor))?);
    }
    Ok(dict.into())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Where faults may begin: what comes before is the program's own start.
    let _ = std::fs::metadata("begin-faults");
    let outcome = match words.as_slice() {
        ["check", path, seeds @ ..] => check(Path::new(path), seeds),
        ["load", path] => cairnfile::load(path).map(|_| "loaded".to_owned()),
        [writer, path, seed] => write(writer, Path::new(path), seed.parse().unwrap_or(0)).map(|()| "returned".to_owned()),
        _ => Ok("usage: power WRITER PATH SEED".to_owned()),
    };
    let (text, code) = match outcome {
        Ok(text) => (text, 0),
        Err(error) => (error.to_string(), 3),
    };
    // Nobody may listen any more, or faults may be on this call.
    let _ = writeln!(std::io::stdout(), "{text}");
    std::process::exit(code);
}

fn write(writer: &str, path: &Path, seed: u32) -> Result<()> {
    let value = value(seed)?;
    match writer {
        "in-place" => in_place(path, seed),
        "stream" => stream(path, seed),
        "unsynced" => cairnfile::save_with(path, &value, &WriteOptions::new().durable(false)),
        "overwrite" => {
            let bytes = cairnfile::to_bytes(&value, &WriteOptions::new())?;
            std::fs::write(path, bytes).map_err(|e| cairnfile::Error::io("cannot write", e))
        }
        _ => cairnfile::save(path, &value),
    }
}

/// The value of [`value`], computed in the pages of the file.
fn in_place(path: &Path, seed: u32) -> Result<()> {
    let tensors = (0..4).map(|_| Tensor::reserved(DType::U32, &[ELEMENTS])).collect::<Result<Vec<_>>>()?;
    let mut dict = Dict::from_iter([("seed", Value::from(seed))]);
    (0i64..).zip(&tensors).for_each(|(i, tensor)| drop(dict.insert(i, tensor.clone())));
    let value = Value::from(dict);
    let mut file = Plan::new(&value, &WriteOptions::new())?.create(path)?;
    for (i, tensor) in (0..).zip(&tensors) {
        file.slice_mut::<u32>(tensor)?.copy_from_slice(&numbers(seed, i));
    }
    file.commit()
}

/// The same, a tensor at a time.
fn stream(path: &Path, seed: u32) -> Result<()> {
    cairnfile::replace(path, |file| {
        let mut writer = StreamWriter::new(file, &WriteOptions::new())?;
        let mut dict = Dict::from_iter([("seed", Value::from(seed))]);
        for i in 0..4 {
            let tensor = Tensor::from_vec(&[ELEMENTS], numbers(seed, i))?;
            dict.insert(i64::from(i), writer.append(&tensor)?);
        }
        writer.finish(&dict.into()).map(drop)
    })
}

/// Which of the seeds made the file, every byte of which must be right.
fn check(path: &Path, seeds: &[&str]) -> Result<String> {
    let cairn = Cairn::open(path)?;
    let intact = cairn.verify(&|_| Ok(()))?.is_intact();
    let found = cairn.load()?;
    for seed in seeds {
        if intact && found == value(seed.parse().unwrap_or(0))? {
            return Ok((*seed).to_owned());
        }
    }
    Ok("torn".to_owned())
}
