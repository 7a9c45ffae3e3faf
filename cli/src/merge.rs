//! `cairn merge`: several files into one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, Dict, Key, Named, Value, WriteOptions};

use crate::common::{Failure, Outcome, Ui, check_output, escape, human, in_file, map, options_like, owned_metadata, save};
use crate::destination;
use crate::show;
use crate::values::take;

const AFTER_HELP: &str = "\
The root of every IN is a dict, and no key is in two of them; entries keep the order of the files. With --at
the root of a file, of any type, is put at an address of dict keys, and dicts on the way are made. Metadata
is joined as well; a key that two files give different values is an error unless --drop-metadata is given.

Examples:
  cairn merge model.cairn encoder.cairn decoder.cairn
  cairn merge gan.cairn --at /generator=g.cairn --at /discriminator=d.cairn
  cairn merge model.cairn base.cairn --at /adapters/lora=lora.cairn";

/// Join the root dicts of several files into one, or put each file at an address.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The file to write.
    output: PathBuf,
    /// Files whose root dicts are joined.
    #[arg(value_name = "IN", required_unless_present = "at")]
    inputs: Vec<PathBuf>,
    /// Put the root of FILE at ADDRESS, such as /encoder.
    #[arg(long, value_name = "ADDRESS=FILE")]
    at: Vec<String>,
    /// Write no metadata.
    #[arg(long)]
    drop_metadata: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
}

/// A file and where its root goes.
struct Input<'a> {
    path: &'a Path,
    place: Vec<Key>,
    cairn: Cairn<'static>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Outcome {
    check_output(&args.output, args.force)?;
    let inputs = inputs(args)?;
    let mut merged = Merged { dict: Dict::new(), name: None, origins: HashMap::new() };
    for input in &inputs {
        merged.add(input)?;
    }
    let mut options = inputs.first().map_or_else(|| Ok(WriteOptions::new()), |first| options_like(&first.cairn))?;
    options = options.metadata(if args.drop_metadata { Dict::new() } else { metadata(&inputs)? });
    let root = match merged.name.flatten() {
        Some(name) => Value::Named(Named::new(&name, Value::Dict(merged.dict))?),
        None => Value::Dict(merged.dict),
    };
    let len = save(&args.output, &root, &options, ui)?;
    ui.confirm(&format!("wrote {}, {}", args.output.display(), human(len)))
}

fn inputs(args: &Args) -> Result<Vec<Input<'_>>, Failure> {
    let mut inputs = Vec::new();
    for path in &args.inputs {
        inputs.push(Input { path, place: Vec::new(), cairn: map(path)? });
    }
    for text in &args.at {
        let (address, file) = text.split_once('=').ok_or_else(|| Failure::Usage(format!("{text:?} is not ADDRESS=FILE")))?;
        let (place, path) = (destination::keys(address)?, Path::new(file));
        if place.is_empty() {
            return Err(Failure::Usage(format!("{text:?}: an address is not empty; name the file alone to join its root")));
        }
        inputs.push(Input { path, place, cairn: map(path)? });
    }
    Ok(inputs)
}

struct Merged<'c> {
    dict: Dict<'c>,
    /// The type name of the joined roots, once one was seen.
    name: Option<Option<String>>,
    /// Which file each key at the top comes from.
    origins: HashMap<Key, &'c Path>,
}

impl<'c> Merged<'c> {
    fn add(&mut self, input: &'c Input<'c>) -> Outcome {
        let named = |failure| match failure {
            Failure::Refused(error) => in_file(input.path)(error),
            other => other,
        };
        let root = take(input.cairn.root(), &mut String::new()).map_err(named)?;
        if !input.place.is_empty() {
            let dict = std::mem::take(&mut self.dict);
            self.dict = put(dict, &input.place, root, input.path)?;
            self.origins.extend(input.place.first().map(|key| (key.clone(), input.path)));
            return Ok(());
        }
        for (key, value) in self.unnamed(root, input.path)? {
            if let Some(other) = self.origins.insert(key.clone(), input.path) {
                return Err(conflict(&key, other, input.path));
            }
            self.dict.insert(key, value);
        }
        Ok(())
    }

    /// The root dict without its type name, which all joined files must agree on.
    fn unnamed(&mut self, root: Value<'c>, path: &Path) -> Result<Dict<'c>, Failure> {
        let (name, value) = match root {
            Value::Named(named) => {
                let (name, value) = named.into_parts();
                (Some(name), value)
            }
            other => (None, other),
        };
        let Value::Dict(dict) = value else {
            let word = value.type_word();
            return Err(Failure::Usage(format!("{}: the root is no dict but a {word}: give it a place with --at", path.display())));
        };
        if *self.name.get_or_insert_with(|| name.clone()) != name {
            return Err(Failure::Usage(format!("{}: the root has another type name than the files before", path.display())));
        }
        Ok(dict)
    }
}

fn conflict(key: &Key, first: &Path, second: &Path) -> Failure {
    Failure::Usage(format!("the key {} is in both {} and {}", show::key(key), first.display(), second.display()))
}

/// `dict` with `value` at `place`; dicts on the way are made.
fn put<'c>(dict: Dict<'c>, place: &[Key], value: Value<'c>, path: &Path) -> Result<Dict<'c>, Failure> {
    let Some((key, rest)) = place.split_first() else { return Ok(dict) };
    let taken = || Failure::Usage(format!("{}: there is something at the key {} already", path.display(), show::key(key)));
    let mut value = Some(value);
    let mut placed = Dict::new();
    for (k, old) in dict {
        let entry = match (k == *key, old, rest.is_empty()) {
            (false, old, _) => old,
            (true, Value::Dict(below), false) => Value::Dict(put(below, rest, value.take().ok_or_else(taken)?, path)?),
            _ => return Err(taken()),
        };
        placed.insert(k, entry);
    }
    if let Some(value) = value {
        let entry = if rest.is_empty() { value } else { Value::Dict(put(Dict::new(), rest, value, path)?) };
        placed.insert(key.clone(), entry);
    }
    Ok(placed)
}

/// The metadata of all files together.
fn metadata(inputs: &[Input<'_>]) -> Result<Dict<'static>, Failure> {
    let mut joined: Dict<'static> = Dict::new();
    for input in inputs {
        for (key, value) in owned_metadata(&input.cairn)?.unwrap_or_default() {
            if joined.get(key.clone()).is_some_and(|old| *old != value) {
                let (key, file) = (escape(&show::key(&key)), input.path.display());
                return Err(Failure::Usage(format!(
                    "{file}: the metadata {key} differs from the files before (--drop-metadata leaves all out)"
                )));
            }
            joined.insert(key, value);
        }
    }
    Ok(joined)
}
