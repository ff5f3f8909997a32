// A TypeScript compiler that stays; compilers.py says what it is asked and answers.
// Arguments: the path of tsc, then its options.
//
// What it keeps is the parsed standard library. As in tsc, any diagnostic counts; but tsc checks the library's own
// files again for each program, which only matters where the program declares something that the library declares,
// too, and so may change what the library means. Such programs are declined.
"use strict";

const fs = require("fs");
const path = require("path");

const [, , tsc, ...commandLine] = process.argv;
const ts = require(path.join(path.dirname(fs.realpathSync(tsc)), "..", "lib", "typescript.js"));

const DECLINED = -1;
const { options } = ts.parseCommandLine(commandLine);
const base = ts.createCompilerHost(options);
const library = new Map(); // path -> parsed file
const libraryNames = new Set(); // what the library's files declare globally
let previous;

function compile(name, bytes) {
  const text = bytes.toString("utf8");
  if (!Buffer.from(text, "utf8").equals(bytes)) {
    return { code: DECLINED };
  }
  const files = new Map();
  const host = {
    ...base,
    getSourceFile: (file, languageVersion) =>
      file === name ? ts.createSourceFile(file, text, languageVersion, true) : libraryFile(file, languageVersion),
    fileExists: (file) => file === name || base.fileExists(file),
    readFile: (file) => (file === name ? text : base.readFile(file)),
    writeFile: (file, content) => files.set(path.basename(file), Buffer.from(content, "utf8")),
  };
  const program = ts.createProgram([name], options, host, previous);
  previous = program;
  const source = program.getSourceFile(name);
  let said = [...program.getConfigFileParsingDiagnostics(), ...program.getSyntacticDiagnostics(source)];
  if (said.length === 0) {
    said = [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()];
    if (said.length === 0) {
      said = [...program.getSemanticDiagnostics(source)]; // binds, too
    }
    if (changesLibrary(source, program)) {
      return { code: DECLINED };
    }
  }
  const emitted = program.emit(source); // without a file, all of the library would be checked
  said = ts.sortAndDeduplicateDiagnostics([...said, ...emitted.diagnostics]);
  const code = said.length === 0 ? 0 : emitted.emitSkipped ? 1 : 2;
  return { code, words: ts.formatDiagnostics(said, host), files };
}

function libraryFile(file, languageVersion) {
  if (!library.has(file)) {
    const text = base.readFile(file);
    library.set(file, text === undefined ? undefined : ts.createSourceFile(file, text, languageVersion));
  }
  return library.get(file);
}

function changesLibrary(source, program) {
  if (libraryNames.size === 0) {
    for (const file of program.getSourceFiles()) {
      if (file !== source) {
        file.locals?.forEach((_, name) => libraryNames.add(name));
      }
    }
  }
  if (ts.isExternalModule(source)) {
    return (source.moduleAugmentations?.length ?? 0) > 0;
  }
  let changes = false;
  source.locals?.forEach((_, name) => (changes ||= libraryNames.has(name) || name === "globalThis" || name === "undefined"));
  return changes;
}

// Requests and answers

let waiting = Buffer.alloc(0);

function answer({ code, words = "", files = new Map() }, micros) {
  const text = Buffer.from(words, "utf8");
  const written = code === 0 ? [...files] : [];
  const head = Buffer.alloc(20 + 8 * written.length);
  head.writeInt32BE(code, 0);
  head.writeBigUInt64BE(BigInt(Math.round(micros)), 4);
  head.writeUInt32BE(text.length, 12);
  head.writeUInt32BE(written.length, 16);
  written.forEach(([name, content], i) => {
    head.writeUInt32BE(Buffer.byteLength(name), 20 + 8 * i);
    head.writeUInt32BE(content.length, 24 + 8 * i);
  });
  const names = written.map(([name]) => Buffer.from(name, "utf8"));
  const contents = written.map(([, content]) => content);
  let message = Buffer.concat([head, text, ...names, ...contents]);
  while (message.length > 0) {
    message = message.subarray(fs.writeSync(1, message));
  }
}

function serve(chunk) {
  waiting = Buffer.concat([waiting, chunk]);
  if (waiting.length < 8) {
    return;
  }
  const nameEnd = 8 + waiting.readUInt32BE(0);
  const end = nameEnd + waiting.readUInt32BE(4);
  if (waiting.length < end) {
    return;
  }
  const name = waiting.toString("utf8", 8, nameEnd);
  const source = waiting.subarray(nameEnd, end);
  const before = process.cpuUsage();
  let result;
  try {
    result = compile(name, source);
  } catch (error) {
    console.error(error);
    answer({ code: DECLINED }, 0);
    process.exit(1); // nobody knows in what state the compiler is
  }
  waiting = waiting.subarray(end);
  const used = process.cpuUsage(before);
  answer(result, used.user + used.system);
}

process.stdin.on("data", serve);
