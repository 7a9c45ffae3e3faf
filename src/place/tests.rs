//! A few values at 64 bits; `tests/arithmetic` has the rest.

use crate::limits::MAX_LEN;
use crate::place::{align_up, place};

#[test]
fn align_up_at_the_top() {
    assert_eq!(align_up(0, 64), Some(0));
    assert_eq!(align_up(65, 64), Some(128));
    assert_eq!(align_up(u64::MAX, 64), None);
}

#[test]
fn places_by_size() {
    assert_eq!(place(64, 65_535), Some(64));
    assert_eq!(place(65, 65_535), Some(128));
    assert_eq!(place(64, 65_536), Some(4096));
    assert_eq!(place(MAX_LEN - 62, 1), None);
    assert_eq!(place(u64::MAX, 1), None);
}
