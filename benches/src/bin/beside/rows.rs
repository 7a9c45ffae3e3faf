//! The rows of one workload.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cairn_benches::Workload;
use cairnfile::{Cairn, WriteOptions};
use safetensors::SafeTensors;
use serde_json::json;

use crate::turns::{Entry, figure, row};
use crate::{memory, raw};

/// The files of one workload.
struct Files {
    raw: PathBuf,
    cairn: PathBuf,
    peer: PathBuf,
}

impl Files {
    fn in_directory(directory: &Path) -> Self {
        let at = |name| directory.join(name);
        Self { raw: at("raw"), cairn: at("beside.cairn"), peer: at("beside.safetensors") }
    }

    fn remove(&self) {
        for path in [&self.raw, &self.cairn, &self.peer] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Times everything that makes sense for `workload` and checks that both codecs give back what was saved.
pub(crate) fn all(directory: &Path, repetitions: usize, workload: &str) {
    let source = Workload::named(workload).unwrap_or_else(|| panic!("there is no {workload}"));
    let files = Files::in_directory(directory);
    save(&source, &files, repetitions, workload);
    check(&source, &files);
    load(&source, &files, repetitions, workload);
    let bytes = source.bytes();
    drop(source);
    memory::all(&files.cairn, &files.peer, workload);
    open(&files, repetitions, workload);
    map(&files, repetitions, workload);
    parts(&files, repetitions, workload);
    let count = Cairn::open(&files.cairn).unwrap().tensors().len();
    let beyond = |path: &Path| (fs::metadata(path).unwrap().len() - bytes) as f64 / count as f64;
    figure(workload, "bytes beyond the data, a tensor", &json!({"cairn": beyond(&files.cairn), "safetensors": beyond(&files.peer)}));
    files.remove();
}

fn save(source: &Workload, files: &Files, repetitions: usize, workload: &str) {
    let (value, bytes) = (source.value(), source.bytes());
    let fresh = || {
        files.remove();
        raw::prime(bytes);
    };
    let cairn = |durable| cairnfile::save_with(&files.cairn, &value, &WriteOptions::new().durable(durable)).unwrap();
    row(
        workload,
        "save",
        repetitions,
        &mut [
            Entry::new("raw", fresh, || raw::write(&files.raw, source).unwrap()),
            Entry::new("cairn", fresh, || cairn(false)),
            Entry::new("safetensors", fresh, || safetensors::serialize_to_file(source.views(), None, &files.peer).unwrap()),
        ],
    );
    let synced =
        || safetensors::serialize_to_file(source.views(), None, &files.peer).and_then(|()| Ok(fs::File::open(&files.peer)?.sync_all()?));
    row(
        workload,
        "save, durable",
        repetitions.min(5),
        &mut [
            Entry::new("raw", fresh, || raw::write(&files.raw, source).unwrap().sync_all().unwrap()),
            Entry::new("O_DIRECT", fresh, || raw::write_direct(&files.raw, bytes).unwrap()),
            Entry::new("cairn", fresh, || cairn(true)),
            Entry::new("safetensors", fresh, || synced().unwrap()),
        ],
    );
    files.remove();
    cairn(true);
    safetensors::serialize_to_file(source.views(), None, &files.peer).unwrap();
}

fn check(source: &Workload, files: &Files) {
    assert!(cairnfile::load(&files.cairn).unwrap() == source.value(), "the value came back otherwise");
    let map = raw::map(&files.peer).unwrap();
    let peer = SafeTensors::deserialize(&map).unwrap();
    assert!(source.tensors.iter().all(|(name, _, bytes)| peer.tensor(name).unwrap().data() == bytes));
}

/// The whole of a safetensors file in memory of its own, as its crate offers it.
fn load_peer(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    black_box(SafeTensors::deserialize(&bytes).unwrap().len());
    bytes
}

fn load(source: &Workload, files: &Files, repetitions: usize, workload: &str) {
    let primed = || raw::prime(source.bytes());
    let cairn = || cairnfile::load(&files.cairn).unwrap();
    row(
        workload,
        "load",
        repetitions,
        &mut [
            Entry::new("raw", primed, || raw::read(&files.cairn, 2).unwrap()),
            Entry::new("cairn", primed, cairn),
            Entry::new("safetensors", primed, || load_peer(&files.peer)),
            Entry::new("raw, one thread, Vec", primed, || fs::read(&files.cairn).unwrap()),
        ],
    );
    let cold = |path: &Path| {
        raw::prime(source.bytes());
        raw::forget(path).unwrap();
    };
    row(
        workload,
        "load, cold",
        repetitions.min(5),
        &mut [
            Entry::new("raw", || cold(&files.cairn), || raw::read(&files.cairn, 2).unwrap()),
            Entry::new("cairn", || cold(&files.cairn), cairn),
            Entry::new("safetensors", || cold(&files.peer), || load_peer(&files.peer)),
        ],
    );
}

fn open(files: &Files, repetitions: usize, workload: &str) {
    let nothing = || {};
    let cairn = || Cairn::open(&files.cairn).unwrap();
    let list = |cairn: &Cairn<'_>| {
        let mut names = 0;
        cairn.root().visit(&mut String::new(), &mut |address, value| {
            if let Some(tensor) = value.tensor()? {
                names += address.len() + tensor.shape()?.len() + tensor.dtype()?.name().len();
            }
            Ok(())
        })?;
        Ok::<_, cairnfile::Error>(names)
    };
    let peer = || {
        let map = raw::map(&files.peer).unwrap();
        let parsed = SafeTensors::deserialize(&map).unwrap();
        black_box(parsed.iter().map(|(name, t)| name.len() + t.shape().len()).sum::<usize>());
    };
    let first = || {
        let mut bytes = vec![0; 64 << 10];
        black_box(fs::File::open(&files.cairn).unwrap().read_at(&mut bytes, 0).unwrap());
    };
    row(
        workload,
        "open",
        repetitions * 3,
        &mut [
            Entry::new("raw", nothing, first),
            Entry::new("cairn", nothing, &cairn),
            Entry::new("cairn, all listed", nothing, || list(&cairn()).unwrap()),
            Entry::new("safetensors", nothing, peer),
        ],
    );
}

fn map(files: &Files, repetitions: usize, workload: &str) {
    let nothing = || {};
    // SAFETY: the benches' own files do not change while they are mapped.
    #[allow(unsafe_code)]
    let mapped = || unsafe { Cairn::map(&files.cairn) }.unwrap();
    let peer = || {
        let map = raw::map(&files.peer).unwrap();
        let parsed = SafeTensors::deserialize(&map).unwrap();
        black_box(parsed.iter().map(|(_, t)| raw::touch(t.data())).fold(0, u64::wrapping_add));
    };
    row(
        workload,
        "map and touch every byte",
        repetitions,
        &mut [
            Entry::new("raw", nothing, || raw::touch(&raw::map(&files.cairn).unwrap())),
            Entry::new("cairn, verified", nothing, || {
                let cairn = mapped();
                drop(black_box(cairn.load().unwrap()));
                black_box(cairn.tensors().map(|t| raw::touch(t.bytes_unchecked().unwrap().unwrap())).fold(0, u64::wrapping_add));
            }),
            Entry::new("cairn, unverified", nothing, || {
                let cairn = mapped();
                black_box(cairn.tensors().map(|t| raw::touch(t.bytes_unchecked().unwrap().unwrap())).fold(0, u64::wrapping_add));
            }),
            Entry::new("safetensors", nothing, peer),
        ],
    );
}

/// The address of a tensor of some MB and of one with many rows, or of one that is as good as any.
fn pick(cairn: &Cairn<'_>) -> (String, u64) {
    let (mut addresses, mut best) = (Vec::new(), 0);
    let visit = &mut |address: &str, value: cairnfile::ValueRef<'_>| {
        if let Some(tensor) = value.tensor()? {
            addresses.push((address.to_owned(), tensor.byte_len()?));
        }
        Ok(())
    };
    cairn.root().visit(&mut String::new(), visit).unwrap();
    for (i, (_, len)) in addresses.iter().enumerate() {
        if len.abs_diff(7_000_000) <= addresses[best].1.abs_diff(7_000_000) && i <= addresses.len() / 2 {
            best = i;
        }
    }
    addresses.swap_remove(best)
}

fn parts(files: &Files, repetitions: usize, workload: &str) {
    let opened = Cairn::open(&files.cairn).unwrap();
    let (address, len) = pick(&opened);
    let name = address.rsplit('/').next().unwrap().to_owned();
    let tensor = opened.tensor(&address).unwrap();
    let start = tensor.file_range().unwrap().start;
    let file = fs::File::open(&files.cairn).unwrap();
    let plain = |len: u64, from: u64| {
        let mut bytes = vec![0u8; usize::try_from(len).unwrap()];
        file.read_exact_at(&mut bytes, from).unwrap();
        bytes
    };
    let nothing = || {};
    let peer = |name: &str, part: std::ops::Range<usize>| {
        let map = raw::map(&files.peer).unwrap();
        let parsed = SafeTensors::deserialize(&map).unwrap();
        let data = parsed.tensor(name).or_else(|_| parsed.tensor(parsed.names()[0])).unwrap().data();
        data.get(part).unwrap_or(data).to_vec()
    };
    let many = repetitions * 3;
    let whole = usize::try_from(len).unwrap();
    row(
        workload,
        "one tensor of an open file",
        many,
        &mut [
            Entry::new("raw", nothing, || black_box(plain(len, start)).len()),
            Entry::new("cairn", nothing, || black_box(tensor.read().unwrap()).byte_len()),
        ],
    );
    row(
        workload,
        "find and read one, from a cold start",
        many,
        &mut [
            Entry::new("raw", nothing, || {
                let file = fs::File::open(&files.cairn).unwrap();
                let mut bytes = vec![0u8; whole];
                file.read_exact_at(&mut bytes, start).unwrap();
                bytes
            }),
            Entry::new("cairn", nothing, || {
                let cairn = Cairn::open(&files.cairn).unwrap();
                black_box(cairn.tensor(&address).unwrap().read().unwrap());
            }),
            Entry::new("safetensors", nothing, || peer(&name, 0..whole)),
        ],
    );
    let rows = tensor.shape().unwrap().first().copied().filter(|rows| *rows >= 400);
    if let Some(rows) = rows {
        let each = len / rows;
        let part = usize::try_from(each * 300).unwrap()..usize::try_from(each * 400).unwrap();
        row(
            workload,
            "100 rows",
            many,
            &mut [
                Entry::new("raw", nothing, || black_box(plain(each * 100, start + each * 300)).len()),
                Entry::new("cairn", nothing, || black_box(tensor.rows(300..400).unwrap()).byte_len()),
                Entry::new("safetensors, with opening", nothing, || peer(&name, part.clone())),
            ],
        );
    }
    // A thousand at a time: one is below what a clock tells.
    let addresses: Vec<String> = {
        let mut all = Vec::new();
        let visit = &mut |address: &str, value: cairnfile::ValueRef<'_>| {
            if value.tensor()?.is_some() {
                all.push(address.to_owned());
            }
            Ok(())
        };
        opened.root().visit(&mut String::new(), visit).unwrap();
        (0..1000).map(|i| all[i * 7919 % all.len()].clone()).collect()
    };
    row(
        workload,
        "a thousand lookups",
        many,
        &mut [Entry::new("cairn", nothing, || {
            black_box(addresses.iter().filter(|address| opened.tensor(address).is_ok()).count());
        })],
    );
}
