// A small writer for the tests, made from SPEC.md; it checks nothing.
import { crc32 } from "./cairn.js";

export const u = (x, n) => Array.from({ length: n }, (_, i) => Number((BigInt(x) >> BigInt(8 * i)) & 255n));
export const text = (s) => [...new TextEncoder().encode(s)];
export const sized = (b) => [...u(b.length, 4), ...b];
export const v = {
  nil: [1], no: [2], yes: [3], int: (x) => [4, ...u(BigInt.asUintN(64, BigInt(x)), 8)], big: (b) => [5, ...sized(b)], bits: (x) => [6, ...u(x, 8)],
  float: (x) => [6, ...new Uint8Array(Float64Array.of(x).buffer)], complex: (a, b) => [7, ...new Uint8Array(Float64Array.of(a, b).buffer)],
  str: (s) => [8, ...sized(text(s))], bytes: (b) => [9, ...sized(b)], tensor: (n) => [14, ...u(n, 4)], named: (n, x) => [13, ...sized(text(n)), ...x],
  list: (...x) => [10, ...u(x.length, 4), ...sized(x.flat())], tuple: (...x) => [11, ...u(x.length, 4), ...sized(x.flat())],
  dict: (...x) => [12, ...u(x.length / 2, 4), ...sized(x.flat())],
};
export const DTYPES = { u8: [1, 1, 0], bool: [1, 1, 0], f32: [1, 4, 0], i64: [1, 8, 0], f16: [1, 2, 0], bf16: [1, 2, 0], i4: [2, 1, 1], u1: [8, 1, 1], f6_e2m3fn: [4, 3, 1], c64: [1, 8, 0] };

/** So many zero bytes, a whole number of blocks. */
export class Zeros { constructor(length) { this.length = length; } }

function crcs(buffer, size) {
  if (!(buffer instanceof Zeros)) return Array.from({ length: Math.ceil(buffer.length / size) }, (_, i) => crc32(buffer.subarray(i * size, (i + 1) * size)));
  return Array(buffer.length / size).fill(crc32(new Uint8Array(size)));
}

/** The index. tensors: { dtype, shape, strides?, buffer (number or null), offset? }; buffers: Uint8Arrays or Zeros. */
function indexOf({ root = v.nil, metadata = v.dict(), tensors = [], buffers = [], log2 = 12, change = (index) => index }) {
  const names = [...new Set(tensors.map((t) => t.dtype))], index = [...u(0, 4), ...u(names.length, 4)];
  for (const n of names) index.push(...u(DTYPES[n][0], 4), ...u(DTYPES[n][1], 4), DTYPES[n][2], n.length, ...text(n));
  index.push(...u(buffers.length, 4));
  for (const b of buffers) index.push(...u(b.length, 8), ...u(0, 8));
  for (const b of buffers) for (const crc of crcs(b, 2 ** log2)) index.push(...u(crc, 4));
  index.push(...u(tensors.length, 4));
  for (const t of tensors) {
    index.push(...u(names.indexOf(t.dtype), 4), ...u(t.buffer ?? 0xffffffff, 4), ...u(t.offset ?? 0, 8), t.shape.length, t.strides ? 1 : 0);
    for (const n of [...t.shape, ...(t.strides ?? [])]) index.push(...u(n, 8));
  }
  return Uint8Array.from(change([...index, ...metadata, ...root]));
}

function frame(flags, log2, fields) {
  const bytes = new Uint8Array(64), view = new DataView(bytes.buffer);
  bytes.set([0x89, 0x43, 0x41, 0x49, 0x52, 0x4e, 13, 10, 1, 0, flags, 0, log2]);
  bytes.set(fields, 16);
  view.setUint32(60, crc32(bytes.subarray(0, 60)), true);
  return bytes;
}

/** The parts of a file that are not zeros, as [offset, bytes], and where its buffers and second index begin. */
export function parts(value) {
  const { buffers = [], streamed = false, log2 = 12 } = value, index = indexOf(value), align = (x, a) => Math.ceil(x / a) * a;
  let end = streamed ? 64 : 64 + index.length;
  const starts = buffers.map((b) => { const s = align(end, b.length >= 65536 ? 4096 : 64); end = s + b.length; return s; });
  const second = align(end, 64), size = align(second + index.length, 64) + 64, crc = crc32(index);
  const fields = (offset) => [...u(size, 8), ...u(offset, 8), ...u(index.length, 8), ...u(crc, 4)];
  const pieces = [[0, frame(streamed ? 1 : 0, log2, streamed ? [] : fields(64))], [second, index], [size - 64, frame(streamed ? 3 : 2, log2, fields(second))]];
  if (!streamed) pieces.push([64, index]);
  buffers.forEach((b, i) => { if (!(b instanceof Zeros)) pieces.push([starts[i], b]); });
  return { size, pieces, starts, second };
}

/** A file in memory. */
export function make(value) {
  const { size, pieces, starts, second } = parts(value), file = new Uint8Array(size);
  for (const [at, bytes] of pieces) file.set(bytes, at);
  return { file, starts, second };
}

export const bytesOf = (typed) => new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength);
