//! Writes the worked example of SPEC.md, Appendix A, to the path given:
//!
//! ```text
//! cargo run --example worked_example -- example.cairn && cairn dump --all example.cairn
//! ```

#[path = "../tests/support/example.rs"]
mod example;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: worked_example PATH")?;
    std::fs::write(path, example::worked_example()?)?;
    Ok(())
}
