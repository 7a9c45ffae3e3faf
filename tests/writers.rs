//! Replacing a file: at any instant, and whatever goes wrong, the old or the new one is there, whole (SPEC.md §13.4).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use cairnfile::{Cairn, Class, Code, DType, Error, Key, Plan, Storage, StreamWriter, Tensor, Value, WriteOptions, hard_limits};
use support::strategies::noise;
use tempfile::TempDir;

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.cairn");
    (directory, path)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn bytes_value(seed: u64, len: u64) -> Value<'static> {
    Value::from(Tensor::new(DType::U8, &[len], Storage::shared(noise(seed, usize::try_from(len).unwrap()))).unwrap())
}

/// Each way of failing leaves what was there before, and nothing beside it.
#[test]
fn failures_leave_the_old_file_and_nothing_else() {
    let reserved = Value::from(Tensor::reserved(DType::BOOL, &[8]).unwrap());
    type Fail<'f> = &'f dyn Fn(&Path) -> cairnfile::Result<()>;
    let failures: [(&str, Code, Fail<'_>); 6] = [
        ("a reserved tensor is saved", Code::Unrepresentable, &|path| cairnfile::save(path, &reserved)),
        ("a produced bool is 2", Code::BoolValue, &|path| {
            let mut file = Plan::new(&reserved, &WriteOptions::new())?.create(path)?;
            let Value::Tensor(tensor) = &reserved else { unreachable!("it is one") };
            file.tensor_mut(tensor)?[3] = 2;
            file.commit()
        }),
        ("sharing would be lost", Code::SharingLost, &|path| {
            let storage = Storage::shared(vec![0u8; 10]);
            let view = |stride: i64, at| Tensor::view(DType::U8, &[10], Some(&[stride]), storage.clone(), at).unwrap();
            cairnfile::save(path, &Value::List(vec![view(1, 0).into(), view(-1, 9).into()]))
        }),
        ("the options are wrong", Code::BlockSize, &|path| cairnfile::save_with(path, &Value::Null, &WriteOptions::new().block_log2(11))),
        ("the caller's writing fails", Code::NotFound, &|path| {
            cairnfile::replace(path, |file| {
                std::io::Write::write_all(file, b"half").unwrap();
                Err(Error::new(Code::NotFound, "no more"))
            })
        }),
        ("the directory is not there", Code::Io, &|path| cairnfile::save(path.join("below a file"), &Value::Null)),
    ];
    for (what, code, fail) in failures {
        for old in [None, Some(b"the old file".as_slice())] {
            let (directory, path) = directory();
            if let Some(old) = old {
                fs::write(&path, old).unwrap();
            }
            assert_eq!(fail(&path).unwrap_err().code(), code, "{what}");
            assert_eq!(fs::read(&path).ok().as_deref(), old, "{what}");
            assert_eq!(names(directory.path()).len(), usize::from(old.is_some()), "{what}");
        }
    }
}

#[test]
fn in_place_dropped_before_commit_leaves_nothing() {
    let (directory, path) = directory();
    let tensor = Tensor::reserved(DType::U64, &[100_000]).unwrap();
    let value = Value::from(tensor.clone());
    for old in [None, Some(Value::from("old"))] {
        if let Some(old) = &old {
            cairnfile::save(&path, old).unwrap();
        }
        let mut file = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
        file.slice_mut::<u64>(&tensor).unwrap().fill(7);
        assert_eq!(names(directory.path()).len(), 1 + usize::from(old.is_some()), "the temporary is beside the target");
        assert_eq!(cairnfile::load(&path).ok(), old, "nothing is visible before commit");
        drop(file);
        assert_eq!(names(directory.path()).len(), usize::from(old.is_some()));
        assert_eq!(cairnfile::load(&path).ok(), old);
    }
    let mut file = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
    file.slice_mut::<u64>(&tensor).unwrap().fill(7);
    file.commit().unwrap();
    assert_eq!(names(directory.path()), ["a.cairn"]);
    assert!(Cairn::open(&path).unwrap().verify(&|_| Ok(())).unwrap().is_intact());
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let (directory, _) = directory();
    let inside = directory.path().join("directory");
    fs::create_dir(&inside).unwrap();
    let error = cairnfile::save(&inside, &Value::Null).unwrap_err();
    assert_eq!(error.class(), Class::Io);
    assert!(error.to_string().contains("a directory"), "{error}");
    assert_eq!(names(&inside), Vec::<String>::new());
    assert_eq!(names(directory.path()), ["directory"]);
}

/// The name may be as long as the file system allows.
#[test]
fn long_names_can_be_saved() {
    let (directory, _) = directory();
    let path = directory.path().join(format!("{}.cairn", "é".repeat(124)));
    cairnfile::save(&path, &Value::Null).unwrap();
    cairnfile::save(&path, &Value::from(1i64)).unwrap();
    assert_eq!(cairnfile::load(&path).unwrap(), Value::from(1i64));
    assert_eq!(names(directory.path()).len(), 1);
}

/// Counts down when a thread ends, also by a panic.
struct Done<'a>(&'a std::sync::atomic::AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Readers meanwhile see one of the two files, whole; in the end one of them is there and no temporary.
#[test]
fn concurrent_saves_end_with_a_whole_file() {
    let (directory, path) = directory();
    let values = [bytes_value(1, 300_000), bytes_value(2, 70_000)];
    let files = values.each_ref().map(|value| cairnfile::to_bytes(value, &WriteOptions::new()).unwrap());
    cairnfile::save(&path, &values[0]).unwrap();
    let writing = std::sync::atomic::AtomicUsize::new(4);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (value, path, writing) = (&values[worker % 2], &path, &writing);
            scope.spawn(move || {
                let _done = Done(writing);
                for round in 0..12 {
                    let options = WriteOptions::new().durable(round == 0);
                    match worker {
                        0 | 1 => cairnfile::save_with(path, value, &options).unwrap(),
                        _ => Plan::new(value, &options).unwrap().create(path).unwrap().commit().unwrap(),
                    }
                }
            });
        }
        let mut seen = 0;
        while writing.load(std::sync::atomic::Ordering::SeqCst) > 0 || seen == 0 {
            let found = fs::read(&path).unwrap();
            assert!(files.contains(&found), "a file of {} bytes that nobody saved", found.len());
            seen += 1;
        }
    });
    assert!(files.contains(&fs::read(&path).unwrap()));
    assert_eq!(names(directory.path()), ["a.cairn"]);
}

/// Progress ends at the bytes of the buffers, or more.
#[test]
fn progress_counts_what_is_written() {
    let (_directory, path) = directory();
    let value = bytes_value(3, 10_000_000);
    let plan = Plan::new(&value, &WriteOptions::new().durable(false)).unwrap();
    let (data, len) = (plan.data_len(), plan.file_len());
    assert_eq!(data, 10_000_000);
    let done = std::sync::atomic::AtomicU64::new(0);
    plan.save(&path, &|n| {
        done.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    })
    .unwrap();
    let done = done.into_inner();
    assert!(data <= done && done <= len, "{done} of {data} bytes of data");
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
}

/// A sink that takes some bytes and then fails.
struct Failing(usize);

impl std::io::Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(self.0);
        self.0 -= n;
        if n == 0 && !bytes.is_empty() { Err(std::io::Error::other("the pipe broke")) } else { Ok(n) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.0 == 0 { Err(std::io::Error::other("cannot flush")) } else { Ok(()) }
    }
}

#[test]
fn a_failing_sink_is_an_error_wherever_it_fails() {
    let value = Value::List(vec![bytes_value(4, 500), Value::from("text"), bytes_value(5, 70)]);
    let mut whole = Vec::new();
    cairnfile::stream_to(&mut whole, &value, &WriteOptions::new()).unwrap();
    for room in 0..=whole.len() {
        let error = cairnfile::stream_to(Failing(room), &value, &WriteOptions::new()).unwrap_err();
        assert_eq!(error.code(), Code::Io, "{room}");
        assert!(error.io_error().is_some());
    }
    cairnfile::stream_to(Failing(whole.len() + 1), &value, &WriteOptions::new()).unwrap();
}

#[test]
fn a_stream_refuses_what_it_cannot_finish() {
    let stream = || StreamWriter::new(Vec::new(), &WriteOptions::new()).unwrap();
    let foreign = bytes_value(6, 10);
    let code = |result: cairnfile::Result<Vec<u8>>| result.unwrap_err().code();
    // Nothing in the root covers what was appended.
    let mut unused = stream();
    unused.append(foreign.as_tensor().unwrap()).unwrap();
    assert_eq!(code(unused.finish(&Value::Null)), Code::ViewCover);
    // A tensor without bytes that was not appended, alone and beside one that was.
    let reserved = Value::from(Tensor::reserved(DType::U8, &[10]).unwrap());
    assert_eq!(code(stream().finish(&reserved)), Code::Unrepresentable);
    let mut beside = stream();
    let appended = beside.append(foreign.as_tensor().unwrap()).unwrap();
    assert_eq!(code(beside.finish(&Value::List(vec![appended.into(), reserved]))), Code::Unrepresentable);
    // Chunks that do not add up, and no bytes at all.
    assert_eq!(stream().append_storage(10, [[0u8; 4], [0; 4]]).unwrap_err().code(), Code::BufferLength);
    assert_eq!(stream().append_storage(7, [[0u8; 4], [0; 4]]).unwrap_err().code(), Code::BufferLength);
    assert_eq!(stream().append_storage(0, [[0u8; 0]]).unwrap_err().code(), Code::BufferLength);
    assert_eq!(StreamWriter::new(Vec::new(), &WriteOptions::new().block_log2(23)).err().unwrap().code(), Code::BlockSize);
    let two = Tensor::new(DType::BOOL, &[1], Storage::borrowed(&[2])).unwrap();
    assert_eq!(stream().append(&two).unwrap_err().code(), Code::BoolValue);
}

#[test]
fn elements_that_break_a_rule_are_not_written() {
    let two = Tensor::new(DType::BOOL, &[2], Storage::borrowed(&[1, 2])).unwrap();
    let tail = Tensor::new(DType::I4, &[3], Storage::borrowed(&[0x21, 0x13])).unwrap();
    for (tensor, code) in [(two, Code::BoolValue), (tail, Code::TailBits)] {
        let value = Value::List(vec![Value::Null, tensor.into()]);
        let error = cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.detail().contains("\"/1\""), "{error} names the address");
    }
}

#[test]
fn all_reserved_storages_at_once() {
    let (_directory, path) = directory();
    let storages = [100u64, 70_000, 8].map(Storage::reserved);
    let tensors = storages.each_ref().map(|s| Tensor::new(DType::U8, &[s.len()], s.clone()).unwrap());
    let value = Value::List([2, 0, 1].map(|i: usize| Value::from(tensors[i].clone())).to_vec());
    let mut file = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
    assert_eq!(file.storages_mut(&[storages[0].clone(), storages[0].clone()]).unwrap_err().code(), Code::NotFound);
    assert_eq!(file.storages_mut(&[Storage::reserved(100)]).unwrap_err().code(), Code::NotFound);
    assert_eq!(file.tensor_mut(&Tensor::reserved(DType::U8, &[100]).unwrap()).unwrap_err().code(), Code::NotFound);
    std::thread::scope(|scope| {
        for (n, bytes) in (1..).zip(file.storages_mut(&storages).unwrap()) {
            scope.spawn(move || bytes.fill(n));
        }
    });
    file.commit().unwrap();
    let expected = [2, 0, 1].map(|i: usize| vec![u8::try_from(i + 1).unwrap(); usize::try_from(storages[i].len()).unwrap()]);
    for (tensor, expected) in Cairn::open(&path).unwrap().tensors().zip(expected) {
        assert_eq!(tensor.read().unwrap().as_slice::<u8>().unwrap(), expected);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn permissions_are_kept_and_new_files_are_ordinary() {
        let (directory, path) = directory();
        cairnfile::save(&path, &Value::Null).unwrap();
        let ordinary = directory.path().join("ordinary");
        fs::write(&ordinary, "").unwrap();
        assert_eq!(mode(&path), mode(&ordinary), "as the umask says");
        for wanted in [0o600, 0o640, 0o444, 0o777] {
            fs::set_permissions(&path, PermissionsExt::from_mode(wanted)).unwrap();
            cairnfile::save(&path, &Value::from(i64::from(wanted))).unwrap();
            assert_eq!(mode(&path), wanted);
            Plan::new(&Value::Null, &WriteOptions::new()).unwrap().create(&path).unwrap().commit().unwrap();
            assert_eq!(mode(&path), wanted);
        }
    }

    #[test]
    fn symlinks_are_followed_and_hard_links_cut() {
        let (directory, path) = directory();
        let [link, chain, hard] = ["link", "chain", "hard"].map(|name| directory.path().join(name));
        cairnfile::save(&path, &Value::from("old")).unwrap();
        fs::hard_link(&path, &hard).unwrap();
        // Relative, and through another directory's view of it.
        symlink("a.cairn", &link).unwrap();
        symlink(&link, &chain).unwrap();
        cairnfile::save(&chain, &Value::from("new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && fs::symlink_metadata(&chain).unwrap().is_symlink());
        assert_eq!(cairnfile::load(&path).unwrap(), Value::from("new"));
        assert_eq!(cairnfile::load(&hard).unwrap(), Value::from("old"), "the old file is another one");
        assert_ne!(fs::metadata(&path).unwrap().ino(), fs::metadata(&hard).unwrap().ino());
        assert_eq!(names(directory.path()), ["a.cairn", "chain", "hard", "link"]);
        let dangling = directory.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();
        assert_eq!(cairnfile::save(&dangling, &Value::Null).unwrap_err().code(), Code::Io);
        assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());
    }

    /// A temporary stands where the target is, not where the link is: a rename cannot cross file systems.
    #[test]
    fn the_temporary_is_in_the_directory_of_the_target() {
        let (directory, path) = directory();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        fs::write(&path, "old").unwrap();
        symlink(&path, &link).unwrap();
        let file = Plan::new(&Value::Null, &WriteOptions::new()).unwrap().create(&link).unwrap();
        assert_eq!((names(elsewhere.path()).len(), names(directory.path()).len()), (1, 2));
        drop(file);
    }

    // Some things need a process of their own: the test runs itself, with the work to do in the environment.

    const WORK: &str = "CAIRN_TEST_WORK";
    const TARGET: &str = "CAIRN_TEST_PATH";

    /// This test binary, told to run the work of `child`.
    fn child(work: &str, path: &Path, launcher: &[&str]) -> Command {
        let own = std::env::current_exe().unwrap();
        let mut command = match launcher {
            [] => Command::new(&own),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(&own);
                command
            }
        };
        command.args(["--exact", "unix::child_work", "--nocapture"]).env(WORK, work).env(TARGET, path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Not a test: what `child` runs.
    #[test]
    fn child_work() {
        let (Ok(work), Ok(path)) = (std::env::var(WORK), std::env::var(TARGET)) else { return };
        let path = Path::new(&path);
        match work.as_str() {
            "save forever" => {
                let values = [bytes_value(1, 9_000_000), bytes_value(2, 5_000_000)];
                for round in 0.. {
                    let options = WriteOptions::new().durable(round % 3 == 0);
                    match round % 2 {
                        0 => cairnfile::save_with(path, &values[0], &options).unwrap(),
                        _ => Plan::new(&values[1], &options).unwrap().create(path).unwrap().commit().unwrap(),
                    }
                }
            }
            "no space" => no_space(path),
            _ => panic!("no such work: {work}"),
        }
    }

    /// The disk has less room than the file needs: an error at create, before anything is computed, or at save.
    fn no_space(path: &Path) {
        let reserved = Value::from(Tensor::reserved(DType::U8, &[8 << 20]).unwrap());
        let error = Plan::new(&reserved, &WriteOptions::new()).unwrap().create(path).err().expect("create notices the full disk");
        assert_eq!(error.code(), Code::Io, "{error}");
        assert!(error.io_error().is_some(), "{error}");
        let error = cairnfile::save(path, &bytes_value(1, 8 << 20)).unwrap_err();
        assert_eq!(error.code(), Code::Io, "{error}");
        assert_eq!(names(path.parent().unwrap()), ["a.cairn"], "no temporary is left");
        assert_eq!(cairnfile::load(path).unwrap(), Value::from("old"));
        cairnfile::save(path, &Value::from("small")).unwrap();
        eprintln!("no space: done");
    }

    fn finished(command: &mut Command) -> (bool, String) {
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success() && errors.contains("no space: done"), errors)
    }

    /// With a limit on the size of files, which every user can set.
    #[test]
    fn a_limit_on_file_size_is_an_error_at_create() {
        let (_directory, path) = directory();
        cairnfile::save(&path, &Value::from("old")).unwrap();
        // 1 MiB in blocks of 512 bytes; without the signal that would end the process.
        let limit = "ulimit -f 2048 && trap '' XFSZ && exec \"$@\"";
        let (done, errors) = finished(&mut child("no space", &path, &["/bin/sh", "-c", limit, "sh"]));
        assert!(done, "{errors}");
        assert_eq!(cairnfile::load(&path).unwrap(), Value::from("small"));
    }

    /// On a file system that is full.
    #[test]
    fn a_full_disk_is_an_error_at_create() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cairn");
        // In a mount namespace of its own, so that nothing has to be unmounted.
        let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\" || exit 77; cp \"$OLD\" \"$0/a.cairn\" && exec \"$@\"";
        let old = tempfile::NamedTempFile::new().unwrap();
        cairnfile::save(old.path(), &Value::from("old")).unwrap();
        let launcher = ["unshare", "-m", "/bin/sh", "-c", mount, directory.path().to_str().unwrap()];
        let mut command = child("no space", &path, &launcher);
        let output = match command.env("OLD", old.path()).output() {
            Ok(output) => output,
            Err(error) => return eprintln!("skipped: cannot run unshare: {error}"),
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) || errors.starts_with("unshare:") {
            return eprintln!("skipped: cannot mount a small tmpfs (not root?): {}", errors.trim());
        }
        assert!(output.status.success() && errors.contains("no space: done"), "{errors}");
    }

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A save that is killed leaves the old or the new file; what it left beside it is swept by the next save.
    #[test]
    fn a_killed_save_leaves_a_whole_file() {
        let (directory, path) = directory();
        let values = [bytes_value(1, 9_000_000), bytes_value(2, 5_000_000)];
        let files = values.each_ref().map(|value| cairnfile::to_bytes(value, &WriteOptions::new()).unwrap());
        cairnfile::save(&path, &values[0]).unwrap();
        let mut strays = 0;
        for round in 0..15u64 {
            let mut saving = Killed(child("save forever", &path, &[]).stderr(Stdio::null()).spawn().unwrap());
            std::thread::sleep(Duration::from_millis(60 + round * 17));
            assert!(saving.0.try_wait().unwrap().is_none(), "the child still saves");
            drop(saving);
            let found = fs::read(&path).unwrap();
            assert!(files.contains(&found), "a file of {} bytes that nobody saved", found.len());
            strays += names(directory.path()).len() - 1;
        }
        eprintln!("{strays} temporaries were left by killed saves");
        cairnfile::save(&path, &Value::Null).unwrap();
        assert_eq!(names(directory.path()), ["a.cairn"]);
    }

    /// A live temporary of another process is not swept.
    #[test]
    fn live_temporaries_are_left_alone() {
        let (directory, path) = directory();
        let tensor = Tensor::reserved(DType::U8, &[100]).unwrap();
        let value = Value::from(tensor.clone());
        let mut live = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
        fs::write(directory.path().join(".a.cairn.dead00.cairn-tmp"), "stray").unwrap();
        cairnfile::save(&path, &Value::from("meanwhile")).unwrap();
        assert_eq!(names(directory.path()).len(), 2, "{:?}", names(directory.path()));
        live.tensor_mut(&tensor).unwrap().fill(1);
        live.commit().unwrap();
        assert_eq!(names(directory.path()), ["a.cairn"]);
        assert_eq!(cairnfile::load(&path).unwrap().as_tensor().unwrap().as_slice::<u8>().unwrap(), [1; 100]);
    }
}

/// What a stream was not given before it ends, it takes from the root: tensors with bytes and long bytes.
#[test]
fn a_stream_takes_the_rest_from_the_root() {
    use cairnfile::{Cairn, StreamWriter, Tensor, Value, WriteOptions};
    let mut stream = StreamWriter::new(Vec::new(), &WriteOptions::new()).unwrap();
    let early = stream.append(&Tensor::from_vec(&[3], vec![1u8, 2, 3]).unwrap()).unwrap();
    let late = Value::from(Tensor::from_vec(&[2], vec![0.5f32, 1.5]).unwrap());
    let long = Value::from(vec![7u8; 70_000]);
    let root = Value::List(vec![long.clone(), late.clone(), early.into(), late.clone()]);
    let bytes = stream.finish(&root).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    assert!(cairn.verify(&|_| Ok(())).unwrap().is_intact());
    let Value::List(items) = cairn.load().unwrap() else { panic!("a list was written") };
    assert_eq!((&items[0], &items[1], &items[3]), (&long, &late, &late));
    assert_eq!(items[2].as_tensor().unwrap().as_slice::<u8>().unwrap(), [1, 2, 3]);
    assert_eq!(cairn.tensor("/1").unwrap().number(), cairn.tensor("/3").unwrap().number());
}

/// The blocks of all these buffers are more than 64 bits count, four bytes each.
#[test]
fn buffers_that_no_file_holds_are_refused() {
    let whole = |_| Value::from(Tensor::reserved(DType::U8, &[hard_limits::MAX_LEN]).unwrap());
    for count in [2, 2048, 8193] {
        let value = Value::from((0..count).map(whole).collect::<Vec<_>>());
        let error = Plan::new(&value, &WriteOptions::new().block_log2(12)).err().unwrap();
        assert_eq!(error.code(), Code::IndexLimit, "{count}: {error}");
    }
}

/// What is longer or deeper than readers take is not written, and what is just within is read again.
#[test]
fn limits_are_the_writers_too() {
    let nested = |keys: &[Key]| keys.iter().rev().fold(Value::Null, |value, key| Value::Dict([(key.clone(), value)].into_iter().collect()));
    let write = |value: &Value<'_>| cairnfile::to_bytes(value, &WriteOptions::new());
    let long = |n: usize| "k".repeat(n);
    let just = [
        vec![Key::from(long(4096))],
        vec![Key::Bytes(vec![0; 4096])],
        vec![Key::from(long(4088)), Key::Int(1)],
        vec![Key::Int(-1), Key::Bytes(vec![1; 80]), Key::from(long(4000)), Key::Int(0)],
    ];
    for mut keys in just {
        let value = nested(&keys);
        let bytes = write(&value).unwrap();
        assert!(Cairn::from_bytes(&bytes).unwrap().load().unwrap() == value);
        keys.push(Key::from("k"));
        let error = write(&nested(&keys)).unwrap_err();
        assert_eq!(error.code(), Code::PathLimit);
        assert!(error.to_string().contains("4097 bytes"), "{error}");
    }
    let deep = |n: usize| (1..n).fold(Value::Null, |value, _| Value::List(vec![value]));
    assert!(Cairn::from_bytes(&write(&deep(128)).unwrap()).unwrap().load().unwrap() == deep(128));
    assert_eq!(write(&deep(129)).unwrap_err().code(), Code::DepthLimit);
    let named = |n: usize| (1..n).fold(Value::Null, |value, _| Value::Named(cairnfile::Named::new("a.b", value).unwrap()));
    assert!(Cairn::from_bytes(&write(&named(128)).unwrap()).unwrap().load().unwrap() == named(128));
    assert_eq!(write(&named(129)).unwrap_err().code(), Code::DepthLimit);
}

/// Lengths of tables add up: thousands of small tensors are far below what an index may have.
#[test]
fn many_tensors_are_planned() {
    let byte = |i: u16| Value::from(Tensor::new(DType::U16, &[1], Storage::shared(i.to_le_bytes().to_vec())).unwrap());
    let value = Value::List((0..6000).map(byte).collect());
    let bytes = cairnfile::to_bytes(&value, &WriteOptions::new()).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    assert_eq!(cairn.tensors().len(), 6000);
    assert_eq!(cairn.tensor("/5999").unwrap().read().unwrap().as_slice::<u16>().unwrap(), [5999]);
}

#[test]
fn a_stream_takes_chunks_and_joins_views() {
    let noise = noise(9, 10_000);
    let mut stream = StreamWriter::new(Vec::new(), &WriteOptions::new().block_log2(12)).unwrap();
    let chunked = stream.append_chunks(DType::U8, &[10_000], noise.chunks(999)).unwrap();
    // Two views that overlap were not appended: one buffer, from the parts of it that each adds.
    let storage = Storage::shared(noise.clone());
    let view =
        |range: std::ops::Range<u64>| Tensor::view(DType::U8, &[range.end - range.start], None, storage.clone(), range.start).unwrap();
    let root = Value::List(vec![view(0..6000).into(), view(5000..10_000).into(), chunked.into()]);
    let bytes = stream.finish(&root).unwrap();
    let cairn = Cairn::from_bytes(&bytes).unwrap();
    assert!(cairn.verify(&|_| Ok(())).unwrap().is_intact());
    for (address, expected) in [("/0", &noise[..6000]), ("/1", &noise[5000..]), ("/2", &noise[..])] {
        assert_eq!(cairn.tensor(address).unwrap().read().unwrap().as_slice::<u8>().unwrap(), expected, "{address}");
    }
    assert_eq!(cairn.buffer_count(), 2);
    let error = StreamWriter::new(Vec::new(), &WriteOptions::new()).unwrap().append_storage(10, [[0u8; 6], [0; 6]]).unwrap_err();
    assert!(error.to_string().contains("more than the 10 bytes"), "{error}");
}

#[test]
fn parity_of_more_than_a_file_holds_is_refused() {
    let reserved = |len| Value::from(Tensor::reserved(DType::U8, &[len]).unwrap());
    for lens in [[hard_limits::MAX_LEN, 1], [hard_limits::MAX_LEN, hard_limits::MAX_LEN]] {
        let value = Value::List(lens.map(reserved).to_vec());
        let error = Plan::new(&value, &WriteOptions::new().block_log2(22).parity(10_000)).err().unwrap();
        assert_eq!((error.code(), error.detail()), (Code::BufferLength, "the buffers would end past 2^63-1"));
    }
}

#[test]
fn metadata_hold_no_tensors() {
    let tensor = bytes_value(1, 4);
    for (key, value) in [(Key::from("k"), tensor.clone()), (Key::from("k"), Value::List(vec![tensor])), (Key::Int(1), Value::Null)] {
        let options = WriteOptions::new().metadata([(key, value)].into_iter().collect());
        assert_eq!(cairnfile::to_bytes(&Value::Null, &options).unwrap_err().code(), Code::Metadata);
    }
}

/// A bad element that was produced in place is named by the first address of its tensor, also behind tied ones.
#[test]
fn what_breaks_a_rule_in_place_is_named() {
    let (_directory, path) = directory();
    let [first, second] = [4, 5].map(|len| Tensor::reserved(DType::BOOL, &[len]).unwrap());
    let value = Value::List(vec![first.clone().into(), first.clone().into(), second.clone().into()]);
    for (tensor, address) in [(&first, "/0"), (&second, "/2")] {
        let mut file = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
        file.tensor_mut(tensor).unwrap()[1] = 2;
        let error = file.commit().err().unwrap();
        assert_eq!(error.code(), Code::BoolValue);
        assert!(error.to_string().contains(address), "{error}");
    }
}

#[test]
fn what_breaks_a_rule_is_named_wherever_it_is() {
    let two = Tensor::new(DType::BOOL, &[1], Storage::borrowed(&[2])).unwrap();
    let dict: cairnfile::Dict<'_> = [("a", Value::Null), ("b/c", Value::Tuple(vec![Value::Null, two.into()]))].into_iter().collect();
    let named = cairnfile::Named::new("my.type", Value::Dict(dict)).unwrap();
    let error = cairnfile::to_bytes(&Value::List(vec![Value::Named(named)]), &WriteOptions::new()).unwrap_err();
    assert_eq!(error.code(), Code::BoolValue);
    assert!(error.to_string().contains("/0/b~1c/1"), "{error}");
}

/// In place: what has bytes is copied in, also from views that overlap, and the rest is filled.
#[test]
fn in_place_beside_views() {
    let (_directory, path) = directory();
    let bytes = noise(4, 9000);
    let storage = Storage::shared(bytes.clone());
    let view =
        |range: std::ops::Range<u64>| Tensor::view(DType::U8, &[range.end - range.start], None, storage.clone(), range.start).unwrap();
    let reserved = Tensor::reserved(DType::U16, &[3]).unwrap();
    let value = Value::List(vec![view(0..5000).into(), view(4000..7000).into(), view(6999..9000).into(), reserved.clone().into()]);
    let plan = Plan::new(&value, &WriteOptions::new().parity(1000)).unwrap();
    let len = plan.file_len();
    let mut file = plan.create(&path).unwrap();
    assert_eq!(file.file_len(), len);
    assert_eq!(file.slice_mut::<i16>(&reserved).unwrap_err().code(), Code::WrongType);
    file.slice_mut::<u16>(&reserved).unwrap().copy_from_slice(&[1, 2, 3]);
    file.commit().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
    let cairn = Cairn::open(&path).unwrap();
    assert!(cairn.verify(&|_| Ok(())).unwrap().is_intact());
    for (address, expected) in [("/0", &bytes[..5000]), ("/1", &bytes[4000..7000]), ("/2", &bytes[6999..]), ("/3", &[1, 0, 2, 0, 3, 0])] {
        assert_eq!(cairn.tensor(address).unwrap().read().unwrap().row_major_bytes().unwrap(), expected, "{address}");
    }
}

/// A storage is handed out whole or not at all.
#[test]
fn storages_that_are_not_whole_in_the_file() {
    let (_directory, path) = directory();
    for part in [0..50u64, 50..100, 1..100, 0..99] {
        let storage = Storage::reserved(100);
        let view = Tensor::view(DType::U8, &[part.end - part.start], None, storage.clone(), part.start).unwrap();
        let value = Value::from(view.clone());
        let mut file = Plan::new(&value, &WriteOptions::new()).unwrap().create(&path).unwrap();
        assert_eq!(file.storages_mut(&[storage]).unwrap_err().code(), Code::NotFound, "{part:?}");
        assert_eq!(file.tensor_mut(&view).unwrap().len() as u64, part.end - part.start);
    }
}
