//! Files made to do harm: each is decided in memory of twice its size and 64 KiB on all threads together, and in work that
//! grows no faster than the file. `scripts/hostile` counts instructions and times.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::path::Path;

use cairnfile::{Cairn, OpenOptions, Result, repair};
use counting::{alone, measured};
use support::hostile::{ATTACKS, Attack, MILLIONS};

/// The size of an attack; `scripts/hostile` runs the larger one.
const SIZE: usize = if cfg!(debug_assertions) { 1 << 18 } else { 1 << 20 };

/// What is said of a file by all ways to it: the code at open, and the first fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    open: Option<&'static str>,
    verify: Option<&'static str>,
}

fn code(error: &cairnfile::Error) -> &'static str {
    error.code().name()
}

/// The verdict and the number of faults.
fn decide(opened: Result<Cairn<'_>>) -> (Verdict, usize) {
    match opened {
        Err(error) => (Verdict { open: Some(code(&error)), verify: None }, 0),
        Ok(cairn) => {
            let (verify, faults) = match cairn.verify(&|_| Ok(())) {
                Err(error) => (Some(code(&error)), 0),
                Ok(report) => (report.faults.first().map(|fault| code(&fault.error)), report.faults.len()),
            };
            (Verdict { open: None, verify }, faults)
        }
    }
}

/// Most bytes of a fault's record: what lists of faults are allowed beside what the file is.
const FAULT: usize = 512;

/// Opens and verifies a file in every way, within the bound. Returns the verdict and how often memory was asked for.
fn bounded(name: &str, bytes: &[u8], path: &Path, wrong: &mut Vec<String>) -> (Verdict, usize) {
    std::fs::write(path, bytes).unwrap();
    let options = OpenOptions::new().check_trailer(false);
    let mut hold = |way: &str, taken: counting::Taken, faults: usize| {
        let most = 2 * bytes.len() + (64 << 10) + faults * FAULT;
        if taken.all > most {
            wrong.push(format!("{name}: {way} takes {} bytes, at most {most} are allowed for a file of {}", taken.all, bytes.len()));
        }
    };
    let (verdict, memory) = measured(|| decide(options.from_bytes(bytes)));
    hold("from memory it", memory, verdict.1);
    let (opened, file) = measured(|| decide(options.open(path)));
    hold("by positioned reads it", file, opened.1);
    // SAFETY: the test's own file does not change while it is mapped.
    let (mapped, map) = measured(|| decide(unsafe { options.map(path) }));
    hold("mapped it", map, mapped.1);
    assert_eq!((opened, mapped), (verdict, verdict), "{name}");
    let read = |at: u64, len: u64| Ok(bytes[at as usize..(at + len) as usize].to_vec());
    let (_, mending) = measured(|| drop(repair::plan(&read, bytes.len() as u64)));
    hold("looking for a repair", mending, verdict.1);
    (verdict.0, memory.calls.max(file.calls))
}

#[test]
fn attacks_are_bounded() {
    if !alone("attacks_are_bounded") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attack.cairn");
    let mut wrong = Vec::new();
    for Attack { name, file, open, verify } in ATTACKS {
        let [(half, half_calls), (whole, calls)] = [SIZE / 2, SIZE].map(|size| bounded(name, &file(size - 16_384), &path, &mut wrong));
        let expected = Verdict { open: *open, verify: if open.is_none() { *verify } else { None } };
        if (half, whole) != (expected, expected) {
            wrong.push(format!("{name}: {half:?} and {whole:?}, not {expected:?}"));
        }
        if calls > 2 * half_calls + half_calls / 2 + 100 {
            wrong.push(format!("{name}: asks for memory {half_calls} times, and {calls} times where the file is twice as long"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The code that loading an attack ends with, or none: what `verify` found, if it is in a tensor.
fn loading(attack: &Attack) -> Option<&'static str> {
    match attack.name {
        "buffers-of-kind-7" => Some("buffer-kind"),
        _ => attack.verify.filter(|code| ["block-crc", "bool-value", "budget"].contains(code)),
    }
}

#[test]
fn attacks_load_as_they_verify() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attack.cairn");
    for attack in ATTACKS.iter().filter(|attack| attack.open.is_none()) {
        let bytes = (attack.file)(SIZE / 2 - 16_384);
        std::fs::write(&path, &bytes).unwrap();
        let cairn = Cairn::open(&path).or_else(|_| OpenOptions::new().check_trailer(false).open(&path)).unwrap();
        let memory = OpenOptions::new().check_trailer(false).from_bytes(&bytes).unwrap();
        let outcomes = [memory.load().err(), memory.load_copy().err(), cairn.load().err()].map(|error| error.map(|e| code(&e)));
        assert_eq!(outcomes, [loading(attack); 3], "{}", attack.name);
    }
}

#[test]
fn the_catalogue_is_bounded_when_verified() {
    if !alone("the_catalogue_is_bounded_when_verified") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("case.cairn");
    let mut wrong = Vec::new();
    for case in support::accepted().into_iter().chain(support::rejected()) {
        bounded(case.name, &case.bytes, &path, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Opening takes twice the index and 64 KiB, however many parts there are.
#[test]
#[cfg_attr(debug_assertions, ignore = "makes files of 100 MB, which takes minutes without optimization")]
fn millions_are_bounded() {
    if !alone("millions_are_bounded") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("million.cairn");
    for Attack { name, file, open, verify } in MILLIONS {
        let bytes = file(1_000_000);
        std::fs::write(&path, &bytes).unwrap();
        let index = u64_at(&bytes, bytes.len() - 64 + 32) as usize;
        let start = std::time::Instant::now();
        let (opened, memory) = measured(|| Cairn::from_bytes(&bytes));
        let time = start.elapsed();
        let (from_file, file) = measured(|| Cairn::open(&path));
        println!("{name:24} {:>10} bytes, {index:>9} of index, opened in {:6.1} ms", bytes.len(), time.as_secs_f64() * 1e3);
        for taken in [memory.all, file.all] {
            let most = 2 * index + (64 << 10);
            assert!(taken <= most, "{name}: opening takes {taken} bytes, at most {most} are allowed");
        }
        for opened in [opened, from_file] {
            assert_eq!(decide(opened), (Verdict { open: *open, verify: *verify }, 0), "{name}");
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// Most milliseconds in which a file of up to 1 MiB is opened, and opened and verified.
const MOST: f64 = 10.0;

/// The milliseconds of the fastest of some runs: a few, and more while it is not as fast as it has to be, which may be due to
/// what else the machine does.
fn least(work: &dyn Fn()) -> f64 {
    let mut least = f64::INFINITY;
    for run in 0..50 {
        let start = std::time::Instant::now();
        work();
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
        if run >= 2 && least <= MOST {
            break;
        }
    }
    least
}

/// Prints the milliseconds that each attack takes, and which take more than [`MOST`] here: that is the machine's affair, too.
#[test]
#[ignore = "measures time; scripts/hostile runs it"]
fn times() {
    let options = OpenOptions::new().check_trailer(false);
    let mut slow = Vec::new();
    for Attack { name, file, .. } in ATTACKS {
        let bytes = file(SIZE - 16_384);
        assert!(bytes.len() <= SIZE, "{name}: {} bytes", bytes.len());
        let open = least(&|| drop(options.from_bytes(&bytes)));
        let verify = least(&|| _ = std::hint::black_box(decide(options.from_bytes(&bytes))));
        println!("{name:28} {:>9} bytes  open {open:6.2} ms  open and verify {verify:6.2} ms", bytes.len());
        if open.max(verify) > MOST {
            slow.push(*name);
        }
    }
    println!("more than {MOST} ms: {slow:?}");
}

/// Prints the milliseconds that loading takes, of which nothing is asserted: it makes all values.
#[test]
#[ignore = "measures time; scripts/hostile runs it"]
fn times_of_loading() {
    let options = OpenOptions::new().check_trailer(false);
    for Attack { name, file, .. } in ATTACKS.iter().filter(|attack| attack.open.is_none()) {
        let bytes = file(SIZE - 16_384);
        let load = least(&|| drop(options.from_bytes(&bytes).and_then(|cairn| cairn.load().map(drop))));
        println!("{name:28} {:>9} bytes  open and load {load:7.2} ms", bytes.len());
    }
}

/// Writes every attack in two sizes, for `scripts/hostile`.
#[test]
#[ignore = "writes files to the directory that HOSTILE_FILES names; scripts/hostile runs it"]
fn write_files() {
    let directory = std::env::var("HOSTILE_FILES").unwrap();
    for attack in ATTACKS {
        for (part, size) in [("half", SIZE / 2), ("whole", SIZE)] {
            let name = format!("{}-{part}.cairn", attack.name);
            std::fs::write(Path::new(&directory).join(name), (attack.file)(size - 16_384)).unwrap();
        }
    }
}
