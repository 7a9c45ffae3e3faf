//! One operation over a range of sizes.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use cairn_benches::Workload;
use cairnfile::{Cairn, DType, OpenOptions, Plan, Tensor, Value, WriteOptions};
use safetensors::SafeTensors;

use crate::raw;
use crate::turns::{Entry, row};

/// Opening, 10^2 to 10^6 tensors.
pub(crate) fn count(directory: &Path, repetitions: usize) {
    for exponent in 2..=6 {
        let source = Workload::small(10usize.pow(exponent));
        let (cairn, peer) = (directory.join("count.cairn"), directory.join("count.safetensors"));
        cairnfile::save_with(&cairn, &source.value(), &WriteOptions::new().durable(false)).unwrap();
        safetensors::serialize_to_file(source.views(), None, &peer).unwrap();
        let nothing = || {};
        let open_peer = || {
            let map = raw::map(&peer).unwrap();
            black_box(SafeTensors::deserialize(&map).unwrap().len());
        };
        row(
            &format!("10^{exponent}"),
            "open, by count",
            repetitions * 2,
            &mut [Entry::new("cairn", nothing, || Cairn::open(&cairn).unwrap()), Entry::new("safetensors", nothing, open_peer)],
        );
        fs::remove_file(cairn).unwrap();
        fs::remove_file(peer).unwrap();
    }
}

/// Saving and loading one tensor of 1 MB to 8 GB.
pub(crate) fn bytes(directory: &Path, repetitions: usize) {
    for megabytes in [1, 4, 16, 64, 256, 1000, 4000, 8000] {
        let repetitions = if megabytes > 1000 { repetitions.min(3) } else { repetitions };
        let source = Workload::one(megabytes * 1_000_000);
        let (cairn, plain) = (directory.join("bytes.cairn"), directory.join("bytes.raw"));
        let fresh = || {
            let _ = fs::remove_file(&cairn);
            let _ = fs::remove_file(&plain);
            raw::prime(source.bytes());
        };
        let (value, options) = (source.value(), WriteOptions::new().durable(false));
        let save = || cairnfile::save_with(&cairn, &value, &options).unwrap();
        let label = format!("{megabytes} MB");
        row(
            &label,
            "save, by size",
            repetitions,
            &mut [Entry::new("raw", fresh, || raw::write(&plain, &source).unwrap()), Entry::new("cairn", fresh, save)],
        );
        let _ = fs::remove_file(&plain);
        save();
        let bytes = source.bytes();
        drop(value);
        drop(source);
        let primed = || raw::prime(bytes);
        row(
            &label,
            "load, by size",
            repetitions,
            &mut [
                Entry::new("raw", primed, || raw::read(&cairn, 2).unwrap()),
                Entry::new("cairn", primed, || cairnfile::load(&cairn).unwrap()),
            ],
        );
        fs::remove_file(&cairn).unwrap();
    }
}

/// GPT-2 with one thread and with two.
pub(crate) fn threads(directory: &Path, repetitions: usize) {
    let source = Workload::gpt2(12);
    let (value, bytes) = (source.value(), source.bytes());
    let (cairn, plain) = (directory.join("threads.cairn"), directory.join("threads.raw"));
    let fresh = || {
        let _ = fs::remove_file(&cairn);
        let _ = fs::remove_file(&plain);
        raw::prime(bytes);
    };
    let save = |threads| cairnfile::save_with(&cairn, &value, &WriteOptions::new().durable(false).threads(threads)).unwrap();
    let load = |threads| OpenOptions::new().threads(threads).open(&cairn).unwrap().load_copy().unwrap();
    for (label, threads) in [("1 thread", 1), ("2 threads", 2)] {
        row(
            label,
            "save, by threads",
            repetitions,
            &mut [Entry::new("raw", fresh, || raw::write(&plain, &source).unwrap()), Entry::new("cairn", fresh, || save(threads))],
        );
        save(threads);
        row(
            label,
            "load, by threads",
            repetitions,
            &mut [
                Entry::new("raw", || raw::prime(bytes), || raw::read(&cairn, threads).unwrap()),
                Entry::new("cairn", || raw::prime(bytes), || load(threads)),
            ],
        );
    }
    let _ = fs::remove_file(&cairn);
    let _ = fs::remove_file(&plain);
}

/// Computing 1 GB into the file's own pages, and computing it into memory that is then saved.
pub(crate) fn in_place(directory: &Path, repetitions: usize) {
    const ELEMENTS: u64 = 250_000_000;
    let path = directory.join("place.cairn");
    let fresh = || {
        let _ = fs::remove_file(&path);
        raw::prime(ELEMENTS * 4);
    };
    let options = WriteOptions::new().durable(false);
    let compute = |out: &mut [f32]| (0..=u16::MAX).cycle().zip(out).for_each(|(i, x)| *x = f32::from(i) * 0.5);
    let length = usize::try_from(ELEMENTS).unwrap();
    row(
        "1 GB",
        "compute and save",
        repetitions,
        &mut [
            Entry::new("computed, then saved", fresh, || {
                let mut numbers = vec![0f32; length];
                compute(&mut numbers);
                cairnfile::save_with(&path, &Tensor::from_slice(&[ELEMENTS], &numbers).unwrap().into(), &options).unwrap();
            }),
            Entry::new("computed into the file", fresh, || {
                let tensor = Tensor::reserved(DType::F32, &[ELEMENTS]).unwrap();
                let value = Value::from(tensor.clone());
                let mut file = Plan::new(&value, &options).unwrap().create(&path).unwrap();
                compute(file.slice_mut(&tensor).unwrap());
                file.commit().unwrap();
            }),
        ],
    );
    let _ = fs::remove_file(&path);
}
