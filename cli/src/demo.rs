//! `cairn demo`: the main job in one command.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, Class, DType, Dict, Storage, Tensor, Value};
use serde_json::{Value as Json, json};

use crate::common::{Failure, Outcome, Ui, check_output, human, in_file, map, open, style, styled};
use crate::{ls, values, verify};

const AFTER_HELP: &str = "\
Examples:
  cairn demo
  cairn demo --keep tour && cairn dump tour/tensor.cairn";

/// Save, load, look into, reuse, damage and verify small files, with no input.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Write the files to this directory and keep them; otherwise they are removed at the end.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    let cannot = |e| Failure::io("cannot make a directory for the demo", e);
    let temporary = tempfile::tempdir().map_err(cannot)?;
    let dir = args.keep.as_deref().unwrap_or(temporary.path());
    fs::create_dir_all(dir).map_err(cannot)?;
    let mut demo = Demo { dir, ui, steps: Vec::new() };
    demo.text(|out| Ok(writeln!(out, "Cairn keeps tensors, lists and dicts in one file, every byte checked. A tour with small files:")?))?;
    demo.simple_values()?;
    demo.network()?;
    demo.reuse()?;
    demo.damage()?;
    demo.end(args.keep.is_some())
}

struct Demo<'d> {
    dir: &'d Path,
    ui: &'d Ui,
    /// What was done, for the end and for `--json`.
    steps: Vec<String>,
}

impl Demo<'_> {
    fn text(&self, print: impl FnOnce(&mut dyn Write) -> Outcome) -> Outcome {
        if self.ui.json { Ok(()) } else { self.ui.print(print) }
    }

    fn heading(&self, title: &str) -> Outcome {
        self.text(|out| Ok(writeln!(out, "\n{}", styled(style::BOLD, title))?))
    }

    fn line(&self, text: &str) -> Outcome {
        self.text(|out| Ok(writeln!(out, "  {text}")?))
    }

    /// Notes a step that went as promised, or fails the demo.
    fn done(&mut self, as_promised: bool, what: &str) -> Outcome {
        if !as_promised {
            return Err(Failure::message(Class::Invalid, format!("the demo failed: not so: {what}")));
        }
        self.steps.push(what.to_owned());
        self.line(&format!("{} {what}", styled(style::GREEN, "✓")))
    }

    fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        check_output(&path, false)?;
        Ok(path)
    }

    /// Saves `value` and loads it again; whether it came back equal.
    fn round_trip(&self, name: &str, value: &Value<'_>) -> Result<(PathBuf, bool), Failure> {
        let path = self.path(name)?;
        cairnfile::save(&path, value).map_err(in_file(&path))?;
        let loaded = cairnfile::load(&path).map_err(in_file(&path))?;
        Ok((path, loaded == *value))
    }

    fn simple_values(&mut self) -> Outcome {
        self.heading("1. Save and load a tensor, a list, a dict")?;
        let examples = [("tensor", Value::Tensor(numbers(&[2, 3], 1)?)), ("list", list()?), ("dict", dict()?)];
        for (name, value) in examples {
            let (path, equal) = self.round_trip(&format!("{name}.cairn"), &value)?;
            let cairn = open(&path)?;
            self.text(|out| {
                let shown = show_value(cairn.root())?;
                Ok(writeln!(out, "  {}", shown.trim_end().replace('\n', "\n  "))?)
            })?;
            let len = human(cairn.file_len());
            self.done(equal, &format!("saved a {name} to {name}.cairn, {len}, and loaded it: equal, bit for bit"))?;
        }
        Ok(())
    }

    fn network(&mut self) -> Outcome {
        self.heading("2. Save and load a network: architecture and parameters in one file")?;
        let network = network()?;
        let (path, equal) = self.round_trip("mlp.cairn", &network)?;
        let cairn = open(&path)?;
        self.text(|out| ls::print_tree(&cairn, "", "mlp.cairn", out))?;
        self.done(equal, "saved a three-layer MLP with its architecture to mlp.cairn and loaded it: equal")?;
        let number = |address| Ok::<_, Failure>(cairn.tensor(address)?.number());
        let tied = number("/parameters/0/bias")? == number("/parameters/1/bias")?;
        let loaded = cairn.load().map_err(in_file(&path))?;
        self.done(tied && shares_bias(&loaded), "the bias of layers 0 and 1 is one tensor, stored once and one again after loading")?;
        let buffer = |address| Ok::<_, Failure>(cairn.tensor(address)?.buffer()?);
        let view = buffer("/parameters/0/weight")? == buffer("/parameters/2/weight")?;
        self.done(view, "layer 2 uses the weight of layer 0 transposed: a view of the same bytes, kept as one")
    }

    fn reuse(&mut self) -> Outcome {
        self.heading("3. Reuse the first two layers in another network")?;
        let source = self.dir.join("mlp.cairn");
        let mlp = map(&source)?;
        let (mut layers, mut parameters) = (Vec::new(), Vec::new());
        for i in 0..2 {
            let take = |address: String| values::take(mlp.get(&address)?, &mut address.clone());
            layers.push(take(format!("/architecture/layers/{i}"))?);
            parameters.push(take(format!("/parameters/{i}"))?);
        }
        layers.push(layer(32, 4, "softmax"));
        parameters.push(linear(numbers(&[4, 32], 7)?, numbers(&[4], 8)?));
        let path = self.path("classifier.cairn")?;
        cairnfile::save(&path, &assemble("classifier", layers, parameters)).map_err(in_file(&path))?;
        let classifier = open(&path)?;
        self.text(|out| ls::print_tree(&classifier, "/parameters", "classifier.cairn/parameters", out))?;
        let read = |cairn: &Cairn<'_>, i| {
            Ok::<_, Failure>(cairn.get(&format!("/parameters/{i}"))?.load()? == mlp.get(&format!("/parameters/{i}"))?.load()?)
        };
        let equal = read(&classifier, 0)? && read(&classifier, 1)?;
        self.done(equal, "took /parameters/0 and /parameters/1 by address, added a new head: classifier.cairn has equal layers")
    }

    fn damage(&mut self) -> Outcome {
        self.heading("4. Flip one byte in a copy")?;
        let path = self.path("damaged.cairn")?;
        let mut bytes = fs::read(self.dir.join("mlp.cairn")).map_err(|e| Failure::io("cannot read mlp.cairn", e))?;
        let range = Cairn::from_bytes(&bytes)?.tensor("/parameters/1/weight")?.file_range()?;
        let at = range.start + 1234;
        if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
            *byte ^= 0x01;
        }
        fs::write(&path, &bytes).map_err(|e| Failure::io("cannot write damaged.cairn", e))?;
        let damaged = open(&path)?;
        let report = damaged.verify(&|_| Ok(()))?;
        self.line("$ cairn verify damaged.cairn")?;
        self.text(|out| {
            let mut text = Vec::new();
            verify::print(&mut text, Path::new("damaged.cairn"), &report, false)?;
            Ok(writeln!(out, "  {}", String::from_utf8_lossy(&text).trim_end().replace('\n', "\n  "))?)
        })?;
        let named = report.faults.first().and_then(|fault| fault.address.as_deref());
        let found = report.faults.len() == 1 && named == Some("/parameters/1/weight");
        self.done(found, &format!("flipped a bit of byte {at}: verify names tensor, block and offset"))?;
        let refused = damaged.tensor("/parameters/1/weight")?.read().is_err();
        let other = damaged.tensor("/parameters/0/weight")?.read().is_ok();
        self.done(refused && other, "the damaged tensor is refused, every other one still loads")
    }

    fn end(&self, kept: bool) -> Outcome {
        if self.ui.json {
            let dir = if kept { Json::from(self.dir.display().to_string()) } else { Json::Null };
            return self.ui.print_json(&json!({ "done": self.steps, "kept_in": dir }));
        }
        let files = if kept {
            format!("The files are in {}.", self.dir.display())
        } else {
            "The files are removed; --keep DIR keeps them.".to_owned()
        };
        self.text(|out| Ok(writeln!(out, "\n{} {files}", styled(style::BOLD, format!("All {} promises held.", self.steps.len())))?))
    }
}

fn show_value(value: cairnfile::ValueRef<'_>) -> Result<String, Failure> {
    let mut text = Vec::new();
    crate::literal::print(&mut text, value, false)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Numbers between −1 and 1 that look random and are always the same.
fn numbers(shape: &[u64], seed: u16) -> Result<Tensor<'static>, Failure> {
    let count = usize::try_from(shape.iter().product::<u64>()).unwrap_or(0);
    let next = |state: &u16| Some(state.wrapping_mul(25173).wrapping_add(13849));
    let states = std::iter::successors(next(&seed), next).take(count);
    Ok(Tensor::from_vec(shape, states.map(|s| f32::from(s) / 32768.0 - 1.0).collect())?)
}

fn list() -> Result<Value<'static>, Failure> {
    let big = Value::integer(&(1i128 << 100).to_le_bytes())?;
    let pair = Value::Tuple(vec![0.9.into(), 0.999.into()]);
    let ids = Tensor::from_vec(&[4], vec![2i64, 3, 5, 7])?;
    let nothing = Tensor::from_vec(&[0, 8], Vec::<u8>::new())?;
    Ok(Value::List(vec![1.into(), big, Value::Float(-0.0), "käse".into(), Value::Null, true.into(), pair, ids.into(), nothing.into()]))
}

fn dict() -> Result<Value<'static>, Failure> {
    let mut dict = Dict::new();
    dict.insert("step", 1000);
    dict.insert(7i64, "an int key stays an int key");
    dict.insert(&b"\xff\x00"[..], Value::Complex(1.0, -2.5));
    dict.insert("nan", Value::Float(f64::from_bits(0x7FF8_0000_0000_BEEF)));
    let half = Tensor::new(DType::BF16, &[3], Storage::shared(vec![0x80, 0x3F, 0x00, 0xC0, 0x20, 0x3E]))?;
    dict.insert("moments", Dict::from_iter([("exp_avg", half)]));
    Ok(dict.into())
}

/// An autoencoder: the last weight is the first one transposed, the first two biases are one.
fn network() -> Result<Value<'static>, Failure> {
    let first = numbers(&[32, 16], 2)?;
    let bias = numbers(&[32], 3)?;
    let transposed = Tensor::view(DType::F32, &[16, 32], Some(&[4, 64]), first.storage().clone(), 0)?;
    let layers = vec![layer(16, 32, "relu"), layer(32, 32, "relu"), layer(32, 16, "sigmoid")];
    let parameters = vec![linear(first, bias.clone()), linear(numbers(&[32, 32], 4)?, bias), linear(transposed, numbers(&[16], 6)?)];
    Ok(assemble("autoencoder", layers, parameters))
}

fn layer(inputs: u32, outputs: u32, activation: &'static str) -> Value<'static> {
    Dict::from_iter([("in", Value::from(inputs)), ("out", outputs.into()), ("activation", activation.into())]).into()
}

fn linear<'a>(weight: Tensor<'a>, bias: Tensor<'a>) -> Value<'a> {
    Dict::from_iter([("weight", weight), ("bias", bias)]).into()
}

fn assemble<'a>(name: &'a str, layers: Vec<Value<'a>>, parameters: Vec<Value<'a>>) -> Value<'a> {
    let architecture = Dict::from_iter([("name", Value::from(name)), ("layers", layers.into())]);
    Dict::from_iter([("architecture", Value::from(architecture)), ("parameters", parameters.into())]).into()
}

/// Whether the biases of layers 0 and 1 lie in the same memory.
fn shares_bias(network: &Value<'_>) -> bool {
    let bias = |i: usize| {
        let Value::List(layers) = network.as_dict()?.get("parameters")? else { return None };
        layers.get(i)?.as_dict()?.get("bias")?.as_tensor()?.span().map(<[u8]>::as_ptr)
    };
    bias(0).is_some() && bias(0) == bias(1)
}
