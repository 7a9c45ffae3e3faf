//! The elements of a strided tensor as places, found from any byte on without a look at those in front. `Spec §7.7`.

use crate::bytes::from_usize;

/// Where the elements of a tensor lie, counted in elements from the first one, and how far they were walked.
#[derive(Debug)]
pub(crate) struct Lattice {
    /// The largest stride first; axes that continue each other are one. All elements at one position along an axis lie in
    /// front of those at the next one.
    axes: Vec<Axis>,
    /// What the walk has cost: one for each run, and one for each axis beyond the second that went on.
    pub(crate) looked: u64,
}

#[derive(Debug)]
struct Axis {
    stride: u64,
    dim: u64,
    /// Where the walk is along this axis, and where the axis begins, given where it is along those before it.
    position: u64,
    base: u64,
}

/// Elements at one distance from each other, the innermost stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) at: u64,
    pub(crate) count: u64,
}

impl Lattice {
    /// Of extents and strides that [`crate::layout::strided`] accepts.
    pub(crate) fn new(dims: impl Iterator<Item = u64>, strides: impl Iterator<Item = u64>) -> Self {
        let axis = |(stride, dim)| Axis { stride, dim, position: 0, base: 0 };
        let mut axes: Vec<Axis> = strides.zip(dims).filter(|(_, dim)| *dim > 1).map(axis).collect();
        if axes.is_empty() {
            axes.push(axis((1, 1)));
        }
        axes.sort_unstable_by_key(|axis| axis.stride);
        axes.dedup_by(|outer, inner| {
            let continues = inner.stride.checked_mul(inner.dim) == Some(outer.stride);
            if continues {
                // The number of elements is below 2^63.
                inner.dim = inner.dim.saturating_mul(outer.dim);
            }
            continues
        });
        axes.reverse();
        Self { axes, looked: 0 }
    }

    /// Whether the elements lie together.
    pub(crate) fn is_dense(&self) -> bool {
        self.axes.len() == 1 && self.step() == 1
    }

    /// The distance between the elements of a run.
    pub(crate) fn step(&self) -> u64 {
        self.axes.last().map_or(1, |axis| axis.stride)
    }

    /// The first element at `from` or behind it, with those behind it along the innermost axis; `from` is nowhere in front of
    /// the element that was found last. A walk over all elements looks at a few axes for each run, however many there are.
    #[inline]
    pub(crate) fn run_from(&mut self, from: u64) -> Option<Run> {
        // Mostly along the innermost axis, where the walk is already.
        self.looked += 1;
        if let [outer @ .., Axis { stride, dim, position, base }] = &mut self.axes[..]
            && outer.last().is_none_or(|outer| from - *base < outer.stride)
        {
            let found = (from - *base).div_ceil(*stride);
            if found < *dim {
                *position = found;
                return Some(Run { at: *base + found * *stride, count: *dim - found });
            }
        }
        self.further_run(from)
    }

    /// The same where another axis may have to go on.
    fn further_run(&mut self, from: u64) -> Option<Run> {
        // Outwards to an axis along which `from` may lie; where the walk is along those before does not change.
        let mut axis = self.axes.len() - 1;
        while axis > 0 && from - self.axes[axis].base >= self.axes[axis - 1].stride {
            axis -= 1;
        }
        loop {
            let (outermost, mut at) = (axis, self.axes[axis].base);
            while let Some(Axis { stride, dim, position, base }) = self.axes.get_mut(axis) {
                let found = (from - at) / *stride;
                if found >= *dim {
                    break;
                }
                (*base, *position) = (at, found);
                at += found * *stride;
                axis += 1;
                if at == from {
                    return Some(self.begin(outermost, axis, at));
                }
            }
            // What begins at this position of the axes before `axis` ends in front of `from`.
            let before = (0..axis).rev().find(|before| self.axes[*before].position + 1 < self.axes[*before].dim)?;
            let Axis { stride, position, base, .. } = &mut self.axes[before];
            let next = *base + (*position + 1) * *stride;
            if next >= from {
                *position += 1;
                return Some(self.begin(before.min(outermost), before + 1, next));
            }
            axis = before;
        }
    }

    /// Goes to the beginning of the axes from `axis` on, which is at `at`, having changed where the walk is along those from
    /// `outermost` on.
    fn begin(&mut self, outermost: usize, axis: usize, at: u64) -> Run {
        self.looked += from_usize((self.axes.len() - outermost).saturating_sub(2));
        self.axes[axis..].iter_mut().for_each(|axis| (axis.base, axis.position) = (at, 0));
        Run { at, count: self.axes.last().map_or(1, |axis| axis.dim - axis.position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    /// Up to three axes of 1 to 4, their legal strides up to 10: the same runs as by listing all elements.
    #[test]
    fn runs_are_those_of_the_elements() {
        let mut tried = 0;
        for dims in (1..=4u64).flat_map(|a| (1..=4).flat_map(move |b| (1..=3).map(move |c| [a, b, c]))) {
            for strides in (0..=10u64).flat_map(|a| (0..=10).flat_map(move |b| (0..=10).map(move |c| [a, b, c]))) {
                let canonical = dims.iter().zip(strides).all(|(dim, stride)| (*dim <= 1) == (stride == 0));
                let Some((reach, dense)) = layout::reach(&dims, &strides).filter(|_| canonical) else { continue };
                assert_eq!(Lattice::new(dims.into_iter(), strides.into_iter()).is_dense(), dense, "{dims:?} {strides:?}");
                let mut elements = Vec::new();
                let all = layout::for_each_position(&dims, |position| {
                    elements.push(layout::element_at(0, position, &strides));
                    Ok::<_, ()>(())
                });
                assert!(all.is_ok());
                elements.sort_unstable();
                // Each as the first step of a walk, and as one behind another.
                for (ahead, from) in (0..reach + 3).flat_map(|from| (0..=from).map(move |ahead| (ahead, from))) {
                    let mut lattice = Lattice::new(dims.into_iter(), strides.into_iter());
                    let first = lattice.run_from(ahead);
                    let Some(run) = first.and_then(|first| lattice.run_from(from.max(first.at))) else {
                        assert!(from > reach, "{dims:?} {strides:?} {ahead} {from}");
                        continue;
                    };
                    assert_eq!(Some(run.at), elements.iter().copied().find(|at| *at >= from), "{dims:?} {strides:?} {ahead} {from}");
                    let follows = (0..run.count).all(|i| elements.binary_search(&(run.at + i * lattice.step())).is_ok());
                    assert!(run.count > 0 && follows, "{dims:?} {strides:?} {ahead} {from}");
                }
                tried += 1;
            }
        }
        assert!(tried > 2000, "{tried}");
    }

    #[test]
    fn axes_that_continue_each_other_are_one_run() {
        let mut transposed = Lattice::new([3, 5, 2].into_iter(), [2, 6, 100].into_iter());
        assert_eq!((transposed.axes.len(), transposed.step()), (2, 2));
        assert_eq!(transposed.run_from(0), Some(Run { at: 0, count: 15 }));
        assert_eq!(transposed.run_from(29), Some(Run { at: 100, count: 15 }));
        let mut scalar = Lattice::new([1].into_iter(), [0].into_iter());
        assert_eq!((scalar.run_from(0), scalar.run_from(1)), (Some(Run { at: 0, count: 1 }), None));
    }

    #[test]
    fn a_walk_costs_about_one_for_each_run() {
        let strides: Vec<u64> = (0..12).map(|k| (4 << k) - 2).collect();
        let mut lattice = Lattice::new(std::iter::repeat_n(2, 12), strides.into_iter());
        let (mut runs, mut from) = (0, 0);
        while let Some(run) = lattice.run_from(from) {
            (runs, from) = (runs + 1, run.at + (run.count - 1) * lattice.step() + 1);
        }
        assert_eq!(runs, 1 << 11);
        assert!((runs..3 * runs).contains(&lattice.looked), "{} for {runs}", lattice.looked);
    }
}
