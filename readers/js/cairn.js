// Cairn file format, version 1: a reader and verifier in one ES module, without dependencies, for Node 18 or later and browsers.
// Written from SPEC.md alone and in its order; § numbers are those of SPEC.md.
//
//   const f = await openCairn(source);           // Uint8Array, ArrayBuffer, Blob/File, URL, path (Node), or { length, read(offset, length) }
//   f.root; f.metadata;                          // values, decoded when asked for
//   const t = f.get("/encoder/weight");          // a value by its address; here a Tensor
//   await t.read();                              // typed array, row-major, its blocks checked
//   await f.verify((done, total) => {});         // every rule of the whole file; a report

// ---------------------------------------------------------------------------------------------------------------- §4 Data model
// null, boolean   null, false, true               int      bigint, always (so that 1 and 1.0 stay apart)
// float           number (NaNBits, see there)     complex  Complex
// str             string                          bytes    Uint8Array
// list, tuple     Array, Tuple                    dict     Dict, a Map
// named           Named                           tensor   Tensor; leaves that are one tensor are one object

/** A tuple: an array of another type than a list. */
export class Tuple extends Array {
  static get [Symbol.species]() { return Array; }
}

/** A named value: a type name and one value. Nothing is ever constructed from the name. */
export class Named {
  constructor(name, value) { this.name = name; this.value = value; }
}

export class Complex {
  constructor(re, im) { this.re = re; this.im = im; }
}

/** A NaN with other bits than 7ff8000000000000: a number could not keep them (§9.2). Acts as NaN in arithmetic. */
export class NaNBits {
  constructor(bits) { this.bits = bits; }
  valueOf() { return NaN; }
}

/** A dict. Keys are string (str), bigint (int) and Uint8Array (bytes), so 1n, "1" and the bytes 31 are three keys; a Uint8Array finds its pair by content. */
export class Dict extends Map {
  #bytes;
  constructor(pairs = []) {
    super();
    for (const [key, value] of pairs) this.set(key, value);
  }
  #own(key) {
    if (!(key instanceof Uint8Array)) return key;
    return this.#bytes?.get(latin1(key, 0, key.length)) ?? key;
  }
  get(key) { return super.get(this.#own(key)); }
  has(key) { return super.has(this.#own(key)); }
  delete(key) {
    const own = this.#own(key);
    if (own instanceof Uint8Array) this.#bytes?.delete(latin1(own, 0, own.length));
    return super.delete(own);
  }
  clear() { this.#bytes = undefined; super.clear(); }
  set(key, value) {
    const own = this.#own(key);
    if (own instanceof Uint8Array) (this.#bytes ??= new Map()).set(latin1(own, 0, own.length), own);
    return super.set(own, value);
  }
}

// -------------------------------------------------------------------------------------------------------------- §5 File overview

const PART_ALIGN = 64, LARGE_BUFFER = 65536, LARGE_ALIGN = 4096;
const alignBig = (x, a) => (x + a - 1n) / a * a;

// --------------------------------------------------------------------------------------------------------- §6 Header and trailer

const MAGIC = Uint8Array.of(0x89, 0x43, 0x41, 0x49, 0x52, 0x4e, 0x0d, 0x0a);
const MAX63 = 2n ** 63n - 1n;
const INDEX_LEAST = 26, INDEX_MOST = 2 ** 29 - 8;

const viewOf = (b) => new DataView(b.buffer, b.byteOffset, b.byteLength);

/** Steps 2 to 7 of §12.2 for the 64 bytes of a header or a trailer. */
function parseHead(b, at, trailer, magicCode) {
  const v = viewOf(b);
  for (let i = 0; i < 8; i++) if (b[i] !== MAGIC[i]) fail(magicCode, at + i);
  if (crc32(b.subarray(0, 60)) !== v.getUint32(60, true)) fail(trailer ? "trailer-crc" : "header-crc", at + 60);
  if (v.getUint16(8, true) !== 1) fail("version", at + 8, `version ${v.getUint16(8, true)}`);
  const flags = v.getUint16(10, true);
  if (flags > 3) fail("flags", at + 10);
  for (let i = 13; i < 60; i++) if ((i < 16 || i >= 44) && b[i]) fail("reserved", at + i);
  if ((flags & 2) !== (trailer ? 2 : 0)) fail("role", at + 10);
  if (b[12] < 12 || b[12] > 22) fail("block-size", at + 12);
  return {
    streamed: (flags & 1) === 1, log2: b[12], fileLength: v.getBigUint64(16, true), indexOffset: v.getBigUint64(24, true),
    indexLength: v.getBigUint64(32, true), indexCrc: v.getUint32(40, true),
  };
}

/** Steps 1 to 8 of §12.2. */
async function readHead(source) {
  const first = await readExact(source, 0, Math.min(64, source.length));                                               // 1
  for (let i = 0; i < Math.min(8, first.length); i++) if (first[i] !== MAGIC[i]) fail("magic", i);
  if (first.length < 64) fail("too-short", first.length);
  let h = parseHead(first, 0, false, "magic");                                                                         // 2 to 7
  if (h.streamed) {                                                                                                    // 8
    for (let i = 16; i < 44; i++) if (first[i]) fail("streamed-fields", i);
    if (source.length < 128) fail("trailer-missing", source.length);
    const at = source.length - 64;
    const t = parseHead(await readExact(source, at, 64), at, true, "trailer-missing");
    if (!t.streamed || t.log2 !== h.log2) fail("trailer-mismatch", at + (t.streamed ? 12 : 10));
    h = t;
  }
  const at = h.streamed ? source.length - 64 : 0, real = BigInt(source.length);
  if (h.fileLength < 192n || h.fileLength > MAX63) fail("file-length", at + 16);
  if (real < h.fileLength) fail("truncated", source.length, `${h.fileLength} bytes stated, ${real} there`);
  if (real > h.fileLength) fail("trailing-bytes", Number(h.fileLength));
  if (h.indexLength > BigInt(INDEX_MOST)) fail("index-limit", at + 32);
  if (h.streamed ? h.indexOffset < 64n : h.indexOffset !== 64n) fail("index-offset", at + 24);
  if (h.indexLength < BigInt(INDEX_LEAST) || alignBig(h.indexOffset + h.indexLength, 64n) > h.fileLength - 64n) fail("index-length", at + 32);
  return {                                                            // all of them are below the real length now, and exact as numbers
    streamed: h.streamed, log2: h.log2, blockSize: 2 ** h.log2, fileLength: source.length,
    indexOffset: Number(h.indexOffset), indexLength: Number(h.indexLength), indexCrc: h.indexCrc,
  };
}

// ---------------------------------------------------------------------------------------------------------------------- §7 Index

const NONE = 0xffffffff;
const CLASSES = ["scalar", "packed", "block"];

/** Reads fields of the index. `end` and `code` are those of the innermost container (§9.3). */
class Cursor {
  constructor(bytes, base) {
    this.b = bytes; this.v = viewOf(bytes); this.base = base;        // base: the file offset of the index
    this.pos = 0; this.end = bytes.length; this.code = "index-short";
  }
  fail(code, pos = this.pos, detail) { fail(code, this.base + pos, detail); }
  take(n) {                                                           // steps over n bytes and says where they begin
    if (n > this.end - this.pos) this.fail(this.code);
    this.pos += n;
    return this.pos - n;
  }
  u8() { return this.b[this.take(1)]; }
  u32() { return this.v.getUint32(this.take(4), true); }
  u64() { return this.v.getBigUint64(this.take(8), true); }
  count(least) {                                                      // §7.1
    const n = this.u32();
    if (n * least > this.end - this.pos) this.fail("index-short", this.pos - 4);
    return n;
  }
}

/** Registered or private form of a name (§7.3). */
function nameForm(b, at, n) {
  let registered = true, visible = true, dot = false;
  for (let i = at; i < at + n; i++) {
    const c = b[i];
    registered &&= (c >= 0x61 && c <= 0x7a) || (c >= 0x30 && c <= 0x39) || c === 0x5f;
    visible &&= c >= 0x21 && c <= 0x7e;
    dot ||= c === 0x2e;
  }
  return n > 0 && (registered || (visible && dot));
}

/** §7.2, step 10. */
function readExtensions(c) {
  const n = c.count(8), tags = new Uint32Array(n), at = new Uint32Array(n);
  let unknown = -1;
  for (let i = 0; i < n; i++) {
    at[i] = c.pos;
    tags[i] = c.u32();
    const length = c.u32();
    c.take(length);
    const pad = c.take((8 - length % 8) % 8);
    for (let p = pad; p < c.pos; p++) if (c.b[p]) c.fail("extension-padding", p);
    if (tags[i] <= (i ? tags[i - 1] : 0)) c.fail("extension-order", at[i]);
    if (unknown < 0 && tags[i] >= 0x80000000) unknown = i;           // this reader knows none
  }
  if (unknown >= 0) c.fail("extension-unknown", at[unknown], `extension ${tags[unknown]}`);
  return { tags, at };
}

/** §7.3, step 11. */
function readDtypes(c) {
  const n = c.count(11), list = [], seen = new Set();
  for (let i = 0; i < n; i++) {
    const at = c.pos, elements = c.u32(), bytes = c.u32(), kind = c.u8(), length = c.u8(), nameAt = c.take(length);
    if (kind > 2) c.fail("dtype-class", at + 8);
    if (!nameForm(c.b, nameAt, length)) c.fail("dtype-name", nameAt);
    if (bytes < 1 || bytes > 65535) c.fail("dtype-geometry", at + 4);
    if (kind === 0 ? elements !== 1 : elements < 2 || (kind === 1 && bytes * 8 % elements !== 0)) c.fail("dtype-geometry", at);
    const name = latin1(c.b, nameAt, c.pos), known = REGISTRY.get(name);
    if (known && (known[0] !== kind || known[1] !== elements || known[2] !== bytes)) c.fail("dtype-registered", at, name);
    if (seen.has("=" + name)) c.fail("dtype-duplicate", nameAt, name);          // "=": a name of digits alone would hash by its value
    seen.add("=" + name);
    let alignment = 1;
    while (alignment < 64 && bytes % (alignment * 2) === 0) alignment *= 2;
    list.push({ name, class: CLASSES[kind], elements, bytes, alignment, bits: kind === 1 ? bytes * 8 / elements : kind === 0 ? bytes * 8 : null });
  }
  return list;
}

/** §7.4 and §5.2, step 12; §7.5, step 13. */
function readBuffers(c, extensions, head) {
  const n = c.count(16), length = new BigUint64Array(n), start = new BigUint64Array(n), kind = new Uint32Array(n), at = c.pos;
  const hasTag = (tag) => {                                           // tags ascend
    let low = 0, high = extensions.tags.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (extensions.tags[middle] < tag) low = middle + 1; else high = middle;
    }
    return extensions.tags[low] === tag;
  };
  let end = BigInt(head.streamed ? 64 : 64 + head.indexLength);
  for (let i = 0; i < n; i++) {
    const p = c.pos;
    length[i] = c.u64();
    kind[i] = c.u32();
    const owner = c.u32();
    if (length[i] === 0n && kind[i] < 2) c.fail("buffer-length", p);
    if (kind[i] === 0 ? owner !== 0 : !hasTag(owner)) c.fail("buffer-owner", p + 12);
    if (kind[i] !== 1 && i > 0 && kind[i - 1] === 1) c.fail("buffer-order", p);
    start[i] = alignBig(end, BigInt(length[i] >= BigInt(LARGE_BUFFER) ? LARGE_ALIGN : PART_ALIGN));   // modulo 2^64 in the array: checked next
    end = alignBig(end, BigInt(length[i] >= BigInt(LARGE_BUFFER) ? LARGE_ALIGN : PART_ALIGN)) + length[i];
    if (end > MAX63) c.fail("buffer-length", p);
  }
  let blocks = 0n;
  for (let i = 0; i < n; i++) blocks += (length[i] + BigInt(head.blockSize) - 1n) >> BigInt(head.log2);
  if (blocks * 4n > BigInt(c.end - c.pos)) c.fail("index-short");
  const crcAt = c.take(Number(blocks) * 4), block0 = new Float64Array(n + 1);       // block0: number of each buffer's first block
  for (let i = 0; i < n; i++) block0[i + 1] = block0[i] + Number((length[i] + BigInt(head.blockSize) - 1n) >> BigInt(head.log2));
  return { n, at, length, start, kind, end, blocks: Number(blocks), crcAt, block0 };
}

/** The sum S of §7.7 in elements, and if the layout is dense; null if the strides are not in their one legal spelling. For numbers and bigints alike. */
function reachOf(dims, strides, zero, one) {
  let row = one, rowMajor = true;
  for (let k = dims.length - 1; k >= 0; k--) {
    if (dims[k] > one) {
      rowMajor &&= strides[k] === row;
      row *= dims[k];
    }
    if ((dims[k] <= one) !== (strides[k] === zero)) return null;
  }
  if (rowMajor) return null;
  const axes = [];
  for (let k = 0; k < dims.length; k++) if (dims[k] > one) axes.push(k);
  axes.sort((x, y) => (strides[x] < strides[y] ? -1 : strides[x] > strides[y] ? 1 : 0));
  let last = zero, product = one, dense = true;
  for (const k of axes) {
    if (strides[k] <= last) return null;
    dense &&= strides[k] === product;
    last += (dims[k] - one) * strides[k];
    product *= dims[k];
  }
  return { last, dense };
}

/** Elements, extent in bytes and density of the record at `p` (§7.6, §7.7), exact. `bad` is the code of the first rule it breaks, if any. */
function sizeOf(v, p, dtype) {
  const rank = v.getUint8(p + 16), strided = v.getUint8(p + 17) === 1;
  const u64 = (q) => v.getUint32(q, true) + v.getUint32(q + 4, true) * 2 ** 32;      // exact below 2^53
  let n = 1, empty = false, last = 0, dims = [], strides = [];
  for (let k = 0; k < rank; k++) {
    const d = u64(p + 18 + 8 * k);
    empty ||= d === 0;
    n *= d || 1;
    if (strided) {
      const s = u64(p + 18 + 8 * (rank + k));
      dims.push(d); strides.push(s);
      last += Math.max(d - 1, 0) * s + s;
    }
  }
  const block = dtype.class === "block";
  if (n * dtype.bytes < 2 ** 52 && (last + 1) * dtype.bytes < 2 ** 52) {              // then nothing above was rounded
    let extent = Math.ceil(n / dtype.elements) * dtype.bytes, dense = true;
    if (block && (rank === 0 || u64(p + 10 + 8 * rank) % dtype.elements !== 0)) return { bad: "tensor-groups" };
    if (strided) {
      const r = dtype.class === "scalar" && !empty ? reachOf(dims, strides, 0, 1) : null;
      if (!r) return { bad: "tensor-strides" };
      dense = r.dense;
      extent = (r.last + 1) * dtype.bytes;
    }
    return { n, empty, extent, dense };
  }
  let big = 1n;
  dims = []; strides = [];
  for (let k = 0; k < rank; k++) {
    dims.push(v.getBigUint64(p + 18 + 8 * k, true));
    if (strided) strides.push(v.getBigUint64(p + 18 + 8 * (rank + k), true));
    big *= dims[k] || 1n;
  }
  const elements = BigInt(dtype.elements), bytes = BigInt(dtype.bytes);
  let extent = (big + elements - 1n) / elements * bytes, dense = true;
  if (big > MAX63 || extent > MAX63) return { bad: "tensor-size" };
  if (block && (rank === 0 || dims[rank - 1] % elements !== 0n)) return { bad: "tensor-groups" };
  if (strided) {
    const r = dtype.class === "scalar" && !empty ? reachOf(dims, strides, 0n, 1n) : null;
    if (!r || r.last >= MAX63) return { bad: "tensor-strides" };
    dense = r.dense;
    extent = (r.last + 1n) * bytes;
    if (extent > MAX63) return { bad: "tensor-size" };
  }
  return { n: big, empty, extent, dense };
}

/** §7.6 and §7.7, step 14. */
function readTensors(c, dtypes, buffers, streamed) {
  const n = c.count(18), at = new Uint32Array(n), extent = new Float64Array(n), flags = new Uint8Array(n), views = new Uint32Array(buffers.n + 1);
  let dtypeNext = 0, dtypeBad = -1, bufferNext = 0, bufferBad = -1;
  for (let i = 0; i < n; i++) {
    const p = c.take(18);
    at[i] = p;
    const rank = c.b[p + 16], flag = c.b[p + 17];
    if (rank > 64) c.fail("tensor-rank", p + 16);
    if (flag > 1) c.fail("tensor-flags", p + 17);
    c.take(8 * rank * (1 + flag));
    const dtype = c.v.getUint32(p, true), buffer = c.v.getUint32(p + 4, true), offset = c.v.getBigUint64(p + 8, true);
    if (dtype >= dtypes.length) c.fail("tensor-dtype", p);
    const d = dtypes[dtype], s = sizeOf(c.v, p, d);
    if (s.bad) c.fail(s.bad, s.bad === "tensor-strides" ? p + 18 + 8 * rank : p + 18);
    if ((buffer === NONE) !== s.empty) c.fail("tensor-buffer", p + 4);
    if (offset % BigInt(d.alignment) !== 0n || (s.empty && offset !== 0n)) c.fail("tensor-offset", p + 8);
    if (!s.empty) {
      if (buffer >= buffers.n) c.fail("tensor-buffer", p + 4);
      if (buffers.kind[buffer] === 1) c.fail("buffer-viewed", p + 4);
      if (buffers.kind[buffer] === 0 && offset + BigInt(s.extent) > buffers.length[buffer]) c.fail("tensor-extent", p + 8);
      views[buffer]++;
      if (buffer > bufferNext && bufferBad < 0) bufferBad = p + 4;
      if (buffer === bufferNext) bufferNext++;
    }
    if (dtype > dtypeNext && dtypeBad < 0) dtypeBad = p;
    if (dtype === dtypeNext) dtypeNext++;
    extent[i] = s.empty ? 0 : Number(s.extent);                       // exact where it is used: in buffers of kind 0, after step 15
    flags[i] = (s.empty ? 1 : 0) | (s.dense ? 2 : 0) | (d.class === "packed" && BigInt(s.n) % BigInt(d.elements) !== 0n ? 4 : 0);
  }
  const sizeAt = (p) => 18 + 8 * c.b[p + 16] * (1 + c.b[p + 17]);
  const twin = firstDuplicate(at, n, (p) => hash24(c.b, p, p + sizeAt(p)), (p, q) => compareBytes(c.b, p, sizeAt(p), q, sizeAt(q)));
  if (twin >= 0) c.fail("tensor-duplicate", twin);
  if (dtypeBad >= 0) c.fail("dtype-order", dtypeBad);
  if (dtypeNext < dtypes.length) c.fail("dtype-order", c.pos, "a dtype is not used");
  if (!streamed && bufferBad >= 0) c.fail("buffer-order", bufferBad);
  for (let i = 0; i < buffers.n; i++) if (views[i] === 0 && buffers.kind[i] !== 1) c.fail("buffer-unused", buffers.at + 16 * i);
  return { n, at, extent, flags, views };
}

const EMPTY = 1, DENSE = 2, PARTIAL = 4;

/** Step 15: the end of the buffers is known; is the file as §5.1 places it? */
function checkLayout(c, head, buffers) {
  const second = alignBig(buffers.end, 64n), at = head.streamed ? head.fileLength - 64 : 0;
  if (head.streamed && BigInt(head.indexOffset) !== second) fail("index-offset", at + 24);
  if (alignBig(second + BigInt(head.indexLength), 64n) + 64n !== BigInt(head.fileLength)) fail("file-layout", at + 16);
  return Number(second);
}

/** §7.8, step 16. Sets `order`: the tensors by buffer and offset; `first[b]`: where those of buffer b begin there. */
function checkSharing(c, buffers, tensors) {
  const first = new Uint32Array(buffers.n + 1);
  for (let b = 0; b < buffers.n; b++) first[b + 1] = first[b] + tensors.views[b];
  const order = new Uint32Array(first[buffers.n]), next = first.slice();
  for (let i = 0; i < tensors.n; i++) if (!(tensors.flags[i] & EMPTY)) order[next[c.v.getUint32(tensors.at[i] + 4, true)]++] = i;
  const offset = (i) => Number(c.v.getBigUint64(tensors.at[i] + 8, true));
  for (let b = 0; b < buffers.n; b++) {
    if (buffers.kind[b] !== 0) continue;
    const views = order.subarray(first[b], first[b + 1]);
    if (views.length > 1) views.sort((x, y) => offset(x) - offset(y) || x - y);
    let top = 0, partial = -1;
    for (const i of views) {
      if (tensors.flags[i] & PARTIAL && partial < 0) partial = i;
      if (!(tensors.flags[i] & DENSE)) continue;
      const o = offset(i);
      if (o >= top && !(o === 0 && top === 0)) c.fail("view-cover", tensors.at[i] + 8);
      top = Math.max(top, o + tensors.extent[i]);
    }
    if (top !== Number(buffers.length[b])) c.fail("view-cover", buffers.at + 16 * b);
    if (views.length > 1 && partial >= 0) c.fail("view-partial", tensors.at[partial]);
  }
  tensors.order = order;
  tensors.first = first;
}

/** Steps 9 to 19 of §12.2 on the bytes of the index. */
function checkIndex(bytes, head) {
  if (crc32(bytes) !== head.indexCrc) fail("index-crc", head.indexOffset);                                             // 9
  const c = new Cursor(bytes, head.indexOffset);
  const extensions = readExtensions(c);                                                                                // 10
  const dtypes = readDtypes(c);                                                                                        // 11
  const buffers = readBuffers(c, extensions, head);                                                                    // 12, 13
  const tensors = readTensors(c, dtypes, buffers, head.streamed);                                                      // 14
  const second = checkLayout(c, head, buffers);                                                                        // 15
  checkSharing(c, buffers, tensors);                                                                                   // 16
  const metadataAt = c.pos;                                                                                            // 17
  if (c.pos < c.end && bytes[c.pos] !== DICT) c.fail("metadata");
  checkValue(c, 1, 0, null, true, false);
  const rootAt = c.pos;                                                                                                // 18
  let met = 0;
  const vectors = new Uint8Array(tensors.n);                          // tensors that stand under named("bytes")
  const leaf = (number, isBytes, at) => {
    if (number >= tensors.n) c.fail("tensor-reference", at);
    if (number > met) c.fail("tensor-order", at);
    if (vectors[number] || (isBytes && number < met)) c.fail("named-bytes", at);
    if (number === met) met++;
    if (!isBytes) return;
    vectors[number] = 1;
    const p = tensors.at[number], buffer = c.v.getUint32(p + 4, true), n = bytes[p + 16] === 1 ? c.v.getBigUint64(p + 18, true) : 0n;
    if (dtypes[c.v.getUint32(p, true)].name !== "u8" || n <= 65536n || bytes[p + 17] !== 0) c.fail("named-bytes", at);
    if (c.v.getBigUint64(p + 8, true) !== 0n || tensors.views[buffer] !== 1) c.fail("named-bytes", at);
    if (buffers.kind[buffer] === 0 && buffers.length[buffer] !== n) c.fail("named-bytes", at);
  };
  checkValue(c, 1, 0, leaf, false, false);
  if (c.pos !== c.end) c.fail("index-long");                                                                           // 19
  if (met !== tensors.n) c.fail("tensor-order", tensors.at[met], "a tensor does not appear in the root");
  return { bytes, v: c.v, extensions, dtypes, buffers, tensors, second, metadataAt, rootAt };
}

// --------------------------------------------------------------------------------------------------------------------- §8 Blocks

const WINDOW = 2 ** 22;                                               // bytes read and checked at once, and the largest block

/** Blocks `first` to `last` of a buffer, in one piece, each checked (§8.2). The last piece read is kept, since neighbours are often asked for next. */
async function readBlocks(f, buffer, first, last, unchecked) {
  const { head, index: { v, buffers }, source } = f._;
  const kept = f._.kept;
  const bs = head.blockSize, length = Number(buffers.length[buffer]);
  if (kept && kept.buffer === buffer && kept.first <= first && last <= kept.last && (kept.checked || unchecked)) {
    return kept.bytes.subarray((first - kept.first) * bs, (last + 1 - kept.first) * bs);
  }
  const at = Number(buffers.start[buffer]) + first * bs;
  const bytes = await readExact(source, at, Math.min((last + 1) * bs, length) - first * bs);
  if (!unchecked) {
    for (let k = first; k <= last; k++) {
      const block = bytes.subarray((k - first) * bs, (k + 1 - first) * bs);
      if (crc32(block) !== v.getUint32(buffers.crcAt + 4 * (buffers.block0[buffer] + k), true)) {
        fail("block-crc", at + (k - first) * bs, `block ${buffers.block0[buffer] + k}`);
      }
    }
  }
  f._.kept = { buffer, first, last, bytes, checked: !unchecked };
  return bytes;
}

/** A set of equal-sized items in one buffer, taken in the order of their addresses. */
class Walk {
  /** at: byte offset of item 0 in the buffer; width: bytes of an item; dims, strides in items. Strides are legal by §7.7 or row-major. */
  constructor(at, width, dims, strides) {
    this.at = at; this.width = width;
    let out = 1;
    const axes = [];                                                  // n positions, `step` bytes apart in the buffer and `out` items apart in the result
    for (let k = dims.length - 1; k >= 0; k--) {
      if (dims[k] > 1) {
        const inner = axes[axes.length - 1], step = strides[k] * width;
        if (inner && step === inner.n * inner.step && out === inner.n * inner.out) inner.n *= dims[k];
        else axes.push({ n: dims[k], step, out });
      }
      out *= dims[k];
    }
    this.count = out;
    axes.sort((x, y) => y.step - x.step);
    if (axes.length === 0) axes.push({ n: 1, step: width, out: 1 });
    for (let k = axes.length - 1, reach = 0; k >= 0; k--) axes[k].reach = reach += (axes[k].n - 1) * axes[k].step;
    this.axes = axes;
  }
  /** The offset of the first item that begins at or after byte `q`, both counted from item 0; Infinity if none does. */
  next(q) {
    if (q <= 0) return 0;
    if (q > this.axes[0].reach) return Infinity;
    let sum = 0;
    for (let k = 0; k < this.axes.length; k++) {
      const a = this.axes[k], i = Math.min(Math.floor(q / a.step), a.n - 1), rest = q - i * a.step;
      const below = k + 1 < this.axes.length ? this.axes[k + 1].reach : 0;
      if (rest > below) return sum + (i + 1) * a.step;
      sum += i * a.step;
      q = rest;
    }
    return sum;
  }
  /** Does a byte of an item lie in bytes from..to of the buffer? */
  touches(from, to) {
    const q = this.next(from - this.at - this.width + 1);
    return q + this.at < to;
  }
  /** Calls emit(bytes, position, items, step, out, outStep) for runs of items; reads only blocks that hold items. */
  async run(f, buffer, emit, { signal, unchecked } = {}) {
    const bs = f._.head.blockSize, length = Number(f._.index.buffers.length[buffer]);
    const axes = this.axes, at = axes.map(() => 0), inner = axes.length - 1, { n, step, out: outStep } = axes[inner], { width } = this;
    if (this.count === 0) return;
    let p = this.at, out = 0, done = false;
    while (!done) {
      signal?.throwIfAborted();
      const first = Math.floor(p / bs);
      let last = Math.floor((p + width - 1) / bs);
      while ((last + 2 - first) * bs <= WINDOW && (last + 1) * bs < length && this.next((last + 1) * bs - this.at) + this.at < (last + 2) * bs) last++;
      const bytes = await readBlocks(f, buffer, first, last, unchecked), base = first * bs, end = Math.min((last + 1) * bs, length);
      while (!done && p + width <= end) {
        const run = Math.min(n - at[inner], Math.floor((end - width - p) / step) + 1);
        emit(bytes, p - base, run, step, out, outStep);
        at[inner] += run;
        p += run * step;
        out += run * outStep;
        for (let k = inner; at[k] === axes[k].n; k--) {
          if (k === 0) { done = true; break; }
          p += axes[k - 1].step - axes[k].n * axes[k].step;
          out += axes[k - 1].out - axes[k].n * axes[k].out;
          at[k] = 0;
          at[k - 1]++;
        }
      }
      await breathe(f);
    }
  }
  /** The items in the order of the result, in one new array. */
  async collect(f, buffer, options) {
    const { width } = this, result = allocate(this.count * width);
    await this.run(f, buffer, (bytes, p, run, step, out, outStep) => {
      if (step === width && outStep === 1) result.set(bytes.subarray(p, p + run * width), out * width);
      else if (width === 1) for (let i = 0; i < run; i++, p += step, out += outStep) result[out] = bytes[p];
      else {
        for (let i = 0, o = out * width; i < run; i++, p += step, o += outStep * width) for (let k = 0; k < width; k++) result[o + k] = bytes[p + k];
      }
    }, options);
    return result;
  }
}

function allocate(n) {
  try {
    return new Uint8Array(n);
  } catch {
    throw fail("host-size", undefined, `${n} bytes`);
  }
}

/** Lets a page or server do something else once in a while, also when all reads are answered from memory. */
async function breathe(f) {
  const now = Date.now();
  if (now - f._.breath < 40) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  f._.breath = Date.now();
}

// --------------------------------------------------------------------------------------------------------------------- §9 Values

const NULL = 1, FALSE = 2, TRUE = 3, INT = 4, BIGINT = 5, FLOAT = 6, COMPLEX = 7, STR = 8, BYTES = 9, LIST = 10, TUPLE = 11, DICT = 12, NAMED = 13, TENSOR = 14;
const TYPES = [, "null", "bool", "bool", "int", "int", "float", "complex", "str", "bytes", "list", "tuple", "dict", "named", "tensor"];
const MAX_DEPTH = 128, MAX_PATH = 4096;

/** One value at level O (§12.3). `path`: key bytes so far; `leaf`: what checks a tensor, null in the metadata; `top`: the metadata itself. */
function checkValue(c, depth, path, leaf, top, isBytes) {
  const at = c.pos;
  if (depth > MAX_DEPTH) c.fail("depth-limit");
  const tag = c.u8();
  if (tag < NULL || tag > TENSOR) c.fail("value-tag", at);
  if (isBytes && tag !== TENSOR) c.fail("named-bytes", at);
  switch (tag) {
    case INT: case FLOAT: c.take(8); break;
    case COMPLEX: c.take(16); break;
    case BIGINT: {
      const n = c.u32();
      if (n > 8192) c.fail("bigint-limit", at + 1);
      if (n < 9) c.fail("value-bigint", at + 1);
      const p = c.take(n), high = c.b[p + n - 2], last = c.b[p + n - 1];
      if (last === (high >= 0x80 ? 0xff : 0)) c.fail("value-bigint", p + n - 1);
      break;
    }
    case STR: {
      const n = c.u32(), p = c.take(n);
      checkText(c, p, n);
      break;
    }
    case BYTES: {
      const n = c.u32();
      if (n > 65536) c.fail("bytes-limit", at + 1);
      c.take(n);
      break;
    }
    case LIST: case TUPLE: case DICT: {
      const count = c.u32(), n = c.u32();
      if (count * (tag === DICT ? 6 : 1) > n) c.fail("value-length", at + 1);
      if (n > c.end - c.pos) c.fail(c.code, at + 5);
      const { end, code } = c;
      c.end = c.pos + n;
      c.code = "value-length";
      if (tag === DICT) checkPairs(c, count, depth, path, leaf, top);
      else for (let i = 0; i < count; i++) checkValue(c, depth + 1, path, leaf, false, false);
      if (c.pos !== c.end) c.fail("value-length");
      c.end = end;
      c.code = code;
      break;
    }
    case NAMED: {
      const n = c.u32();
      if (n < 1 || n > 255) c.fail("named-name", at + 1);
      const p = c.take(n);
      if (!nameForm(c.b, p, n)) c.fail("named-name", p);
      checkValue(c, depth + 1, path, leaf, false, latin1(c.b, p, p + n) === "bytes");
      break;
    }
    case TENSOR: {
      const number = c.u32();
      if (!leaf) c.fail("metadata", at);
      leaf(number, isBytes, at);
    }
  }
}

/** The pairs of a dict (§9.4). Equal keys are looked for when all keys are read, or when something else is found: they came before it. */
function checkPairs(c, count, depth, path, leaf, top) {
  const keys = [];
  const twins = () => {
    const twin = firstDuplicate(keys, keys.length, (p) => hash24(c.b, p, keyEnd(c, p)), (p, q) => compareBytes(c.b, p, keyEnd(c, p) - p, q, keyEnd(c, q) - q));
    if (twin >= 0) c.fail("key-duplicate", twin);
  };
  try {
    for (let i = 0; i < count; i++) {
      const at = c.pos, tag = c.u8();
      if (tag !== INT && tag !== STR && tag !== BYTES) c.fail("key-tag", at);
      if (top && tag !== STR) c.fail("metadata", at);
      const n = tag === INT ? 8 : c.u32(), p = c.take(n);
      if (path + n > MAX_PATH) c.fail("path-limit", at);
      if (tag === STR) checkText(c, p, n);
      keys.push(at);
      checkValue(c, depth + 1, path + n, leaf, false, false);
    }
  } catch (e) {
    twins();
    throw e;
  }
  twins();
}

const keyEnd = (c, p) => p + (c.b[p] === INT ? 9 : 5 + c.v.getUint32(p + 1, true));

/** UTF-8 as RFC 3629 has it (§2). */
function checkText(c, p, n) {
  const b = c.b, end = p + n;
  while (p < end) {
    const at = p, x = b[p++];
    if (x < 0x80) continue;
    const more = x < 0xc2 ? -1 : x < 0xe0 ? 1 : x < 0xf0 ? 2 : x < 0xf5 ? 3 : -1;
    if (more < 0 || p + more > end) c.fail("value-utf8", at);
    const low = x === 0xe0 ? 0xa0 : x === 0xf0 ? 0x90 : 0x80, high = x === 0xed ? 0x9f : x === 0xf4 ? 0x8f : 0xbf;
    if (b[p] < low || b[p] > high) c.fail("value-utf8", at);
    for (let k = 1; k < more; k++) if ((b[p + k] & 0xc0) !== 0x80) c.fail("value-utf8", at);
    p += more;
  }
}

function latin1(b, from, to) {
  let s = "";
  for (let i = from; i < to; i += 4096) s += String.fromCharCode.apply(null, b.subarray(i, Math.min(i + 4096, to)));
  return s;
}

/** Bytes first, then length. */
function compareBytes(b, p, n, q, m) {
  const least = Math.min(n, m);
  for (let i = 0; i < least; i++) if (b[p + i] !== b[q + i]) return b[p + i] - b[q + i];
  return n - m;
}

function hash24(b, from, to) {
  let h = 0x811c9dc5;
  for (let i = from; i < to; i++) h = Math.imul(h ^ b[i], 0x01000193);
  return (h ^ (h >>> 15)) & 0xffffff;
}

/** The position of the first item that equals an earlier one, or -1. Positions ascend and are below 2^29. By sorting, so that no choice of items makes it slow. */
function firstDuplicate(positions, n, hash, compare) {
  if (n < 2) return -1;
  const sorted = new Float64Array(n);
  for (let i = 0; i < n; i++) sorted[i] = hash(positions[i]) * 2 ** 29 + positions[i];
  sorted.sort();
  let found = Infinity;
  const hashOf = (x) => Math.floor(x / 2 ** 29), positionOf = (x) => x % 2 ** 29;
  for (let i = 0; i < n;) {
    let j = i + 1;
    while (j < n && hashOf(sorted[j]) === hashOf(sorted[i])) j++;
    if (j - i > 1) {
      const run = Array.from(sorted.subarray(i, j), positionOf).sort((p, q) => compare(p, q) || p - q);
      for (let k = 1; k < run.length; k++) if (compare(run[k - 1], run[k]) === 0) found = Math.min(found, run[k]);
    }
    i = j;
  }
  return found === Infinity ? -1 : found;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });      // ignoreBOM: a leading U+FEFF is text

/** A place in the tree of values, not decoded. For large trees, for exact bits and for tools; `f.root` and `f.get` are simpler. */
export class Node {
  #f; #p;
  constructor(f, p) { this.#f = f; this.#p = p; }
  get #b() { return this.#f._.index.bytes; }
  get #v() { return this.#f._.index.v; }
  get #tag() { return this.#b[this.#p]; }
  /** "null", "bool", "int", "float", "complex", "str", "bytes", "list", "tuple", "dict", "named" or "tensor". */
  get type() { return TYPES[this.#tag]; }
  /** Items of a list or tuple, pairs of a dict; 1 for a named value, 0 for all else. */
  get count() { return this.#tag >= LIST && this.#tag <= DICT ? this.#v.getUint32(this.#p + 1, true) : this.#tag === NAMED ? 1 : 0; }
  /** Bytes of a str or bytes value. */
  get length() { return this.#tag === STR || this.#tag === BYTES ? this.#v.getUint32(this.#p + 1, true) : undefined; }
  /** Type name of a named value. */
  get name() { return this.#tag === NAMED ? latin1(this.#b, this.#p + 5, this.#p + 5 + this.#v.getUint32(this.#p + 1, true)) : undefined; }
  /** Bits of a float: [bigint], of a complex number: [bigint, bigint]. */
  get bits() {
    if (this.#tag === FLOAT) return [this.#v.getBigUint64(this.#p + 1, true)];
    if (this.#tag === COMPLEX) return [this.#v.getBigUint64(this.#p + 1, true), this.#v.getBigUint64(this.#p + 9, true)];
  }
  /** The Tensor of a leaf. */
  get tensor() { return this.#tag === TENSOR ? this.#f.tensor(this.#v.getUint32(this.#p + 1, true)) : undefined; }
  /** The value, decoded as a whole. */
  get value() { return decode(this.#f, this.#p); }
  /** Children in order, from number `from` up to `to`: { key, token, node }; key is a string, bigint or Uint8Array, a position, or undefined under a named value. */
  *children(from = 0, to = Infinity) {
    const b = this.#b, v = this.#v, tag = this.#tag, count = Math.min(this.count, to);
    if (tag === NAMED) {
      if (from < 1 && to > 0) yield { key: undefined, token: "", node: new Node(this.#f, this.#p + 5 + v.getUint32(this.#p + 1, true)) };
      return;
    }
    let p = this.#p + 9;
    for (let i = 0; i < count; i++) {
      const keyAt = p;
      if (tag === DICT) p += b[p] === INT ? 9 : 5 + v.getUint32(p + 1, true);
      if (i >= from) {
        const key = tag === DICT ? decode(this.#f, keyAt) : i;
        yield { key, token: addressToken(key), node: new Node(this.#f, p) };
      }
      p = skip(b, v, p);
    }
  }
  /** The nodes that stand one address token below; only for containers. */
  _step(token) {
    const tag = this.#tag, b = this.#b, v = this.#v;
    if (tag === NAMED) return [...this.children()][0].node._step(token);
    if (tag === LIST || tag === TUPLE) {
      if (typeof token !== "string" || !/^(0|[1-9][0-9]*)$/.test(token) || Number(token) >= this.count) return null;
      let p = this.#p + 9;
      for (let i = Number(token); i > 0; i--) p = skip(b, v, p);
      return new Node(this.#f, p);
    }
    if (tag !== DICT) return null;
    let want;
    if (typeof token === "string") { const t = new TextEncoder().encode(token); want = concat(Uint8Array.of(STR, ...le(t.length, 4)), t); }
    else if (typeof token === "bigint") want = Uint8Array.of(INT, ...le(BigInt.asUintN(64, token), 8));
    else want = concat(Uint8Array.of(BYTES, ...le(token.length, 4)), token);
    let p = this.#p + 9;
    for (let i = this.count; i > 0; i--) {
      const end = p + (b[p] === INT ? 9 : 5 + v.getUint32(p + 1, true));
      let same = end - p === want.length;
      for (let k = 0; same && k < want.length; k++) same = b[p + k] === want[k];
      if (same) return new Node(this.#f, end);
      p = skip(b, v, end);
    }
    return null;
  }
}

const le = (x, n) => Array.from({ length: n }, (_, i) => Number((BigInt(x) >> BigInt(8 * i)) & 255n));
const concat = (x, y) => { const r = new Uint8Array(x.length + y.length); r.set(x); r.set(y, x.length); return r; };

/** Where the value at `p` ends. */
function skip(b, v, p) {
  while (b[p] === NAMED) p += 5 + v.getUint32(p + 1, true);
  switch (b[p]) {
    case INT: case FLOAT: return p + 9;
    case COMPLEX: return p + 17;
    case BIGINT: case STR: case BYTES: return p + 5 + v.getUint32(p + 1, true);
    case LIST: case TUPLE: case DICT: return p + 9 + v.getUint32(p + 5, true);
    case TENSOR: return p + 5;
    default: return p + 1;
  }
}

function float(bits) {
  const d = new DataView(new ArrayBuffer(8));
  d.setBigUint64(0, bits);
  const x = d.getFloat64(0);
  return Number.isNaN(x) && bits !== 0x7ff8000000000000n ? new NaNBits(bits) : x;
}

function decode(f, start) {
  const { bytes: b, v } = f._.index;
  let p = start, left = f._.budget.values;
  const value = () => {
    if (left-- <= 0) fail("budget", undefined, `more than ${f._.budget.values} values at once`);
    const tag = b[p++];
    switch (tag) {
      case NULL: return null;
      case FALSE: return false;
      case TRUE: return true;
      case INT: p += 8; return v.getBigInt64(p - 8, true);
      case FLOAT: p += 8; return float(v.getBigUint64(p - 8, true));
      case COMPLEX: p += 16; return new Complex(float(v.getBigUint64(p - 16, true)), float(v.getBigUint64(p - 8, true)));
      case TENSOR: p += 4; return f.tensor(v.getUint32(p - 4, true));
      case NAMED: {
        const n = v.getUint32(p, true), name = latin1(b, p + 4, p + 4 + n);
        p += 4 + n;
        return new Named(name, value());
      }
      case LIST: case TUPLE: {
        const n = v.getUint32(p, true), list = tag === LIST ? [] : new Tuple();
        p += 8;
        for (let i = 0; i < n; i++) list.push(value());
        return list;
      }
      case DICT: {
        const n = v.getUint32(p, true), dict = new Dict();
        if (n > 2 ** 24 - 1) fail("host-size", undefined, `a Map of ${n} pairs`);
        p += 8;
        for (let i = 0; i < n; i++) { const key = value(); dict.set(key, value()); }
        return dict;
      }
      default: {
        const n = v.getUint32(p, true), at = p + 4;
        p = at + n;
        if (tag === STR) return utf8.decode(b.subarray(at, p));
        if (tag === BYTES) return b.slice(at, p);
        let hex = "";
        for (let i = p - 1; i >= at; i--) hex += b[i].toString(16).padStart(2, "0");
        return BigInt.asIntN(8 * n, BigInt("0x" + hex));
      }
    }
  };
  return value();
}

/** The token of a key in an address (§9.7): string, bigint, Uint8Array, or a position. */
export function addressToken(key) {
  if (typeof key === "string") return key.replace(/~/g, "~0").replace(/\//g, "~1");
  if (typeof key === "bigint") return "~i" + key;
  if (key instanceof Uint8Array) return "~b" + Array.from(key, (x) => x.toString(16).padStart(2, "0")).join("");
  return String(key);
}

/** The keys an address names: strings, bigints and Uint8Arrays. */
export function parseAddress(address) {
  if (typeof address !== "string" || (address !== "" && address[0] !== "/")) fail("address", undefined, "it does not begin with /");
  if (/\p{Surrogate}/u.test(address)) fail("address", undefined, "it is not text");
  return address.split("/").slice(1).map((token) => {
    let m;
    if ((m = /^~i(0|-?[1-9][0-9]{0,18})$/.exec(token))) {
      const key = BigInt(m[1]);
      if (BigInt.asIntN(64, key) === key) return key;
    } else if ((m = /^~b((?:[0-9a-f]{2})*)$/.exec(token))) {
      return Uint8Array.from(m[1].match(/../g) ?? [], (x) => parseInt(x, 16));
    } else if (!/~(?![01])/.test(token)) {
      return token.replace(/~1/g, "/").replace(/~0/g, "~");
    }
    throw fail("address", undefined, `token ${JSON.stringify(token)}`);
  });
}

// -------------------------------------------------------------------------------------------------------------- §10 Element types

/** name: [class, elements per group, bytes per group]. */
const REGISTRY = new Map();
for (const line of `0 1 1 bool i8 u8 f8_e3m4 f8_e4m3 f8_e4m3b11fnuz f8_e4m3fn f8_e4m3fnuz f8_e5m2 f8_e5m2fnuz f8_e8m0fnu
  0 1 2 i16 u16 f16 bf16
  0 1 4 i32 u32 f32 c32
  0 1 8 i64 u64 f64 c64
  0 1 16 c128
  1 4 3 f6_e2m3fn f6_e3m2fn
  1 2 1 f4_e2m1fn i4 u4
  1 4 1 i2 u2
  1 8 1 i1 u1
  2 32 18 q4_0 iq4_nl
  2 32 20 q4_1
  2 32 22 q5_0
  2 32 24 q5_1
  2 32 34 q8_0
  2 32 36 q8_1
  2 256 84 q2_k
  2 256 110 q3_k iq3_s
  2 256 144 q4_k
  2 256 176 q5_k
  2 256 210 q6_k
  2 256 292 q8_k
  2 256 66 iq2_xxs tq2_0
  2 256 74 iq2_xs
  2 256 82 iq2_s
  2 256 98 iq3_xxs
  2 256 50 iq1_s
  2 256 56 iq1_m
  2 256 136 iq4_xs
  2 256 54 tq1_0
  2 32 17 mxfp4
  2 64 36 nvfp4
  2 128 18 q1_0
  2 64 18 q2_0`.split("\n")) {
  const [kind, elements, bytes, ...names] = line.trim().split(" ");
  for (const name of names) REGISTRY.set(name, [Number(kind), Number(elements), Number(bytes)]);
}

/** What read() makes of a dtype: an array type over the bytes, or a table of values by bits. All others are handed out as bytes. */
const NATIVE = {
  bool: Uint8Array, i8: Int8Array, u8: Uint8Array, i16: Int16Array, u16: Uint16Array, i32: Int32Array, u32: Uint32Array, i64: BigInt64Array,
  u64: BigUint64Array, f32: Float32Array, f64: Float64Array, c64: Float32Array, c128: Float64Array,
};
const SMALL = {                                                       // name: [bits, exponent bits, bias, codes of infinity and NaN]
  f8_e3m4: [8, 3, 3, "ieee"], f8_e4m3: [8, 4, 7, "ieee"], f8_e4m3b11fnuz: [8, 4, 11, "fnuz"], f8_e4m3fn: [8, 4, 7, "last"],
  f8_e4m3fnuz: [8, 4, 8, "fnuz"], f8_e5m2: [8, 5, 15, "ieee"], f8_e5m2fnuz: [8, 5, 16, "fnuz"], f6_e2m3fn: [6, 2, 1, "none"],
  f6_e3m2fn: [6, 3, 3, "none"], f4_e2m1fn: [4, 2, 1, "none"], f16: [16, 5, 15, "ieee"],
};
const tables = new Map();

/** A table from the bits of an element to its value. */
function tableOf(name) {
  if (tables.has(name)) return tables.get(name);
  let table = null, m;
  if (name === "f8_e8m0fnu") {
    table = Float32Array.from({ length: 256 }, (_, x) => (x === 255 ? NaN : 2 ** (x - 127)));
  } else if (name in SMALL) {
    const [bits, e, bias, special] = SMALL[name], mbits = bits - 1 - e;
    table = new Float32Array(2 ** bits);
    const raw = new Uint32Array(table.buffer);
    for (let x = 0; x < table.length; x++) {
      const sign = x >> (bits - 1), exponent = (x >> mbits) & (2 ** e - 1), fraction = x & (2 ** mbits - 1), top = exponent === 2 ** e - 1;
      const size = exponent === 0 ? fraction * 2 ** (1 - bias - mbits) : (2 ** mbits + fraction) * 2 ** (exponent - bias - mbits);
      table[x] = sign ? -size : size;
      const nan = special === "ieee" ? top && fraction !== 0 : special === "last" ? top && fraction === 2 ** mbits - 1 : special === "fnuz" && x === 2 ** (bits - 1);
      if (nan) raw[x] = ((sign * 0x80000000) | 0x7f800000 | ((fraction || 1) << (23 - mbits))) >>> 0;
      else if (special === "ieee" && top) table[x] = sign ? -Infinity : Infinity;
    }
  } else if ((m = /^([iu])([124])$/.exec(name))) {
    const bits = Number(m[2]), half = 2 ** (bits - 1);
    table = (m[1] === "i" ? Int8Array : Uint8Array).from({ length: 2 ** bits }, (_, x) => (m[1] === "i" && x >= half ? x - 2 * half : x));
  }
  tables.set(name, table);
  return table;
}

const LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function swapped(bytes, size) {
  for (let i = 0; i < bytes.length; i += size) bytes.subarray(i, i + size).reverse();
  return bytes;
}

/** Elements of a scalar dtype from their bytes, which stand at the beginning of a buffer of their own. */
function decodeScalar(name, bytes) {
  const type = Object.hasOwn(NATIVE, name) ? NATIVE[name] : null;
  if (type) {
    if (!LITTLE) swapped(bytes, type.BYTES_PER_ELEMENT);
    return new type(bytes.buffer, bytes.byteOffset, bytes.length / type.BYTES_PER_ELEMENT);
  }
  if (name === "bf16" || name === "f16" || name === "c32") {          // as bits, so that NaNs keep theirs
    if (!LITTLE) swapped(bytes, 2);
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2), bits = new Uint32Array(allocate(halves.length * 4).buffer);
    if (name === "bf16") for (let i = 0; i < bits.length; i++) bits[i] = halves[i] << 16;
    else {
      const table = new Uint32Array(tableOf("f16").buffer);
      for (let i = 0; i < bits.length; i++) bits[i] = table[halves[i]];
    }
    return new Float32Array(bits.buffer);
  }
  const table = REGISTRY.has(name) ? tableOf(name) : null;
  if (!table) return bytes;
  const result = new Float32Array(allocate(bytes.length * 4).buffer);
  for (let i = 0; i < bytes.length; i++) result[i] = table[bytes[i]];
  return result;
}

/** Elements `first`, `first + step`, … of a packed dtype, from bytes that begin with a whole group. */
function decodePacked(dtype, table, bytes, first, step, count, result, at) {
  const { bits, elements, bytes: size } = dtype, mask = 2 ** bits - 1;
  for (let i = 0, e = first; i < count; i++, e += step) {
    const g = Math.floor(e / elements) * size, bit = e % elements * bits, k = g + (bit >> 3);
    result[at + i] = table[((bytes[k] | (bit % 8 + bits > 8 ? bytes[k + 1] << 8 : 0)) >> bit % 8) & mask];
  }
}

/** A tensor: one entry of the tensor table. Numbers above 2^53 (only in empty tensors and foreign buffers) are bigints. */
export class Tensor {
  #f; #p;
  constructor(f, number) {
    const { v, bytes, dtypes, tensors } = f._.index, p = tensors.at[number], rank = bytes[p + 16];
    this.#f = f; this.#p = p;
    this.number = number;
    const d = dtypes[v.getUint32(p, true)];
    this.dtype = d.name;
    this.geometry = d;                                                // { name, class, elements, bytes, alignment, bits }
    const list = (q) => Array.from({ length: rank }, (_, k) => tame(v.getBigUint64(q + 8 * k, true)));
    this.shape = list(p + 18);
    this.strides = bytes[p + 17] ? list(p + 18 + 8 * rank) : null;    // in elements; null: row-major
    const b = v.getUint32(p + 4, true);
    this.buffer = b === NONE ? null : b;
    this.offset = tame(v.getBigUint64(p + 8, true));                  // in bytes, in its buffer
    const n = this.shape.reduce((x, y) => x * BigInt(y), 1n);
    this.size = tame(n);                                              // elements
    this.byteLength = tame((n + BigInt(d.elements) - 1n) / BigInt(d.elements) * BigInt(d.bytes));
  }
  get isDense() { return (this.#f._.index.tensors.flags[this.number] & DENSE) !== 0; }
  /** File offset of its first byte, null if it has none. */
  get fileOffset() { return this.buffer === null ? null : Number(this.#f._.index.buffers.start[this.buffer]) + Number(this.offset); }
  /** What read() returns: the name of an array type. */
  get arrayType() {
    if (Object.hasOwn(NATIVE, this.dtype)) return NATIVE[this.dtype].name;
    const t = REGISTRY.has(this.dtype) ? tableOf(this.dtype) : null;
    return t ? t.constructor.name : /^(bf16|c32)$/.test(this.dtype) ? "Float32Array" : "Uint8Array";
  }
  /** Numbers for each element in that array; 0 if the array holds bytes that this reader does not take apart. */
  get perElement() { return this.arrayType === "Uint8Array" && !/^(u8|bool|u[124])$/.test(this.dtype) ? 0 : /^c(32|64|128)$/.test(this.dtype) ? 2 : 1; }

  #rowMajor() {
    const strides = new Array(this.shape.length);
    for (let k = this.shape.length - 1, n = 1; k >= 0; k--) { strides[k] = n; n *= Number(this.shape[k]); }
    return strides;
  }
  /** What may be asked before any byte is handed out (§12.4). */
  #admit(bytes) {
    if (this.buffer !== null && this.#f._.index.buffers.kind[this.buffer] !== 0) fail("buffer-kind", this.#f._.head.indexOffset + this.#p, `tensor ${this.number}`);
    if (bytes > this.#f._.budget.bytes) fail("budget", undefined, `${bytes} bytes, ${this.#f._.budget.bytes} allowed`);
  }
  /** A box { start, stop, step } (arrays by axis, each optional) as { dims, strides, first, whole }. */
  #box(options) {
    const rank = this.shape.length, strides = (this.strides ?? this.#rowMajor()).slice(), dims = [];
    if (this.size === 0 && !options.start && !options.stop && !options.step) return { dims: [], strides: [], first: 0, whole: true, count: 0 };   // its extents may be huge
    const pick = (list, k, or) => {
      if (list !== undefined && list.length !== rank) fail("out-of-range", undefined, `a box has ${rank} axes`);
      const x = list?.[k] ?? or;
      if (!Number.isSafeInteger(x)) fail("out-of-range", undefined, `${x} on axis ${k}`);
      return x;
    };
    let first = 0, whole = true;
    for (let k = 0; k < rank; k++) {
      const n = Number(this.shape[k]), start = pick(options.start, k, 0), stop = pick(options.stop, k, n), step = pick(options.step, k, 1);
      if (start < 0 || start > stop || stop > n || step < 1) fail("out-of-range", undefined, `${start}..${stop} by ${step} of ${n} on axis ${k}`);
      whole &&= start === 0 && stop === n && step === 1;
      dims.push(Math.ceil((stop - start) / step));
      first += start * strides[k];
      strides[k] *= step;
    }
    return { dims, strides, first, whole, count: dims.reduce((x, y) => x * y, 1) };
  }
  /** The walk over the whole tensor in items of its groups. */
  _walk() {
    if (this.geometry.class === "scalar") return new Walk(this.offset, this.geometry.bytes, this.shape, this.strides ?? this.#rowMajor());
    return new Walk(this.offset, this.geometry.bytes, [this.byteLength / this.geometry.bytes], [1]);
  }
  /** Do bytes of its elements lie in bytes from..to of its buffer? */
  touches(from, to) { return this.size !== 0 && this.#f._.index.buffers.kind[this.buffer] === 0 && this._walk().touches(from, to); }
  _checkTail(bytes) {                                                 // §8.3, on bytes that end with the last group
    const { elements, bits, bytes: size } = this.geometry;
    if (this.geometry.class !== "packed") return;
    const used = this.size % elements * bits;
    if (used === 0) return;
    for (let k = 0; k < size; k++) {
      const over = bytes[bytes.length - size + k] >> Math.min(8, Math.max(0, used - 8 * k));
      if (over) fail("tail-bits", this.fileOffset + this.byteLength - size + k, `tensor ${this.number}`);
    }
  }
  #checkBool(bytes) {
    if (this.dtype === "bool") for (let i = 0; i < bytes.length; i++) if (bytes[i] > 1) fail("bool-value", this.fileOffset, `tensor ${this.number}`);
  }
  /**
   * The bytes of its elements, little-endian, in row-major order; packed and block: as stored. A copy, its blocks checked.
   * `start`, `stop`, `step` (arrays by axis) take a box of a scalar tensor; `unchecked: true` skips the checks of §12.4; `signal` is an AbortSignal.
   */
  async bytes(options = {}) {
    const scalar = this.geometry.class === "scalar";
    if (this.size === 0) { this.#box(options); return new Uint8Array(0); }
    this.#admit(0);
    const box = scalar || options.start || options.stop || options.step ? this.#box(options) : null;
    if (!scalar && box && !box.whole) fail("wrong-type", undefined, `${this.dtype} elements have no bytes of their own`);
    const size = this.geometry.bytes, walk = scalar ? new Walk(this.offset + box.first * size, size, box.dims, box.strides) : this._walk();
    this.#admit(walk.count * size);
    const bytes = await walk.collect(this.#f, this.buffer, options);
    if (!options.unchecked) { this._checkTail(bytes); this.#checkBool(bytes); }
    return bytes;
  }
  /**
   * Its elements, or those of a box, in row-major order: a typed array of `arrayType`, complex numbers as real and imaginary parts in turn.
   * i64 and u64 give BigInt64Array and BigUint64Array; floats below 32 bits are widened to Float32Array, ints below 8 bits to Int8Array or Uint8Array;
   * block dtypes and dtypes that this reader does not know come as bytes. Options as for bytes().
   */
  async read(options = {}) {
    if (this.geometry.class === "scalar") return decodeScalar(this.dtype, await this.bytes(options));
    const table = this.geometry.class === "packed" && REGISTRY.has(this.dtype) ? tableOf(this.dtype) : null;
    if (!table) return this.bytes(options);
    const box = this.#box(options);
    const result = new table.constructor(allocate(box.count * table.BYTES_PER_ELEMENT).buffer);
    if (this.size === 0 || box.count === 0) return result;
    this.#admit(box.count * table.BYTES_PER_ELEMENT);
    const { elements, bytes: size } = this.geometry;
    if (box.whole) {
      decodePacked(this.geometry, table, await this.bytes(options), 0, 1, box.count, result, 0);
      return result;
    }
    const rank = box.dims.length, at = new Array(rank).fill(0), n = box.dims[rank - 1], step = box.strides[rank - 1];
    const groups = Math.ceil(this.size / elements);
    for (let done = 0; done < box.count; done += n) {
      const e = box.first + at.reduce((sum, i, k) => sum + i * box.strides[k], 0);
      const from = Math.floor(e / elements), to = Math.floor((e + (n - 1) * step) / elements) + 1;
      const bytes = await new Walk(this.offset + from * size, size, [to - from], [1]).collect(this.#f, this.buffer, options);
      if (to === groups && !options.unchecked) this._checkTail(bytes);
      decodePacked(this.geometry, table, bytes, e - from * elements, step, n, result, done);
      for (let k = rank - 2; k >= 0 && ++at[k] === box.dims[k]; k--) at[k] = 0;
    }
    return result;
  }
  /**
   * All elements a piece at a time, in the order in which they lie in the file: { values, done, total } with typed arrays as from read(). `elements` bounds a piece,
   * `every: n` takes only the first of n pieces.
   */
  async *pieces({ elements: most = 2 ** 19, every = 1, ...options } = {}) {
    const total = this.size;
    if (total === 0) return;
    this.#admit(0);
    const d = this.geometry, per = d.class === "scalar" ? 1 : d.elements;
    const table = d.class === "packed" && REGISTRY.has(this.dtype) ? tableOf(this.dtype) : null;
    let done = 0;
    const take = async (walk, count) => {
      const bytes = await walk.collect(this.#f, this.buffer, options);
      done += count;
      if (d.class === "scalar") {
        if (!options.unchecked) this.#checkBool(bytes);
        return { values: decodeScalar(this.dtype, bytes), done, total };
      }
      if (done === total && !options.unchecked) this._checkTail(bytes);
      if (!table) return { values: bytes, done, total };
      const values = new table.constructor(count);
      decodePacked(d, table, bytes, 0, 1, count, values, 0);
      return { values, done, total };
    };
    if (this.isDense) {
      const step = Math.max(1, Math.floor(most / per)), groups = Math.ceil(total / per);
      for (let g = 0; g < groups; g += step * every) {
        const n = Math.min(step, groups - g);
        done = g * per;
        yield await take(new Walk(this.offset + g * d.bytes, d.bytes, [n], [1]), Math.min(n * per, total - g * per));
      }
      return;
    }
    const axes = this.shape.map((n, k) => ({ n, s: this.strides[k] })).filter((a) => a.n > 1).sort((x, y) => y.s - x.s);
    let piece = 0;
    const split = async function* (k, at) {
      const rest = axes.slice(k + 1).reduce((x, a) => x * a.n, 1), run = Math.min(axes[k].n, Math.floor(most / rest));
      for (let i = 0; i < axes[k].n; i += run || 1) {
        const n = Math.min(run, axes[k].n - i), from = at + i * axes[k].s * d.bytes;
        if (run === 0) yield* split(k + 1, from);
        else if (piece++ % every) done += n * rest;
        else yield await take(new Walk(from, d.bytes, [n, ...axes.slice(k + 1).map((a) => a.n)], axes.slice(k).map((a) => a.s)), n * rest);
      }
    };
    yield* split(0, this.offset);
  }
}

const tame = (x) => (x <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(x) : x);

// ------------------------------------------------------------------------------------------------------------------ §11 Checksums

const CRC = new Int32Array(16 * 256);                                 // CRC[k * 256 + x]: byte x, then k bytes of zero
for (let x = 0; x < 256; x++) {
  let n = x;
  for (let k = 0; k < 8; k++) n = (n >>> 1) ^ (n & 1 ? 0xedb88320 : 0);
  CRC[x] = n;
}
for (let k = 1; k < 16; k++) for (let x = 0; x < 256; x++) { const n = CRC[(k - 1) * 256 + x]; CRC[k * 256 + x] = (n >>> 8) ^ CRC[n & 255]; }

/** CRC-32 of the bytes; `before` is that of the bytes in front of them. */
export function crc32(bytes, before = 0) {
  const T = CRC, n = bytes.length;
  let c = ~before, i = 0;
  if (LITTLE && n >= 64) {
    for (; (bytes.byteOffset + i) % 4 !== 0; i++) c = T[(c ^ bytes[i]) & 255] ^ (c >>> 8);
    const w = new Int32Array(bytes.buffer, bytes.byteOffset + i, (n - i) >> 2), end = w.length & ~3;
    for (let k = 0; k < end; k += 4) {
      const p = c ^ w[k], q = w[k + 1], r = w[k + 2], s = w[k + 3];
      c = T[3840 + (p & 255)] ^ T[3584 + ((p >>> 8) & 255)] ^ T[3328 + ((p >>> 16) & 255)] ^ T[3072 + (p >>> 24)]
        ^ T[2816 + (q & 255)] ^ T[2560 + ((q >>> 8) & 255)] ^ T[2304 + ((q >>> 16) & 255)] ^ T[2048 + (q >>> 24)]
        ^ T[1792 + (r & 255)] ^ T[1536 + ((r >>> 8) & 255)] ^ T[1280 + ((r >>> 16) & 255)] ^ T[1024 + (r >>> 24)]
        ^ T[768 + (s & 255)] ^ T[512 + ((s >>> 8) & 255)] ^ T[256 + ((s >>> 16) & 255)] ^ T[s >>> 24];
    }
    i += end * 4;
  }
  for (; i < n; i++) c = T[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

// -------------------------------------------------------------------------------------------------------------------- §12 Reading

/** `length` bytes at `offset`, no fewer. */
async function readExact(source, offset, length) {
  let bytes;
  try {
    bytes = await source.read(offset, length);
  } catch (e) {
    if (e instanceof CairnError || e?.name === "AbortError") throw e;
    throw new CairnError("io", offset, e?.message, { cause: e });
  }
  if (!(bytes instanceof Uint8Array) || bytes.length > length) fail("io", offset, "the source did not give what was asked for");
  if (bytes.length < length) fail("file-changed", offset + bytes.length, "fewer bytes than at open");
  return bytes;
}

/** Copies, since others may write to this memory between a check and a use (§17). */
function memorySource(bytes) {
  return { length: bytes.length, async read(offset, length) { return Uint8Array.prototype.slice.call(bytes, offset, offset + length); } };
}

function blobSource(blob) {
  return { length: blob.size, async read(offset, length) { return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()); } };
}

/** A file behind HTTP, by range requests. The server must answer them, and a server elsewhere must expose Content-Range. */
export async function httpSource(url, init = {}) {
  let etag = null, total = null;
  const get = async (offset, length) => {
    const headers = new Headers(init.headers);
    headers.set("Range", `bytes=${offset}-${offset + length - 1}`);
    const answer = await fetch(url, { ...init, headers });
    if (answer.status === 416 && total === null) return { bytes: new Uint8Array(0), size: 0 };         // no bytes at all
    if (answer.status !== 206) {
      await answer.body?.cancel();
      fail("io", offset, `${answer.status} to a range request`);
    }
    const size = Number(/^bytes \d+-\d+\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "")?.[1] ?? NaN);
    if (!Number.isSafeInteger(size)) fail("io", offset, "no length in Content-Range");
    if (total !== null && (size !== total || answer.headers.get("ETag") !== etag)) fail("file-changed", offset);
    etag = answer.headers.get("ETag");
    const parts = [];
    let have = 0;
    for (const reader = answer.body.getReader(); ;) {                 // no more than was asked for, whatever the server sends
      const { done, value } = await reader.read();
      if (done) break;
      have += value.length;
      if (have > length) { await reader.cancel(); fail("io", offset, "more bytes than asked for"); }
      parts.push(value);
    }
    const bytes = new Uint8Array(have);
    for (let i = 0, at = 0; i < parts.length; at += parts[i++].length) bytes.set(parts[i], at);
    return { bytes, size };
  };
  const first = await get(0, 64);
  total = first.size;
  return { length: total, async read(offset, length) { return offset + length <= first.bytes.length ? first.bytes.subarray(offset, offset + length) : length === 0 ? new Uint8Array(0) : (await get(offset, length)).bytes; } };
}

async function sourceOf(x) {
  if (x instanceof Uint8Array) return memorySource(x);
  if (x instanceof ArrayBuffer || (typeof SharedArrayBuffer !== "undefined" && x instanceof SharedArrayBuffer)) return memorySource(new Uint8Array(x));
  if (ArrayBuffer.isView(x)) return memorySource(new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
  if (typeof Blob !== "undefined" && x instanceof Blob) return blobSource(x);
  if (x instanceof URL ? /^https?:$/.test(x.protocol) : typeof x === "string" && /^https?:\/\//i.test(x)) return httpSource(x);
  if ((typeof x === "string" || x instanceof URL) && typeof process !== "undefined" && process.versions?.node) return (await import("./node.js")).fileSource(x);
  if (x && typeof x.read === "function" && (typeof x.length === "number" || typeof x.length === "bigint")) return x;
  throw new TypeError("a source is a Uint8Array, ArrayBuffer, Blob, URL, path (Node) or { length, read(offset, length) }");
}

/**
 * Opens a file and checks every rule of level O. Reads the header, the index and, of a streamed file, the trailer; nothing else.
 * Options: budget { index: bytes of the index, bytes: of one read, values: decoded at once }; no limits but the format's unless given.
 */
export async function openCairn(from, options = {}) {
  const source = await sourceOf(from);
  try {
    if (!Number.isSafeInteger(Number(source.length)) || source.length < 0) fail("host-size", undefined, "a file length beyond 2^53");
    const exact = Number(source.length) === source.length ? source : { length: Number(source.length), read: (o, n) => source.read(o, n), close: () => source.close?.() };
    const budget = { index: Infinity, bytes: Infinity, values: Infinity, ...options.budget };
    const head = await readHead(exact);
    if (head.indexLength > budget.index) fail("budget", undefined, `an index of ${head.indexLength} bytes`);
    const index = checkIndex(await readExact(exact, head.indexOffset, head.indexLength), head);
    return new CairnFile({ source: exact, head, index, budget, kept: null, breath: Date.now(), made: new Map() });
  } catch (e) {
    await source.close?.();
    throw e;
  }
}

/** An open file. */
export class CairnFile {
  constructor(state) { Object.defineProperty(this, "_", { value: state }); }

  get streamed() { return this._.head.streamed; }
  get blockSize() { return this._.head.blockSize; }
  get length() { return this._.head.fileLength; }
  get indexLength() { return this._.head.indexLength; }
  /** { name, class, elements, bytes, alignment, bits } of each dtype. */
  get dtypes() { return this._.index.dtypes; }
  get tensorCount() { return this._.index.tensors.n; }
  get bufferCount() { return this._.index.buffers.n; }
  get blockCount() { return this._.index.buffers.blocks; }
  /** Extensions (§7.2), all unknown to this reader and not needed: { tag, payload }. */
  get extensions() {
    const { extensions: { tags, at }, v, bytes } = this._.index;
    return Array.from(tags, (tag, i) => ({ tag, payload: bytes.slice(at[i] + 8, at[i] + 8 + v.getUint32(at[i] + 4, true)) }));
  }
  /** { length, kind, owner, fileOffset } of buffer number i. */
  buffer(i) {
    const { buffers: b, v } = this._.index;
    if (!(i >= 0 && i < b.n)) fail("out-of-range", undefined, `buffer ${i}`);
    return { length: Number(b.length[i]), kind: b.kind[i], owner: v.getUint32(b.at + 16 * i + 12, true), fileOffset: Number(b.start[i]) };
  }
  /** Tensor number i of the table. */
  tensor(i) {
    if (!(Number.isInteger(i) && i >= 0 && i < this.tensorCount)) fail("out-of-range", undefined, `tensor ${i}`);
    const { made } = this._;
    if (!made.has(i)) made.set(i, new Tensor(this, i));
    return made.get(i);
  }
  get rootNode() { return new Node(this, this._.index.rootAt); }
  get metadataNode() { return new Node(this, this._.index.metadataAt); }
  /** The root, decoded at the first use. */
  get root() { return (this._.root ??= { value: this.rootNode.value }).value; }
  get metadata() { return (this._.metadata ??= { value: this.metadataNode.value }).value; }
  /** The place that an address names (§9.7), as a Node. */
  node(address) {
    let node = this.rootNode;
    for (const token of parseAddress(address)) if (!(node = node._step(token))) fail("not-found", undefined, JSON.stringify(address));
    return node;
  }
  /** The value at an address. */
  get(address) { return this.node(address).value; }
  /** Every place of the root in preorder: { address, node, depth }. */
  *walk() {
    const stack = [[{ address: "", node: this.rootNode, depth: 0 }][Symbol.iterator]()];
    const below = function* ({ address, node, depth }) {
      for (const child of node.children()) yield { address: node.type === "named" ? address : `${address}/${child.token}`, node: child.node, depth: depth + 1 };
    };
    while (stack.length) {
      const { done, value } = stack[stack.length - 1].next();
      if (done) { stack.pop(); continue; }
      yield value;
      if (value.node.count) stack.push(below(value));
    }
  }
  /** The first address of each wanted tensor, as a Map from its number. */
  addressesOf(numbers) {
    const wanted = new Set(numbers), found = new Map();
    if (wanted.size === 0) return found;
    for (const { address, node } of this.walk()) {
      if (node.type !== "tensor" || !wanted.has(node.tensor.number) || found.has(node.tensor.number)) continue;
      found.set(node.tensor.number, address);
      if (found.size === wanted.size) break;
    }
    return found;
  }
  async close() { await this._.source.close?.(); }

  /**
   * Checks every rule of level V (§12.4). Resolves to { ok, fault, faults, count }: `fault` is the first fault in the order of §12.4 or null, `faults` a list of
   * CairnErrors in that order (at most `most`), `count` how many there are. Those of `block-crc` have buffer, block, length and, where a tensor is concerned, tensor and address.
   * progress(bytes done, bytes in all, blocks found bad) is called as it goes. Rejects only where the source fails or `signal` says so.
   */
  async verify(progress, { signal, most = 1000 } = {}) {
    const { head, index: { bytes: index, v, buffers, tensors, second }, source } = this._;
    const steps = [[], [], [], [], [], []];
    let count = 0;
    const note = (step, error) => { count++; if (steps[step].length < most) steps[step].push(error); return error; };
    const attempt = (step, check) => { try { check(); } catch (e) { if (!(e instanceof CairnError)) throw e; note(step, e); } };
    const size = head.fileLength;
    let done = 0;
    const tell = async (n) => { done += n; signal?.throwIfAborted(); progress?.(Math.min(done, size), size, badCount); await breathe(this); };
    let badCount = 0;

    if (!head.streamed) {
      const last = await readExact(source, size - 64, 64), at = size - 64;
      attempt(0, () => {                                                                                               // 1
        const t = parseHead(last, at, true, "trailer-magic");
        if (t.streamed !== head.streamed) fail("trailer-mismatch", at + 10);
        if (t.log2 !== head.log2) fail("trailer-mismatch", at + 12);
        if (t.fileLength !== BigInt(size)) fail("trailer-mismatch", at + 16);
        if (t.indexLength !== BigInt(head.indexLength)) fail("trailer-mismatch", at + 32);
        if (t.indexCrc !== head.indexCrc) fail("trailer-mismatch", at + 40);
        if (t.indexOffset !== BigInt(second)) fail("trailer-mismatch", at + 24);
      });
      let crc = 0, differs = -1;                                                                                       // 2
      for (let at = 0; at < head.indexLength; at += WINDOW) {
        const piece = await readExact(source, second + at, Math.min(WINDOW, head.indexLength - at));
        crc = crc32(piece, crc);
        for (let i = 0; i < piece.length && differs < 0; i++) if (piece[i] !== index[at + i]) differs = second + at + i;
        await tell(piece.length);
      }
      if (crc !== head.indexCrc) note(1, new CairnError("index-crc", second));
      else if (differs >= 0) note(1, new CairnError("index-copy", differs));
    }

    let piece = new Uint8Array(0), pieceAt = 0;                                                                        // 3, 4: in one pass
    const at = async (offset, length) => {
      if (offset < pieceAt || offset + length > pieceAt + piece.length) {
        piece = await readExact(source, offset, Math.min(Math.max(length, WINDOW), size - offset));
        pieceAt = offset;
        await tell(0);
      }
      return piece.subarray(offset - pieceAt, offset - pieceAt + length);
    };
    const zeros = async (from, to) => {
      if (from === to) return;
      const pad = await at(from, to - from);
      for (let i = 0; i < pad.length; i++) if (pad[i]) { note(2, new CairnError("padding", from + i)); return; }
    };
    const bad = new Uint8Array(Math.ceil(buffers.blocks / 8)), isBad = (k) => (bad[k >> 3] >> (k & 7)) & 1;
    let end = head.streamed ? 64 : 64 + head.indexLength;
    done += end;
    for (let b = 0; b < buffers.n; b++) {
      const start = Number(buffers.start[b]), length = Number(buffers.length[b]);
      await zeros(end, start);
      for (let o = 0, k = buffers.block0[b]; o < length; o += head.blockSize, k++) {
        const n = Math.min(head.blockSize, length - o), block = await at(start + o, n);
        if (crc32(block) !== v.getUint32(buffers.crcAt + 4 * k, true)) {
          bad[k >> 3] |= 1 << (k & 7);
          badCount++;
          note(3, Object.assign(new CairnError("block-crc", start + o, `block ${k}`), { buffer: b, block: k, length: n }));
        }
        done += n;
      }
      done += start - end;
      end = start + length;
    }
    await zeros(end, second);
    if (head.streamed) done += head.indexLength;
    await zeros(second + head.indexLength, size - 64);
    done = size;
    await tell(0);

    const concerned = new Set();
    for (const error of steps[3]) {
      const from = (error.block - buffers.block0[error.buffer]) * head.blockSize;
      for (let i = tensors.first[error.buffer]; i < tensors.first[error.buffer + 1] && buffers.kind[error.buffer] === 0; i++) {
        const number = tensors.order[i], offset = Number(v.getBigUint64(tensors.at[number] + 8, true));
        if (offset >= from + error.length) break;                     // they are sorted by offset
        if (offset + tensors.extent[number] <= from || !new Tensor(this, number)._walk().touches(from, from + error.length)) continue;
        error.tensor = number;
        concerned.add(number);
        break;
      }
    }

    const good = (t) => {                                             // are all blocks good that hold bytes of t?
      if (badCount === 0) return true;
      const walk = t._walk(), from = Math.floor(t.offset / head.blockSize), to = Math.floor((t.offset + tensors.extent[t.number] - 1) / head.blockSize);
      for (let k = from; k <= to; k++) if (isBad(buffers.block0[t.buffer] + k) && walk.touches(k * head.blockSize, (k + 1) * head.blockSize)) return false;
      return true;
    };
    const clean = await this.#cleanBools(isBad, signal);                                                               // 5
    for (let i = 0; i < tensors.n; i++) {
      const f = tensors.flags[i], buffer = v.getUint32(tensors.at[i] + 4, true);
      if (f & EMPTY || buffers.kind[buffer] !== 0) continue;
      const bool = this._.index.dtypes[v.getUint32(tensors.at[i], true)].name === "bool";
      if (!(f & PARTIAL) && (!bool || (f & DENSE && clean[buffer]))) continue;
      const t = new Tensor(this, i);
      if (!good(t)) continue;
      try {
        if (f & PARTIAL) {
          const g = t.geometry.bytes;
          t._checkTail(await new Walk(t.offset + t.byteLength - g, g, [1], [1]).collect(this, buffer, { signal }));
        } else {
          await t._walk().run(this, buffer, (bytes, p, run, step) => {
            for (let k = 0; k < run; k++, p += step) if (bytes[p] > 1) fail("bool-value", t.fileOffset, `tensor ${i}`);
          }, { signal });
        }
      } catch (e) {
        if (!(e instanceof CairnError) || e.class === "io") throw e;
        e.tensor = i;
        if (note(4, e)) concerned.add(i);
        if (count > most) break;
      }
    }
    for (let i = 0; i < tensors.n && count <= most; i++) {                                                             // 6
      const buffer = v.getUint32(tensors.at[i] + 4, true);
      if (buffer === NONE || buffers.kind[buffer] === 0) continue;
      note(5, Object.assign(new CairnError("buffer-kind", head.indexOffset + tensors.at[i] + 4, `tensor ${i}`), { tensor: i }));
      concerned.add(i);
    }
    const addresses = this.addressesOf(concerned), faults = steps.flat();
    for (const e of faults) if (e.tensor !== undefined) e.address = addresses.get(e.tensor);
    return { ok: count === 0, fault: faults[0] ?? null, faults: faults.slice(0, most), count };
  }

  /** For each buffer with several bool views: are all good bytes under dense ones 0 or 1? So overlapping views are not read once each. */
  async #cleanBools(isBad, signal) {
    const { head, index: { v, buffers, tensors, dtypes } } = this._, clean = new Uint8Array(buffers.n), bool = dtypes.findIndex((d) => d.name === "bool");
    for (let b = 0; bool >= 0 && b < buffers.n; b++) {
      if (buffers.kind[b] !== 0 || tensors.views[b] < 2) continue;
      let fine = true, seen = 0;
      for (let i = tensors.first[b]; fine && i < tensors.first[b + 1]; i++) {                    // by offset
        const t = tensors.order[i], p = tensors.at[t];
        if (v.getUint32(p, true) !== bool || !(tensors.flags[t] & DENSE)) continue;
        const offset = Number(v.getBigUint64(p + 8, true)), to = offset + tensors.extent[t];
        for (let at = Math.max(offset, seen); fine && at < to;) {
          const k = Math.floor(at / head.blockSize), stop = Math.min(to, (k + 1) * head.blockSize);
          if (!isBad(buffers.block0[b] + k)) {
            signal?.throwIfAborted();
            const bytes = await readBlocks(this, b, k, k);
            for (let q = at - k * head.blockSize; q < stop - k * head.blockSize; q++) if (bytes[q] > 1) { fine = false; break; }
          }
          at = stop;
        }
        seen = Math.max(seen, to);
      }
      clean[b] = fine ? 1 : 0;
    }
    return clean;
  }
}

// --------------------------------------------------------------------------------------------------------------------- §15 Errors

/** code: [class, section]. */
const CODES = new Map();
for (const line of `truncated too-short 6.1 truncated 6.8 trailer-missing 6.9
  malformed magic 6.1 role 6.4 block-size 6.6 streamed-fields 6.7 file-length 6.8 trailing-bytes 6.8 trailer-mismatch 6.9 index-length 6.10 index-offset 6.11
  malformed index-copy 5.3 file-layout 5.2 index-short 7.1 index-long 7.1 extension-order 7.2 extension-padding 7.2 dtype-name 7.3 dtype-class 7.3 dtype-geometry 7.3
  malformed buffer-length 7.4 tensor-dtype 7.6 tensor-buffer 7.6 tensor-flags 7.6 value-tag 9.1 value-length 9.3 value-utf8 9.2 value-bigint 9.2 key-tag 9.4
  malformed named-name 9.5 tensor-reference 9.6
  corrupt header-crc 6.2 trailer-magic 6.9 trailer-crc 6.9 index-crc 11.2 padding 5.2 block-crc 8.2
  invalid dtype-registered 7.3 dtype-duplicate 7.3 dtype-order 7.3 buffer-owner 7.4 buffer-order 7.4 buffer-unused 7.4 buffer-viewed 7.4 tensor-groups 7.6
  invalid tensor-offset 7.6 tensor-strides 7.7 tensor-extent 7.6 tensor-duplicate 7.6 tensor-order 7.6 view-cover 7.8 view-partial 7.8 key-duplicate 9.4
  invalid named-bytes 9.5 metadata 7.9 tail-bits 8.3 bool-value 8.3
  unsupported version 6.3 flags 6.4 reserved 6.5 extension-unknown 7.2 buffer-kind 7.4
  limit index-limit 6.10 tensor-rank 7.6 tensor-size 7.6 bigint-limit 9.2 bytes-limit 9.2 depth-limit 9.3 path-limit 9.4 budget 16 host-size 18
  io io - file-changed 17
  usage address 9.7 not-found 9.7 wrong-type - out-of-range -`.split("\n")) {
  const [name, ...pairs] = line.trim().split(" ");
  for (let i = 0; i < pairs.length; i += 2) CODES.set(pairs[i], [name, pairs[i + 1]]);
}

/** A refusal: `class` and `code` of §15, `offset` in the file where known, `section` of SPEC.md. */
export class CairnError extends Error {
  constructor(code, offset, detail, options) {
    const [name, section] = CODES.get(code);
    super(`${code} (${name})${detail ? `: ${detail}` : ""}${offset === undefined ? "" : ` at byte ${offset}`}${section === "-" ? "" : `, §${section}`}`, options);
    this.name = "CairnError";
    this.code = code;
    this.class = name;
    this.offset = offset;
    this.section = section === "-" ? undefined : section;
  }
}

function fail(code, offset, detail) { throw new CairnError(code, offset, detail); }
