//! What the block size costs and buys: loading, verifying, one slice of 100 rows and the index, for 2^12 to 2^22.
//!
//! `cargo run --release --package cairn-benches --bin block_size` prints medians and quartiles of 9 runs, the sizes
//! taken in turn so that a slow moment of the machine falls on all of them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cairn_benches::Workload;
use cairnfile::{Cairn, Result, WriteOptions};

const RUNS: usize = 9;
const SIZES: [u8; 6] = [12, 14, 16, 18, 20, 22];

fn main() -> Result<()> {
    let workload = Workload::gpt2(12);
    let value = workload.value();
    let directory = tempfile::tempdir().map_err(|e| cairnfile::Error::io("cannot make a directory", e))?;
    let mut times = vec![[const { Vec::new() }; 3]; SIZES.len()];
    let paths: Vec<_> = SIZES.iter().map(|log2| directory.path().join(format!("{log2}.cairn"))).collect();
    for (path, log2) in paths.iter().zip(SIZES) {
        cairnfile::save_with(path, &value, &WriteOptions::new().block_log2(log2).durable(false))?;
    }
    for _ in 0..RUNS {
        for (path, times) in paths.iter().zip(&mut times) {
            let cairn = Cairn::open(path)?;
            times[0].push(timed(|| cairn.load_copy().map(drop))?);
            times[1].push(timed(|| cairn.verify(&|_| Ok(())).map(drop))?);
            times[2].push(rows(&cairn)?);
        }
    }
    println!("log2  index bytes  load ms (quartiles)     verify ms (quartiles)   100 rows, 0.92 MB, us (quartiles)");
    for ((path, times), log2) in paths.iter().zip(&mut times).zip(SIZES) {
        let cells: Vec<String> = times.iter_mut().map(|t| quartiles(t)).collect();
        println!("{log2:>4}  {:>11}  {}", Cairn::open(path)?.index_len(), cells.join("  "));
    }
    Ok(())
}

/// The mean of many slices, each of other rows.
fn rows(cairn: &Cairn<'_>) -> Result<Duration> {
    let tensor = cairn.tensor("/h.5.attn.c_attn.weight")?;
    let all = timed(|| (0..600).step_by(7).try_for_each(|row| tensor.rows(row..row + 100).map(|t| drop(black_box(t)))))?;
    Ok(all / 86)
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn quartiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |quarter: usize| {
        let time = times[(times.len() - 1) * quarter / 4].as_secs_f64();
        if time < 0.01 { format!("{:.0}", time * 1e6) } else { format!("{:.1}", time * 1e3) }
    };
    format!("{:>7} ({:>6}..{:>6})", at(2), at(1), at(3))
}
