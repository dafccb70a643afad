// The resident agent of a sandbox: Node.js runs it as `node -e <this text>` in a stock image, and it runs the code of
// one tool. It reads calls from fd 3 and writes frames to fd 4, which is the same pipe as stdout; everything else on
// stdout and stderr is the tool's own output. fd 5 is stderr.
//
// What it reads: one line of JSON {nonce, code, args, max, once}, then `code` bytes of source (-1: as loaded before),
// then `args` bytes of JSON. It blocks while it waits, so nothing a tool left behind runs between two calls.
//
// What it writes: records of at most 4,096 bytes (the kernel keeps such writes whole, whoever else prints),
//   NUL nonce(32) kind(1) flags(1 hex: 1 = the frame goes on, 2 = stderr has its mark too) length(4 hex) payload
// with the kinds  h ready · r result · t threw · u uncaught (threw, and this process is not to be used again) ·
//   i invalid output · x the code ends the process · n nothing is left to wait for · p progress · e end of stderr.
//
// The tool's code shares this process. Each call brings a fresh nonce, and only functions that were taken before any
// code of the tool's was loaded touch it. Should the code get at its nonce all the same, it can say in its own name
// what it could have said by returning or throwing; the nonce of a call that has not begun is not here yet.
'use strict';
{
  const fs = require('node:fs');
  const { createRequire } = require('node:module');
  const { Script } = require('node:vm');
  const { readSync, writeSync, fstatSync, readFileSync, writeFileSync, symlinkSync, existsSync } = fs;
  const { parse, stringify } = JSON;
  const { byteLength, allocUnsafeSlow } = Buffer;
  const { freeze, create } = Object;
  const { wait } = Atomics;
  const NativePromise = Promise;
  const NativeNumber = Number;
  const NativeString = String;
  const NativeTypeError = TypeError;
  const { isFinite } = Number;
  const nextTurn = setImmediate;
  const apply = Function.prototype.call;
  const uncurried = apply.bind.bind(apply);
  const utf8Write = uncurried(Buffer.prototype.utf8Write);
  const latin1Write = uncurried(Buffer.prototype.latin1Write);
  const utf8Slice = uncurried(Buffer.prototype.utf8Slice);
  const copyInto = uncurried(Buffer.prototype.copy);
  const indexOfByte = uncurried(Uint8Array.prototype.indexOf);
  const slice = uncurried(String.prototype.slice);
  const split = uncurried(String.prototype.split);
  const startsWith = uncurried(String.prototype.startsWith);
  const includes = uncurried(String.prototype.includes);
  const padStart = uncurried(String.prototype.padStart);
  const replace = uncurried(String.prototype.replace);
  const toHex = uncurried(Number.prototype.toString);
  const push = uncurried(Array.prototype.push);
  const join = uncurried(Array.prototype.join);
  const match = uncurried(RegExp.prototype.exec);
  const listenerCount = process.listenerCount.bind(process);
  const exitNow = process.reallyExit.bind(process);
  const { stdout, stderr } = process;

  const IN = 3;
  const OUT = 4;
  const ERR = 5;
  const CHANNEL_CLOSED = 77;
  const RECORD = 4096;
  const HEADER = 39;
  const MAX_ERROR_TEXT = 16_384;
  // In a sandbox session each run has a module of its own.
  const MODULE = process.argv[1] ?? '/workspace/tool.mjs';
  const MODULE_URL = `file://${MODULE}`;
  const OOM_COUNTS = ['/sys/fs/cgroup/memory/memory.oom_control', '/sys/fs/cgroup/memory.events'];
  const PID_COUNTS = ['/sys/fs/cgroup/pids/pids.events', '/sys/fs/cgroup/pids.events'];

  const sleepCell = new Int32Array(new SharedArrayBuffer(4));
  const record = allocUnsafeSlow(RECORD);
  const outInode = fstatSync(OUT).ino;

  let active = null;
  let run = null;
  let columnShift = 0;

  // ---- writing

  const writeAll = (fd, buffer, length) => {
    for (let done = 0; done < length; ) {
      try {
        done += writeSync(fd, buffer, done, length - done);
      } catch (error) {
        if (error.code !== 'EAGAIN') exitNow(CHANNEL_CLOSED);
        wait(sleepCell, 0, 0, 1);
      }
    }
  };

  const writeRecord = (fd, nonce, kind, flags, payload, from, length) => {
    const head = `\0${nonce}${kind}${flags}${padStart(toHex(length, 16), 4, '0')}`;
    latin1Write(record, head, 0, HEADER);
    if (length > 0) copyInto(payload, record, HEADER, from, from + length);
    writeAll(fd, record, HEADER + length);
  };

  const writeFrame = (call, kind, text) => {
    // A code that closed the channel and opened something else in its place would wait for its deadline.
    try {
      if (fstatSync(OUT).ino !== outInode) exitNow(CHANNEL_CLOSED);
    } catch {
      exitNow(CHANNEL_CLOSED);
    }
    let flags = 0;
    if (kind !== 'p' && kind !== 'h' && (call.once || stderr.bytesWritten !== call.stderrBytes)) {
      writeRecord(ERR, call.nonce, 'e', 0, null, 0, 0);
      flags = 2;
    }
    const length = byteLength(text);
    const payload = allocUnsafeSlow(length);
    utf8Write(payload, text, 0, length);
    const most = RECORD - HEADER;
    let from = 0;
    for (; length - from > most; from += most) writeRecord(OUT, call.nonce, kind, flags | 1, payload, from, most);
    writeRecord(OUT, call.nonce, kind, flags, payload, from, length - from);
  };

  /** The last word on a call; whatever comes after it is nobody's. */
  const end = (call, kind, text) => {
    if (active !== call) return;
    active = null;
    writeFrame(call, kind, text);
  };

  // ---- reading

  const inbox = allocUnsafeSlow(65_536);
  let inboxStart = 0;
  let inboxEnd = 0;

  const readSome = (buffer, at, most) => {
    for (;;) {
      try {
        const got = readSync(IN, buffer, at, most, null);
        // The executor is gone, or done with this sandbox.
        if (got === 0) exitNow(0);
        return got;
      } catch (error) {
        if (error.code !== 'EAGAIN') exitNow(0);
        wait(sleepCell, 0, 0, 1);
      }
    }
  };

  const readLine = () => {
    for (;;) {
      const newline = indexOfByte(inbox, 10, inboxStart);
      if (newline !== -1 && newline < inboxEnd) {
        const line = utf8Slice(inbox, inboxStart, newline);
        inboxStart = newline + 1;
        return line;
      }
      if (inboxStart > 0) {
        copyInto(inbox, inbox, 0, inboxStart, inboxEnd);
        inboxEnd -= inboxStart;
        inboxStart = 0;
      }
      inboxEnd += readSome(inbox, inboxEnd, inbox.length - inboxEnd);
    }
  };

  const readText = (length) => {
    const buffered = inboxEnd - inboxStart;
    if (buffered >= length) {
      const text = utf8Slice(inbox, inboxStart, inboxStart + length);
      inboxStart += length;
      return text;
    }
    const buffer = allocUnsafeSlow(length);
    copyInto(inbox, buffer, 0, inboxStart, inboxEnd);
    inboxStart = inboxEnd = 0;
    for (let at = buffered; at < length; ) at += readSome(buffer, at, length - at);
    return utf8Slice(buffer, 0, length);
  };

  // ---- errors in the author's own terms

  const readCount = (files, pattern) => {
    for (let i = 0; i < files.length; i += 1) {
      try {
        const found = match(pattern, readFileSync(files[i], 'utf8'));
        if (found) return NativeNumber(found[1]);
      } catch {
        // The other hierarchy.
      }
    }
    return 0;
  };
  const oomKills = () => readCount(OOM_COUNTS, /^oom_kill (\d+)$/m);
  const pidRefusals = () => readCount(PID_COUNTS, /^max (\d+)$/m);

  const textOf = (read) => {
    try {
      const value = read();
      return value === undefined || value === null ? '' : slice(NativeString(value), 0, MAX_ERROR_TEXT);
    } catch {
      return '';
    }
  };

  /** Positions as the author counts them, without the frames of this file and of Node.js itself. */
  const ownStack = (stack) => {
    const lines = split(stack, '\n');
    const kept = [];
    for (let i = 0; i < lines.length; i += 1) {
      const line = lines[i];
      if (match(/^ +at .*(?:\[eval\]|node:internal)/, line)) continue;
      let own = replace(line, MODULE_URL, 'tool.mjs');
      const first = match(/^(.*tool\.mjs:1:)(\d+)(.*)$/, own);
      if (first && first[2] > columnShift) own = `${first[1]}${first[2] - columnShift}${first[3]}`;
      push(kept, own);
    }
    return join(kept, '\n');
  };

  /** The decorated text of a syntax error shows the first line with our own words before the body's. */
  const withoutPrefix = (stack, prefix) => replace(stack, slice(prefix, 'export '.length), '');

  const describe = (error, prefix) => {
    const like = typeof error === 'object' && error !== null && typeof textOf(() => error.message) === 'string';
    const isError = like && textOf(() => error.stack) !== '';
    const told = create(null);
    told.name = (isError && textOf(() => error.name)) || 'Error';
    if (isError || (like && textOf(() => error.message) !== '')) told.message = textOf(() => error.message);
    else told.message = textOf(() => (typeof error === 'object' ? stringify(error) : error)) || NativeString(typeof error);
    told.stack = isError ? ownStack(withoutPrefix(textOf(() => error.stack), prefix)) : '';
    told.code = textOf(() => (like ? error.code : ''));
    told.oomKills = oomKills() - oomKillsBefore;
    told.pidRefusals = pidRefusals() - pidRefusalsBefore;
    oomKillsBefore += told.oomKills;
    pidRefusalsBefore += told.pidRefusals;
    return stringify(told);
  };
  let oomKillsBefore = oomKills();
  let pidRefusalsBefore = pidRefusals();

  const messageOnly = (message) => {
    const told = create(null);
    told.message = message;
    return stringify(told);
  };

  // ---- one call

  const prefixOf = (parameters) => `export async function run(${parameters}){`;
  let prefix = prefixOf('args,ctx');

  const load = async (body, url) => {
    // The body begins on the first line, so that its lines are the module's.
    columnShift = prefix.length;
    writeFileSync(MODULE, `${prefix}${body}\n}\n`);
    return (await import(url)).run;
  };

  /** The module loader doesn't say where a syntax error is; a script does. */
  const located = (error, body) => {
    if (textOf(() => error.name) !== 'SyntaxError') return error;
    try {
      new Script(`${slice(prefix, 'export '.length)}${body}\n}`, { filename: 'tool.mjs' });
    } catch (again) {
      return again;
    }
    return error;
  };

  const loadBody = async (body) => {
    try {
      return await load(body, MODULE_URL);
    } catch (error) {
      // A body from before `ctx` was a parameter may declare its own.
      if (textOf(() => error.message) !== "Identifier 'ctx' has already been declared") throw located(error, body);
      prefix = prefixOf('args');
      return load(body, `${MODULE_URL}?without-ctx`);
    }
  };

  const contextOf = (call) =>
    freeze({
      progress(progress, total, message) {
        const told = create(null);
        told.progress = NativeNumber(progress);
        if (!isFinite(told.progress)) throw new NativeTypeError('ctx.progress(progress, total?, message?) takes a number');
        if (total !== undefined && isFinite(NativeNumber(total))) told.total = NativeNumber(total);
        if (message !== undefined) told.message = slice(NativeString(message), 0, 1_000);
        if (active === call) writeFrame(call, 'p', stringify(told));
      },
    });

  const flushed = (stream) =>
    new NativePromise((resolve) => {
      if (stream.writableLength > 0 && !stream.destroyed) stream.write('', resolve);
      else resolve();
    });

  const finish = (call, value) => {
    let json;
    try {
      json = value === undefined ? 'null' : stringify(value);
    } catch (error) {
      const why = split(textOf(() => error.message), '\n')[0];
      return end(call, 'i', messageOnly(`the result can't be written as JSON: ${why}`));
    }
    if (json === undefined) {
      return end(call, 'i', messageOnly(`the result can't be written as JSON: it is a ${typeof value}`));
    }
    const size = byteLength(json);
    if (size > call.max) {
      const limit = `at most ${call.max} bytes are allowed (MCP_SANDBOX_MAX_OUTPUT_BYTES)`;
      return end(call, 'i', messageOnly(`the result is ${size} bytes of JSON; ${limit}`));
    }
    return end(call, 'r', json);
  };

  const serve = async (call, body, args) => {
    let value;
    let failed = false;
    try {
      if (body !== null) {
        // A module that can't be loaded fails each call alike.
        run = await loadBody(body).catch((error) => () => {
          throw error;
        });
      }
      value = await run(parse(args), contextOf(call));
    } catch (error) {
      failed = true;
      value = error;
    }
    try {
      // A promise that was rejected and forgotten is noticed when the turn ends, so the turn ends first.
      await new NativePromise(nextTurn);
      await flushed(stdout);
      await flushed(stderr);
    } catch {
      // Its output is the tool's own affair.
    }
    if (failed) end(call, 't', describe(value, prefix));
    else finish(call, value);
  };

  const nextCall = () => {
    const call = parse(readLine());
    call.stderrBytes = stderr.bytesWritten;
    return call;
  };

  // ---- the ends that the code brings about by itself

  process.on('uncaughtException', (error) => {
    // The tool has a handler of its own: it knows what it does.
    if (listenerCount('uncaughtException') > 1) return;
    if (active) end(active, 'u', describe(error, prefix));
    else exitNow(1);
  });
  process.on('beforeExit', () => {
    if (active) end(active, 'n', '{}');
  });
  process.on('exit', (code) => {
    if (active) end(active, 'x', stringify({ __proto__: null, exitCode: code }));
  });

  // ---- the globals that `node -e` leaves, and what a module of the tool's should see instead

  for (const name of ['module', 'exports', '__filename', '__dirname', 'require']) delete globalThis[name];
  Object.defineProperty(globalThis, 'require', {
    value: createRequire(MODULE_URL),
    writable: true,
    configurable: true,
    enumerable: false,
  });
  const heap = process.execArgv[0];
  process.execArgv = startsWith(heap, '--max-old-space-size') ? [heap] : [];
  if (existsSync('/deps/node_modules')) symlinkSync('/deps/node_modules', '/workspace/node_modules');

  const main = async () => {
    writeFrame(nextCall(), 'h', process.version);
    for (;;) {
      const call = nextCall();
      const body = call.code >= 0 ? readText(call.code) : null;
      const args = readText(call.args);
      active = call;
      await serve(call, body, args);
    }
  };

  /** The first use of the module loader, of a turn and of an error takes milliseconds: now, not in the first call. */
  const warmUp = async () => {
    const call = { nonce: padStart('', 32, '0'), code: 0, args: 2, max: 1_000, once: true, stderrBytes: 0 };
    const first = await load('return args', `${MODULE_URL}?warm`);
    await first(parse('{}'), contextOf(call));
    await new NativePromise(nextTurn);
    await flushed(stdout);
    ownStack(textOf(() => new Error('warm').stack));
    byteLength(stringify(call));
  };

  warmUp().then(main);
}
