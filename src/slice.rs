//! Parts of a tensor: a range of each axis, reading and checking only the blocks under it.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::bytes::{from_usize, to_usize};
use crate::content;
use crate::dtype::{DType, GroupClass};
use crate::error::{Code, Error, Result};
use crate::layout::{contiguous_suffix, element_at, element_bytes, element_count, for_each_position, last_element};
use crate::load;
use crate::memory::Aligned;
use crate::place::widen;
use crate::read::TensorRef;
use crate::tensor::{Storage, Tensor};

/// The elements of `tensor` in a range of each axis.
pub(crate) fn read<'c>(tensor: &TensorRef<'c>, ranges: &[Range<u64>]) -> Result<Tensor<'c>> {
    let dims = tensor.shape()?;
    check_ranges(&dims, ranges)?;
    let shape: Vec<u64> = ranges.iter().map(|r| r.end - r.start).collect();
    let dtype = tensor.dtype()?;
    let sliced = match tensor.place()? {
        Some((buffer, span)) if !shape.contains(&0) => {
            let part = Part::new(tensor, dtype, ranges, &shape)?;
            match dtype.geometry().class {
                GroupClass::Packed => part.read_packed(tensor, &buffer, span)?,
                _ => part.read_whole(tensor, &buffer, span)?,
            }
        }
        _ => Tensor::new(dtype.clone(), &shape, Storage::borrowed(&[]))?,
    };
    let start = tensor.file_range()?.start;
    content::check_elements(&sliced).map_err(|(code, _, why)| Error::at(code, start, format!("tensor {}: {why}", tensor.number())))?;
    Ok(sliced)
}

fn check_ranges(dims: &[u64], ranges: &[Range<u64>]) -> Result<()> {
    if dims.len() != ranges.len() {
        let detail = format!("{} ranges for a tensor with {} axes", ranges.len(), dims.len());
        return Err(Error::new(Code::OutOfRange, detail));
    }
    for (axis, (dim, range)) in dims.iter().zip(ranges).enumerate() {
        if range.start > range.end || range.end > *dim {
            let detail = format!("range {}..{} is not inside axis {axis} of {dim}", range.start, range.end);
            return Err(Error::new(Code::OutOfRange, detail));
        }
    }
    Ok(())
}

/// The part in units: elements of scalar and packed dtypes, groups of block ones.
struct Part<'d> {
    dtype: &'d DType,
    shape: &'d [u64],
    /// Extents and strides of the part in units.
    dims: Vec<u64>,
    strides: Vec<u64>,
    /// The first unit.
    first: u64,
}

impl<'d> Part<'d> {
    fn new(tensor: &TensorRef<'_>, dtype: &'d DType, ranges: &[Range<u64>], shape: &'d [u64]) -> Result<Self> {
        let mut strides = tensor.full_strides()?;
        let (mut dims, mut starts) = (shape.to_vec(), ranges.iter().map(|r| r.start).collect::<Vec<_>>());
        if dtype.geometry().class == GroupClass::Block {
            to_groups(dtype, &mut dims, &mut starts)?;
            let mut whole = tensor.shape()?;
            if let Some(last) = whole.last_mut() {
                *last /= u64::from(dtype.geometry().elements);
            }
            strides = crate::layout::row_major_strides(&whole);
        }
        // Inside the tensor, whose extent is below 2^63.
        let first = element_at(0, &starts, &strides);
        Ok(Self { dtype, shape, dims, strides, first })
    }

    /// The last unit.
    fn last(&self) -> u64 {
        last_element(self.first, &self.dims, &self.strides)
    }

    /// Scalar and block dtypes: units are whole bytes.
    fn read_whole<'c>(&self, tensor: &TensorRef<'c>, buffer: &Buffer, span: Range<u64>) -> Result<Tensor<'c>> {
        let width = u64::from(self.dtype.geometry().bytes);
        let (outer, run) = contiguous_suffix(&self.dims, &self.strides);
        let bytes_of = |first: u64, units: u64| span.start + first * width..span.start + (first + units) * width;
        if outer == 0 {
            let range = bytes_of(self.first, run);
            let (storage, skipped) = load::span(tensor.cairn, buffer, range.clone())?;
            return Tensor::view(self.dtype.clone(), self.shape, None, storage, range.start - skipped);
        }
        let len = element_count(self.dims.iter().copied()).and_then(|n| n.checked_mul(width)).unwrap_or(u64::MAX);
        tensor.cairn.charge(len)?;
        let mut memory = Aligned::zeroed(len)?;
        let (mut out, run_bytes) = (memory.as_mut(), to_usize(run * width)?);
        let mut window = Window::new(tensor, buffer);
        if tensor.entry()?.strides.is_some() {
            // Runs jump to and fro between blocks: bring them all in at once.
            window.open(bytes_of(self.first, self.last() - self.first + 1))?;
        }
        for_each_position(&self.dims[..outer], |position| {
            let first = element_at(self.first, position, &self.strides);
            let (head, rest) = std::mem::take(&mut out).split_at_mut(run_bytes);
            head.copy_from_slice(window.get(bytes_of(first, run))?);
            out = rest;
            Ok::<_, Error>(())
        })?;
        Tensor::new(self.dtype.clone(), self.shape, Storage::owned(memory))
    }

    /// Packed dtypes: elements are bits, always row-major.
    fn read_packed<'c>(&self, tensor: &TensorRef<'c>, buffer: &Buffer, span: Range<u64>) -> Result<Tensor<'c>> {
        let geometry = self.dtype.geometry();
        let count = element_count(self.dims.iter().copied()).unwrap_or(u64::MAX);
        let (start, len) = element_bytes(geometry, self.first, self.last() - self.first + 1);
        let from = span.start + start;
        let (storage, skipped) = load::span(tensor.cairn, buffer, from..from + len)?;
        let bytes = &storage.bytes().unwrap_or(&[])[to_usize(from - skipped)?..];
        let out_len = count.div_ceil(geometry.elements.into()) * u64::from(geometry.bytes);
        tensor.cairn.charge(out_len)?;
        let mut memory = Aligned::zeroed(out_len)?;
        let bits = u64::from(geometry.element_bits().unwrap_or(8));
        let mut written = 0;
        let base = start / u64::from(geometry.bytes) * u64::from(geometry.elements);
        for_each_position(&self.dims, |position| {
            let at = element_at(self.first, position, &self.strides);
            copy_bits(bytes, (at - base) * bits, memory.as_mut(), written * bits, bits)?;
            written += 1;
            Ok::<_, Error>(())
        })?;
        Tensor::new(self.dtype.clone(), self.shape, Storage::owned(memory))
    }
}

/// Turns the last axis from elements into groups.
fn to_groups(dtype: &DType, dims: &mut [u64], starts: &mut [u64]) -> Result<()> {
    let elements = u64::from(dtype.geometry().elements);
    if let (Some(dim), Some(start)) = (dims.last_mut(), starts.last_mut()) {
        if *dim % elements != 0 || *start % elements != 0 {
            let detail = format!("the last axis of a {dtype} tensor is sliced in groups of {elements}");
            return Err(Error::new(Code::OutOfRange, detail));
        }
        *dim /= elements;
        *start /= elements;
    }
    Ok(())
}

fn copy_bits(from: &[u8], from_bit: u64, to: &mut [u8], to_bit: u64, bits: u64) -> Result<()> {
    for i in 0..bits {
        let (source, target) = (from_bit + i, to_bit + i);
        let bit = from[to_usize(source / 8)?] >> (source % 8) & 1;
        to[to_usize(target / 8)?] |= bit << (target % 8);
    }
    Ok(())
}

/// The verified bytes around the last run that was asked for.
struct Window<'t, 'c> {
    tensor: &'t TensorRef<'c>,
    buffer: &'t Buffer,
    storage: Storage<'c>,
    start: u64,
}

impl<'t, 'c> Window<'t, 'c> {
    fn new(tensor: &'t TensorRef<'c>, buffer: &'t Buffer) -> Self {
        Self { tensor, buffer, storage: Storage::borrowed(&[]), start: 0 }
    }

    fn open(&mut self, range: Range<u64>) -> Result<()> {
        let wide = widen(self.buffer.record.len, self.tensor.cairn.header.block_log2, &range);
        (self.storage, self.start) = load::span(self.tensor.cairn, self.buffer, wide)?;
        Ok(())
    }

    fn get(&mut self, range: Range<u64>) -> Result<&[u8]> {
        let inside = range.start >= self.start && range.end <= self.start + from_usize(self.storage.bytes().map_or(0, <[u8]>::len));
        if !inside {
            self.open(range.clone())?;
        }
        let bytes = self.storage.bytes().unwrap_or(&[]);
        Ok(&bytes[to_usize(range.start - self.start)?..to_usize(range.end - self.start)?])
    }
}
