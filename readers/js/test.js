// node --test. Runs over the vectors of the repository where they are, and over files made here by hand from SPEC.md.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import test from "node:test";
import { CairnError, Complex, Dict, NaNBits, Named, Tensor, Tuple, addressToken, crc32, openCairn, parseAddress } from "./cairn.js";
import { DTYPES, bytesOf, make, sized, text, u, v } from "./make.js";
import { judge } from "./runner.js";

// ------------------------------------------------------------------------------------------------------------------- the vectors

const vectors = fileURLToPath(new URL("../../vectors/", import.meta.url));
const kind = (o) => (o && typeof o === "object" ? o.class : o);

test("vectors", { skip: !existsSync(vectors + "manifest.json") && "no vectors here" }, async () => {
  const { vectors: list } = JSON.parse(readFileSync(vectors + "manifest.json", "utf8"));
  assert.ok(list.length > 0);
  for (const v of list) {
    if (!existsSync(vectors + v.file)) continue;                      // large ones may be left out
    const got = JSON.parse(JSON.stringify(await judge(vectors + v.file)));
    assert.equal(kind(got.open), kind(v.open), `${v.id}: open ${JSON.stringify(got.open)}`);
    if (got.open !== "accept") continue;
    assert.equal(kind(got.verify), kind(v.verify), `${v.id}: verify ${JSON.stringify(got.verify)}`);
    v.tensors?.forEach((allowed, i) => assert.ok([allowed].flat().map(kind).includes(kind(got.tensors[i].read)), `${v.id}: tensor ${i}`));
    if (v.decoded) assert.deepEqual(got, JSON.parse(readFileSync(vectors + v.decoded, "utf8")), v.id);
  }
});

const refused = (code, name) => (e) => e instanceof CairnError && e.code === code && (!name || e.class === name);
const opens = async (parts) => openCairn(make(parts).file);

// ------------------------------------------------------------------------------------------------------------------------- checks

test("crc32", () => {
  assert.equal(crc32(text("123456789")), 0xcbf43926);
  assert.equal(crc32(new Uint8Array(0)), 0);
  const b = Uint8Array.from({ length: 1000 }, (_, i) => i * 31);
  const slow = (bytes) => { let c = 0; for (const x of bytes) c = crc32(Uint8Array.of(x), c); return c; };
  for (let k = 0; k < 9; k++) assert.equal(crc32(b.subarray(k, 1000 - 3 * k)), slow(b.subarray(k, 1000 - 3 * k)));         // by words and by bytes
  assert.equal(crc32(b.subarray(333), crc32(b.subarray(0, 333))), crc32(b));
});

test("smallest files", async () => {
  for (const streamed of [false, true]) {
    const { file } = make({ streamed });
    assert.equal(file.length, streamed ? 192 : 256);
    const f = await openCairn(file);
    assert.equal(f.root, null);
    assert.deepEqual([...f.metadata], []);
    assert.ok((await f.verify()).ok);
    for (let n = 0; n < file.length; n++) await assert.rejects(openCairn(file.subarray(0, n)), (e) => e.class === "truncated", `${n} bytes`);
    for (let i = 0; i < file.length; i++) {                           // a flip of any bit is found
      const bad = file.slice();
      bad[i] ^= 1 << (i % 8);
      const ok = await openCairn(bad).then((g) => g.verify(), () => ({ ok: false }));
      assert.equal(ok.ok, false, `byte ${i}`);
    }
  }
});

test("values", async () => {
  const f = await opens({
    metadata: v.dict(v.str("by"), v.str("\ufeffhand\0")),
    root: v.list(v.nil, v.yes, v.no, v.int(-1), v.int(2n ** 63n - 1n), v.big([0, 0, 0, 0, 0, 0, 0, 128, 0]), v.float(-0), v.bits(0x7ff0000000000001n), v.complex(1, -2), v.str("ö"),
      v.bytes([0, 255]), v.tuple(v.float(1)), v.dict(v.int(1), v.str("i"), v.str("1"), v.str("s"), v.bytes([49]), v.str("b")), v.named("enum", v.tuple())),
  });
  assert.equal(f.metadata.get("by"), "\ufeffhand\0");
  const r = f.root;
  assert.deepEqual(r.slice(0, 6), [null, true, false, -1n, 2n ** 63n - 1n, 2n ** 63n]);
  assert.ok(Object.is(r[6], -0));
  assert.ok(r[7] instanceof NaNBits && r[7].bits === 0x7ff0000000000001n && Number.isNaN(r[7] * 1));
  assert.deepEqual(r[8], new Complex(1, -2));
  assert.equal(r[9], "ö");
  assert.deepEqual(r[10], Uint8Array.of(0, 255));
  assert.ok(r[11] instanceof Tuple && r[11][0] === 1 && !(r instanceof Tuple));
  const d = r[12];
  assert.ok(d instanceof Dict && d.size === 3);
  assert.equal(d.get(1n), "i");
  assert.equal(d.get("1"), "s");
  assert.equal(d.get(Uint8Array.of(49)), "b");
  assert.deepEqual(r[13], new Named("enum", new Tuple()));
  assert.equal(f.get("/12/~i1"), "i");
  assert.equal(f.get("/12/~b31"), "b");
  assert.equal(f.get("/12/1"), "s");
  assert.ok(f.get("/13") instanceof Named);
  assert.equal(await openCairn(make({ root: v.list(v.nil, v.nil) }).file, { budget: { values: 2 } }).then((g) => g.rootNode.count), 2);
  assert.throws(() => f.get("/14"), refused("not-found", "usage"));
  assert.throws(() => f.get("/01"), refused("not-found"));
});

test("addresses", () => {
  assert.deepEqual(parseAddress("/a~1b/~01//~i-5/~b00ff"), ["a/b", "~1", "", -5n, Uint8Array.of(0, 255)]);
  for (const bad of ["a", "/~", "/~2", "/~i", "/~i01", "/~i-0", "/~i+1", "/~i9223372036854775808", "/~b0", "/~bFF", "/\ud800"]) assert.throws(() => parseAddress(bad), refused("address", "usage"), bad);
  for (const key of ["~1", "a/b", "", "0", 0n, -(2n ** 63n), Uint8Array.of(1, 2)]) assert.deepEqual(parseAddress("/" + addressToken(key)), [key]);
});

test("hostile values", async () => {
  const nest = (n) => { let x = v.list(); for (let i = 1; i < n; i++) x = v.list(x); return x; };
  await opens({ root: nest(128) });
  await assert.rejects(opens({ root: nest(129) }), refused("depth-limit", "limit"));
  await assert.rejects(opens({ root: v.dict(v.str("a"), v.nil, v.str("a"), v.nil) }), refused("key-duplicate", "invalid"));
  await assert.rejects(opens({ root: v.dict(v.str("a"), v.nil, v.str("a"), [99]) }), refused("key-duplicate"));       // the first fault, not the last
  await assert.rejects(opens({ root: v.dict(v.str("a"), [99], v.str("a"), v.nil) }), refused("value-tag"));
  await opens({ root: v.dict(v.str("a".repeat(4096)), v.nil) });
  await assert.rejects(opens({ root: v.dict(v.str("a".repeat(4090)), v.dict(v.int(1), v.nil)) }), refused("path-limit", "limit"));
  await assert.rejects(opens({ root: [8, ...sized([0xed, 0xa0, 0x80])] }), refused("value-utf8", "malformed"));
  await assert.rejects(opens({ root: [10, 255, 255, 255, 255, 255, 255, 255, 255] }), refused("index-short"));
  await assert.rejects(opens({ root: [8, 255, 255, 255, 255] }), refused("index-short"));
  await assert.rejects(opens({ metadata: v.dict(v.int(1), v.nil) }), refused("metadata", "invalid"));
  await assert.rejects(opens({ root: v.named("bytes", v.nil) }), refused("named-bytes", "invalid"));
  await assert.rejects(opens({ root: v.nil, change: (i) => [255, 255, 255, 255, ...i.slice(4)] }), refused("index-short"));
  const many = Array.from({ length: 20000 }, (_, i) => [v.int(i * 7919), v.nil]).flat();
  await opens({ root: v.dict(...many) });
  await assert.rejects(opens({ root: v.dict(...many, v.int(7919), v.nil) }), refused("key-duplicate"));
});

test("tensors, boxes, views", async () => {
  const a = Float32Array.from({ length: 60 * 80 }, (_, i) => i);          // 19200 bytes: 5 blocks
  const parts = {
    tensors: [
      { dtype: "f32", shape: [60, 80], buffer: 0 }, { dtype: "f32", shape: [80, 60], strides: [1, 80], buffer: 0 },
      { dtype: "f32", shape: [60, 3], strides: [80, 1], buffer: 0, offset: 40 }, { dtype: "i64", shape: [0, 2n ** 59n], buffer: null },
      { dtype: "i4", shape: [3, 3], buffer: 1 },
    ],
    buffers: [bytesOf(a), Uint8Array.of(0x21, 0x43, 0x65, 0x87, 0x09)],
    root: v.dict(v.str("w"), v.tensor(0), v.str("t"), v.tensor(1), v.str("c"), v.tensor(2), v.str("e"), v.tensor(3), v.str("q"), v.tensor(4), v.str("tied"), v.tensor(0)),
  };
  for (const streamed of [false, true]) {
    const { file, starts } = make({ ...parts, streamed });
    const f = await openCairn(file), w = f.get("/w");
    assert.ok(w instanceof Tensor && f.get("/tied") === w && f.root.get("w") === w);
    assert.deepEqual(await w.read(), a);
    assert.equal(w.fileOffset, starts[0]);
    const t = await f.get("/t").read();
    assert.equal(t[1], 80);
    assert.equal(t[60 * 7 + 5], 5 * 80 + 7);
    assert.deepEqual([...await f.get("/c").read()].slice(0, 6), [10, 11, 12, 90, 91, 92]);
    assert.deepEqual([...await w.read({ start: [1, 2], stop: [60, 80], step: [30, 39] })], [82, 121, 2482, 2521]);
    assert.deepEqual([...await f.get("/t").read({ start: [2, 1], stop: [80, 60], step: [39, 30] })], [82, 2482, 121, 2521]);
    assert.deepEqual(await f.get("/e").read(), new BigInt64Array(0));
    assert.equal(f.get("/e").shape[1], 2n ** 59n);
    assert.deepEqual(await f.get("/q").read(), Int8Array.of(1, 2, 3, 4, 5, 6, 7, -8, -7));
    assert.deepEqual(await f.get("/q").read({ start: [1, 0], step: [1, 2] }), Int8Array.of(4, 6, 7, -7));
    for (const name of ["w", "t", "c", "q"]) {                        // pieces give the same elements
      const all = [];
      for await (const p of f.get("/" + name).pieces({ elements: 50 })) all.push(...p.values);
      assert.deepEqual(all.sort((x, y) => x - y), [...await f.get("/" + name).read()].sort((x, y) => x - y), name);
    }
    await assert.rejects(w.read({ start: [0, 81] }), refused("out-of-range", "usage"));
    await assert.rejects(openCairn(file, { budget: { bytes: 100 } }).then((g) => g.get("/w").read()), refused("budget", "limit"));
    assert.ok((await f.verify()).ok);

    const bad = file.slice();
    bad[starts[0] + 4096 * 2 + 5] ^= 4;                               // block 2 of 5
    const g = await openCairn(bad), report = await g.verify();
    assert.equal(report.count, 1);
    assert.equal(report.fault.code, "block-crc");
    assert.equal(report.fault.block, 2);
    assert.equal(report.fault.address, "/w");
    await assert.rejects(g.get("/w").read(), refused("block-crc", "corrupt"));
    assert.equal((await g.get("/w").read({ stop: [10, 80] })).length, 800);            // what does not touch the block
    await assert.rejects(g.get("/t").read(), refused("block-crc"));
    await g.get("/w").read({ unchecked: true });
  }
});

test("a strided tensor needs only the blocks that hold its elements", async () => {
  const b = new Uint8Array(4096 * 4);
  const { file, starts } = make({
    tensors: [{ dtype: "u8", shape: [4, 4096], buffer: 0 }, { dtype: "u8", shape: [2, 2], strides: [8192, 1], buffer: 0, offset: 4095 }],
    buffers: [b], root: v.list(v.tensor(0), v.tensor(1)),
  });
  for (let block = 0; block < 4; block++) {                           // elements 4095, 4096, 12287 and 12288
    const bad = file.slice();
    bad[starts[0] + block * 4096 + 7] = 1;
    await assert.rejects((await openCairn(bad)).get("/1").read(), refused("block-crc"));
  }
  const sparse = make({
    tensors: [{ dtype: "u8", shape: [4, 4096], buffer: 0 }, { dtype: "u8", shape: [2], strides: [8192], buffer: 0, offset: 9 }],
    buffers: [b], root: v.list(v.tensor(0), v.tensor(1)),
  });
  sparse.file[sparse.starts[0] + 4096] = 1;
  assert.deepEqual(await (await openCairn(sparse.file)).get("/1").read(), Uint8Array.of(0, 0));
});

test("tail bits and bool", async () => {
  const tail = await opens({ tensors: [{ dtype: "u1", shape: [9], buffer: 0 }], buffers: [Uint8Array.of(255, 3)], root: v.tensor(0) });
  await assert.rejects(tail.root.read(), refused("tail-bits", "invalid"));
  assert.equal((await tail.verify()).fault.code, "tail-bits");
  assert.deepEqual(await tail.root.read({ stop: [8] }), new Uint8Array(8).fill(1));
  const bool = await opens({ tensors: [{ dtype: "bool", shape: [3], buffer: 0 }], buffers: [Uint8Array.of(1, 2, 0)], root: v.tensor(0) });
  await assert.rejects(bool.root.read(), refused("bool-value", "invalid"));
  assert.equal((await bool.verify()).fault.code, "bool-value");
  assert.deepEqual(await bool.root.read({ start: [2] }), Uint8Array.of(0));
  const strided = await opens({                                       // a strided bool view: only its elements count
    tensors: [{ dtype: "u8", shape: [4], buffer: 0 }, { dtype: "bool", shape: [2], strides: [2], buffer: 0 }], buffers: [Uint8Array.of(1, 9, 0, 9)], root: v.list(v.tensor(0), v.tensor(1)),
  });
  assert.ok((await strided.verify()).ok);
});

test("small floats", async () => {
  const one = async (dtype, bytes, n) => [...await (await opens({ tensors: [{ dtype, shape: [n], buffer: 0 }], buffers: [Uint8Array.from(bytes)], root: v.tensor(0) })).root.read()];
  assert.deepEqual(await one("f16", [0, 0x3c, 0, 0xbc, 1, 0, 0xff, 0x7b, 0, 0x7c, 0, 0x80], 6), [1, -1, 2 ** -24, 65504, Infinity, -0]);
  assert.deepEqual(await one("bf16", [0x80, 0x3f, 0x80, 0xbf], 2), [1, -1]);
  assert.deepEqual(await one("f6_e2m3fn", [8, 0x8a, 0xa0], 4), [1, -1, 1, -1]);
  assert.deepEqual(await one("c64", bytesOf(Float32Array.of(1, -2)), 1), [1, -2]);
  // the columns "1" and "-1" of §10 and the greatest finite values of the usual definitions
  const cases = { f8_e3m4: [0x30, 0xb0, 0x6f, 15.5], f8_e4m3: [0x38, 0xb8, 0x77, 240], f8_e4m3b11fnuz: [0x58, 0xd8, 0x7f, 30], f8_e4m3fn: [0x38, 0xb8, 0x7e, 448],
    f8_e4m3fnuz: [0x40, 0xc0, 0x7f, 240], f8_e5m2: [0x3c, 0xbc, 0x7b, 57344], f8_e5m2fnuz: [0x40, 0xc0, 0x7f, 57344] };
  for (const [dtype, [plus, minus, top, most]] of Object.entries(cases)) {
    DTYPES[dtype] = [1, 1, 0];
    assert.deepEqual(await one(dtype, [plus, minus, top, 0], 4), [1, -1, most, 0], dtype);
    assert.ok(Number.isNaN((await one(dtype, [dtype.endsWith("fnuz") ? 0x80 : 0x7f], 1))[0]), dtype);
  }
  DTYPES.f8_e8m0fnu = [1, 1, 0];
  assert.deepEqual(await one("f8_e8m0fnu", [127, 0, 254], 3), [1, 2 ** -127, 2 ** 127]);
  DTYPES.f4_e2m1fn = [2, 1, 1];
  assert.deepEqual(await one("f4_e2m1fn", [0xa2, 0x71], 4), [1, -1, 0.5, 6]);
  DTYPES.f6_e3m2fn = [4, 3, 1];
  assert.deepEqual(await one("f6_e3m2fn", [0xc, 0xfb, 0xfd], 4), [1, -1, 28, -28]);               // 0C 2C 1F 3F
});

test("sources read only what is asked for", async () => {
  const a = new Uint8Array(1 << 20).map((_, i) => i >> 12), reads = [];
  const { file, starts } = make({ tensors: [{ dtype: "u8", shape: [256, 4096], buffer: 0 }], buffers: [a], root: v.tensor(0) });
  const f = await openCairn({ length: file.length, async read(o, n) { reads.push([o, n]); return file.slice(o, o + n); } });
  assert.deepEqual(reads.map(([o]) => o), [0, 64]);
  reads.length = 0;
  await f.root.read({ start: [7, 0], stop: [8, 4096] });
  assert.deepEqual(reads, [[starts[0] + 7 * 4096, 4096]]);
  assert.ok((await (await openCairn(new Blob([file]))).verify()).ok);
  await assert.rejects(openCairn({ length: file.length, async read(o, n) { return file.slice(o, o + n - 1); } }), refused("file-changed", "io"));
  let short = false;
  const g = await openCairn({ length: file.length, async read(o, n) { return file.slice(o, short ? o : o + n); } });
  short = true;
  await assert.rejects(g.root.read(), refused("file-changed"));
  const seen = [];
  await f.verify((done, total) => seen.push(done / total));
  assert.equal(seen.at(-1), 1);
  await assert.rejects(f.verify(null, { signal: AbortSignal.abort() }), (e) => e.name === "AbortError");
});

test("the inspector as one file", () => {
  const page = execFileSync(process.execPath, [fileURLToPath(new URL("standalone.js", import.meta.url))], { encoding: "utf8" });
  const [, code] = /<script type="module">\n(.*?)<\/script>/s.exec(page);
  assert.ok(code.includes("globalThis.cairnModule = {") && code.includes("openCairn") && !/^export /m.test(code));
});

test("files and HTTP", async () => {
  const dir = mkdtempSync(tmpdir() + "/cairn-js-"), path = dir + "/x.cairn";
  const { file } = make({ tensors: [{ dtype: "u8", shape: [5], buffer: 0 }], buffers: [Uint8Array.of(1, 2, 3, 4, 5)], root: v.tensor(0), streamed: true });
  writeFileSync(path, file);
  const f = await openCairn(path);
  assert.deepEqual(await f.root.read(), Uint8Array.of(1, 2, 3, 4, 5));
  writeFileSync(path, Buffer.concat([file, file]));
  await assert.rejects(openCairn(path).then((g) => g.root), (e) => e instanceof CairnError);
  await assert.rejects(f.verify(), refused("file-changed", "io"));
  await f.close();
  await assert.rejects(openCairn(dir + "/none"), refused("io", "io"));
  await assert.rejects(openCairn(dir), refused("io", "io"));
  rmSync(dir, { recursive: true });

  let etag = '"1"';
  const server = createServer((request, answer) => {
    if (request.url === "/whole") return answer.end(file);
    const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range), end = Math.min(Number(to) + 1, file.length);
    answer.writeHead(206, { "Content-Range": `bytes ${from}-${end - 1}/${file.length}`, ETag: etag });
    answer.end(file.subarray(Number(from), end));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  try {
    const g = await openCairn(url + "/x.cairn");
    assert.ok((await g.verify()).ok);
    await assert.rejects(openCairn(url + "/whole"), refused("io", "io"));
    etag = '"2"';
    await assert.rejects(g.verify(), refused("file-changed", "io"));
  } finally {
    server.closeAllConnections?.();
    server.close();
  }
});
