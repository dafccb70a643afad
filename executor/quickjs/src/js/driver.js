// One call: what the code is given, and how its end is told. Runs in the company of code that may have rewritten the
// language, so it uses only what was taken before.
(function (internal) {
  'use strict';
  const { natives, primordials } = internal;
  const { parse, stringify, freeze, create, isError, isFinite, Number, String, TypeError, text, defineProperty } = primordials;
  const { slice, replace, toWellFormed } = text;
  const { absent } = internal;
  const MAX_ERROR_TEXT = 16_384;
  let active = null;

  const textOf = (read) => {
    try {
      const value = read();
      return value === undefined || value === null ? '' : slice(String(value), 0, MAX_ERROR_TEXT);
    } catch {
      return '';
    }
  };

  const contextOf = (call) =>
    freeze({
      progress(progress, total, message) {
        const told = create(null);
        told.progress = Number(progress);
        if (!isFinite(told.progress)) throw new TypeError('ctx.progress(progress, total?, message?) takes a number');
        if (total !== undefined && isFinite(Number(total))) told.total = Number(total);
        if (message !== undefined) told.message = slice(String(message), 0, 1_000);
        if (active === call) natives.progress(toWellFormed(stringify(told)));
      },
    });

  const start = (run, args) => {
    const call = create(null);
    active = call;
    return run(parse(args), contextOf(call));
  };

  const end = () => {
    active = null;
  };

  /** `r` and JSON, or `i` and why there is none. */
  const finish = (value) => {
    let json;
    try {
      json = value === undefined ? 'null' : stringify(value);
    } catch (error) {
      return 'i' + toWellFormed(`the result can't be written as JSON: ${textOf(() => error.message)}`);
    }
    if (json === undefined) return `ithe result can't be written as JSON: it is a ${typeof value}`;
    return 'r' + json;
  };

  const describe = (error) => {
    const like = typeof error === 'object' && error !== null;
    const stack = like ? textOf(() => error.stack) : '';
    const genuine = like && (isError(error) || stack !== '');
    const told = create(null);
    told.name = (genuine && textOf(() => error.name)) || 'Error';
    if (genuine || (like && textOf(() => error.message) !== '')) told.message = textOf(() => error.message);
    else told.message = textOf(() => (typeof error === 'object' ? stringify(error) : error)) || typeof error;
    told.stack = genuine ? stack : '';
    if (told.name === 'ReferenceError') {
      const better = absent(told.message);
      told.stack = replace(told.stack, told.message, () => better);
      told.message = better;
    }
    told.name = toWellFormed(told.name);
    told.message = toWellFormed(told.message);
    told.stack = toWellFormed(told.stack);
    told.memory = genuine && told.name === 'InternalError' && told.message === 'out of memory';
    return told;
  };

  // Rejections that nothing handles yet, in the order they came; a slot is emptied when something does.
  let rejections = [];

  const rejected = (promise, reason, handled) => {
    if (!handled) {
      defineProperty(rejections, rejections.length, { __proto__: null, value: { __proto__: null, promise, reason }, writable: true, configurable: true });
      return;
    }
    for (let at = 0; at < rejections.length; at += 1) if (rejections[at].promise === promise) rejections[at].promise = null;
  };

  /** The first rejection that nothing handles, apart from the call's own promise. */
  const unhandled = (own) => {
    if (rejections.length === 0) return null;
    const seen = rejections;
    rejections = [];
    for (let at = 0; at < seen.length; at += 1) if (seen[at].promise !== null && seen[at].promise !== own) return seen[at];
    return null;
  };

  const begin = () => internal.restartClock();
  Math.random = natives.random;

  internal.driver = { __proto__: null, start, end, finish, describe, rejected, unhandled, begin };
})
