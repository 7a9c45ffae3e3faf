//! Long work off the interpreter's lock: on threads that survive a fork, with progress, stopped by signals.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use cairnfile::{Code, Error, Result};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::raise;

/// Work on fewer bytes is over before anybody wants to stop it.
pub(crate) const LONG: u64 = 64 << 20;
/// How often signals and progress are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The threads of this process. A fork copies the pointer but not the threads, so the child forgets them.
static POOL: AtomicPtr<ThreadPool> = AtomicPtr::new(std::ptr::null_mut());

/// For `os.register_at_fork(after_in_child=…)`.
#[pyfunction]
pub(crate) fn forget_threads() {
    POOL.store(std::ptr::null_mut(), Ordering::Release);
}

/// Runs `work` on all cores.
fn on_threads<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let mut pool = POOL.load(Ordering::Acquire);
    if pool.is_null() {
        let failed = |e| Error::io("cannot start threads", std::io::Error::other(e));
        let made = Box::into_raw(Box::new(ThreadPoolBuilder::new().build().map_err(failed)?));
        pool = match POOL.compare_exchange(std::ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(other) => {
                crate::memory::free_pool(made);
                other
            }
        };
    }
    crate::memory::pool(pool).install(work)
}

/// Runs `work`, which may want all cores, without the interpreter's lock; it is over before anybody wants to stop it.
pub(crate) fn briefly<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| on_threads(work)).map_err(|e| raise(py, &e))
}

/// Runs `work`, which reports the bytes it has done, without the interpreter's lock. `progress(done, total)` is called
/// from this thread; what it or a signal handler raises stops the work and is raised here.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    total: u64,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&(dyn Fn(u64) -> Result<()> + Sync)) -> Result<T> + Send,
) -> PyResult<T> {
    if total < LONG && progress.is_none() {
        return briefly(py, || work(&|_| Ok(())));
    }
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let tick = |n| {
        done.fetch_add(n, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) { Err(Error::new(Code::Budget, "stopped")) } else { Ok(()) }
    };
    let mut raised = None;
    let outcome = std::thread::scope(|scope| {
        let (sender, mut receiver) = mpsc::channel();
        let tick = &tick;
        let worker = scope.spawn(move || {
            let outcome = on_threads(|| work(tick));
            // A panic drops the sender, which wakes the receiver too.
            let _ = sender.send(());
            outcome
        });
        while let Err(RecvTimeoutError::Timeout) = wait(py, &mut receiver) {
            if raised.is_none() {
                raised = look(py, progress, &done, total).err();
                stop.store(raised.is_some(), Ordering::Relaxed);
            }
        }
        py.detach(|| worker.join())
    });
    match (raised, outcome) {
        (Some(raised), _) => Err(raised),
        (None, Err(panic)) => std::panic::resume_unwind(panic),
        (None, Ok(Err(error))) => Err(raise(py, &error)),
        (None, Ok(Ok(found))) => progress.map_or(Ok(()), |f| f.call1((total, total)).map(drop)).map(|()| found),
    }
}

fn wait(py: Python<'_>, receiver: &mut mpsc::Receiver<()>) -> std::result::Result<(), RecvTimeoutError> {
    py.detach(move || receiver.recv_timeout(LOOK))
}

fn look(py: Python<'_>, progress: Option<&Bound<'_, PyAny>>, done: &AtomicU64, total: u64) -> PyResult<()> {
    py.check_signals()?;
    progress.map_or(Ok(()), |f| f.call1((done.load(Ordering::Relaxed).min(total), total)).map(drop))
}
