// The resident agent of a sandbox session: Node.js runs it as `node -e <this text> <the runner's text>` in a stock image.
// It reads frames from fd 3 and writes frames to fd 4, and starts whatever runs in the session.
//
// A frame, either way: length(u32) kind(1 byte) id(u32) payload(length), big-endian; payloads are at most 65,536 bytes.
// The executor picks the ids; a process or a transfer keeps its own to its end.
//
//   told  S start a process {program, …} · I bytes for its stdin, empty: its end · K kill it and all that came of it
//         W begin a file {path, size, mode} · D its next bytes · C it is whole · R read a file {path, max} · N its next bytes
//         L list {path, recursive, max} · P are packages still there {folder} · A give a transfer up
//   said  h hello · o r stdout, stderr · g bytes left out {stream, bytes} · a stdin was taken · x it has ended
//         {code, signal, oom} · e it can't begin {message} · k killed {left} · y done {…} · n not done {kind, message}
//         d bytes · z no more bytes
//
// Commands are of the same user as this process. A hostile one can kill it, stop it, or write to its pipes: then it has
// lied about, or ended, its own session, and nothing else. Nothing here is trusted by the executor beyond that.
//
// Only synchronous file calls and pipes are used: neither needs a thread, which a fork bomb may leave no room for.
'use strict';
{
  const fs = require('node:fs');
  const net = require('node:net');
  const os = require('node:os');
  const { spawn } = require('node:child_process');
  const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = fs.constants;

  const O_PATH = 0x200000;
  const WORKSPACE = '/workspace';
  const RUNNER = process.argv[1];
  const HEADER = 9;
  const MOST = 65_536;
  const TEMPORARY = '.dmcp-';
  const MARK = 'DYNAMIC_MCP_COMMAND';
  const NICE = 10;
  /** Output that waits for the executor before the commands have to wait. */
  const HIGH_WATER = 1 << 20;
  /** For what is still in a pipe when its writer has ended; a child that it left may hold the pipe open for ever. */
  const LAST_WORDS_MS = 100;
  const KILL_ROUNDS = 60;
  const PATIENT_ROUNDS = 8;
  const OOM_COUNTS = ['/sys/fs/cgroup/memory/memory.oom_control', '/sys/fs/cgroup/memory.events'];

  // A command can raise what makes the kernel choose it when memory runs out, and never lower it again.
  const FIRST_TO_GO = 'echo 1000 2>/dev/null >/proc/self/oom_score_adj; ';
  // The command comes by a descriptor: a list of processes must not show it.
  const SHELL = `${FIRST_TO_GO}set -- "$(cat <&3)"; exec 3<&-; eval "shift; $1"`;
  const NODE = `${FIRST_TO_GO}exec node --max-old-space-size="$1" -e "$0" "$2" 3<&0 4>&1 5>&2 </dev/null`;
  const UNPACK = `${FIRST_TO_GO}set -e; mkdir -p "$0"; cd "$0"; exec tar -x -f - --no-same-owner`;

  const input = new net.Socket({ fd: 3, readable: true, writable: false });
  const output = new net.Socket({ fd: 4, readable: false, writable: true });
  const processes = new Map();
  const transfers = new Map();

  // ---- the channel

  const send = (kind, id, payload) => {
    const frame = Buffer.allocUnsafe(HEADER + payload.length);
    frame.writeUInt32BE(payload.length, 0);
    frame.write(kind, 4, 'latin1');
    frame.writeUInt32BE(id, 5);
    payload.copy(frame, HEADER);
    output.write(frame);
  };
  const tell = (kind, id, value) => send(kind, id, Buffer.from(JSON.stringify(value)));
  const sendAll = (kind, id, bytes) => {
    for (let at = 0; at < bytes.length; at += MOST) send(kind, id, bytes.subarray(at, at + MOST));
  };

  let held = false;
  const holdWhenFull = () => {
    if (held || output.writableLength < HIGH_WATER) return;
    held = true;
    for (const one of processes.values()) one.hold();
  };
  output.on('drain', () => {
    held = false;
    for (const one of processes.values()) one.release();
  });
  for (const end of [input, output]) {
    end.on('error', () => process.exit(0));
    end.on('close', () => process.exit(0));
  }

  // ---- processes

  /** The last bytes of a stream, in memory of a fixed size. */
  class Tail {
    constructor(room) {
      this.room = room;
      this.kept = null;
      this.total = 0;
    }

    push(bytes) {
      this.kept ??= Buffer.allocUnsafe(this.room);
      let from = Math.max(0, bytes.length - this.room);
      let at = (this.total + from) % this.room;
      while (from < bytes.length) {
        const part = Math.min(bytes.length - from, this.room - at);
        bytes.copy(this.kept, at, from, from + part);
        from += part;
        at = 0;
      }
      this.total += bytes.length;
    }

    bytes() {
      if (this.total <= this.room) return this.kept.subarray(0, this.total);
      const at = this.total % this.room;
      return Buffer.concat([this.kept.subarray(at), this.kept.subarray(0, at)]);
    }
  }

  const oomKills = () => {
    for (const file of OOM_COUNTS) {
      try {
        const found = /^oom_kill (\d+)$/m.exec(fs.readFileSync(file, 'utf8'));
        if (found) return Number(found[1]);
      } catch {
        // The other hierarchy.
      }
    }
    return 0;
  };

  const argumentsOf = (wanted) => {
    if (wanted.program === 'shell') return [SHELL];
    if (wanted.program === 'unpack') return [UNPACK, wanted.folder];
    return [NODE, RUNNER, String(wanted.heapMib), wanted.module];
  };

  const PACKAGES = `${WORKSPACE}/node_modules`;
  /** What was in each installed folder when it was offered. */
  const installed = new Map();

  /** Makes an installed folder the one that Node.js finds from the workspace; one of the user's own stays. */
  const offerPackages = (folder) => {
    const found = fs.lstatSync(PACKAGES, { throwIfNoEntry: false });
    if (found && !found.isSymbolicLink()) throw new Error(`${PACKAGES} is there already and is not ours`);
    const fresh = `${WORKSPACE}/${TEMPORARY}node_modules`;
    fs.rmSync(fresh, { force: true });
    fs.symlinkSync(`${folder}/node_modules`, fresh);
    fs.renameSync(fresh, PACKAGES);
    installed.set(folder, fs.readdirSync(`${folder}/node_modules`));
  };

  /** Whether it still is: a command may have removed it, or what is in it. */
  const offersPackages = ({ folder }) => {
    try {
      const offered = `${folder}/node_modules`;
      const there = new Set(fs.readdirSync(offered));
      return fs.readlinkSync(PACKAGES) === offered && installed.get(folder).every((name) => there.has(name));
    } catch {
      return false;
    }
  };

  class Running {
    constructor(id, wanted) {
      this.id = id;
      this.wanted = wanted;
      this.oomBefore = oomKills();
      // What is left of the cap for output as it comes; after that only the last words are kept. -1: there is no cap.
      this.room = wanted.max;
      this.tails = { o: new Tail(wanted.max >> 1), r: new Tail(wanted.max >> 1) };
      this.mark = `${MARK}=${id}`;
      const takesInput = wanted.program !== 'shell';
      this.child = spawn('/bin/sh', ['-c', ...argumentsOf(wanted)], {
        cwd: WORKSPACE,
        env: { PATH: process.env.PATH, HOME: WORKSPACE, TMPDIR: '/tmp', LANG: 'C.UTF-8', [MARK]: String(id) },
        detached: true,
        stdio: takesInput ? ['pipe', 'pipe', 'pipe'] : ['ignore', 'pipe', 'pipe', 'pipe'],
      });
      this.child.on('error', (error) => {
        if (this.child.pid !== undefined) return;
        processes.delete(id);
        tell('e', id, { message: String(error.message) });
      });
      if (this.child.pid === undefined) return;
      try {
        os.setPriority(this.child.pid, NICE);
      } catch {
        // It has ended, or the image's kernel forbids it.
      }
      if (takesInput) {
        this.child.stdin.on('error', () => {});
      } else {
        this.child.stdio[3].on('error', () => {});
        this.child.stdio[3].end(wanted.command);
      }
      this.child.stdout.on('data', (bytes) => this.printed('o', bytes));
      this.child.stderr.on('data', (bytes) => this.printed('r', bytes));
      this.child.on('exit', (code, signal) => {
        this.ended = { code, signal };
        setTimeout(() => this.finish(), LAST_WORDS_MS);
      });
      this.child.on('close', () => this.finish());
      if (held) this.hold();
    }

    hold() {
      this.child.stdout?.pause();
      this.child.stderr?.pause();
    }

    release() {
      this.child.stdout?.resume();
      this.child.stderr?.resume();
    }

    printed(stream, bytes) {
      if (this.room < 0) {
        sendAll(stream, this.id, bytes);
      } else {
        const now = bytes.subarray(0, this.room);
        this.room -= now.length;
        if (now.length > 0) sendAll(stream, this.id, now);
        if (now.length < bytes.length) this.tails[stream].push(bytes.subarray(now.length));
      }
      holdWhenFull();
    }

    take(bytes) {
      const { stdin } = this.child;
      const taken = () => send('a', this.id, Buffer.alloc(0));
      if (!stdin || stdin.destroyed) return taken();
      if (bytes.length === 0) stdin.end(taken);
      else stdin.write(bytes, taken);
    }

    finish() {
      if (!processes.delete(this.id)) return;
      this.child.stdout.destroy();
      this.child.stderr.destroy();
      for (const stream of ['o', 'r']) {
        const tail = this.tails[stream];
        if (tail.total === 0) continue;
        const bytes = tail.room === 0 ? Buffer.alloc(0) : tail.bytes();
        tell('g', this.id, { stream, bytes: tail.total - bytes.length });
        sendAll(stream, this.id, bytes);
      }
      this.tidy();
      const { code, signal } = this.ended ?? { code: null, signal: null };
      tell('x', this.id, { code, signal, oom: oomKills() > this.oomBefore, problem: this.problem });
    }

    tidy() {
      try {
        if (this.wanted.program === 'node') fs.rmSync(this.wanted.module, { force: true });
        if (this.wanted.program === 'unpack' && this.ended?.code === 0) offerPackages(this.wanted.folder);
      } catch (error) {
        this.problem = String(error.message);
      }
    }
  }

  // ---- killing

  const processTable = () => {
    const table = [];
    for (const name of fs.readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid) || pid <= 1 || pid === process.pid) continue;
      try {
        const stat = fs.readFileSync(`/proc/${name}/stat`, 'latin1');
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        const [state, parent, group, session] = [fields[0], Number(fields[1]), Number(fields[2]), Number(fields[3])];
        if (state === 'Z' || state === 'X') continue;
        table.push({ pid, key: `${pid}/${fields[19]}`, parent, group, session });
      } catch {
        // It has ended meanwhile.
      }
    }
    return table;
  };

  /** Which command a process says it came of; empty for one that does not say. */
  const markOf = (pid) => {
    try {
      const environment = fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      return environment.find((one) => one.startsWith(`${MARK}=`)) ?? '';
    } catch {
      return '';
    }
  };

  /**
   * All that came of a process, also what left its group and what its parent has left behind. What hides whose it is goes
   * with whichever command is killed first: nobody but a command that wants to outlive its end does that.
   */
  const familyOf = (leader, mark, known) => {
    const table = processTable();
    const parents = new Map(table.map((one) => [one.pid, one.parent]));
    const others = new Set();
    for (const one of processes.values()) if (one.child.pid !== leader) others.add(one.child.pid);
    const isOfAnother = (one) => {
      if (others.has(one.group) || others.has(one.session)) return true;
      for (let pid = one.pid; parents.has(pid); pid = parents.get(pid)) if (others.has(pid)) return true;
      return false;
    };
    const marks = new Map(table.map((one) => [one.pid, markOf(one.pid)]));
    const hides = (one) => marks.get(one.pid) === '' && !isOfAnother(one);
    const family = new Set(known.pids);
    for (let grew = true; grew; ) {
      grew = false;
      for (const one of table) {
        if (family.has(one.pid) && known.keys.has(one.key)) continue;
        const related =
          one.pid === leader ||
          one.group === leader ||
          one.session === leader ||
          family.has(one.parent) ||
          marks.get(one.pid) === mark ||
          hides(one);
        if (!related || known.keys.has(one.key)) continue;
        known.keys.add(one.key);
        family.add(one.pid);
        grew = true;
      }
    }
    const alive = table.filter((one) => known.keys.has(one.key));
    known.pids = new Set(alive.map((one) => one.pid));
    return known.pids;
  };

  const sigkill = (pid) => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  };

  const kill = (id) => {
    const running = processes.get(id);
    if (!running?.child.pid) return tell('k', id, { left: 0 });
    const leader = running.child.pid;
    const known = { keys: new Set(), pids: new Set() };
    let round = 0;
    const again = () => {
      round += 1;
      sigkill(-leader);
      const alive = familyOf(leader, running.mark, known);
      for (const pid of alive) sigkill(pid);
      if (alive.size === 0 || round > KILL_ROUNDS) return tell('k', id, { left: alive.size });
      // What forks faster than it is found goes all at once, and takes along whatever else runs in the session.
      if (round > PATIENT_ROUNDS) sigkill(-1);
      setTimeout(again, Math.min(5 * round, 50));
    };
    again();
  };

  // ---- files. Every path is walked from the workspace's own descriptor, one name at a time, and links are not followed:
  // a command that swaps folders for links meanwhile changes nothing about where a file is looked for.

  class Problem extends Error {
    constructor(kind, message) {
      super(message);
      this.kind = kind;
    }
  }

  const at = (folder, name) => `/proc/self/fd/${folder}/${name}`;

  const problemOf = (error) => {
    if (error instanceof Problem) return { kind: error.kind, message: error.message };
    const message = String(error.message).replace(/\/proc\/self\/fd\/\d+\//g, '');
    if (error.code === 'ENOENT') return { kind: 'not_found', message: 'there is no such file or folder' };
    if (error.code === 'ENOSPC') return { kind: 'no_space', message: 'the sandbox has no space left in /workspace' };
    if (error.code === 'EFBIG') return { kind: 'too_large', message: 'it is larger than a file of a sandbox may be' };
    return { kind: 'refused', message };
  };

  const isLink = (folder, name) => fs.lstatSync(at(folder, name), { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
  const linked = (name) => new Problem('outside', `${name} is a symbolic link; links are not followed`);

  const openFolder = (folder, name, make) => {
    const open = () => fs.openSync(at(folder, name), O_PATH | O_DIRECTORY | O_NOFOLLOW);
    try {
      return open();
    } catch (error) {
      if (isLink(folder, name)) throw linked(name);
      if (error.code === 'ENOTDIR') throw new Problem('wrong_kind', `${name} is not a folder`);
      if (error.code !== 'ENOENT' || !make) throw error;
    }
    try {
      fs.mkdirSync(at(folder, name), 0o755);
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    return open();
  };

  /** The descriptor of the folder at these names; the caller closes it. */
  const walk = (names, make) => {
    let folder = fs.openSync(WORKSPACE, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    for (const name of names) {
      const outer = folder;
      try {
        folder = openFolder(outer, name, make);
      } finally {
        fs.closeSync(outer);
      }
    }
    return folder;
  };

  const namesOf = (path) => path.split('/').filter((name) => name !== '');
  const kindOf = (stat) =>
    stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'other';
  /** A command may have set any time, also one that is no whole number of 64 bits. */
  const within = (ms) => Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, ms)) || 0;
  const entryOf = (names, stat) => ({
    path: [WORKSPACE, ...names].join('/'),
    kind: kindOf(stat),
    size: stat.size,
    modifiedMs: within(Math.trunc(stat.mtimeMs)),
    mode: stat.mode & 0o7777,
  });

  let temporaries = 0;
  class Writing {
    constructor(id, { path, size, mode }) {
      const names = namesOf(path);
      this.names = names;
      this.name = names.at(-1);
      this.size = size;
      this.mode = mode;
      this.written = 0;
      temporaries += 1;
      this.temporary = `${TEMPORARY}${process.pid}-${temporaries}`;
      this.folder = walk(names.slice(0, -1), true);
      try {
        this.file = fs.openSync(at(this.folder, this.temporary), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      } catch (error) {
        fs.closeSync(this.folder);
        throw error;
      }
    }

    push(bytes) {
      for (let done = 0; done < bytes.length; ) done += fs.writeSync(this.file, bytes, done);
      this.written += bytes.length;
      if (this.written > this.size) throw new Problem('refused', 'it is longer than was said');
    }

    commit() {
      if (this.written !== this.size) throw new Problem('refused', 'it is shorter than was said');
      fs.fchmodSync(this.file, this.mode);
      const there = fs.lstatSync(at(this.folder, this.name), { throwIfNoEntry: false });
      if (there?.isDirectory()) throw new Problem('wrong_kind', `${this.name} is a folder`);
      fs.renameSync(at(this.folder, this.temporary), at(this.folder, this.name));
      this.temporary = null;
      const entry = entryOf(this.names, fs.fstatSync(this.file));
      this.close();
      return entry;
    }

    close() {
      if (this.temporary !== null) fs.rmSync(at(this.folder, this.temporary), { force: true });
      fs.closeSync(this.file);
      fs.closeSync(this.folder);
    }
  }

  class Reading {
    constructor(id, { path, max }) {
      const names = namesOf(path);
      const name = names.at(-1);
      if (name === undefined) throw new Problem('wrong_kind', `${WORKSPACE} is a folder`);
      const folder = walk(names.slice(0, -1), false);
      try {
        // Without O_NONBLOCK a FIFO would wait for its writer.
        this.file = fs.openSync(at(folder, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      } catch (error) {
        if (isLink(folder, name)) throw linked(name);
        if (error.code === 'ENXIO') throw new Problem('refused', `${name} is no regular file`);
        throw error;
      } finally {
        fs.closeSync(folder);
      }
      try {
        const stat = fs.fstatSync(this.file);
        if (stat.isDirectory()) throw new Problem('wrong_kind', `${name} is a folder`);
        if (!stat.isFile()) throw new Problem('refused', `${name} is no regular file`);
        if (stat.size > max) throw new Problem('too_large', `it is ${stat.size} bytes; at most ${max} are allowed`);
        this.left = stat.size;
        this.entry = entryOf(names, stat);
      } catch (error) {
        fs.closeSync(this.file);
        throw error;
      }
    }

    next() {
      const bytes = Buffer.allocUnsafe(Math.min(MOST, this.left));
      const got = bytes.length === 0 ? 0 : fs.readSync(this.file, bytes);
      if (got === 0 && this.left > 0) throw new Problem('refused', 'it became shorter while it was read');
      this.left -= got;
      return bytes.subarray(0, got);
    }

    close() {
      fs.closeSync(this.file);
    }
  }

  const list = ({ path, recursive, max }) => {
    const entries = [];
    const pending = [namesOf(path)];
    while (pending.length > 0) {
      const names = pending.pop();
      let folder;
      try {
        folder = walk(names, false);
      } catch (error) {
        if (entries.length === 0) throw error;
        // It has gone, or is a link by now.
        continue;
      }
      const inside = fs.opendirSync(`/proc/self/fd/${folder}`);
      try {
        for (let found = inside.readSync(); found !== null; found = inside.readSync()) {
          if (found.name.startsWith(TEMPORARY)) continue;
          const stat = fs.lstatSync(at(folder, found.name), { throwIfNoEntry: false });
          if (!stat) continue;
          if (entries.length >= max) return { entries, truncated: true };
          entries.push(entryOf([...names, found.name], stat));
          if (recursive && stat.isDirectory()) pending.push([...names, found.name]);
        }
      } finally {
        inside.closeSync();
        fs.closeSync(folder);
      }
    }
    return { entries, truncated: false };
  };

  // ---- what is told

  const open = (id, transfer) => {
    transfers.set(id, transfer);
    return transfer;
  };
  const close = (id) => {
    const transfer = transfers.get(id);
    transfers.delete(id);
    transfer?.close();
  };
  const done = (id) => {
    transfers.delete(id);
  };

  const answers = {
    S: (id, payload) => {
      const wanted = JSON.parse(payload);
      const running = new Running(id, wanted);
      if (running.child.pid !== undefined) processes.set(id, running);
    },
    I: (id, payload) => {
      const running = processes.get(id);
      if (running) running.take(payload);
      else send('a', id, Buffer.alloc(0));
    },
    K: (id) => kill(id),
    W: (id, payload) => {
      open(id, new Writing(id, JSON.parse(payload)));
      tell('y', id, {});
    },
    D: (id, payload) => {
      transfers.get(id)?.push(payload);
      tell('y', id, {});
    },
    C: (id) => {
      const entry = transfers.get(id)?.commit();
      done(id);
      tell('y', id, entry ?? {});
    },
    R: (id, payload) => tell('y', id, open(id, new Reading(id, JSON.parse(payload))).entry),
    N: (id) => {
      const bytes = transfers.get(id)?.next() ?? Buffer.alloc(0);
      if (bytes.length > 0) return send('d', id, bytes);
      close(id);
      return send('z', id, Buffer.alloc(0));
    },
    L: (id, payload) => {
      sendAll('d', id, Buffer.from(JSON.stringify(list(JSON.parse(payload)))));
      send('z', id, Buffer.alloc(0));
    },
    P: (id, payload) => tell('y', id, { there: offersPackages(JSON.parse(payload)) }),
    A: (id) => close(id),
  };

  const answer = (kind, id, payload) => {
    try {
      answers[kind]?.(id, payload);
    } catch (error) {
      try {
        close(id);
      } catch {
        // What is to be closed has been closed by the failure.
      }
      if (kind === 'S') tell('e', id, { message: String(error.message) });
      else tell('n', id, problemOf(error));
    }
  };

  let pending = Buffer.alloc(0);
  input.on('data', (bytes) => {
    pending = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
    let from = 0;
    while (pending.length - from >= HEADER) {
      const length = pending.readUInt32BE(from);
      if (length > MOST) process.exit(1);
      const end = from + HEADER + length;
      if (pending.length < end) break;
      answer(pending.toString('latin1', from + 4, from + 5), pending.readUInt32BE(from + 5), pending.subarray(from + HEADER, end));
      from = end;
    }
    pending = pending.subarray(from);
  });
  input.on('end', () => process.exit(0));
  send('h', 0, Buffer.from(process.version));
}
