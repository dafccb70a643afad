// The console. Each call is one write of whole lines.
(function (internal) {
  'use strict';
  const { natives, inspect, formatWithOptions } = internal;
  const { uncurried, text } = internal.primordials;
  const { toWellFormed, includes } = text;
  const replaceAll = uncurried(String.prototype.replaceAll);
  const apply = Reflect.apply;
  const capture = Error.captureStackTrace;

  let indent = '';
  const counts = new Map();
  const timers = new Map();

  const write = (toStderr, line) => {
    const indented = indent === '' ? line : indent + (includes(line, '\n') ? replaceAll(line, '\n', `\n${indent}`) : line);
    natives.print(toStderr, toWellFormed(indented + '\n'));
  };
  const print = (toStderr, args) => {
    const [first] = args;
    if (args.length === 1 && typeof first === 'string') return write(toStderr, first);
    return write(toStderr, apply(formatWithOptions, undefined, [{}, ...args]));
  };

  const spent = (from) => {
    const ms = internal.now() - from;
    if (ms >= 1000) return `${(ms / 1000).toFixed(3)}s`;
    return `${Number(ms.toFixed(3))}ms`;
  };

  const cell = (value) => inspect(value, { maxArrayLength: 3, breakLength: Infinity, depth: typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 2 ? -1 : 0 });
  const width = (line) => line.length;
  const drawn = (head, rows) => {
    const widths = head.map((name, at) => Math.max(width(name), ...rows.map((row) => width(row[at]))) + 2);
    const bar = (left, middle, right) => left + widths.map((wide) => '─'.repeat(wide)).join(middle) + right;
    const line = (cells) =>
      `│${cells
        .map((held, at) => ` ${held}${' '.repeat(widths[at] - width(held) - 1)}`)
        .join('│')}│`;
    return [bar('┌', '┬', '┐'), line(head), bar('├', '┼', '┤'), ...rows.map(line), bar('└', '┴', '┘')].join('\n');
  };
  const tabled = (data, only) => {
    const { isMap, isSet } = internal.brands;
    const name = isMap(data) || isSet(data) ? '(iteration index)' : '(index)';
    let rows;
    if (isMap(data)) return drawn([name, 'Key', 'Values'], [...data].map(([key, value], at) => [`${at}`, cell(key), cell(value)]));
    if (isSet(data)) rows = [...data].map((value, at) => [`${at}`, value]);
    else rows = Object.keys(data).map((key) => [key, data[key]]);
    const columns = new Set(only ?? []);
    let hasValues = false;
    for (const [, value] of rows) {
      if (typeof value !== 'object' || value === null) hasValues = true;
      else if (!only) for (const key of Object.keys(value)) columns.add(key);
    }
    const head = [name, ...columns, ...(hasValues ? ['Values'] : [])];
    const body = rows.map(([index, value]) => {
      const complex = typeof value === 'object' && value !== null;
      const cells = [...columns].map((key) => (complex && Object.hasOwn(value, key) ? cell(value[key]) : ''));
      if (hasValues) cells.push(complex ? '' : cell(value));
      return [index, ...cells];
    });
    return drawn(head, body);
  };

  const console = {
    log(...args) {
      print(false, args);
    },
    warn(...args) {
      print(true, args);
    },
    dir(value, options = undefined) {
      write(false, inspect(value, { customInspect: false, ...options }));
    },
    time(label = 'default') {
      const name = `${label}`;
      if (timers.has(name)) return console.warn(`Warning: Label '${name}' already exists for console.time()`);
      timers.set(name, internal.now());
    },
    timeEnd(label = 'default') {
      const name = `${label}`;
      if (!timers.has(name)) return console.warn(`Warning: No such label '${name}' for console.timeEnd()`);
      print(false, [`%s: %s`, name, spent(timers.get(name))]);
      timers.delete(name);
    },
    timeLog(label = 'default', ...data) {
      const name = `${label}`;
      if (!timers.has(name)) return console.warn(`Warning: No such label '${name}' for console.timeLog()`);
      print(false, [`%s: %s`, name, spent(timers.get(name)), ...data]);
    },
    trace(...args) {
      const here = { name: 'Trace', message: args.length > 0 ? formatWithOptions({}, ...args) : '' };
      capture(here, console.trace);
      const frames = `${here.stack}`.split('\n').filter((line) => line.startsWith('    at '));
      write(true, [`Trace${here.message ? `: ${here.message}` : ''}`, ...frames].join('\n'));
    },
    assert(condition, ...args) {
      if (condition) return;
      if (typeof args[0] === 'string') args[0] = `Assertion failed: ${args[0]}`;
      else args.unshift('Assertion failed');
      print(true, args);
    },
    clear() {},
    count(label = 'default') {
      const name = `${label}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
      write(false, `${name}: ${counts.get(name)}`);
    },
    countReset(label = 'default') {
      const name = `${label}`;
      if (!counts.delete(name)) console.warn(`Warning: Count for '${name}' does not exist`);
    },
    group(...labels) {
      if (labels.length > 0) print(false, labels);
      indent += '  ';
    },
    groupEnd() {
      indent = indent.slice(2);
    },
    table(data, columns = undefined) {
      if (typeof data !== 'object' || data === null) return print(false, [data]);
      write(false, tabled(data, columns));
    },
  };
  const alias = (name, of) => {
    const call = console[of];
    console[name] = { [name]: (...args) => apply(call, console, args) }[name];
  };
  console.debug = console.log;
  console.info = console.log;
  console.dirxml = console.log;
  console.error = console.warn;
  alias('groupCollapsed', 'group');
  Object.defineProperty(console, Symbol.toStringTag, { __proto__: null, value: 'console', configurable: true });
  internal.expose({ console });
  internal.restartConsole = () => {
    indent = '';
  };
})
