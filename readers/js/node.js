// Node only: files by path as sources for cairn.js.
import { open } from "node:fs/promises";
import { CairnError, openCairn } from "./cairn.js";

/** A local file, read by position. Every read compares the file's length with that at open (`file-changed`). Close it through the CairnFile. */
export async function fileSource(path) {
  const problem = (e) => { throw new CairnError("io", undefined, e.message, { cause: e }); };
  const handle = await open(path, "r").catch(problem);
  const stat = await handle.stat().catch(problem);
  if (!stat.isFile()) {
    await handle.close();
    throw new CairnError("io", undefined, "not a regular file");
  }
  return {
    length: stat.size,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      for (let have = 0; have < length;) {
        const { bytesRead } = await handle.read(bytes, have, Math.min(length - have, 2 ** 30), offset + have);
        if (bytesRead === 0) return bytes.subarray(0, have);
        have += bytesRead;
      }
      if ((await handle.stat()).size !== stat.size) throw new CairnError("file-changed", undefined, "the file's length is not that at open");
      return bytes;
    },
    close: () => handle.close(),
  };
}

/** openCairn for a path. */
export const openCairnFile = async (path, options) => openCairn(await fileSource(path), options);
