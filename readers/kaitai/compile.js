#!/usr/bin/env node
// Compiles cairn.ksy. Usage: compile.js LANGUAGE FOLDER, once `npm install` has been run in build/ (readers/kaitai/check does).
"use strict";
const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const installed = createRequire(path.join(__dirname, "build", "package.json"));
const compiler = installed("kaitai-struct-compiler");
const yaml = installed("yaml");

async function main(language, folder) {
  if (!folder || !compiler.languages.includes(language)) {
    throw new Error(`usage: compile.js LANGUAGE FOLDER; languages: ${compiler.languages.join(", ")}`);
  }
  const description = yaml.parse(fs.readFileSync(path.join(__dirname, "cairn.ksy"), "utf8"));
  const files = await compiler.compile(language, description, null, false);
  for (const [name, text] of Object.entries(files)) {
    const target = path.join(folder, name);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, text);
  }
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(String(error));
  process.exitCode = 1;
});
