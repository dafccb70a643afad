// Stacks as Node.js lays them out: a first line with name and message, the author's own lines, no frames of ours.
(function (internal) {
  'use strict';
  const { uncurried, String, TypeError, text, weakAdd, weakHas, defineProperty: define } = internal.primordials;
  const { slice, indexOf, startsWith, lastIndexOf } = text;
  const native = Object.getOwnPropertyDescriptor(Error.prototype, 'stack');
  const nativeGet = uncurried(native.get);
  const nativeCapture = Error.captureStackTrace;
  const coded = new WeakSet();
  const firstLine = 'tool.mjs:1:';

  /** How many columns of the first line are ours. */
  internal.columnShift = 0;

  const position = (at) => {
    if (!startsWith(at, firstLine)) return at;
    const column = +slice(at, firstLine.length);
    return column > internal.columnShift ? firstLine + (column - internal.columnShift) : at;
  };

  const frame = (line) => {
    const open = lastIndexOf(line, ' (');
    if (open === -1) return '    at ' + position(slice(line, 7));
    const at = slice(line, open + 2, -1);
    if (startsWith(at, 'node:')) return '';
    const name = slice(line, 7, open);
    if (at === 'native') return '    at ' + name + ' (<anonymous>)';
    if (name === '<anonymous>') return '    at ' + position(at);
    return '    at ' + name + ' (' + position(at) + ')';
  };

  /** A native frame is ours when the one that called it is. */
  const frames = (stack) => {
    let kept = '';
    let native = '';
    for (let from = 0; from < stack.length; ) {
      let to = indexOf(stack, '\n', from);
      if (to === -1) to = stack.length;
      const line = slice(stack, from, to);
      const own = frame(line);
      if (own === '') native = '';
      else if (slice(line, -8) === '(native)') native += '\n' + own;
      else {
        kept += native + '\n' + own;
        native = '';
      }
      from = to + 1;
    }
    return kept;
  };

  /** In Node.js it is written when the stack is first asked for, so a constructor may still give it a name. */
  const header = (error) => {
    let name = 'Error';
    let message = '';
    try {
      name = error.name === undefined ? 'Error' : String(error.name);
      message = error.message === undefined ? '' : String(error.message);
    } catch {
      // A getter that throws: the frames are worth having all the same.
    }
    if (weakHas(coded, error)) name += ` [${error.code}]`;
    if (message === '') return name;
    return name === '' ? message : name + ': ' + message;
  };

  const laidOut = (error, stack) =>
    typeof stack === 'string' && (stack === '' || startsWith(stack, '    at ')) ? header(error) + frames(stack) : stack;

  define(Error.prototype, 'stack', {
    __proto__: null,
    get: function stack() {
      const stack = nativeGet(this);
      return stack === null ? header(this) : laidOut(this, stack);
    },
    set: native.set,
    configurable: true,
    enumerable: false,
  });

  Error.captureStackTrace = function captureStackTrace(target, above) {
    nativeCapture(target, above === undefined ? captureStackTrace : above);
    define(target, 'stack', {
      __proto__: null,
      value: laidOut(target, target.stack),
      writable: true,
      configurable: true,
      enumerable: false,
    });
  };

  /** An error of Node.js's own, which has a code. */
  internal.nodeError = (Kind, code, message) => {
    const error = new Kind(message);
    define(error, 'code', { __proto__: null, value: code, writable: true, enumerable: true, configurable: true });
    weakAdd(coded, error);
    return error;
  };

  const received = (value) => {
    if (value === null || value === undefined) return ` Received ${value}`;
    if (typeof value === 'function') return value.name ? ` Received function ${value.name}` : ' Received function ';
    if (typeof value === 'object') {
      const name = value.constructor?.name;
      return name ? ` Received an instance of ${name}` : ` Received ${internal.inspect(value, { depth: -1 })}`;
    }
    let text = internal.inspect(value, { colors: false });
    if (text.length > 28) text = `${slice(text, 0, 25)}...`;
    return ` Received type ${typeof value} (${text})`;
  };

  internal.received = received;

  /** `expected` reads like "of type string" or "an instance of Buffer". */
  internal.invalidArgType = (name, expected, value) => {
    const what = name.includes('.') ? 'property' : 'argument';
    const given = name.endsWith(' argument') ? `The ${name}` : `The "${name}" ${what}`;
    return internal.nodeError(TypeError, 'ERR_INVALID_ARG_TYPE', `${given} must be ${expected}.${received(value)}`);
  };

  internal.outOfRange = (name, range, value) =>
    internal.nodeError(RangeError, 'ERR_OUT_OF_RANGE', `The value of "${name}" is out of range. It must be ${range}. Received ${internal.inspect(value)}`);

  internal.checkFunction = (value, name) => {
    if (typeof value !== 'function') throw internal.invalidArgType(name, 'of type function', value);
  };

  /** What the vendored packages ask for; they were changed to do so. */
  const { natives } = internal;
  internal.engine = {
    promiseDetails(promise, pending, rejected) {
      const [state, value] = natives.promiseParts(promise);
      return [state === 0 ? pending : state === 2 ? rejected : 1, value];
    },
    proxyDetails(value, whole) {
      if (!natives.isProxy(value)) return undefined;
      const parts = natives.proxyParts(value) ?? [null, null];
      return whole ? parts : parts[0];
    },
    invalidArgType: internal.invalidArgType,
    outOfRange: internal.outOfRange,
    unknownEncoding: (encoding) => internal.nodeError(TypeError, 'ERR_UNKNOWN_ENCODING', `Unknown encoding: ${encoding}`),
    unhandledError(value) {
      const error = internal.nodeError(Error, 'ERR_UNHANDLED_ERROR', `Unhandled error. (${internal.inspect(value)})`);
      error.context = value;
      return error;
    },
  };
})
