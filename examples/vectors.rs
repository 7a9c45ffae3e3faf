//! Writes the conformance vectors without their dumps: `vectors FOLDER`. Called by `scripts/vectors`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/support/judge.rs"]
mod judge;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/support/vectors.rs"]
mod vectors;

use std::path::Path;

fn main() {
    let folder = std::env::args().nth(1).expect("usage: vectors FOLDER");
    let vectors = vectors::vectors();
    assert_eq!(vectors::codes_not_hit(&vectors), Vec::<&str>::new());
    for (path, bytes) in vectors::files(&vectors) {
        let path = Path::new(&folder).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
