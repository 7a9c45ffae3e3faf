//! Streaming: tensors one at a time to any `Write`, the tree and the index at the end. `Spec §13.5`.

use std::io::Write;

use crate::bytes::from_usize;
use crate::content;
use crate::dtype::DType;
use crate::error::{Code, Error, Result};
use crate::header::Header;
use crate::layout;
use crate::options::WriteOptions;
use crate::plan::Plan;
use crate::tensor::{Storage, Tensor};
use crate::tree::Value;
use crate::write::{BlockCrcs, Forward, Sink, next_start};

/// Writes a streamed file.
///
/// ```
/// use cairnfile::{Cairn, StreamWriter, Tensor, Value, WriteOptions};
/// let mut stream = StreamWriter::new(Vec::new(), &WriteOptions::new()).unwrap();
/// let mut parts = Vec::new();
/// for step in 0..3 {
///     let tensor = Tensor::from_vec(&[2], vec![step, step * step]).unwrap();
///     parts.push(Value::from(stream.append(&tensor).unwrap()));
/// }
/// parts.push(parts[0].clone()); // tied to the first
/// let bytes = stream.finish(&Value::from(parts)).unwrap();
/// let cairn = Cairn::from_bytes(&bytes).unwrap();
/// assert!(cairn.is_streamed());
/// assert_eq!(cairn.tensor("/3").unwrap().number(), cairn.tensor("/0").unwrap().number());
/// ```
pub struct StreamWriter<W: Write> {
    sink: Forward<W>,
    options: WriteOptions,
    crcs: BlockCrcs,
    /// Address space and length of each buffer, in the order of the file.
    buffers: Vec<(u64, u64)>,
}

impl<W: Write> StreamWriter<W> {
    /// Writes the header of a streamed file.
    ///
    /// # Errors
    /// `io` from the writer; `block-size` for a block size the format does not have.
    pub fn new(writer: W, options: &WriteOptions) -> Result<Self> {
        // Planning nothing checks the options before the first byte is out.
        Plan::streamed(&Value::Null, options)?;
        let mut sink = Forward { writer, at: 0 };
        sink.write_at(0, &Header::streamed(options.block_log2).encode())?;
        Ok(Self { sink, options: options.clone(), crcs: BlockCrcs::new(options.block_log2), buffers: Vec::new() })
    }

    /// Writes a buffer of exactly `len` bytes and returns it as a storage, of which tensors for the root can be
    /// views. The tensors of the root must cover it as one overlapping chain.
    ///
    /// # Errors
    /// `io`; `buffer-length` for no bytes or chunks that do not add up to `len`. The stream is of no use then.
    pub fn append_storage<C: AsRef<[u8]>>(&mut self, len: u64, chunks: impl IntoIterator<Item = C>) -> Result<Storage<'static>> {
        if len == 0 {
            return Err(Error::new(Code::BufferLength, "a buffer has at least one byte"));
        }
        let start = next_start(self.sink.at, len)?;
        let mut at = start;
        for chunk in chunks {
            let chunk = chunk.as_ref();
            if from_usize(chunk.len()) > start + len - at {
                return Err(Error::new(Code::BufferLength, format!("the chunks have more than the {len} bytes announced")));
            }
            self.crcs.feed(chunk);
            self.sink.write_at(at, chunk)?;
            at += from_usize(chunk.len());
        }
        if at != start + len {
            return Err(Error::new(Code::BufferLength, format!("the chunks have {} of the {len} bytes announced", at - start)));
        }
        self.crcs.end_buffer();
        let storage = Storage::reserved(len);
        self.buffers.push((storage.address().0, len));
        Ok(storage)
    }

    /// Writes the elements of `tensor`, row-major, and returns the tensor to put into the root. Putting it there more
    /// than once ties the places.
    ///
    /// # Errors
    /// As [`StreamWriter::append_storage`]; `bool-value` or `tail-bits` for elements that break a rule.
    pub fn append(&mut self, tensor: &Tensor<'_>) -> Result<Tensor<'static>> {
        content::check_elements(tensor).map_err(|(code, _, why)| Error::new(code, why))?;
        self.append_chunks(tensor.dtype().clone(), tensor.shape(), [tensor.row_major_bytes()?])
    }

    /// Writes a tensor whose row-major bytes come in chunks, and returns it as [`StreamWriter::append`] does.
    ///
    /// # Errors
    /// As [`StreamWriter::append_storage`]; `tensor-size`, `tensor-rank` or `tensor-groups` for the shape.
    pub fn append_chunks<C: AsRef<[u8]>>(
        &mut self,
        dtype: DType,
        shape: &[u64],
        chunks: impl IntoIterator<Item = C>,
    ) -> Result<Tensor<'static>> {
        let no_size = |_| Error::new(Code::TensorSize, format!("a {dtype} tensor cannot have shape {shape:?}"));
        let extent = layout::row_major(dtype.geometry(), shape.iter().copied()).map_err(no_size)?;
        if extent.len == 0 {
            return Tensor::reserved(dtype, shape);
        }
        let storage = self.append_storage(extent.len, chunks)?;
        Tensor::new(dtype, shape, storage)
    }

    /// Writes what `root` has and was not appended (tensors with bytes, bytes above 64 KiB), the index and the trailer.
    /// Returns the writer, flushed.
    ///
    /// # Errors
    /// `view-cover` if an appended buffer is not covered by tensors of the root; `unrepresentable` if the root has a
    /// reserved tensor that was not appended; `io`.
    pub fn finish(mut self, root: &Value<'_>) -> Result<W> {
        let mut plan = Plan::with_order(root, &self.options, Some(&self.buffers))?;
        for buffer in &plan.buffers[self.buffers.len()..] {
            let mut at = buffer.start;
            buffer.each_slice(|bytes| {
                self.crcs.feed(bytes);
                self.sink.write_at(at, bytes)?;
                at += from_usize(bytes.len());
                Ok(())
            })?;
            self.crcs.end_buffer();
        }
        plan.seal(&self.crcs.into_inner());
        self.sink.write_at(plan.regions.last_index, &plan.index)?;
        self.sink.write_at(plan.regions.trailer, &plan.ends().1)?;
        self.sink.writer.flush().map_err(|e| Error::io("cannot write", e))?;
        Ok(self.sink.writer)
    }
}
