// Runs inside the sandbox: a JavaScript program, as `node program.js` would, and proof that it came to its end; see
// python_main.py. Node says "beforeExit" when nothing is left to do, and does not when a program exits by itself.
"use strict";

const fs = require("fs");

const READ_WORD = 3;
const WRITE_FINISHED = 4;
const { writeSync } = fs;
const { captureStackTrace } = Error;
const word = Buffer.alloc(32);
fs.readSync(READ_WORD, word);
fs.closeSync(READ_WORD);

process.once("beforeExit", () => {
  const prepare = Error.prepareStackTrace;
  Error.stackTraceLimit = 100;
  Error.prepareStackTrace = undefined;
  const here = {};
  captureStackTrace(here);
  const trace = here.stack; // written only now
  Error.prepareStackTrace = prepare;
  if (trace.includes(process.argv[1])) {
    return; // a program that emits the event itself
  }
  try {
    writeSync(WRITE_FINISHED, Buffer.concat([Buffer.from("finished "), word]));
  } catch {
    // the program has closed it
  }
});

// Tests judge by these; whoever replaces them would pass.
const assert = require("assert");
Object.freeze(assert);
Object.freeze(assert.strict);

process.argv[1] = `${process.cwd()}/program.js`;
require("module").runMain();
