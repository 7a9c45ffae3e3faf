//! What the fuzzers found and started from, on stable: every file of `fuzz/corpus` and `fuzz/regressions` through the
//! function of its target. See `fuzz/README.md`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::Case;

/// Most files of a target's corpus, and their greatest length.
const MOST: usize = 60;
const LONGEST: usize = 4096;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The files in `folder`, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

type Target = fn(&[u8]);

/// The targets, from their files: each calls the function of its name.
fn targets() -> BTreeMap<String, Target> {
    let known: [(&str, Target); 6] = [
        ("canonical", fuzz::canonical),
        ("open_only", fuzz::open_only),
        ("parse_any", fuzz::parse_any),
        ("parse_resigned", fuzz::parse_resigned),
        ("three_ways", fuzz::three_ways),
        ("values", fuzz::values),
    ];
    let known = BTreeMap::from(known);
    let names = files(&folder("fuzz_targets")).into_iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let targets: BTreeMap<_, _> =
        names.map(|name| (name.clone(), *known.get(&*name).unwrap_or_else(|| panic!("{name} is new here")))).collect();
    assert_eq!(targets.len(), known.len());
    targets
}

/// Runs `target` on every file of `folder`, which must not be empty.
fn replay(folder: &Path, target: Target) -> usize {
    let files = files(folder);
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for path in &files {
        let bytes = fs::read(path).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
            eprintln!("on {}", path.display());
            std::panic::resume_unwind(panic);
        }
    }
    files.len()
}

#[test]
fn corpus_holds() {
    for (name, target) in targets() {
        let corpus = folder("corpus").join(&name);
        assert!(replay(&corpus, target) <= MOST, "the corpus of {name} is too large");
        let longest = files(&corpus).iter().map(|path| fs::metadata(path).unwrap().len()).max();
        assert!(longest.unwrap() <= LONGEST as u64, "a file of {name} is too long");
    }
}

#[test]
fn regressions_hold() {
    for (name, target) in targets() {
        replay(&folder("regressions").join(&name), target);
    }
}

/// The mutator keeps within its room and makes files that open.
#[test]
fn mutator_makes_files() {
    let mut opened = 0;
    for (seed, case) in support::accepted().iter().filter(|case| case.bytes.len() <= LONGEST).enumerate() {
        for turn in 0..20 {
            let mut room = case.bytes.clone();
            room.resize(2 * LONGEST, 0);
            let seed = u32::try_from(seed * 20 + turn).unwrap();
            let size = fuzz::mutate(&mut room, case.bytes.len(), 2 * LONGEST, seed, |_, size, _| size);
            opened += usize::from(cairnfile::Cairn::from_bytes(&room[..size]).is_ok());
        }
    }
    assert!(opened > 100, "{opened} files opened");
}

/// Damage keeps within its room, and makes files that are refused, some of which can be mended.
#[test]
fn damage_can_be_mended() {
    let (mut refused, mut mended) = (0, 0);
    for (seed, case) in support::accepted().iter().filter(|case| case.bytes.len() <= LONGEST).enumerate() {
        for turn in 0..20 {
            let mut room = case.bytes.clone();
            room.resize(LONGEST + 100, 0);
            let seed = u32::try_from(seed * 20 + turn).unwrap();
            let most = room.len();
            let size = fuzz::damage(&mut room, case.bytes.len(), most, seed, |_, size, _| size);
            let at = |at: u64| usize::try_from(at).unwrap();
            let read = |start: u64, len: u64| Ok(room[at(start)..at(start + len)].to_vec());
            if cairnfile::Cairn::from_bytes(&room[..size]).is_err() {
                refused += 1;
                mended += usize::from(cairnfile::repair::plan(&read, size as u64).is_ok());
            }
        }
    }
    assert!(refused > 1000 && mended > 100, "{refused} files refused, {mended} of them mended");
}

/// Of two files that open, crossing makes some that open and have what both had.
#[test]
fn crossing_makes_files() {
    let cases: Vec<_> = support::accepted().into_iter().filter(|case| case.bytes.len() <= LONGEST).collect();
    let tensors = |bytes: &[u8]| cairnfile::Cairn::from_bytes(bytes).map(|cairn| cairn.tensors().len());
    let (mut opened, mut joined) = (0, 0);
    for (seed, pair) in cases.windows(2).enumerate() {
        for turn in 0..20 {
            let mut room = vec![0; 4 * LONGEST];
            let size = fuzz::cross(&pair[0].bytes, &pair[1].bytes, &mut room, u32::try_from(seed * 20 + turn).unwrap());
            let (a, b) = (tensors(&pair[0].bytes).unwrap(), tensors(&pair[1].bytes).unwrap());
            if let Ok(count) = tensors(&room[..size]) {
                opened += 1;
                joined += usize::from(a > 0 && b > 0 && count == a + b);
            }
        }
    }
    assert!(opened > 1000 && joined > 100, "{opened} files opened, {joined} of them joined");
}

/// Writes the seeds anew, and keeps what was found: `cargo test --test fuzz_replay -- --ignored write_seeds`.
#[test]
#[ignore = "writes into fuzz/corpus"]
fn write_seeds() {
    for name in targets().keys() {
        let folder = folder("corpus").join(name);
        fs::create_dir_all(&folder).unwrap();
        let is_seed = |path: &&PathBuf| !path.file_name().unwrap().to_str().unwrap().starts_with("found-");
        files(&folder).iter().filter(is_seed).for_each(|path| fs::remove_file(path).unwrap());
        for (name, bytes) in seeds(name) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// Half as many as fit, so that finds have room: files for the targets that read, bytes to choose by for `values`.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let spread = |cases: Vec<Case>, count: usize| {
        let short: Vec<_> = cases.into_iter().filter(|case| case.bytes.len() <= LONGEST).collect();
        let step = short.len().div_ceil(count);
        short.into_iter().step_by(step).map(|case| (case.name.to_owned(), case.bytes)).collect::<Vec<_>>()
    };
    match target {
        "values" => (0..MOST / 2).map(|n| (format!("noise-{n:02}"), noise(n))).collect(),
        "canonical" => spread(support::accepted(), MOST / 2),
        _ => [spread(support::accepted(), MOST / 4), spread(support::rejected(), MOST / 4)].concat(),
    }
}

fn noise(n: usize) -> Vec<u8> {
    let mut state = n as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[6]
    };
    (0..16 + 8 * n).map(|_| next()).collect()
}
