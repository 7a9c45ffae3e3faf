//! The `cairn` command as a function, so that other programs can carry it. Everything it does goes through the public
//! API of `cairnfile`.
#![forbid(unsafe_op_in_unsafe_fn)]

mod change;
mod common;
mod compare;
mod convert;
mod demo;
mod destination;
mod diff;
mod dump;
mod extract;
mod formats;
mod get;
mod info;
mod literal;
mod ls;
mod mapping;
mod merge;
mod print;
mod repair;
mod salvage;
mod show;
mod ties;
mod values;
mod verify;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use common::{Outcome, Ui};

const AFTER_HELP: &str = "\
Exit codes:
  0  done; the answer is yes
  1  the answer is no: `verify` found damage, `diff` a difference, `salvage` lost something
  2  wrong use: an unknown option, no such address, an output that exists
  3  unsupported: a newer or extended file, or one that the target format cannot hold
  4  the file was refused: truncated, malformed, corrupt, invalid or above a limit
  5  the machine refused: no such file, no permission, no space

Addresses are JSON Pointers: /model/layers/0/weight; `~1` is a `/` in a key, `~0` a `~`,
`~i7` the int key 7, `~bff` the bytes key ff.

Examples:
  cairn demo
  cairn convert model.safetensors model.cairn
  cairn ls model.cairn
  cairn verify *.cairn
  cairn get model.cairn /encoder/0/weight --rows 0:4";

/// Look into, check, convert, compare and mend Cairn files: tensors, lists and dicts, every byte checked.
#[derive(Parser)]
#[command(name = "cairn", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON on stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress and no confirmations: only what was asked for, faults and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Convert(convert::Args),
    Ls(ls::Args),
    Info(info::Args),
    Dump(dump::Args),
    Verify(verify::Args),
    Get(get::Args),
    Diff(diff::Args),
    Repair(repair::Args),
    Salvage(salvage::Args),
    Merge(merge::Args),
    Extract(extract::Args),
}

impl Command {
    fn run(&self, ui: &Ui) -> Outcome {
        match self {
            Self::Demo(args) => demo::run(args, ui),
            Self::Convert(args) => convert::run(args, ui),
            Self::Ls(args) => ls::run(args, ui),
            Self::Info(args) => info::run(args, ui),
            Self::Dump(args) => dump::run(args, ui),
            Self::Verify(args) => verify::run(args, ui),
            Self::Get(args) => get::run(args, ui),
            Self::Diff(args) => diff::run(args, ui),
            Self::Repair(args) => repair::run(args, ui),
            Self::Salvage(args) => salvage::run(args, ui),
            Self::Merge(args) => merge::run(args, ui),
            Self::Extract(args) => extract::run(args, ui),
        }
    }
}

/// Runs the command with `arguments`, the first of which is its own name, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help, version and wrong use are printed by the parser; nothing is left to do if that fails.
            let _ = answer.print();
            return u8::try_from(answer.exit_code()).unwrap_or(2);
        }
    };
    let ui = Ui { json: cli.json, quiet: cli.quiet };
    match cli.command.run(&ui) {
        Ok(()) => 0,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}
