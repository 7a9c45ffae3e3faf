//! Full disks, limits, refused directories, odd targets, other owners, files that change while they are read: an error that says so or
//! success; the old file or the new one, whole; nothing left beside it. System calls that fail are `scripts/faults`.
//!
//! What needs a file system of its own runs in a child process with private mounts, and says that it is skipped where
//! those cannot be had.
#![cfg(target_os = "linux")]
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use cairnfile::{Cairn, Code, DType, Plan, Result, Storage, Tensor, Value, WriteOptions};
use support::strategies::noise;

type Write = fn(&Path, &Value<'_>) -> Result<()>;

/// The ways of saving to a path.
const WRITERS: [(&str, Write); 3] = [
    ("save", |path, value| cairnfile::save(path, value)),
    ("in place", |path, value| Plan::new(value, &WriteOptions::new())?.create(path)?.commit()),
    ("stream", |path, value| cairnfile::replace(path, |file| cairnfile::stream_to(file, value, &WriteOptions::new()))),
];

/// Exit status of a setup that is not possible here.
const SKIP: i32 = 77;

fn value(seed: u64, len: usize) -> Value<'static> {
    let half = |seed| Tensor::new(DType::U8, &[len as u64 / 2], Storage::shared(noise(seed, len / 2))).unwrap();
    Value::from(vec![Value::from(half(seed)), Value::from(half(seed + 1)), Value::from("text")])
}

fn old() -> Value<'static> {
    value(1, 300_000)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder with the old file in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("a.cairn");
    cairnfile::save(&path, &old()).unwrap();
    (folder, path)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Saves with each writer and expects `kind`, the old file and nothing else.
fn refused(path: &Path, new: &Value<'_>, kind: ErrorKind) {
    let before = (fs::read(path).unwrap(), names(path.parent().unwrap()));
    for (writer, write) in WRITERS {
        let error = write(path, new).unwrap_err();
        assert_eq!(error.code(), Code::Io, "{writer}: {error}");
        assert_eq!(error.io_error().map(std::io::Error::kind), Some(kind), "{writer}: {error}");
        assert_eq!((fs::read(path).unwrap(), names(path.parent().unwrap())), before, "{writer}");
    }
}

/// Saves with each writer and expects the new file and nothing beside it.
fn replaced(path: &Path) {
    for ((writer, write), seed) in WRITERS.into_iter().zip(10..) {
        let beside = names(path.parent().unwrap());
        write(path, &value(seed, 200_000)).unwrap();
        assert_eq!(cairnfile::load(path).unwrap(), value(seed, 200_000), "{writer}");
        assert_eq!(names(path.parent().unwrap()), beside, "{writer}");
    }
}

/// The variable that hands the folder to a child.
const FOLDER: &str = "FAULTS_FOLDER";

/// The old file's path in a child.
fn given() -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).unwrap()).join("a.cairn")
}

/// Runs test `name` of this file, which is ignored otherwise, in a shell that did `setup` in the folder, under `wrapper`.
fn child(wrapper: &[&str], name: &str, folder: &Path, setup: &str) -> Output {
    let script = format!("cd \"$1\" && {setup} exec \"$0\" --exact {name} --ignored --nocapture");
    let mut words = wrapper.iter().copied().chain(["sh", "-c", &script]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(std::env::current_exe().unwrap()).arg(folder).env(FOLDER, folder);
    command.output().unwrap()
}

/// [`child`] with mounts of its own; `setup` ends with status 77 where it is not possible.
fn with_mounts(name: &str, setup: &str) {
    let (folder, _) = folder();
    if !is_root() {
        eprintln!("skipped: {name}: only root can mount");
        return;
    }
    passed(name, &child(&["unshare", "--mount", "--propagation", "private"], name, folder.path(), setup));
}

fn passed(name: &str, run: &Output) {
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    if run.status.code() == Some(SKIP) {
        eprintln!("skipped: {name}: {text}");
        return;
    }
    assert!(run.status.success() && text.contains("1 passed"), "{name}: {}: {text}", run.status);
}

#[test]
fn full_disk() {
    with_mounts("inside_full_disk", "mount -t tmpfs -o size=1m none . || exit 77; cd .;");
}

#[test]
#[ignore = "run by full_disk"]
fn inside_full_disk() {
    let path = given();
    cairnfile::save(&path, &old()).unwrap();
    refused(&path, &value(3, 2_000_000), ErrorKind::StorageFull);
    // So full that not even a name fits, or nearly.
    let ballast = path.with_file_name("ballast");
    let mut more = File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut more, &[0; 4096]).is_ok() {}
    refused(&path, &value(3, 20_000), ErrorKind::StorageFull);
    drop(more);
    fs::remove_file(ballast).unwrap();
    replaced(&path);
}

/// Where blocks cannot be allocated ahead, writing in place goes through memory: the same files come of it.
#[test]
fn no_allocation() {
    with_mounts("inside_no_allocation", "mount -t ramfs none . || exit 77; cd .;");
}

#[test]
#[ignore = "run by no_allocation"]
fn inside_no_allocation() {
    let path = given();
    cairnfile::save(&path, &old()).unwrap();
    replaced(&path);
    let tensor = Tensor::reserved(DType::U8, &[100_000]).unwrap();
    let mut file = Plan::new(&Value::from(tensor.clone()), &WriteOptions::new()).unwrap().create(&path).unwrap();
    file.tensor_mut(&tensor).unwrap().copy_from_slice(&noise(5, 100_000));
    file.commit().unwrap();
    assert_eq!(Cairn::open(&path).unwrap().tensor("").unwrap().read().unwrap().as_slice::<u8>().unwrap(), noise(5, 100_000));
}

#[test]
fn read_only_file_system() {
    with_mounts("inside_read_only", "{ mount --bind . . && mount -o remount,bind,ro . && cd \"$1\"; } || exit 77;");
}

#[test]
#[ignore = "run by read_only_file_system"]
fn inside_read_only() {
    refused(&given(), &value(3, 10_000), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(cairnfile::load(given()).unwrap(), old());
}

/// A link to another file system: the temporary is beside the file, not beside the link.
#[test]
fn another_file_system() {
    let setup = "{ mkdir far && mount -t tmpfs none far && cp a.cairn far/b.cairn && ln -sf far/b.cairn a.cairn; } || exit 77;";
    with_mounts("inside_another_file_system", setup);
}

#[test]
#[ignore = "run by another_file_system"]
fn inside_another_file_system() {
    let path = given();
    let far = path.with_file_name("far");
    assert_ne!(fs::metadata(&far).unwrap().dev(), fs::metadata(path.parent().unwrap()).unwrap().dev());
    replaced(&path);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(names(&far), ["b.cairn"]);
}

/// A file that is itself a mount cannot be replaced by renaming.
#[test]
fn mounted_file() {
    with_mounts("inside_mounted_file", "{ cp a.cairn b && mount --bind b a.cairn; } || exit 77;");
}

#[test]
#[ignore = "run by mounted_file"]
fn inside_mounted_file() {
    refused(&given(), &value(3, 10_000), ErrorKind::ResourceBusy);
}

#[test]
fn limit_of_file_size() {
    let (folder, path) = folder();
    passed("inside_limit", &child(&[], "inside_limit", folder.path(), "ulimit -f 100 && trap '' XFSZ &&"));
    // The signal that comes with the limit ends the process, unless it is ignored.
    for (number, (writer, _)) in WRITERS.into_iter().enumerate() {
        let setup = format!("export WRITER={number} && ulimit -f 100 && ");
        let run = child(&[], "inside_limit_that_kills", folder.path(), &setup);
        assert_eq!(run.status.signal(), Some(25), "{writer}: {run:?}");
        assert_eq!(cairnfile::load(&path).unwrap(), old(), "{writer}");
        assert_eq!(names(folder.path()).len(), 2, "{writer}: it could not clean up");
        cairnfile::save(&path, &old()).unwrap();
        assert_eq!(names(folder.path()), ["a.cairn"], "{writer}: the next save does");
    }
}

#[test]
#[ignore = "run by limit_of_file_size"]
fn inside_limit() {
    refused(&given(), &value(3, 2_000_000), ErrorKind::FileTooLarge);
}

#[test]
#[ignore = "run by limit_of_file_size"]
fn inside_limit_that_kills() {
    let number: usize = std::env::var("WRITER").unwrap().parse().unwrap();
    let _ = WRITERS[number].1(&given(), &value(3, 2_000_000));
}

/// How to become nobody in particular, for whom modes count.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// The same in one more group.
const MEMBER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=2345"];

/// Runs a test as a user who is not root; root itself ignores modes.
fn as_nobody(name: &str, folder: &Path) -> bool {
    as_user(&NOBODY, name, folder)
}

fn as_user(user: &[&str], name: &str, folder: &Path) -> bool {
    let wrapper = if is_root() { user } else { &[] };
    let run = child(wrapper, name, folder, "");
    if is_root() && matches!(run.status.code(), Some(126 | 127)) {
        eprintln!("skipped: {name}: nobody else can run this: {}", String::from_utf8_lossy(&run.stderr));
        return false;
    }
    passed(name, &run);
    true
}

#[test]
fn read_only_directory() {
    let (folder, path) = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    as_nobody("inside_read_only_directory", folder.path());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(cairnfile::load(path).unwrap(), old());
}

#[test]
#[ignore = "run by read_only_directory"]
fn inside_read_only_directory() {
    refused(&given(), &value(3, 10_000), ErrorKind::PermissionDenied);
}

#[test]
fn targets_that_are_no_files() {
    let (folder, path) = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink("directory", at("link to a directory")).unwrap();
    let made = Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let before = names(folder.path());
    let odd = ["directory", "dangling", "loop", "link to a directory", "fifo", "socket", "missing/a.cairn", "a.cairn/b", "", "."];
    for target in odd.map(at).into_iter().chain(["/dev/null", "/"].map(PathBuf::from)) {
        for (writer, write) in WRITERS {
            let error = write(&target, &Value::Null).unwrap_err();
            assert_eq!(error.code(), Code::Io, "{writer}, {}: {error}", target.display());
            assert_eq!(names(folder.path()), before, "{writer}, {}", target.display());
        }
    }
    assert_eq!((names(&at("directory")).len(), fs::read_link(at("dangling")).unwrap()), (0, PathBuf::from("nowhere")));
    assert_eq!(cairnfile::load(path).unwrap(), old());
}

#[test]
fn modes_are_kept() {
    let (_folder, path) = folder();
    for mode in [0o600, 0o640, 0o444, 0o664, 0o755, 0o000] {
        for (writer, write) in WRITERS {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            write(&path, &Value::Null).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode, "{writer}");
        }
    }
}

/// A file of another user stays that user's, where root saves; nobody else gets to read what only its group could.
#[test]
fn owners_are_kept_or_lose_nothing() {
    let (folder, path) = folder();
    if !is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    for (writer, write) in WRITERS {
        chown(&path, Some(1234), Some(2345)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        write(&path, &Value::Null).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1234, 2345, 0o640), "{writer}");
    }
    as_nobody("inside_owners", folder.path());
    for mode in [0o4664, 0o664, 0o640] {
        chown(&path, Some(1234), Some(2345)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        as_user(&MEMBER, "inside_group", folder.path());
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65534, 2345, mode & 0o777), "its group is kept");
        // Without the group, its members may do what all may.
        chown(&path, Some(1234), Some(2345)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o675)).unwrap();
        as_nobody("inside_group", folder.path());
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65534, 65534, 0o655));
    }
}

#[test]
#[ignore = "run by owners_are_kept_or_lose_nothing"]
fn inside_group() {
    cairnfile::save(given(), &Value::Null).unwrap();
}

#[test]
#[ignore = "run by owners_are_kept_or_lose_nothing"]
fn inside_owners() {
    for (writer, write) in WRITERS {
        let path = given();
        write(&path, &Value::Null).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (65534, 0o600), "{writer}: its group is another one now");
    }
}

#[test]
fn saving_over_a_mapped_file_leaves_the_mapping() {
    for (writer, write) in WRITERS {
        let (_folder, path) = folder();
        // SAFETY: the file is replaced by rename only.
        let mapped = unsafe { Cairn::map(&path) }.unwrap();
        let tensor = mapped.tensor("/0").unwrap().read().unwrap();
        write(&path, &value(3, 10)).unwrap();
        assert_eq!(tensor.span().unwrap(), noise(1, 150_000), "{writer}");
        assert!(mapped.verify(&|_| Ok(())).unwrap().is_intact(), "{writer}");
        assert_eq!((mapped.load().unwrap(), cairnfile::load(&path).unwrap()), (old(), value(3, 10)), "{writer}");
    }
}

/// Saves by threads and by several writers: readers see whole files meanwhile, one of the last is there in the end.
#[test]
fn concurrent_saves_never_mix() {
    let (folder, path) = folder();
    let saving = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while saving.load(Ordering::SeqCst) {
                let Value::List(items) = cairnfile::load(&path).unwrap() else { panic!("a list was saved") };
                let first = items[0].as_tensor().unwrap().as_slice::<u8>().unwrap()[0];
                let whole = [value(1, 300_000), value(20, 200_000), value(30, 250_000), value(40, 400_000)];
                assert!(whole.iter().any(|value| *value == Value::List(items.clone())), "a mix that begins with {first}");
            }
        });
        let savers = WRITERS.into_iter().zip([(20, 200_000), (30, 250_000), (40, 400_000)]).map(|((_, write), (seed, len))| {
            let path = &path;
            scope.spawn(move || (0..10).for_each(|_| write(path, &value(seed, len)).unwrap()))
        });
        let savers: Vec<_> = savers.collect();
        savers.into_iter().for_each(|saver| saver.join().unwrap());
        saving.store(false, Ordering::SeqCst);
        reader.join().unwrap();
    });
    // After the last save has returned, that one is there.
    cairnfile::save(&path, &value(50, 1000)).unwrap();
    assert_eq!(cairnfile::load(&path).unwrap(), value(50, 1000));
    assert_eq!(names(folder.path()), ["a.cairn"]);
}

/// A file that is cut, overwritten, lengthened, removed and replaced while it is read by positions: one of the two values or a
/// typed error, never a mix of them.
#[test]
fn files_that_change_while_they_are_read() {
    let (_folder, path) = folder();
    let options = WriteOptions::new().block_log2(12);
    let values = [value(60, 200_000), value(70, 200_000)];
    let files = values.each_ref().map(|value| cairnfile::to_bytes(value, &options).unwrap());
    fs::write(&path, &files[0]).unwrap();
    let reading = AtomicBool::new(true);
    let mut outcomes = [0, 0];
    std::thread::scope(|scope| {
        let (path, files, reading) = (&path, &files, &reading);
        scope.spawn(move || {
            for round in (0..6).cycle() {
                if !reading.load(Ordering::SeqCst) {
                    return;
                }
                let _ = match round {
                    0 => fs::write(path, &files[1]),
                    1 => File::options().write(true).open(path).and_then(|file| file.set_len(100_000)),
                    2 => File::options().write(true).open(path).and_then(|file| file.set_len(300_000)),
                    3 => fs::remove_file(path),
                    4 => cairnfile::save(path, &value(60, 200_000)).map_err(std::io::Error::other),
                    _ => fs::write(path, &files[0]),
                };
            }
        });
        for _ in 0..300 {
            let outcome = Cairn::open(path).and_then(|cairn| {
                let first = cairn.load_copy().map(|found| assert!(values.contains(&found), "a value that was never saved"));
                first.and_then(|()| cairn.verify(&|_| Ok(())).map(drop))
            });
            outcomes[usize::from(outcome.is_err())] += 1;
        }
        reading.store(false, Ordering::SeqCst);
    });
    assert_eq!(outcomes[0] + outcomes[1], 300, "{outcomes:?}");
}

/// In a process of its own, which a SIGBUS would end.
#[test]
fn mapped_files_of_another_length() {
    let (folder, _) = folder();
    passed("inside_mapped", &child(&[], "inside_mapped", folder.path(), ""));
}

#[test]
#[ignore = "run by mapped_files_of_another_length"]
fn inside_mapped() {
    let path = given();
    let (whole, len) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().len());
    let untouched = |cairn: &Cairn<'_>| _ = cairn.root();
    let verified = |cairn: &Cairn<'_>| assert_eq!(cairn.load().unwrap(), old());
    for before in [&untouched as &dyn Fn(&Cairn<'_>), &verified] {
        for other in [0, 1, 64, 4096, 100_000, len - 64, len - 1, len + 1, 2 * len] {
            // SAFETY: the contract is broken on purpose.
            let cairn = unsafe { Cairn::map(&path) }.unwrap();
            before(&cairn);
            File::options().write(true).open(&path).unwrap().set_len(other).unwrap();
            let outcomes = [
                cairn.tensor("/0").and_then(|tensor| tensor.read().map(drop)),
                cairn.tensor("/1").and_then(|tensor| tensor.rows(140_000..140_001).map(drop)),
                cairn.load().map(drop),
                cairn.load_copy().map(drop),
                cairn.fetch_copy(&[cairn.root()], &|_| Ok(())).map(drop),
                cairn.verify(&|_| Ok(())).map(drop),
            ];
            for (number, outcome) in outcomes.into_iter().enumerate() {
                assert_eq!(outcome.unwrap_err().code(), Code::Changed, "{number}, {other} of {len} bytes");
            }
            // What stands in the index is known already.
            assert_eq!((cairn.root().items().count(), cairn.tensors().count()), (3, 2));
            assert_eq!(cairn.get("/2").unwrap().load().unwrap(), Value::from("text"));
            fs::write(&path, &whole).unwrap();
        }
    }
}
