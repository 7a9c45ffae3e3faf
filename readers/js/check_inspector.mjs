// inspect.html in a headless browser: node check_inspector.mjs [FOLDER]; with FOLDER, screenshots are left there.
// Exit: 0 all right, 1 not, 77 skipped because there is no browser.
import assert from "node:assert/strict";
import { mkdtempSync, openSync, closeSync, ftruncateSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findBrowser, openPage } from "./browser.mjs";
import { Zeros, bytesOf, make, parts, v } from "./make.js";

const browser = findBrowser();
if (!browser) {
  console.log("skipped: there is no chromium here");
  process.exit(77);
}
const shots = process.argv[2], scratch = mkdtempSync(join(tmpdir(), "cairn-inspector-"));

// ---------------------------------------------------------------------------------------------------------------------- the files

const HOSTILE = "bad\0\x1b[31m\u202e<img src=x onerror=alert(1)>\n";
const weight = Float32Array.from({ length: 48 }, (_, i) => i - 20);
weight.set([NaN, Infinity, -Infinity, NaN, NaN], 0);
const conv = Float32Array.from({ length: 4 * 3 * 5 * 7 }, (_, i) => i);
const wave = Float32Array.from({ length: 96 * 128 }, (_, i) => Math.sin((i % 128) / 9) * Math.cos(Math.floor(i / 128) / 7));

const state = make({
  metadata: v.dict(v.str("made by"), v.str("a test")),
  tensors: [
    { dtype: "f32", shape: [6, 8], buffer: 0 }, { dtype: "f32", shape: [8], buffer: 0, offset: 32 }, { dtype: "f32", shape: [4, 3, 5, 7], buffer: 1 },
    { dtype: "f32", shape: [96, 128], buffer: 2 }, { dtype: "bool", shape: [2, 2], buffer: 3 }, { dtype: "u8", shape: [0, 3], buffer: null },
  ],
  buffers: [bytesOf(weight), bytesOf(conv), bytesOf(wave), Uint8Array.of(0, 1, 1, 0)],
  root: v.dict(
    v.str("encoder"), v.dict(v.str("weight"), v.tensor(0), v.str("first row"), v.tensor(1), v.str("tied"), v.tensor(0)),
    v.str("conv"), v.tensor(2), v.str("wave"), v.tensor(3), v.int(-3), v.tensor(4), v.bytes([0xab, 1]), v.tensor(5),
    v.str("step"), v.int(1000), v.str(HOSTILE), v.str(HOSTILE), v.str("betas"), v.tuple(v.float(0.9), v.float(-0))),
});

function writeFile(name, bytes) {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
}

/** Blocks 5 and 6 of the wave. */
function damaged() {
  const file = state.file.slice();
  for (const block of [5, 6]) file[state.starts[2] + block * 4096 + 17] ^= 4;
  return file;
}

/** A file of 4 GiB that takes some pages on the disk. */
function sparseFile() {
  const value = { log2: 22, tensors: [{ dtype: "f32", shape: [32768, 32768], buffer: 0 }], buffers: [new Zeros(2 ** 32)], root: v.dict(v.str("huge"), v.tensor(0)) };
  const { size, pieces } = parts(value), path = join(scratch, "sparse.cairn"), handle = openSync(path, "w");
  ftruncateSync(handle, size);
  for (const [at, bytes] of pieces) writeSync(handle, bytes, 0, bytes.length, at);
  closeSync(handle);
  return path;
}

// ---------------------------------------------------------------------------------------------------------------------- the page

const served = [];
const server = createServer((request, response) => {
  const name = { "/": "inspect.html", "/cairn.js": "cairn.js" }[request.url];
  served.push(request.url);
  if (!name) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": name.endsWith("html") ? "text/html" : "text/javascript" }).end(readFileSync(new URL(name, import.meta.url)));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

// Every way to the bytes of a file, counted before the page's own code runs.
const COUNTERS = `
  globalThis.taken = { bytes: 0, whole: 0 };
  const slice = Blob.prototype.slice;
  Blob.prototype.slice = function (from, to) { const part = slice.call(this, from, to); taken.bytes += part.size; return part; };
  for (const way of ["arrayBuffer", "text", "stream", "bytes"]) {
    const take = Blob.prototype[way];
    if (take) Blob.prototype[way] = function (...a) { if (this instanceof File) taken.whole++; return take.apply(this, a); };
  }
  for (const way of ["readAsArrayBuffer", "readAsText", "readAsDataURL", "readAsBinaryString"]) FileReader.prototype[way] = () => { taken.whole++; };
`;

const page = await openPage(browser, join(scratch, "profile")), requests = [], complaints = [];
page.on("Network.requestWillBeSent", ({ request }) => requests.push(request.url));
page.on("Runtime.exceptionThrown", ({ exceptionDetails }) => complaints.push(exceptionDetails.exception?.description ?? exceptionDetails.text));
page.on("Log.entryAdded", ({ entry }) => { if (entry.level === "error" && !entry.url?.endsWith("favicon.ico")) complaints.push(entry.text); });

async function run(code) {
  const { result, exceptionDetails } = await page.send("Runtime.evaluate", { expression: `(async () => { ${code} })()`, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until the condition holds; its value. */
async function until(code, what = code) {
  for (let left = 600; left > 0; left--) {
    const value = await run(`return ${code}`);
    if (value) return value;
    await sleep(25);
  }
  assert.fail(`waited in vain: ${what}`);
}

const KEYS = { Tab: 9, Enter: 13, Escape: 27, End: 35, Home: 36, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 };
async function press(key, modifiers = 0) {
  const code = KEYS[key] ?? key.toUpperCase().charCodeAt(0), text = key === "Enter" ? "\r" : KEYS[key] ? undefined : key;
  await page.send("Input.dispatchKeyEvent", { type: "keyDown", key, code: KEYS[key] ? key : undefined, windowsVirtualKeyCode: code, text, modifiers });
  await page.send("Input.dispatchKeyEvent", { type: "keyUp", key, windowsVirtualKeyCode: code, modifiers });
}
const type = async (text) => { for (const c of text) await press(c); };
const focused = () => run("return document.activeElement.id || document.activeElement.tagName");

async function shoot(name) {
  if (!shots) return;
  await run("await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))");
  const { data } = await page.send("Page.captureScreenshot", { format: "png" });
  writeFileSync(join(shots, `${name}.png`), Buffer.from(data, "base64"));
}
const scheme = (value) => page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });

const SUMMARY = "document.getElementById('summary').textContent", NOTICE = "document.getElementById('notice')", DETAIL = "document.getElementById('detail')";
const rows = () => run("return [...document.querySelectorAll('[role=treeitem]')].map((row) => [...row.children].map((cell) => cell.innerText.replace(/^[▾▸]/, '').trim()))");
const rowOf = async (address) => (await rows()).find((row) => row[4] === address);
const detail = () => run(`return ${DETAIL}.innerText`);
const fact = (name) => run(`return [...${DETAIL}.querySelectorAll('tr')].find((row) => row.cells[0].innerText === ${JSON.stringify(name)})?.cells[1].innerText`);

/** Opens by the button and the picker, with the keyboard. */
async function open(path) {
  const chosen = new Promise((resolve) => page.on("Page.fileChooserOpened", resolve));
  await run("document.activeElement.blur(); document.body.focus()");
  await press("o");
  const { backendNodeId } = await chosen;
  await run("taken.bytes = 0; globalThis.openedIn = undefined; document.getElementById('summary').textContent = ''");
  await page.send("DOM.setFileInputFiles", { files: [path], backendNodeId });
}
async function openGood(path) {
  await open(path);
  await until("globalThis.openedIn !== undefined", `${path} opens`);
}

/** Goes to an address in the tree with the keyboard. */
async function choose(address) {
  await run("document.getElementById('tree').focus()");
  await press("Home");
  for (let left = 60; left > 0; left--) {
    if (await run("return document.querySelector('.row.active .address')?.innerText") === address) return;
    await press("ArrowDown");
  }
  assert.fail(`${address} was not met`);
}
const drawn = (selector) => run(`
  const c = document.querySelector(${JSON.stringify(selector)}), data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, colours = new Set();
  for (let i = 0; i < data.length; i += 4) colours.add(data.slice(i, i + 4).join());
  return colours.size`);

// ---------------------------------------------------------------------------------------------------------------------- the checks

async function tree() {
  await openGood(writeFile("state.cairn", state.file));
  assert.match(await run(`return ${SUMMARY}`), /state\.cairn · .* planned · 6 tensors in 4 buffers · blocks of 4\.00 KiB/);
  assert.deepEqual(await rowOf("/encoder/weight"), ["weight", "f32", "[6, 8]", "192 B", "/encoder/weight"]);
  assert.deepEqual(await rowOf("/conv"), ["conv", "f32", "[4, 3, 5, 7]", "1.64 KiB", "/conv"]);
  assert.deepEqual(await rowOf("/~i-3"), ["-3 (int key)", "bool", "[2, 2]", "4 B", "/~i-3"]);
  assert.deepEqual(await rowOf("/~bab01"), ["ab 01 (bytes key)", "u8", "[0, 3]", "0 B", "/~bab01"]);
  assert.deepEqual(await rowOf("/step"), ["step", "int", "1000", "", "/step"]);
  assert.deepEqual(await rowOf("/betas/1"), ["[1]", "float", "-0", "", "/betas/1"]);
}

async function search() {
  await run("document.getElementById('tree').focus()");
  await press("/");
  assert.equal(await focused(), "search");
  await type("coder/w");
  await until("document.getElementById('found').textContent === '1 found'");
  assert.deepEqual((await rows()).map((row) => row[4]), ["/encoder/weight"]);
  await press("Enter");
  assert.equal(await focused(), "tree");
  assert.equal(await fact("address"), "/encoder/weight");
  await press("/");
  await press("Escape");
  await until("document.querySelectorAll('[role=treeitem]').length > 10", "an emptied search shows the tree");
}

async function tensor() {
  await choose("/encoder/weight");
  await until(`${DETAIL}.innerText.includes("standard deviation")`);
  const finite = weight.filter(Number.isFinite), mean = finite.reduce((a, b) => a + b) / finite.length;
  assert.deepEqual([await fact("min"), await fact("max"), Number(await fact("mean"))], ["-15", "27", mean]);
  assert.deepEqual([await fact("NaN"), await fact("infinite"), await fact("zeros")], ["3", "1 positive, 1 negative", "1"]);
  assert.equal(await run(`return ${DETAIL}.querySelector("canvas[aria-label^=Histogram]").ariaLabel`), "Histogram from -15 to 27");
  assert.ok(await drawn("canvas[aria-label^=Histogram]") > 1);
  assert.ok(await drawn("canvas[aria-label^='Heat map']") > 20);
  assert.match(await detail(), /5 NaN or infinite/);
  const cells = await run(`return [...${DETAIL}.querySelectorAll(".grid tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText))`);
  assert.deepEqual(cells[0], ["0", "NaN", "Infinity", "-Infinity", "NaN", "NaN", "-15", "-14", "-13"]);
  assert.equal(cells.length, 6);
}

async function slice() {
  await choose("/conv");
  await until(`${DETAIL}.querySelector(".grid tbody")`);
  const first = () => run(`return ${DETAIL}.querySelector(".grid td").innerText`);
  assert.equal(await first(), "0");
  await run(`[...${DETAIL}.querySelectorAll("label")].find((label) => label.innerText.startsWith("axis 0 at")).querySelector("input").focus()`);
  await press("ArrowUp");
  await press("ArrowUp");
  await press("Tab");
  await until(`${DETAIL}.querySelector(".grid td")?.innerText === "${conv[2 * 105]}"`, "axis 0 at 2");
  await run(`const s = ${DETAIL}.querySelector("select[aria-label='Axis of columns']"); s.value = "1"; s.dispatchEvent(new Event("change"))`);
  await until(`${DETAIL}.querySelector(".grid tbody tr")?.cells.length === 4`, "columns along axis 1");
  assert.equal(await run(`return ${DETAIL}.querySelector(".grid tbody tr").cells[2].innerText`), String(conv[2 * 105 + 35]));
}

async function heatMap() {
  await choose("/wave");
  await until(`${DETAIL}.innerText.includes("standard deviation") && ${DETAIL}.querySelector("canvas[aria-label^='Heat map']")`);
  await run(`${DETAIL}.querySelector("canvas[aria-label^='Heat map']").focus()`);
  await press("ArrowDown");
  await press("ArrowRight");
  assert.match(await run(`return ${DETAIL}.querySelector("output").innerText`), /^\[1, 1\] = 0\.1097/);
}

async function escapes() {
  const shown = await run("return document.body.innerText + [...document.querySelectorAll('[title]')].map((e) => e.title).join()");
  assert.match(shown, /bad\\u\{0\}\\u\{1b\}\[31m\\u\{202e\}<img src=x onerror=alert\(1\)>\\n/);
  await run(`[...document.querySelectorAll(".row")].find((row) => row.innerText.includes("<img")).click()`);
  const all = shown + await detail();
  assert.ok(!/[\0-\x08\x0b-\x1f\x7f\u202e]/.test(all), "a control character is shown as it is");
  assert.equal(await run("return document.querySelectorAll('img').length"), 0);
}

/** The contrast of two colours as WCAG defines it. */
function contrast(...colours) {
  const light = colours.map((colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  });
  return Math.max(...light) / Math.min(...light);
}

async function schemes() {
  const backs = [];
  for (const name of ["light", "dark"]) {
    await scheme(name);
    await choose("/wave");
    await until(`${DETAIL}.innerText.includes("standard deviation") && ${DETAIL}.querySelector(".grid td")`);
    const [text, dim, bad, back] = await run(`
      const probe = document.body.appendChild(document.createElement("i")), of = (name) => { probe.style.color = "var(" + name + ")"; return getComputedStyle(probe).color; };
      const colours = ["--text", "--dim", "--bad", "--bg"].map(of);
      probe.remove();
      return colours`);
    for (const colour of [text, dim, bad]) assert.ok(contrast(colour, back) >= 4.5, `${name}: ${colour} on ${back}`);
    backs.push(await run("return getComputedStyle(document.body).backgroundColor"));
    await shoot(name);
    await choose("/conv");
    await until(`${DETAIL}.querySelector("select")`);
    await run(`${DETAIL}.scrollTop = 1e6`);
    await shoot(`${name}-slice`);
  }
  assert.ok(contrast(...backs) > 10);
}

async function verifies() {
  await run("document.getElementById('tree').focus()");
  await press("v");
  await until(`!${NOTICE}.hidden`);
  assert.match(await run(`return ${NOTICE}.textContent`), /^Every byte is as it was written/);
}

async function damage() {
  await openGood(writeFile("damaged.cairn", damaged()));
  await press("v");
  await until(`!${NOTICE}.hidden`);
  assert.match(await run(`return ${NOTICE}.textContent`), /^2 faults\. The first: /);
  await shoot("damaged-report");
  const marked = await run("return [...document.querySelectorAll('.row.bad .address')].map((cell) => cell.innerText)");
  assert.deepEqual(marked.filter(Boolean), ["/wave"]);
  await run("document.getElementById('tree').focus()");
  await run(`${DETAIL}.querySelector("button").focus()`);
  await press("Enter");
  await until(`${DETAIL}.innerText.includes("12 blocks of up to 4.00 KiB: 2 damaged")`);
  await until(`${DETAIL}.innerText.includes("rows with bytes in damaged blocks")`);
  assert.match(await detail(), /16 rows with bytes in damaged blocks/);
  await shoot("damaged-tensor");
  await choose("/conv");
  await until(`${DETAIL}.innerText.includes("all good") && ${DETAIL}.querySelector(".grid td")`);
  await scheme("light");
  await choose("/wave");
  await until(`${DETAIL}.innerText.includes("rows with bytes in damaged blocks")`);
  await shoot("damaged-tensor-light");
}

async function refusals() {
  await open(writeFile("cut.cairn", state.file.subarray(0, state.file.length - 1)));
  await until(`!${NOTICE}.hidden && ${NOTICE}.textContent.includes("refused")`);
  assert.match(await run(`return ${NOTICE}.textContent`), /^cut\.cairn was refused: .*truncated/);
}

async function drop() {
  const data = { items: [], files: [writeFile("dropped.cairn", state.file)], dragOperationsMask: 1 };
  await run("globalThis.openedIn = undefined");
  for (const kind of ["dragEnter", "dragOver", "drop"]) await page.send("Input.dispatchDragEvent", { type: kind, x: 300, y: 300, data });
  await until("globalThis.openedIn !== undefined", "a dropped file opens");
  assert.match(await run(`return ${SUMMARY}`), /^dropped\.cairn/);
}

async function keyboardOnly() {
  await run("document.activeElement.blur()");
  const met = [];
  for (let i = 0; i < 8; i++) {
    await press("Tab");
    met.push(await focused());
  }
  for (const place of ["file-button", "verify", "search", "tree"]) assert.ok(met.includes(place), `Tab does not reach ${place}: ${met}`);
  await choose("/conv");
  await until(`${DETAIL}.querySelector(".grid td")`);
  await press("Enter");
  assert.equal(await focused(), "detail");
  const inside = [];
  for (let i = 0; i < 8; i++) {
    await press("Tab");
    inside.push(await focused());
  }
  for (const kind of ["SELECT", "INPUT", "CANVAS"]) assert.ok(inside.includes(kind), `Tab does not reach a ${kind} of the details: ${inside}`);
  await run("document.getElementById('tree').focus()");
  await press("Home");
  await press("ArrowLeft");
  assert.ok((await rows()).length <= 2, "ArrowLeft folds the root");
  await press("ArrowRight");
  assert.ok((await rows()).length > 8, "ArrowRight unfolds it");
}

async function sparse() {
  await openGood(sparseFile());
  const opened = await run("return { ms: openedIn, bytes: taken.bytes }");
  console.log(`a file of 4 GiB: opened in ${opened.ms.toFixed(1)} ms, ${opened.bytes} bytes taken`);
  assert.ok(opened.bytes < 16384, `${opened.bytes} bytes were taken`);
  await choose("/huge");
  await until(`${DETAIL}.innerText.includes("Of a sample") && ${DETAIL}.querySelector(".grid td")`);
  const looked = await run("return taken.bytes");
  console.log(`its tensor looked at: ${(looked / 2 ** 20).toFixed(0)} MiB taken`);
  assert.ok(looked < 2 ** 29, "a look reads a part");
  await shoot("sparse");
  await press("v");
  await until("document.getElementById('progress').value > 0", "progress shows");
  assert.match(await run(`return ${SUMMARY}`), /^verifying: .* of 4\.00 GiB/);
  await run("document.getElementById('cancel').focus()");
  await press("Enter");
  await until(`${SUMMARY} === "verification cancelled"`);
}

async function nothingSent(before) {
  assert.deepEqual(requests.slice(before.requests), []);
  assert.deepEqual(served.slice(before.served), []);
  assert.equal(await run("return taken.whole"), 0, "a file was read as a whole");
  assert.deepEqual(complaints, []);
}

try {
  for (const domain of ["Page", "Runtime", "Network", "Log", "DOM"]) await page.send(`${domain}.enable`);
  await page.send("Page.setInterceptFileChooserDialog", { enabled: true });
  await page.send("Page.addScriptToEvaluateOnNewDocument", { source: COUNTERS });
  await scheme("light");
  const loaded = new Promise((resolve) => page.on("Page.loadEventFired", resolve));
  await page.send("Page.navigate", { url: `http://127.0.0.1:${server.address().port}/` });
  await loaded;
  await until("typeof document.getElementById('file').onchange === 'function'", "the page's code runs");
  await sleep(300);
  const before = { requests: requests.length, served: served.length };
  await shoot("empty");
  const checks = [tree, search, tensor, slice, heatMap, escapes, schemes, verifies, damage, refusals, drop, keyboardOnly, sparse];
  for (const check of checks) {
    await check();
    console.log(`${check.name}: right`);
  }
  await nothingSent(before);
  console.log(`${checks.length} checks passed; after loading no request was made, and files were taken by slices only`);
} finally {
  await page.close();
  server.close();
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
}
