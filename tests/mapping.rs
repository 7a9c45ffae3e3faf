//! Opening costs the index, not the data; mapped tensors are aligned; files that change are noticed.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod support;

use std::fs::File;
use std::path::Path;

use cairnfile::{Cairn, Code, DType, OpenOptions, Storage, Tensor, Value, WriteOptions, hard_limits};
use support::strategies::noise;

fn map(path: &Path) -> Cairn<'static> {
    // SAFETY: the tests' own files; where one is replaced, it is by rename.
    unsafe { Cairn::map(path) }.unwrap()
}

#[cfg(target_os = "linux")]
mod sparse {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::support::raw::{Frame, MAGIC, STREAMED, TRAILER, crc32, list, tensor};
    use super::support::{RawBuffer, RawDtype, RawFile, RawTensor};
    use super::*;

    /// Bytes of the large tensor.
    const HUGE: u64 = 8 << 30;
    const BLOCK_LOG2: u8 = 22;

    struct Sparse {
        _directory: tempfile::TempDir,
        path: std::path::PathBuf,
        index: u64,
        blocks: u64,
    }

    /// A file with 8 GiB of zeros, of which only header, index, a small tensor and trailer are on the disk; `None`,
    /// with the reason printed, where files cannot have holes.
    fn sparse(streamed: bool) -> Option<Sparse> {
        let zeros = crc_of_zeros();
        let mut file = RawFile { streamed, log2_block: BLOCK_LOG2, ..RawFile::new() };
        file.dtypes = vec![RawDtype::scalar("f32", 4), RawDtype::scalar("u8", 1)];
        let huge = RawBuffer { length: Some(HUGE), crcs: Some(vec![zeros; (HUGE >> BLOCK_LOG2) as usize]), ..RawBuffer::default() };
        file.buffers = vec![huge, RawBuffer::new(noise(1, 1000))];
        file.tensors = vec![RawTensor::new(0, 0, 0, &[1 << 16, HUGE >> 18]), RawTensor::new(1, 1, 0, &[1000])];
        file.root = list(&[tensor(0), tensor(1)]);
        let index = file.index();
        let index_len = index.len() as u64;
        let first = (if streamed { 64 } else { 64 + index_len }).next_multiple_of(4096);
        let second = (first + HUGE).next_multiple_of(64);
        let back = (second + 1000).next_multiple_of(64);
        let trailer_at = (back + index_len).next_multiple_of(64);
        let trailer = Frame {
            magic: MAGIC,
            version: 1,
            flags: TRAILER | if streamed { STREAMED } else { 0 },
            log2_block: BLOCK_LOG2,
            reserved_low: [0; 3],
            file_length: trailer_at + 64,
            index_offset: back,
            index_length: index_len,
            index_crc: crc32(&index),
            reserved_high: [0; 16],
            crc: None,
        };
        let mut header = Frame { flags: trailer.flags & !TRAILER, index_offset: 64, ..trailer.clone() };
        if streamed {
            header = Frame { file_length: 0, index_offset: 0, index_length: 0, index_crc: 0, ..header };
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse.cairn");
        let out = File::create(&path).unwrap();
        if let Err(error) = out.set_len(trailer_at + 64) {
            eprintln!("skipped: no file of 8 GiB here: {error}");
            return None;
        }
        out.write_all_at(&header.to_bytes(), 0).unwrap();
        if !streamed {
            out.write_all_at(&index, 64).unwrap();
        }
        out.write_all_at(&noise(1, 1000), second).unwrap();
        out.write_all_at(&index, back).unwrap();
        out.write_all_at(&trailer.to_bytes(), trailer_at).unwrap();
        out.sync_all().unwrap();
        let blocks = out.metadata().unwrap().blocks();
        if blocks * 512 > 1 << 20 {
            eprintln!("skipped: this file system gave a file with holes {} bytes", blocks * 512);
            return None;
        }
        Some(Sparse { _directory: directory, path, index: index_len, blocks })
    }

    fn crc_of_zeros() -> u32 {
        cairnfile::crc32(&vec![0; 1 << BLOCK_LOG2])
    }

    impl Sparse {
        /// Nothing was written, and no hole was filled.
        fn unchanged(&self) {
            assert_eq!(std::fs::metadata(&self.path).unwrap().blocks(), self.blocks);
        }
    }

    /// Bytes that this thread has read so far; `None`, with the reason printed, where the system does not say.
    fn bytes_read() -> Option<u64> {
        let text = match std::fs::read_to_string("/proc/thread-self/io") {
            Ok(text) => text,
            Err(error) => {
                eprintln!("skipped: no /proc/thread-self/io: {error}");
                return None;
            }
        };
        text.lines().find_map(|line| line.strip_prefix("rchar: ")).map(|n| n.parse().unwrap())
    }

    /// Bytes of the mapping of `path` that are in memory.
    fn resident(path: &Path) -> u64 {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        assert!(lines.next().is_some(), "the file is not mapped");
        let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    #[test]
    fn opening_by_positions_reads_header_and_index() {
        for streamed in [false, true] {
            let Some(file) = sparse(streamed) else { return };
            let Some(before) = bytes_read() else { return };
            let cairn = Cairn::open(&file.path).unwrap();
            let after = bytes_read().unwrap();
            assert_eq!(cairn.file_len(), std::fs::metadata(&file.path).unwrap().len());
            // Header, index, trailer, and the counter's own text.
            assert!(after - before < file.index + 1024, "{} bytes for an index of {}", after - before, file.index);
            assert_eq!(cairn.root().items().count(), 2);
            file.unchanged();
            far_away(&cairn, &file);
        }
    }

    /// Tensors and slices cost their own blocks.
    fn far_away(cairn: &Cairn<'_>, file: &Sparse) {
        let before = bytes_read().unwrap();
        let small = cairn.tensor("/1").unwrap().read().unwrap();
        assert_eq!(small.as_slice::<u8>().unwrap(), noise(1, 1000));
        assert!(bytes_read().unwrap() - before < 1000 + 1024);
        let before = bytes_read().unwrap();
        let row = cairn.tensor("/0").unwrap().rows(40_000..40_001).unwrap();
        assert!(row.as_slice::<f32>().unwrap().iter().all(|x| x.to_bits() == 0));
        assert!(bytes_read().unwrap() - before <= (1 << BLOCK_LOG2) + 1024);
        file.unchanged();
    }

    #[test]
    fn mapping_touches_header_and_index() {
        for streamed in [false, true] {
            let Some(file) = sparse(streamed) else { return };
            let cairn = map(&file.path);
            assert_eq!(cairn.root().items().count(), 2);
            // The system maps what the cache has around a page that is touched, up to 64 KiB.
            let most = file.index + (512 << 10);
            assert!(resident(&file.path) < most, "{} bytes for an index of {}", resident(&file.path), file.index);
            let small = cairn.tensor("/1").unwrap().read().unwrap();
            assert_eq!(small.as_slice::<u8>().unwrap(), noise(1, 1000));
            assert!(resident(&file.path) < most);
            let huge = cairn.tensor("/0").unwrap();
            assert_eq!(huge.bytes_unchecked().unwrap().unwrap().len() as u64, HUGE);
            let row = huge.rows(40_000..40_001).unwrap();
            assert!(row.as_slice::<f32>().unwrap().iter().all(|x| x.to_bits() == 0));
            assert!(resident(&file.path) < most + (1 << BLOCK_LOG2) + (4 << 20));
            file.unchanged();
        }
    }

    /// Without the trailer's check, nothing at the end of a planned file is read.
    #[test]
    fn the_trailer_may_be_left_alone() {
        let Some(file) = sparse(false) else { return };
        let damaged = File::options().write(true).open(&file.path).unwrap();
        damaged.write_all_at(b"x", damaged.metadata().unwrap().len() - 64).unwrap();
        assert_eq!(Cairn::open(&file.path).unwrap_err().code(), Code::TrailerMagic);
        assert!(OpenOptions::new().check_trailer(false).open(&file.path).is_ok());
    }
}

/// Tensors of many sizes and dtypes, each in a buffer of its own but for the last, a view.
fn value() -> Value<'static> {
    let mut tensors = Vec::new();
    for (seed, len) in [1u64, 3, 63, 64, 65, 1000, 65_535, 65_536, 65_537, 200_000].into_iter().enumerate() {
        tensors.push(Tensor::new(DType::U8, &[len], Storage::shared(noise(seed as u64, len as usize))).unwrap());
    }
    let lines = DType::private("my.line", cairnfile::GroupClass::Scalar, 1, 64).unwrap();
    tensors.push(Tensor::new(lines, &[3], Storage::shared(noise(50, 192))).unwrap());
    tensors.push(Tensor::new(DType::C128, &[9000], Storage::shared(noise(51, 144_000))).unwrap());
    tensors.push(Tensor::new(DType::F64, &[], Storage::shared(noise(52, 8))).unwrap());
    let base = tensors[11].storage().clone();
    tensors.push(Tensor::view(DType::F64, &[100], None, base, 24).unwrap());
    Value::List(tensors.into_iter().map(Value::from).collect())
}

fn saved(value: &Value<'_>) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("value.cairn");
    cairnfile::save_with(&path, value, &WriteOptions::new().block_log2(12)).unwrap();
    (directory, path)
}

#[test]
fn tensors_are_aligned_as_promised() {
    let value = value();
    let (_directory, path) = saved(&value);
    for cairn in [Cairn::open(&path).unwrap(), map(&path)] {
        let loaded = [cairn.load().unwrap(), cairn.load_copy().unwrap()];
        assert!(loaded.iter().all(|loaded| *loaded == value));
        for (i, tensor) in cairn.tensors().enumerate() {
            let range = tensor.file_range().unwrap();
            let view = i == 13;
            if !view {
                let align =
                    if range.end - range.start >= hard_limits::LARGE_BUFFER { hard_limits::LARGE_ALIGN } else { hard_limits::PART_ALIGN };
                assert_eq!(range.start % align, 0, "{tensor:?}");
            }
            let least = if view { 8 } else { 64 };
            let mut copies = vec![tensor.read().unwrap()];
            for loaded in &loaded {
                let Value::List(items) = loaded else { panic!("a list was saved") };
                copies.push(items[i].as_tensor().unwrap().clone());
            }
            for copy in copies {
                assert_eq!(copy.span().unwrap().as_ptr().addr() % least, 0, "{tensor:?}");
            }
            if let Some(bytes) = tensor.bytes_unchecked().unwrap() {
                assert_eq!(bytes.as_ptr().addr() as u64 % 4096, range.start % 4096, "{tensor:?} in the mapping");
            }
        }
        // Aligned enough to be seen as numbers.
        assert_eq!(cairn.tensor("/11").unwrap().read().unwrap().as_slice::<[f64; 2]>().unwrap().len(), 9000);
        assert_eq!(cairn.tensor("/13").unwrap().read().unwrap().as_slice::<f64>().unwrap().len(), 100);
    }
}

/// Of a mapping, tensors are slices; of positioned reads, copies of their own.
#[test]
fn mapped_tensors_are_not_copied() {
    let (_directory, path) = saved(&value());
    let cairn = map(&path);
    for tensor in cairn.tensors() {
        let place = tensor.bytes_unchecked().unwrap().unwrap().as_ptr();
        assert_eq!(tensor.read().unwrap().span().unwrap().as_ptr(), place);
        if tensor.shape().unwrap() == [1000] {
            let rows = tensor.rows(100..200).unwrap();
            assert_eq!(rows.span().unwrap().as_ptr(), place.wrapping_add(100));
        }
    }
    assert!(Cairn::open(&path).unwrap().tensors().all(|t| t.bytes_unchecked().unwrap().is_none()));
}

#[test]
fn saving_over_a_mapped_file_leaves_the_mapping() {
    let old = value();
    let (_directory, path) = saved(&old);
    let (mapped, opened) = (map(&path), Cairn::open(&path).unwrap());
    let tensor = mapped.tensor("/9").unwrap().read().unwrap();
    cairnfile::save(&path, &Value::from("shorter")).unwrap();
    assert_eq!(tensor.span().unwrap(), noise(9, 200_000));
    assert!(mapped.verify(&|_| Ok(())).unwrap().is_intact());
    assert_eq!(mapped.load().unwrap(), old);
    assert_eq!(opened.load().unwrap(), old, "an open file is the old one as well");
    assert_eq!(cairnfile::load(&path).unwrap(), Value::from("shorter"));
}

#[test]
fn a_file_of_another_length_is_noticed() {
    let value = value();
    let (_directory, path) = saved(&value);
    let whole = std::fs::read(&path).unwrap();
    let len = whole.len() as u64;
    let cairn = Cairn::open(&path).unwrap();
    let first = cairn.tensor("/0").unwrap();
    let start = cairn.tensor("/9").unwrap().file_range().unwrap().start;
    for other in [0, 64, start, start + 5000, len - 64, len - 1, len + 1, len * 2] {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(other).unwrap();
        // Also where the bytes that were wanted are still there.
        let outcomes = [
            first.read().map(drop),
            cairn.tensor("/9").unwrap().read().map(drop),
            cairn.tensor("/9").unwrap().rows(100_000..100_001).map(drop),
            cairn.load().map(drop),
            cairn.load_copy().map(drop),
            cairn.verify(&|_| Ok(())).map(drop),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.unwrap_err().code(), Code::Changed, "{other} of {len} bytes");
        }
        // What stands in the index is known already.
        assert_eq!(cairn.root().items().count(), 14);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(cairn.load().unwrap(), value, "the file is as it was");
    }
}

/// Every copy by positions is verified anew; a mapping's blocks once.
#[test]
fn bytes_that_change_under_positioned_reads_are_noticed() {
    let (_directory, path) = saved(&value());
    let cairn = Cairn::open(&path).unwrap();
    let tensor = cairn.tensor("/9").unwrap();
    assert!(tensor.read().is_ok());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[tensor.file_range().unwrap().start as usize + 4096] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(tensor.read().unwrap_err().code(), Code::BlockCrc);
    assert!(tensor.rows(0..4096).is_ok());
    assert_eq!(tensor.rows(4096..4097).unwrap_err().code(), Code::BlockCrc);
}

#[test]
fn what_cannot_be_opened_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.cairn");
    assert_eq!(Cairn::open(&missing).unwrap_err().code(), Code::Io);
    // SAFETY: there is nothing to map.
    assert_eq!(unsafe { Cairn::map(&missing) }.unwrap_err().code(), Code::Io);
    assert_eq!(Cairn::open(directory.path()).map(drop).unwrap_err().class(), cairnfile::Class::Io);
    let empty = directory.path().join("empty.cairn");
    File::create(&empty).unwrap();
    assert_eq!(Cairn::open(&empty).unwrap_err().code(), Code::TooShort);
    // SAFETY: the test's own file does not change.
    assert_eq!(unsafe { Cairn::map(&empty) }.unwrap_err().code(), Code::TooShort);
}

/// A load that is mapped copy-on-write hands out memory that can be written to, and the file never sees it.
#[test]
fn writing_to_a_mapped_load_leaves_the_file() {
    let numbers = Tensor::from_vec(&[100_000], (0..100_000u32).collect()).unwrap();
    let (_directory, path) = saved(&Value::from(vec![Value::from(numbers), Value::Null]));
    let before = std::fs::read(&path).unwrap();
    let cairn = Cairn::open(&path).unwrap();
    // SAFETY: the file is this test's own and does not change.
    let loaded = unsafe { cairn.fetch_mapped(&[cairn.root()], &|_| Ok(())) }.unwrap();
    let tensor = loaded.tensor(cairn.tensor("/0").unwrap()).unwrap();
    assert_eq!(tensor.as_slice::<u32>().unwrap()[99_999], 99_999);
    let data = tensor.storage().writable().unwrap();
    // SAFETY: the byte is the tensor's first and no reference to the memory is left.
    unsafe { data.as_ptr().add(usize::try_from(tensor.offset()).unwrap()).write(7) };
    assert_eq!(tensor.as_slice::<u32>().unwrap()[..2], [7, 1]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Damage is found before anything is mapped.
#[test]
fn a_mapped_load_is_verified() {
    let (_directory, path) = saved(&value());
    let mut bytes = std::fs::read(&path).unwrap();
    let at = Cairn::from_bytes(&bytes).unwrap().tensors().find_map(|t| t.file_range().ok().filter(|r| !r.is_empty())).unwrap().start;
    bytes[usize::try_from(at).unwrap()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let cairn = Cairn::open(&path).unwrap();
    // SAFETY: the file is this test's own and does not change.
    let loaded = unsafe { cairn.fetch_mapped(&[cairn.root()], &|_| Ok(())) };
    assert_eq!(loaded.err().map(|e| e.code()), Some(Code::BlockCrc));
}

/// What a mapping's length check catches before it could become a SIGBUS.
#[test]
fn a_mapped_file_that_was_cut_short_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cairn");
    let value = Value::from(vec![Value::from(Tensor::from_vec(&[300_000], vec![7u8; 300_000]).unwrap())]);
    cairnfile::save(&path, &value).unwrap();
    // SAFETY: the contract is broken on purpose; nothing is read behind the end, which is what this is about.
    let cairn = unsafe { Cairn::map(&path) }.unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    assert_eq!(cairn.tensor("/0").unwrap().read().unwrap_err().code(), Code::Changed);
    assert_eq!(cairn.load().unwrap_err().code(), Code::Changed);
}

/// What reads may allocate is counted to the byte, and a fetch says how much it brings in.
#[test]
fn memory_has_a_budget() {
    use std::sync::atomic::{AtomicU64, Ordering};

    use cairnfile::Limits;
    let tensor = |len: usize| Value::from(Tensor::new(DType::U8, &[len as u64], Storage::shared(noise(1, len))).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cairn");
    cairnfile::save(&path, &Value::List([200_000, 64, 6400].map(tensor).to_vec())).unwrap();
    let open = |memory| OpenOptions::new().limits(Limits { memory, ..Limits::default() }).open(&path).unwrap();
    let code = |result: cairnfile::Result<Tensor<'_>>| result.map_err(|error| error.code()).map(|tensor| tensor.byte_len());
    assert_eq!(code(open(199_999).tensor("/0").unwrap().read()), Err(Code::Budget));
    let cairn = open(200_063);
    assert_eq!(code(cairn.tensor("/0").unwrap().read()), Ok(200_000));
    assert_eq!(code(cairn.tensor("/1").unwrap().read()), Err(Code::Budget));
    let cairn = open(206_400);
    let some = [cairn.root().at_address("/2").unwrap(), cairn.root().at_address("/0").unwrap()];
    assert_eq!(cairn.bytes_under(&some).unwrap(), 206_400);
    assert_eq!(cairn.bytes_under(&[cairn.root()]).unwrap(), 206_464);
    let done = AtomicU64::new(0);
    let count = |n| {
        done.fetch_add(n, Ordering::Relaxed);
        Ok(())
    };
    let loaded = cairn.fetch_copy(&some, &count).unwrap();
    assert_eq!(done.swap(0, Ordering::Relaxed), 206_400);
    let (storage, range) = loaded.buffer_memory(2).unwrap();
    assert_eq!(storage.bytes().unwrap()[range.start as usize..range.end as usize], noise(1, 6400));
    assert!(loaded.buffer_memory(1).is_none());
    // SAFETY: the test's own file does not change.
    let mapped = unsafe { cairn.fetch_mapped(&some[1..], &count) }.unwrap();
    assert_eq!(done.into_inner(), 200_000);
    assert_eq!(mapped.tensor(cairn.tensor("/0").unwrap()).unwrap().as_slice::<u8>().unwrap(), noise(1, 200_000));
    assert_eq!(loaded.tensor(cairn.tensor("/2").unwrap()).unwrap().as_slice::<u8>().unwrap(), noise(1, 6400));
    assert!(cairn.fetch_copy(&some[..1], &|_| Ok(())).is_err_and(|error| error.code() == Code::Budget));
}
