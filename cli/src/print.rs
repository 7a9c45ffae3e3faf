//! Tensors as nested brackets, shortened, and as JSON.

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;

use cairnfile::element::{Number, decode};
use cairnfile::{DType, GroupClass, Tensor, TensorRef};
use serde_json::{Value as Json, json};

use crate::common::{Failure, Outcome};
use crate::show::{complex, float, float_json, hex};

/// Items kept at each end of an axis that is shortened.
const EDGE: u64 = 3;
/// Tensors with more elements than this are shortened.
const THRESHOLD: u64 = 240;
/// Most cells that are looked at to align columns.
const ALIGNED: u64 = 100_000;
/// Where a row of numbers is broken.
const LINE: usize = 100;

/// The elements of a tensor, or at least those that will be shown. A cell is one element, or a group of a type whose
/// elements cannot be told apart.
pub(crate) struct Grid<'t> {
    dtype: DType,
    dims: Vec<u64>,
    /// Row-major bytes and the number of their first cell.
    parts: Vec<(u64, Cow<'t, [u8]>)>,
    hex: bool,
    shorten: bool,
}

impl<'t> Grid<'t> {
    /// All elements of `tensor`, shortened when printed unless `full`.
    pub(crate) fn of(tensor: &'t Tensor<'_>, full: bool) -> Result<Self, Failure> {
        let parts = vec![(0, tensor.row_major_bytes()?)];
        Ok(Self::new(tensor.dtype(), tensor.shape(), parts, full))
    }

    /// Only the rows of `tensor` that a shortened print shows, where that saves reading.
    pub(crate) fn edges(tensor: &TensorRef<'_>) -> Result<Grid<'static>, Failure> {
        let (dtype, shape) = (tensor.dtype()?, tensor.shape()?);
        let rows = shape.first().copied().unwrap_or(1);
        let scalar = dtype.geometry().class == GroupClass::Scalar;
        let saves = rows > 2 * EDGE && shape.iter().product::<u64>() > THRESHOLD && (scalar || shape.len() > 1);
        if !saves || decodes_not(dtype, tensor)? {
            let bytes = tensor.read()?.row_major_bytes()?.into_owned();
            return Ok(Grid::new(dtype, &shape, vec![(0, Cow::Owned(bytes))], false));
        }
        let cells: u64 = shape.iter().skip(1).product();
        let part = |range: Range<u64>| {
            let first = range.start * cells;
            Ok::<_, Failure>((first, Cow::Owned(tensor.rows(range)?.row_major_bytes()?.into_owned())))
        };
        Ok(Grid::new(dtype, &shape, vec![part(0..EDGE)?, part(rows - EDGE..rows)?], false))
    }

    fn new(dtype: &DType, shape: &[u64], parts: Vec<(u64, Cow<'t, [u8]>)>, full: bool) -> Self {
        let hex = parts.iter().any(|(_, bytes)| !bytes.is_empty() && decode(dtype, bytes, 0).is_none());
        let dims = if hex { group_dims(dtype, shape) } else { shape.to_vec() };
        let shorten = !full && dims.iter().product::<u64>() > THRESHOLD;
        Self { dtype: dtype.clone(), dims, parts, hex, shorten }
    }

    /// Prints the nested brackets and ends the line.
    pub(crate) fn print(&self, out: &mut dyn Write) -> Outcome {
        if self.dims.contains(&0) {
            return Ok(writeln!(out, "[]")?);
        }
        let mut width = 0;
        if self.shown() <= ALIGNED {
            self.each(0, 0, &mut |cell| width = width.max(self.cell(cell).len()));
        }
        self.axis(out, 0, 0, width)?;
        Ok(writeln!(out)?)
    }

    /// The nested brackets on one line, without alignment.
    pub(crate) fn line(&self) -> Result<String, Failure> {
        let mut text = Vec::new();
        if self.dims.contains(&0) {
            return Ok("[]".to_owned());
        }
        self.axis(&mut text, 0, 0, 0)?;
        Ok(String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// How many cells are printed.
    fn shown(&self) -> u64 {
        self.dims.iter().map(|dim| self.kept(*dim).map(|r| r.end - r.start).sum::<u64>()).product()
    }

    /// The ranges of an axis of extent `dim` that are printed: all of it, or both ends.
    fn kept(&self, dim: u64) -> impl Iterator<Item = Range<u64>> {
        let cut = self.shorten && dim > 2 * EDGE;
        let first = if cut { 0..EDGE } else { 0..dim };
        std::iter::once(first).chain(cut.then(|| dim - EDGE..dim))
    }

    fn each(&self, axis: usize, first: u64, visit: &mut impl FnMut(u64)) {
        let Some(dim) = self.dims.get(axis) else { return visit(first) };
        let step: u64 = self.dims[axis + 1..].iter().product();
        for range in self.kept(*dim) {
            range.for_each(|i| self.each(axis + 1, first + i * step, visit));
        }
    }

    fn axis(&self, out: &mut dyn Write, axis: usize, first: u64, width: usize) -> Outcome {
        let Some(dim) = self.dims.get(axis) else { return Ok(write!(out, "{:>width$}", self.cell(first))?) };
        let step: u64 = self.dims[axis + 1..].iter().product();
        let below = self.dims.len() - axis - 1;
        let (indent, mut column) = (" ".repeat(axis + 1), axis + 1);
        write!(out, "[")?;
        for range in self.kept(*dim) {
            for i in range.clone() {
                if i > 0 && below > 0 {
                    write!(out, ",{}{indent}", "\n".repeat(below))?;
                } else if i > 0 && column + width + 2 > LINE {
                    write!(out, ",\n{indent}")?;
                    column = axis + 1;
                } else if i > 0 {
                    write!(out, ", ")?;
                }
                column += width + 2;
                if i == range.start && i > 0 {
                    write!(out, "...,{}", if below > 0 { "\n".repeat(below) + &indent } else { " ".to_owned() })?;
                    column += 5;
                }
                self.axis(out, axis + 1, first + i * step, width)?;
            }
        }
        Ok(write!(out, "]")?)
    }

    /// The bytes that hold a cell, and its number among theirs.
    fn find(&self, cell: u64) -> Option<(&[u8], u64)> {
        let (first, bytes) = self.parts.iter().rev().find(|(first, _)| *first <= cell)?;
        Some((bytes, cell - first))
    }

    fn cell(&self, cell: u64) -> String {
        let Some((bytes, index)) = self.find(cell) else { return "?".to_owned() };
        if self.hex {
            return hex(self.group(bytes, index));
        }
        decode(&self.dtype, bytes, index).map_or_else(|| "?".to_owned(), |n| number(&self.dtype, n))
    }

    fn group<'b>(&self, bytes: &'b [u8], index: u64) -> &'b [u8] {
        let width = usize::try_from(self.dtype.geometry().bytes).unwrap_or(1);
        let start = usize::try_from(index).unwrap_or(0).saturating_mul(width);
        bytes.get(start..start + width).unwrap_or(&[])
    }

    /// All elements as nested arrays; groups as hex text.
    pub(crate) fn json(&self) -> Json {
        // An empty tensor may have any number of rows.
        if self.dims.contains(&0) { Json::Array(Vec::new()) } else { self.axis_json(0, 0) }
    }

    fn axis_json(&self, axis: usize, first: u64) -> Json {
        let Some(dim) = self.dims.get(axis) else { return self.cell_json(first) };
        let step: u64 = self.dims[axis + 1..].iter().product();
        Json::Array((0..*dim).map(|i| self.axis_json(axis + 1, first + i * step)).collect())
    }

    fn cell_json(&self, cell: u64) -> Json {
        let number = self.find(cell).filter(|_| !self.hex).and_then(|(bytes, index)| decode(&self.dtype, bytes, index));
        match number {
            None => self.cell(cell).into(),
            Some(Number::Bool(b)) => b.into(),
            Some(Number::Int(n)) => n.into(),
            Some(Number::UInt(n)) => n.into(),
            Some(Number::Float(x)) => float_json(shortest(&self.dtype, x)),
            Some(Number::Complex(re, im)) => json!([float_json(shortest(&self.dtype, re)), float_json(shortest(&self.dtype, im))]),
        }
    }
}

/// Whether the elements of a tensor can only be shown as groups.
fn decodes_not(dtype: &DType, tensor: &TensorRef<'_>) -> Result<bool, Failure> {
    Ok(tensor.byte_len()? > 0 && decode(dtype, &[0; 16], 0).is_none())
}

/// The shape in groups.
fn group_dims(dtype: &DType, shape: &[u64]) -> Vec<u64> {
    let geometry = dtype.geometry();
    let elements = u64::from(geometry.elements);
    match (geometry.class, shape.split_last()) {
        (GroupClass::Block, Some((last, outer))) => outer.iter().copied().chain([last / elements]).collect(),
        (GroupClass::Packed, _) => vec![shape.iter().product::<u64>().div_ceil(elements)],
        _ => shape.to_vec(),
    }
}

/// An element as text: floats with as few digits as tell them from their neighbours in `dtype`.
pub(crate) fn number(dtype: &DType, number: Number) -> String {
    match number {
        Number::Float(x) => float(shortest(dtype, x)),
        Number::Complex(re, im) => complex(shortest(dtype, re), shortest(dtype, im)),
        other => other.to_string(),
    }
}

/// The float with the fewest decimal digits that is nearer to `x` than to any other float of `dtype`.
fn shortest(dtype: &DType, x: f64) -> f64 {
    if !x.is_finite() || matches!(dtype.name(), "f64" | "c128") {
        return x;
    }
    // Half the distance to the next float is at least this part of the number.
    let bits = if dtype.name() == "bf16" { 7 } else { 10 };
    let near = x.abs() / f64::from(1u32 << (bits + 2));
    let is_it = |text: &str, y: f64| match dtype.name() {
        "f32" | "c64" => text.parse::<f32>().is_ok_and(|y| f64::from(y).to_bits() == x.to_bits()),
        _ => (y - x).abs() < near,
    };
    let rounded = |digits: usize| {
        let text = format!("{x:.digits$e}");
        text.parse().ok().filter(|y| is_it(&text, *y))
    };
    (0..17).find_map(rounded).unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tensor: &Tensor<'_>, full: bool) -> String {
        let mut out = Vec::new();
        let printed = Grid::of(tensor, full).and_then(|grid| grid.print(&mut out));
        assert!(printed.is_ok());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn brackets_nest_and_align() {
        let tensor = Tensor::from_vec(&[2, 2], vec![1i32, -20, 3, 4]);
        assert_eq!(tensor.map(|t| text(&t, false)).ok().as_deref(), Some("[[  1, -20],\n [  3,   4]]\n"));
        let scalar = Tensor::from_vec(&[], vec![0.1f32]);
        assert_eq!(scalar.map(|t| text(&t, false)).ok().as_deref(), Some("0.1\n"));
        let empty = Tensor::from_vec(&[2, 0], Vec::<u8>::new());
        assert_eq!(empty.map(|t| text(&t, false)).ok().as_deref(), Some("[]\n"));
    }

    #[test]
    fn long_axes_are_shortened() {
        let long = Tensor::from_vec(&[2000], (0..2000u16).collect());
        assert_eq!(long.map(|t| text(&t, false)).ok().as_deref(), Some("[   0,    1,    2, ..., 1997, 1998, 1999]\n"));
        let rows = Tensor::from_vec(&[1001, 1], vec![7u8; 1001]);
        assert_eq!(rows.map(|t| text(&t, false)).ok().as_deref(), Some("[[7],\n [7],\n [7],\n ...,\n [7],\n [7],\n [7]]\n"));
    }

    #[test]
    fn blocks_are_hex() {
        let blocks = Tensor::new(DType::Q4_0, &[2, 32], cairnfile::Storage::shared(vec![0xAB; 36]));
        let group = "ab".repeat(18);
        assert_eq!(blocks.map(|t| text(&t, false)).ok(), Some(format!("[[{group}],\n [{group}]]\n")));
    }
}
