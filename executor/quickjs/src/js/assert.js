// node:assert. Messages are those of Node.js where they don't depend on its diff.
(function (internal) {
  'use strict';
  const { inspect, deepEqual, checkFunction, nodeError, invalidArgType } = internal;
  const { isError } = internal.primordials;
  const { isRegExp } = internal.brands;
  const shown = (value) => inspect(value, { compact: false, customInspect: false, depth: 1000, maxArrayLength: Infinity, breakLength: Infinity, sorted: true, getters: true });

  const TITLES = {
    deepStrictEqual: 'Expected values to be strictly deep-equal:',
    strictEqual: 'Expected values to be strictly equal:',
    deepEqual: 'Expected values to be loosely deep-equal:',
    notDeepStrictEqual: 'Expected "actual" not to be strictly deep-equal to:',
    notStrictEqual: 'Expected "actual" to be strictly unequal to:',
    notDeepEqual: 'Expected "actual" not to be loosely deep-equal to:',
  };

  const generated = (actual, expected, operator, message) => {
    const [a, b] = [shown(actual), shown(expected)];
    const title = message ?? TITLES[operator];
    switch (operator) {
      case '==':
      case '!=':
        return `${a} ${operator} ${b}`;
      case 'strictEqual':
        if (a === b && typeof actual === 'object') return `${message ?? 'Values have same structure but are not reference-equal:'}\n\n${a}\n`;
        return a.includes('\n') || b.includes('\n') ? `${title}\n${a}\n\nshould equal\n\n${b}` : `${title}\n\n${a} !== ${b}\n`;
      case 'notStrictEqual':
      case 'notDeepStrictEqual':
      case 'notDeepEqual':
        return a.includes('\n') ? `${TITLES[operator]}\n\n${a}\n` : `${TITLES[operator].replace(/:$/, typeof actual === 'object' && actual !== null ? ':' : ':')}${a.length > 5 ? `\n\n${a}\n` : ` ${a}`}`;
      default:
        return `${TITLES[operator] ?? ''}\n\n${a}\n\nshould ${operator.startsWith('deep') ? 'loosely deep-equal' : 'equal'}\n\n${b}`;
    }
  };

  class AssertionError extends Error {
    constructor(options) {
      if (typeof options !== 'object' || options === null) throw invalidArgType('options', 'of type object', options);
      const { actual, expected, operator, message, stackStartFn } = options;
      // Also to a message of the caller's own it adds what was compared.
      super(message === undefined || operator === 'strictEqual' ? generated(actual, expected, operator, message) : `${message}`);
      this.generatedMessage = message === undefined;
      Object.defineProperty(this, 'name', { __proto__: null, value: 'AssertionError', configurable: true, writable: true });
      this.code = 'ERR_ASSERTION';
      this.actual = actual;
      this.expected = expected;
      this.operator = operator;
      if (stackStartFn) Error.captureStackTrace(this, stackStartFn);
      this.stack = `AssertionError [ERR_ASSERTION]: ${this.message}${`${this.stack}`.replace(/^[^]*?(?=\n    at |$)/, '')}`;
    }
    toString() {
      return `${this.name} [${this.code}]: ${this.message}`;
    }
  }

  const fail = (options) => {
    if (isError(options.message)) throw options.message;
    throw new AssertionError(options);
  };
  const needs = (args, count) => {
    if (args.length < count) throw nodeError(TypeError, 'ERR_MISSING_ARGS', 'The "actual" and "expected" arguments must be specified');
  };

  const truthy = (stackStartFn, args) => {
    const [value, given] = args;
    if (value) return;
    const absent = 'No value argument passed to `assert.ok()`';
    const message = args.length === 0 ? absent : (given ?? 'The expression evaluated to a falsy value');
    if (isError(message)) throw message;
    const error = new AssertionError({ actual: value, expected: true, message, operator: '==', stackStartFn });
    error.generatedMessage = given === undefined;
    throw error;
  };
  const assert = (...args) => truthy(assert, args);
  assert.ok = (...args) => truthy(assert.ok, args);

  const compared = (operator, holds) => {
    const check = (...args) => {
      needs(args, 2);
      const [actual, expected, message] = args;
      if (!holds(actual, expected)) fail({ actual, expected, message, operator, stackStartFn: check });
    };
    return check;
  };
  assert.equal = compared('==', (a, b) => a == b || (a !== a && b !== b));
  assert.notEqual = compared('!=', (a, b) => !(a == b || (a !== a && b !== b)));
  assert.strictEqual = compared('strictEqual', Object.is);
  assert.notStrictEqual = compared('notStrictEqual', (a, b) => !Object.is(a, b));
  assert.deepEqual = compared('deepEqual', (a, b) => deepEqual(a, b, false));
  assert.notDeepEqual = compared('notDeepEqual', (a, b) => !deepEqual(a, b, false));
  assert.deepStrictEqual = compared('deepStrictEqual', (a, b) => deepEqual(a, b, true));
  assert.notDeepStrictEqual = compared('notDeepStrictEqual', (a, b) => !deepEqual(a, b, true));

  assert.fail = (message = undefined) => {
    if (isError(message)) throw message;
    const error = new AssertionError({ message: message ?? 'Failed', operator: 'fail', stackStartFn: assert.fail });
    error.generatedMessage = message === undefined;
    throw error;
  };
  assert.ifError = (value) => {
    if (value === null || value === undefined) return;
    const message = `ifError got unwanted exception: ${isError(value) ? value.message || value.name : inspect(value)}`;
    fail({ actual: value, expected: null, operator: 'ifError', message, stackStartFn: assert.ifError });
  };
  const matching = (operator, wanted) => {
    const check = (text, regexp, message) => {
      if (!isRegExp(regexp)) throw invalidArgType('regexp', 'an instance of RegExp', regexp);
      if (typeof text === 'string' && (regexp.exec(text) !== null) === wanted) return;
      const why =
        typeof text === 'string'
          ? `The input ${wanted ? 'did not match the regular expression' : 'was expected to not match the regular expression'} ${inspect(regexp)}. Input:\n\n${inspect(text)}\n`
          : `The "string" argument must be of type string. Received type ${typeof text} (${inspect(text)})`;
      fail({ actual: text, expected: regexp, message: message ?? why, operator, stackStartFn: check });
    };
    return check;
  };
  assert.match = matching('match', true);
  assert.doesNotMatch = matching('doesNotMatch', false);

  /** Throws unless the error is what was expected. */
  const examine = (actual, expected, message, stackStartFn) => {
    const operator = stackStartFn.name;
    if (typeof expected === 'function') {
      if (expected.prototype !== undefined && actual instanceof expected) return;
      if (Error.isPrototypeOf(expected)) {
        fail({ actual, expected, operator, stackStartFn, message: message ?? `The error is expected to be an instance of "${expected.name}". Received "${actual?.constructor?.name}"${isError(actual) ? `\n\nError message:\n\n${actual.message}` : ''}` });
      }
      if (expected.call({}, actual) === true) return;
      fail({ actual, expected, operator, stackStartFn, message: message ?? `The ${expected.name ? `"${expected.name}" ` : ''}validation function is expected to return "true". Received ${inspect(expected.call({}, actual))}` });
    }
    if (isRegExp(expected)) {
      if (expected.exec(`${actual}`) !== null) return;
      fail({ actual, expected, operator, stackStartFn, message: message ?? `The input did not match the regular expression ${inspect(expected)}. Input:\n\n${inspect(`${actual}`)}\n` });
    }
    const keys = Object.keys(expected);
    if (isError(expected)) keys.push('name', 'message');
    for (const key of keys) {
      const fits = typeof actual?.[key] === 'string' && isRegExp(expected[key]) ? expected[key].exec(actual[key]) !== null : deepEqual(actual?.[key], expected[key], true);
      if (!fits) fail({ actual, expected, operator, stackStartFn, message: message ?? `${TITLES.deepStrictEqual}\n\n${shown(actual)}\n\nshould equal\n\n${shown(expected)}` });
    }
  };
  const NONE = Symbol('none');
  const missing = (expected, message, stackStartFn, what) => {
    const named = typeof expected === 'function' && expected.name ? ` (${expected.name}).` : '.';
    fail({ actual: undefined, expected, operator: stackStartFn.name, stackStartFn, message: `Missing expected ${what}${message ? `${named.slice(0, -1)}: ${message}` : named}` });
  };
  const expectThrow = (stackStartFn, what, actual, expected, message) => {
    if (typeof expected === 'string') return expectThrow(stackStartFn, what, actual, undefined, expected);
    if (actual === NONE) return missing(expected, message, stackStartFn, what);
    return expected === undefined ? undefined : examine(actual, expected, message, stackStartFn);
  };
  const thrown = (block) => {
    checkFunction(block, 'fn');
    try {
      block();
    } catch (error) {
      return error;
    }
    return NONE;
  };
  const rejection = async (block) => {
    const promise = typeof block === 'function' ? block() : block;
    if (typeof block === 'function' && typeof promise?.then !== 'function') {
      throw nodeError(TypeError, 'ERR_INVALID_RETURN_VALUE', `Expected instance of Promise to be returned from the "promiseFn" function but got${internal.received(promise).slice(9)}.`);
    }
    if (typeof promise?.then !== 'function') throw invalidArgType('promiseFn', 'of type function or an instance of Promise', block);
    try {
      await promise;
    } catch (error) {
      return error;
    }
    return NONE;
  };
  assert.throws = function throws(block, expected, message) {
    expectThrow(throws, 'exception', thrown(block), expected, message);
  };
  assert.rejects = async function rejects(block, expected, message) {
    expectThrow(rejects, 'rejection', await rejection(block), expected, message);
  };
  const unwanted = (stackStartFn, what, actual, message) => {
    if (actual === NONE) return;
    fail({ actual, operator: stackStartFn.name, stackStartFn, message: `Got unwanted ${what}${message ? `: ${message}` : '.'}\nActual message: "${actual?.message}"` });
  };
  assert.doesNotThrow = function doesNotThrow(block, expected, message) {
    unwanted(doesNotThrow, 'exception', thrown(block), typeof expected === 'string' ? expected : message);
  };
  assert.doesNotReject = async function doesNotReject(block, expected, message) {
    unwanted(doesNotReject, 'rejection', await rejection(block), typeof expected === 'string' ? expected : message);
  };
  assert.AssertionError = AssertionError;
  const strict = (...args) => truthy(strict, args);
  assert.strict = Object.assign(strict, assert, {
    equal: assert.strictEqual,
    notEqual: assert.notStrictEqual,
    deepEqual: assert.deepStrictEqual,
    notDeepEqual: assert.notDeepStrictEqual,
  });
  assert.strict.strict = assert.strict;
  internal.assert = assert;
})
