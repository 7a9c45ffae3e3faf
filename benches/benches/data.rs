//! Saving, loading, one tensor, a slice and verifying: a GPT-2's parameters (498 MB) and 100,000 small tensors,
//! beside safetensors and the machine itself.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use cairn_benches::{Workload, plain_write};
use cairnfile::{Cairn, Plan, WriteOptions};
use criterion::{Criterion, criterion_group, criterion_main};
use safetensors::SafeTensors;

fn workloads() -> [(&'static str, Workload); 2] {
    [("gpt2", Workload::gpt2(12)), ("100k", Workload::small(100_000))]
}

fn save(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    for (name, workload) in workloads() {
        let mut group = c.benchmark_group(format!("save-{name}"));
        let (value, path) = (workload.value(), directory.path().join("out"));
        for (id, durable) in [("cairn", false), ("cairn-durable", true)] {
            let options = WriteOptions::new().durable(durable);
            group.bench_function(id, |b| b.iter(|| cairnfile::save_with(&path, &value, &options).unwrap()));
        }
        group.bench_function("cairn-mapped", |b| {
            let options = WriteOptions::new().durable(false);
            b.iter(|| Plan::new(&value, &options).unwrap().create(&path).unwrap().commit().unwrap());
        });
        group.bench_function("safetensors", |b| b.iter(|| safetensors::serialize_to_file(workload.views(), None, &path).unwrap()));
        group.bench_function("plain-write", |b| {
            b.iter(|| {
                std::fs::remove_file(&path).unwrap();
                plain_write(&path, &workload).unwrap()
            });
        });
        group.bench_function("plain-write-fsync", |b| {
            b.iter(|| {
                std::fs::remove_file(&path).unwrap();
                plain_write(&path, &workload).unwrap().sync_all().unwrap();
            });
        });
        group.finish();
    }
}

fn load(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    for (name, workload) in workloads() {
        let mut group = c.benchmark_group(format!("load-{name}"));
        let (cairn, st) = (directory.path().join("w.cairn"), directory.path().join("w.safetensors"));
        cairnfile::save(&cairn, &workload.value()).unwrap();
        safetensors::serialize_to_file(workload.views(), None, &st).unwrap();
        group.bench_function("cairn", |b| b.iter(|| black_box(cairnfile::load(&cairn).unwrap())));
        group.bench_function("safetensors", |b| {
            b.iter(|| {
                let bytes = std::fs::read(&st).unwrap();
                let parsed = SafeTensors::deserialize(&bytes).unwrap();
                black_box(parsed.iter().map(|(_, t)| t.data().len()).sum::<usize>())
            });
        });
        group.bench_function("plain-read", |b| b.iter(|| black_box(std::fs::read(&cairn).unwrap())));
        let source = std::fs::read(&cairn).unwrap();
        let mut target = vec![1u8; source.len()];
        group.bench_function("memcpy", |b| b.iter(|| black_box(&mut target).copy_from_slice(black_box(&source))));
        group.bench_function("cairn-map-verified", |b| {
            b.iter(|| {
                // SAFETY: the bench's own file does not change.
                #[allow(unsafe_code)]
                let cairn = unsafe { Cairn::map(&cairn) }.unwrap();
                black_box(cairn.load().unwrap().type_word())
            });
        });
        let opened = Cairn::open(&cairn).unwrap();
        group.bench_function("cairn-verify", |b| b.iter(|| assert!(opened.verify(&|_| Ok(())).unwrap().is_intact())));
        group.finish();
    }
}

fn parts(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let workload = Workload::gpt2(12);
    let mut group = c.benchmark_group("parts-gpt2");
    let path = directory.path().join("w.cairn");
    cairnfile::save(&path, &workload.value()).unwrap();
    let opened = Cairn::open(&path).unwrap();
    let tensor = opened.tensor("/h.5.attn.c_attn.weight").unwrap();
    let range = tensor.file_range().unwrap();
    group.bench_function("tensor-7mb-cairn", |b| b.iter(|| black_box(tensor.read().unwrap())));
    group.bench_function("tensor-7mb-plain", |b| {
        let file = std::fs::File::open(&path).unwrap();
        b.iter(|| {
            let mut bytes = vec![0u8; usize::try_from(range.end - range.start).unwrap()];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, range.start).unwrap();
            black_box(bytes)
        });
    });
    group.bench_function("rows-100-cairn", |b| b.iter(|| black_box(tensor.rows(300..400).unwrap())));
    group.bench_function("rows-100-plain", |b| {
        let file = std::fs::File::open(&path).unwrap();
        b.iter(|| {
            let mut bytes = vec![0u8; 100 * 2304 * 4];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, range.start + 300 * 2304 * 4).unwrap();
            black_box(bytes)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = save, load, parts
}
criterion_main!(benches);
