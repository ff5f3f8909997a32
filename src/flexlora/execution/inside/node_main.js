// Runs inside the sandbox: a JavaScript program, as `node program.js` would, and proof that it came to its end; see
// python_main.py. Node emits "beforeExit" when nothing is left to do, and does not when a program exits by itself; an
// exception that nobody catches is no end, whatever the program does about it.
"use strict";

const fs = require("fs");

const READ_WORD = 3;
const WRITE_FINISHED = 4;
const FAILURES = new Set(["uncaughtExceptionMonitor", "unhandledRejection"]);
const { writeSync } = fs;
const { captureStackTrace } = Error;
const word = Buffer.alloc(32);
fs.readSync(READ_WORD, word);
fs.closeSync(READ_WORD);

let failed = false;
const emit = process.emit;
process.emit = function (event, ...details) {
  if (FAILURES.has(event)) {
    failed = true;
  } else if (event === "beforeExit" && !failed && isFromNode()) {
    try {
      writeSync(WRITE_FINISHED, Buffer.concat([Buffer.from("finished "), word]));
    } catch {
      // the program has closed it
    }
  }
  return emit.call(this, event, ...details);
};

/** Whether no function of the program is at work. */
function isFromNode() {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.prepareStackTrace = undefined;
  Error.stackTraceLimit = Infinity;
  const here = {};
  captureStackTrace(here, process.emit);
  const lines = here.stack.split("\n").slice(1); // written only now, so before what follows
  Error.prepareStackTrace = prepareStackTrace;
  Error.stackTraceLimit = stackTraceLimit;
  return lines.every((line) => /[( ]node:[^ ]*$/.test(line));
}

process.argv[1] = `${process.cwd()}/program.js`;
require("module").runMain();
