//! A few values at 64 bits; `tests/arithmetic` has the rest.

use crate::dtype::DType;
use crate::layout::{Extent, Fault, Shape, for_each_position, reach, row_major, strided};

fn rm(dtype: &DType, dims: &[u64]) -> Result<Extent, Fault> {
    row_major(dtype.geometry(), dims.iter().copied())
}

#[test]
fn sizes_by_class() {
    assert_eq!(rm(&DType::F32, &[2, 3]).unwrap().len, 24);
    assert_eq!(rm(&DType::F32, &[]).unwrap().len, 4);
    assert_eq!(rm(&DType::F32, &[0, 1 << 60]).unwrap().len, 0);
    assert_eq!(rm(&DType::F32, &[0, 1 << 61]), Err(Fault::Size));
    assert_eq!(rm(&DType::I4, &[3, 3]).unwrap().len, 5);
    assert_eq!(rm(&DType::F6_E2M3FN, &[5]).unwrap().len, 6);
    assert_eq!(rm(&DType::Q4_0, &[2, 64]).unwrap().len, 72);
    assert_eq!(rm(&DType::Q4_0, &[2, 33]), Err(Fault::Groups));
    assert_eq!(rm(&DType::Q4_0, &[]), Err(Fault::Groups));
    assert_eq!(rm(&DType::U8, &[1 << 32, 1 << 31]), Err(Fault::Size));
}

#[test]
fn strides_by_rule() {
    let g = DType::F32.geometry();
    let of = |dims: &[u64], strides: &[u64]| strided(g, dims, strides);
    assert_eq!(of(&[2, 3], &[1, 2]).unwrap(), Extent { len: 24, span: 24, dense: true });
    assert_eq!(of(&[2, 3], &[4, 1]).unwrap(), Extent { len: 24, span: 28, dense: false });
    assert_eq!(of(&[2, 3], &[3, 1]), Err(Fault::Strides));
    assert_eq!(of(&[2, 3], &[2, 1]), Err(Fault::Strides));
    assert_eq!(of(&[2, 1], &[3, 1]), Err(Fault::Strides));
    assert_eq!(of(&[2, 2], &[0, 1]), Err(Fault::Strides));
    assert_eq!(of(&[2, 2], &[u64::MAX, 1]), Err(Fault::Strides));
}

/// Exhaustive over small shapes and strides: legal exactly when no two elements coincide, by the rule's own
/// (sufficient) criterion, and the span is the true maximum.
#[test]
fn reach_agrees_with_enumeration() {
    for dims in [[2u64, 2, 2], [2, 3, 1], [3, 2, 2]] {
        for code in 0..512u64 {
            let strides = [code & 7, (code >> 3) & 7, code >> 6];
            let mut seen = std::collections::BTreeSet::new();
            let mut distinct = true;
            for_each_position(&dims, |p| {
                let at: u64 = p.iter().zip(&strides).map(|(i, s)| i * s).sum();
                distinct &= seen.insert(at);
                Ok::<_, ()>(())
            })
            .unwrap();
            if let Some((last, dense)) = reach(&dims, &strides) {
                assert!(distinct);
                assert_eq!(seen.last(), Some(&last));
                assert_eq!(dense, last + 1 == dims.iter().product::<u64>());
            }
        }
    }
}

#[test]
fn shapes_up_to_matrices_take_no_allocation() {
    for rank in 0..5 {
        let dims: Vec<u64> = (7..).take(rank).collect();
        let shape = Shape::collect(dims.iter().copied());
        assert_eq!(*shape, dims);
        assert_eq!(matches!(shape, Shape::Few(..)), rank <= 2);
    }
}
