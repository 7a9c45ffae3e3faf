// Chromium driven through the pipe of its DevTools protocol: no WebSocket, no package.
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--window-size=1280,860", "--remote-debugging-pipe"];

/** The path of a browser, or undefined. */
export function findBrowser() {
  const paths = (process.env.PATH ?? "").split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return paths.find((path) => { try { accessSync(path, constants.X_OK); return true; } catch { return false; } });
}

/** A page of a new browser: send(method, params) → result, on(event, handler), close(). */
export async function openPage(path, profile) {
  const child = spawn(path, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const waiting = new Map(), handlers = new Map(), ended = new Promise((resolve) => child.once("exit", resolve));
  let last = 0, text = "";
  const receive = ({ id, method, params, result, error }) => {
    if (!id) return handlers.get(method)?.(params);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error.message)); else resolve(result);
  };
  child.stdio[4].setEncoding("utf8").on("data", (more) => {
    const messages = (text + more).split("\0");
    text = messages.pop();
    messages.forEach((message) => receive(JSON.parse(message)));
  });
  ended.then(() => { for (const { reject } of waiting.values()) reject(new Error("the browser has ended")); });
  child.stdio[3].on("error", () => {});
  const ask = (method, params, sessionId) => new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    child.stdio[3].write(JSON.stringify({ id: last, method, params, sessionId }) + "\0");
  });
  const { targetId } = await ask("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await ask("Target.attachToTarget", { targetId, flatten: true });
  return {
    send: (method, params = {}) => ask(method, params, sessionId),
    on: (event, handler) => handlers.set(event, handler),
    async close() { await ask("Browser.close", {}).catch(() => {}); await ended; },
  };
}
