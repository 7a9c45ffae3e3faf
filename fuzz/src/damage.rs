//! A mutator that does what happens to files on disks and on the way: a file that was whole loses its end, gets something
//! appended, or has a run of other bytes, and its checksums stay as they were.

use super::dice::Dice;
use super::mutate::mutate;
use super::support::raw::{FRAME, resign_frame};

/// As libFuzzer wants it, like [`mutate`]; changes whole files too, so that there are others to damage.
pub fn damage(data: &mut [u8], size: usize, max_size: usize, seed: u32, default: fn(&mut [u8], usize, usize) -> usize) -> usize {
    let mut dice = Dice(!u64::from(seed));
    match dice.below(4) {
        0 => default(data, size, max_size),
        1 => mutate(data, size, max_size, seed, default),
        _ => {
            let mut size = size;
            for _ in 0..=dice.below(2) {
                size = harm(data, size, max_size.min(data.len()), &mut dice);
            }
            size
        }
    }
}

fn harm(data: &mut [u8], size: usize, room: usize, dice: &mut Dice) -> usize {
    // Parts begin at multiples of a frame's length, so what happens there is of more interest.
    let place = |dice: &mut Dice| if dice.one_in(2) { dice.below(size + 1) } else { dice.below(size / FRAME + 1) * FRAME };
    let (at, from) = (place(dice), place(dice));
    let most = if dice.one_in(2) { 8 } else { FRAME };
    let len = dice.below(most + 1).min(size - at);
    match dice.below(8) {
        0 => return at,
        1 => {
            let end = (size + len).min(room);
            data[size..end].fill(0);
            return end;
        }
        2 => {
            // Another copy of a part behind the end.
            let len = (size - from).min(room - size);
            data.copy_within(from..from + len, size);
            return size + len;
        }
        3 => {
            data.copy_within(at + len..size, at);
            return size - len;
        }
        4 => data[at..at + len].fill(0),
        5 => data.copy_within(from..from + len.min(size - from), at.min(size - len)),
        6 => data[at..at + len].iter_mut().take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
        // A header or trailer that says something else, and means it.
        _ => {
            let frame = if dice.one_in(2) { 0 } else { size.saturating_sub(FRAME) };
            if size >= FRAME {
                let field = [8, 10, 12, 16, 24, 32, 40][dice.below(7)];
                data[frame + field] = dice.number(data[frame + field].into()) as u8;
                resign_frame(data, frame);
            }
        }
    }
    size
}
