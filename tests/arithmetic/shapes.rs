//! `src/layout.rs`, on all shapes of rank 2 and below and all strides of many, and on some above.

use cairnfile::GroupClass;

use crate::dtype::Geometry;
use crate::layout::*;
use crate::limits::MAX_LEN;

pub(crate) const GEOMETRIES: &[Geometry] = &[
    Geometry { class: GroupClass::Scalar, elements: 1, bytes: 1 },
    Geometry { class: GroupClass::Scalar, elements: 1, bytes: 3 },
    Geometry { class: GroupClass::Packed, elements: 2, bytes: 1 },
    Geometry { class: GroupClass::Packed, elements: 4, bytes: 3 },
    Geometry { class: GroupClass::Block, elements: 32, bytes: 18 },
    Geometry { class: GroupClass::Block, elements: 255, bytes: 255 },
];

/// What [`row_major`] says of `dims`, in unbounded integers.
fn length(geometry: Geometry, dims: &[u8]) -> Result<u64, Fault> {
    let bounded: u64 = dims.iter().map(|dim| u64::from(*dim).max(1)).product();
    let bytes = bounded.div_ceil(geometry.elements.into()) * u64::from(geometry.bytes);
    if bounded > MAX_LEN.into() || bytes > MAX_LEN.into() {
        return Err(Fault::Size);
    }
    let whole = dims.last().is_some_and(|last| last % geometry.elements == 0);
    if geometry.class == GroupClass::Block && !whole {
        return Err(Fault::Groups);
    }
    Ok(if dims.contains(&0) { 0 } else { bytes })
}

fn check_row_major(dims: &[u8]) {
    for geometry in GEOMETRIES {
        let found = row_major(*geometry, dims.iter().copied());
        let expected =
            length(*geometry, dims).map(|len| Extent { len: len.try_into().unwrap(), span: len.try_into().unwrap(), dense: true });
        assert_eq!(found, expected, "{geometry:?} {dims:?}");
        if found.is_ok_and(|extent| extent.len > 0) && geometry.class != GroupClass::Block {
            check_runs(*geometry, element_count(dims.iter().copied()).unwrap(), found.unwrap().len);
        }
    }
}

/// Every run of elements lies in the tensor's bytes and is as long as its groups.
fn check_runs(geometry: Geometry, elements: u8, len: u8) {
    for (start, end) in (0..elements).flat_map(|start| (start + 1..=elements).map(move |end| (start, end))) {
        let (first, bytes) = element_bytes(geometry, start, end - start);
        assert!(first + bytes <= len && first % geometry.bytes == 0 && bytes % geometry.bytes == 0 && bytes > 0);
        let (groups, elements) = ((first / geometry.bytes, (first + bytes) / geometry.bytes), geometry.elements);
        assert!(groups.0 == start / elements && groups.1 == (end - 1) / elements + 1);
    }
}

#[test]
fn row_major_extents_are_exact_or_refused() {
    check_row_major(&[]);
    for a in 0..=255 {
        check_row_major(&[a]);
        for b in 0..=255 {
            check_row_major(&[a, b]);
        }
    }
    let edges = (0..=8).chain([15, 16, 17, 31, 32, 33, 63, 64, 65, 126, 127, 128, 129, 254, 255]);
    for a in edges.clone() {
        edges.clone().for_each(|b| edges.clone().for_each(|c| check_row_major(&[a, b, c])));
    }
}

/// The rule of SPEC.md §7.7 in unbounded integers: the last element's number, or nothing.
fn last_of(dims: &[u8], strides: &[u8]) -> Option<u64> {
    let mut axes: Vec<_> = strides.iter().zip(dims).filter(|(_, dim)| **dim > 1).map(|(s, d)| (u64::from(*s), u64::from(*d))).collect();
    axes.sort_unstable();
    let mut last = 0;
    for (stride, dim) in axes {
        if stride <= last {
            return None;
        }
        last += (dim - 1) * stride;
    }
    Some(last).filter(|last| *last < MAX_LEN.into())
}

/// Row-major strides, one axis after the other; extents of 0 count as 1.
fn plain(dims: &[u8]) -> Vec<u64> {
    (0..dims.len()).map(|i| if dims[i] <= 1 { 0 } else { dims[i + 1..].iter().map(|d| u64::from(*d).max(1)).product() }).collect()
}

fn check_strided(dims: &[u8], strides: &[u8]) -> bool {
    let is_plain = plain(dims).iter().zip(strides).zip(dims).all(|((p, s), d)| *d <= 1 || *p == u64::from(*s));
    assert_eq!(is_row_major(dims, strides), is_plain, "{dims:?} {strides:?}");
    let canonical = dims.iter().zip(strides).all(|(dim, stride)| (*dim <= 1) == (*stride == 0));
    let last = last_of(dims, strides).filter(|_| canonical && !is_plain);
    for width in [1u8, 3] {
        let geometry = Geometry { class: GroupClass::Scalar, elements: 1, bytes: width };
        let len = length(geometry, dims).unwrap_or(0);
        let span = last.map(|last| (last + 1) * u64::from(width));
        let expected = match (length(geometry, dims), span) {
            (Err(fault), _) => Err(fault),
            (Ok(0), _) | (_, None) => Err(Fault::Strides),
            (_, Some(span)) if span > MAX_LEN.into() => Err(Fault::Size),
            (_, Some(span)) => Ok((len, span)),
        };
        let found = strided(geometry, dims, strides);
        assert_eq!(found.map(|e| (e.len.into(), e.span.into())), expected, "{dims:?} {strides:?}");
        let Ok(extent) = found else { continue };
        assert_eq!(extent.dense, extent.len == extent.span);
        if width == 1 {
            check_elements(dims, strides, extent);
        }
    }
    last.is_some()
}

/// No two elements are one, and all lie in the span; the last one ends it.
fn check_elements(dims: &[u8], strides: &[u8], extent: Extent) {
    let (mut seen, mut count, mut greatest) = ([false; 256], 0, 0);
    for_each_position(dims, |position| {
        let at = element_at(0, position, strides);
        greatest = greatest.max(at);
        count += 1;
        if std::mem::replace(&mut seen[usize::from(at)], true) { Err(at) } else { Ok(()) }
    })
    .unwrap();
    assert_eq!((count, greatest), (extent.len, extent.span - 1));
    assert_eq!(last_element(0, dims, strides), greatest);
    let (outer, run) = contiguous_suffix(dims, strides);
    let expected: Vec<u64> = plain(&dims[outer..]);
    assert!(expected.iter().zip(&strides[outer..]).all(|(p, s)| *p == u64::from(*s)));
    assert_eq!(u64::from(run), dims[outer..].iter().map(|d| u64::from(*d)).product::<u64>());
    assert!(outer == 0 || strides[outer - 1] != run);
}

/// Shapes of a rank that a tensor may have.
fn shapes(rank: usize) -> Vec<Vec<u8>> {
    let mut shapes = vec![vec![]];
    for _ in 0..rank {
        let longer = |shape: Vec<u8>| (0..=MAX_LEN).map(move |dim| [&shape[..], &[dim]].concat());
        shapes = shapes.into_iter().flat_map(longer).filter(|s| element_count(s.iter().copied()).is_some()).collect();
    }
    shapes
}

#[test]
fn strides_are_legal_by_the_rule_and_then_no_two_elements_coincide() {
    let mut legal = 0;
    check_strided(&[], &[]);
    for dims in shapes(1) {
        (0..=255).for_each(|a| legal += usize::from(check_strided(&dims, &[a])));
    }
    let wide = [[2, 63], [63, 2], [1, 127], [127, 1], [11, 11], [3, 42], [9, 14], [128, 2], [0, 5]];
    for dims in (2..7).flat_map(|a| (2..7).map(move |b| [a, b])).chain(wide) {
        for a in 0..=255 {
            (0..=255).for_each(|b| legal += usize::from(check_strided(&dims, &[a, b])));
        }
    }
    for dims in shapes(3).into_iter().filter(|dims| dims.iter().all(|d| *d < 4)) {
        for code in 0..16 * 16 * 16u16 {
            let strides = [code & 15, code >> 4 & 15, code >> 8].map(|s| u8::try_from(s).unwrap());
            legal += usize::from(check_strided(&dims, &strides.map(|s| if s > 12 { s * 17 } else { s })));
        }
    }
    assert!(legal > 10_000, "{legal}");
}

#[test]
fn row_major_strides_are_the_products() {
    for dims in (0..=3).flat_map(shapes).filter(|dims| dims.len() < 3 || dims.iter().all(|d| *d < 20)) {
        if dims.contains(&0) {
            continue;
        }
        let strides = row_major_strides(&dims);
        assert_eq!(strides.iter().map(|s| u64::from(*s)).collect::<Vec<_>>(), plain(&dims));
        assert!(is_row_major(&dims, &strides));
        assert_eq!(contiguous_suffix(&dims, &strides), (0, dims.iter().product()));
        assert_eq!(last_element(0, &dims, &strides) + 1, dims.iter().product());
    }
}

/// Counted in u8 the number of elements is at most 127, so a shape with a 0 keeps it with each other extent counted.
#[test]
fn empty_shapes_count_their_other_axes() {
    assert_eq!(element_count([0, 127].into_iter()), Some(0));
    assert_eq!(element_count([0, 128].into_iter()), None);
    let packed = Geometry { class: GroupClass::Packed, elements: 4, bytes: 3 };
    (0..=127).for_each(|n| assert_eq!(has_partial_group(packed, [n].into_iter()), n % 4 != 0));
}
