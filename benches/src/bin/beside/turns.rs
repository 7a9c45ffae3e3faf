//! Contestants that take turns, and what came of it.

use std::any::Any;
use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};

/// One operation of one contestant: what comes before the clock, what is timed, and what comes after.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'static str,
    pub(crate) before: Box<dyn FnMut() + 'a>,
    /// What it returns is dropped when the clock has stopped.
    pub(crate) work: Box<dyn FnMut() -> Box<dyn Any> + 'a>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new<T: 'static>(name: &'static str, before: impl FnMut() + 'a, mut work: impl FnMut() -> T + 'a) -> Self {
        Self { name, before: Box::new(before), work: Box::new(move || Box::new(work())) }
    }
}

/// Lets the contestants take turns, `repetitions` each and one before that to warm up; the first one is what ratios are to.
/// Prints one line of JSON: the seconds by contestant, in the order of the turns.
pub(crate) fn row(workload: &str, row: &str, repetitions: usize, entries: &mut [Entry<'_>]) {
    let mut seconds = vec![Vec::new(); entries.len()];
    for turn in 0..=repetitions {
        for (entry, seconds) in entries.iter_mut().zip(&mut seconds) {
            (entry.before)();
            let start = Instant::now();
            let made = black_box((entry.work)());
            let took = start.elapsed().as_secs_f64();
            drop(made);
            if turn > 0 {
                seconds.push(took);
            }
        }
    }
    let found: serde_json::Map<String, Value> = entries.iter().zip(seconds).map(|(e, s)| (e.name.to_owned(), json!(s))).collect();
    print(&json!({"workload": workload, "row": row, "reference": entries[0].name, "seconds": found}));
}

/// Prints a figure that is no time.
pub(crate) fn figure(workload: &str, row: &str, figures: &Value) {
    print(&json!({"workload": workload, "row": row, "figures": figures}));
}

fn print(line: &Value) {
    println!("{line}");
}
