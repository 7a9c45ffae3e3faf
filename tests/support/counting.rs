//! An allocator that counts: what the thread holds that measures, and what all threads of the process hold, since a
//! large index is checked on two. The second count is right for one test at a time: each runs [`alone`] in a process.

#![allow(dead_code, missing_docs, unreachable_pub, unsafe_code, clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

static ALL_NOW: AtomicIsize = AtomicIsize::new(0);
static ALL_PEAK: AtomicIsize = AtomicIsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: isize) {
    ALL_PEAK.fetch_max(ALL_NOW.fetch_add(bytes, Relaxed) + bytes, Relaxed);
    // The thread may be ending already.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While bytes are moved, both blocks exist.
        count(size as isize);
        count(-(layout.size() as isize));
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes at any time beyond what was there before: of the thread, and of all threads; and how often memory was
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub thread: usize,
    pub all: usize,
    pub calls: usize,
}

/// Whether this process runs the test `name` only; if not, it has started one that does, and that test has passed. The pool of
/// threads, which is the process's and not a file's, is there afterwards.
pub fn alone(name: &str) -> bool {
    const ALONE: &str = "CAIRN_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        let run = test.args(["--exact", name, "--test-threads=1", "--nocapture"]).env(ALONE, "1").output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success() && out.contains("1 passed"), "{name} by itself:\n{out}\n{err}");
        print!("{out}");
        return false;
    }
    let pairs: Vec<_> = (0..20_000).map(|i| (crate::support::raw::int(i), crate::support::raw::null())).collect();
    let file = crate::support::RawFile { root: crate::support::raw::dict(&pairs), streamed: true, ..crate::support::RawFile::new() };
    assert!(cairnfile::Cairn::from_bytes(&file.build()).is_ok());
    true
}

/// What `work` returns, and what it took.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let (before, all_before, calls) = (NOW.get(), ALL_NOW.load(Relaxed), CALLS.load(Relaxed));
    PEAK.set(before);
    ALL_PEAK.store(all_before, Relaxed);
    let result = work();
    let above = |peak: isize, before: isize| (peak - before).max(0) as usize;
    let all = above(ALL_PEAK.load(Relaxed), all_before);
    (result, Taken { thread: above(PEAK.get(), before), all, calls: CALLS.load(Relaxed) - calls })
}
