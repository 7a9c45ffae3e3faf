// node standalone.js > cairn-inspect.html: the inspector with cairn.js inside, one file that also works from file://.
import { readFileSync } from "node:fs";

const here = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const names = [];
const code = here("cairn.js").replace(/^export (?:async )?(?:class|function) (\w+)/gm, (line, name) => { names.push(name); return line.slice("export ".length); });
const page = here("inspect.html");
const mark = '<script type="module">';
if (page.split(mark).length !== 2 || code.includes("</script")) throw new Error("inspect.html or cairn.js has changed its form");
process.stdout.write(page.replace(mark, () => `${mark}\n${code}\nglobalThis.cairnModule = { ${names.join(", ")} };\n</script>\n${mark}`));
