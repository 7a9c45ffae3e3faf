//! The `cairn` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cairn_cli::run(std::env::args_os()))
}
