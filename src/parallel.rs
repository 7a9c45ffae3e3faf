//! Work on all cores, where the `rayon` feature is on; the same results without it.

use crate::error::Result;

/// Called with the number of bytes just done; from several threads. An error stops the work and is what it returns.
pub type Progress<'p> = &'p (dyn Fn(u64) -> Result<()> + Sync);

/// Runs `work` on every item; the error of the first item, by order, that has one.
#[cfg(feature = "rayon")]
pub(crate) fn try_for_each<T: Send>(threads: Option<usize>, items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    use rayon::prelude::*;
    if items.len() < 2 || threads == Some(1) || (threads.is_none() && !started()) {
        return items.into_iter().try_for_each(work);
    }
    let run = || {
        let results: Vec<Result<()>> = items.into_par_iter().map(&work).collect();
        results.into_iter().collect()
    };
    match pool(threads)? {
        None => run(),
        Some(pool) => pool.install(run),
    }
}

#[cfg(feature = "rayon")]
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Both outcomes; with `beside`, another core sees to one of them.
#[cfg(feature = "rayon")]
pub(crate) fn join<A: Send, B: Send>(beside: bool, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    if beside && started() { rayon::join(a, b) } else { (a(), b()) }
}

#[cfg(not(feature = "rayon"))]
pub(crate) fn join<A, B>(_: bool, a: impl FnOnce() -> A, b: impl FnOnce() -> B) -> (A, B) {
    (a(), b())
}

/// Runs `main`, which is handed a place to put work that another core does meanwhile, in the order it was put; all of it
/// is done when this returns. Without `beside`, or with one thread, each piece is done where it is put.
#[cfg(feature = "rayon")]
pub(crate) fn lane<T: Send, R>(
    threads: Option<usize>,
    beside: bool,
    work: impl Fn(T) + Sync,
    main: impl FnOnce(&mut dyn FnMut(T)) -> R,
) -> R {
    if !beside || threads.unwrap_or_else(cores) < 2 {
        return main(&mut |item| work(item));
    }
    std::thread::scope(|scope| {
        let (put, taken) = std::sync::mpsc::channel();
        let work = &work;
        // Not one of the pool's: the caller may be, and waits.
        let other = std::thread::Builder::new().spawn_scoped(scope, move || taken.into_iter().for_each(work));
        let here = other.is_err();
        // What cannot be sent is done here: the other one could not be started.
        main(&mut |item| match if here { Err(std::sync::mpsc::SendError(item)) } else { put.send(item) } {
            Ok(()) => {}
            Err(std::sync::mpsc::SendError(item)) => work(item),
        })
    })
}

#[cfg(not(feature = "rayon"))]
pub(crate) fn lane<T, R>(_: Option<usize>, _: bool, work: impl Fn(T), main: impl FnOnce(&mut dyn FnMut(T)) -> R) -> R {
    main(&mut |item| work(item))
}

#[cfg(not(feature = "rayon"))]
pub(crate) fn try_for_each<T>(_: Option<usize>, items: Vec<T>, work: impl Fn(T) -> Result<()>) -> Result<()> {
    items.into_iter().try_for_each(work)
}

/// Whether there are threads: a machine that cannot start any must not keep a checkpoint from being saved or loaded.
#[cfg(feature = "rayon")]
fn started() -> bool {
    static STARTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let start = || match rayon::ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // Somebody has started them already, or they cannot be.
        Err(error) => std::error::Error::source(&error).is_none(),
    };
    rayon::current_thread_index().is_some() || *STARTED.get_or_init(start)
}

/// A pool of its own for a caller who asked for a number of threads; the global one otherwise.
#[cfg(feature = "rayon")]
fn pool(threads: Option<usize>) -> Result<Option<rayon::ThreadPool>> {
    let Some(threads) = threads else { return Ok(None) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map(Some).map_err(|e| crate::Error::io("cannot start threads", std::io::Error::other(e)))
}
