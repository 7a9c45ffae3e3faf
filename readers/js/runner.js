import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { CairnError } from "./cairn.js";
import { openCairnFile } from "./node.js";

const outcome = (e) => {
  if (e instanceof CairnError) return { class: e.class, code: e.code };
  process.stderr.write(`${e?.stack ?? e}\n`);
  return { class: "limit", code: "host-size" };
};
const hex = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
const bits = (x) => x.toString(16).padStart(16, "0");

function key(k) {
  if (typeof k === "bigint") return ["int", String(k)];
  return typeof k === "string" ? ["str", k] : ["bytes", hex(k)];
}

function value(node) {
  switch (node.type) {
    case "null": return ["null"];
    case "bool": return ["bool", node.value];
    case "int": return ["int", String(node.value)];
    case "float": case "complex": return [node.type, ...node.bits.map(bits)];
    case "str": return ["str", node.value];
    case "bytes": return ["bytes", hex(node.value)];
    case "tensor": return ["tensor", node.tensor.number];
    case "named": return ["named", node.name, ...Array.from(node.children(), (c) => value(c.node))];
    case "dict": return ["dict", Array.from(node.children(), (c) => [key(c.key), value(c.node)])];
    default: return [node.type, Array.from(node.children(), (c) => value(c.node))];
  }
}

/** In pieces, since one update takes less than 2 GiB. */
function sha256(bytes) {
  const hash = createHash("sha256"), PIECE = 2 ** 30;
  for (let at = 0; at < bytes.length; at += PIECE) hash.update(bytes.subarray(at, at + PIECE));
  return hash.digest("hex");
}

async function judgeTensor(t) {
  const strings = (list) => list && list.map(String);
  const result = {
    dtype: t.dtype, shape: strings(t.shape), strides: strings(t.strides), buffer: t.buffer === null ? null : String(t.buffer), offset: String(t.offset), read: "accept",
  };
  try {
    result.sha256 = sha256(await t.bytes());
  } catch (e) {
    result.read = outcome(e);
  }
  return result;
}

/** The runner's output for one file. */
export async function judge(path) {
  let f;
  try {
    f = await openCairnFile(path);
  } catch (e) {
    return { open: outcome(e) };
  }
  const result = { open: "accept", metadata: value(f.metadataNode), root: value(f.rootNode), tensors: [], verify: "accept" };
  try {
    for (let i = 0; i < f.tensorCount; i++) result.tensors.push(await judgeTensor(f.tensor(i)));
    const { fault } = await f.verify();
    if (fault) result.verify = outcome(fault);
  } catch (e) {
    result.verify = outcome(e);
  } finally {
    await f.close();
  }
  return result;
}

export async function main(paths) {
  if (paths.length === 0) {
    process.stderr.write("usage: runner FILE...\n");
    process.exitCode = 2;
    return;
  }
  for (const path of paths) {
    const result = await judge(path);
    const line = Buffer.from(JSON.stringify(result) + "\n");
    for (let at = 0; at < line.length;) {
      try {
        at += writeSync(1, line, at);
      } catch (e) {
        if (e.code !== "EAGAIN") throw e;
      }
    }
    const verdict = result.open === "accept" ? result.verify : result.open;
    if (paths.length === 1) process.exitCode = verdict === "accept" ? 0 : verdict.class === "unsupported" ? 3 : 1;
  }
}
