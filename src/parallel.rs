//! Work on all cores, where the `rayon` feature is on; the same results without it.

use crate::error::Result;

/// Called with the number of bytes just done; from several threads. An error stops the work and is what it returns.
pub type Progress<'p> = &'p (dyn Fn(u64) -> Result<()> + Sync);

/// Runs `work` on every item; the error of the first item, by order, that has one.
#[cfg(feature = "rayon")]
pub(crate) fn try_for_each<T: Send>(threads: Option<usize>, items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    use rayon::prelude::*;
    if items.len() < 2 || threads == Some(1) {
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

#[cfg(not(feature = "rayon"))]
pub(crate) fn try_for_each<T>(_: Option<usize>, items: Vec<T>, work: impl Fn(T) -> Result<()>) -> Result<()> {
    items.into_iter().try_for_each(work)
}

/// A pool of its own for a caller who asked for a number of threads; the global one otherwise.
#[cfg(feature = "rayon")]
fn pool(threads: Option<usize>) -> Result<Option<rayon::ThreadPool>> {
    let Some(threads) = threads else { return Ok(None) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map(Some).map_err(|e| crate::Error::io("cannot start threads", std::io::Error::other(e)))
}
