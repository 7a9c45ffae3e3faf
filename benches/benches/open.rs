//! Opening files of 100, 10,000 and 100,000 tensors until every rule of the index is checked; then finding one.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use cairn_benches::Workload;
use cairnfile::Cairn;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use safetensors::SafeTensors;

fn open(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("open");
    for count in [100, 10_000, 100_000] {
        let workload = Workload::small(count);
        let (cairn, st) = (directory.path().join("w.cairn"), directory.path().join("w.safetensors"));
        cairnfile::save(&cairn, &workload.value()).unwrap();
        safetensors::serialize_to_file(workload.views(), None, &st).unwrap();
        group.bench_function(BenchmarkId::new("cairn-open", count), |b| b.iter(|| black_box(Cairn::open(&cairn).unwrap())));
        // SAFETY: the bench's own file does not change.
        #[allow(unsafe_code)]
        group.bench_function(BenchmarkId::new("cairn-map", count), |b| b.iter(|| black_box(unsafe { Cairn::map(&cairn) }.unwrap())));
        group.bench_function(BenchmarkId::new("safetensors-map", count), |b| {
            b.iter(|| {
                let file = std::fs::File::open(&st).unwrap();
                // SAFETY: as above.
                #[allow(unsafe_code)]
                let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
                black_box(SafeTensors::deserialize(&map).unwrap().len())
            });
        });
        let name = format!("model.layers.{:06}.weight", count / 2);
        let opened = Cairn::open(&cairn).unwrap();
        let address = format!("/{name}");
        group.bench_function(BenchmarkId::new("cairn-find", count), |b| b.iter(|| black_box(opened.tensor(&address).unwrap())));
        let bytes = std::fs::read(&st).unwrap();
        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        group.bench_function(BenchmarkId::new("safetensors-find", count), |b| b.iter(|| black_box(parsed.tensor(&name).unwrap())));
    }
    group.finish();
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = open }
criterion_main!(benches);
