// How globals and their members are defined, so that they look as in Node.js.
(function (internal) {
  'use strict';
  const { defineProperty } = internal.primordials;

  /** Globals that `Object.keys(globalThis)` doesn't list. */
  internal.expose = (globals) => {
    for (const name of Object.keys(globals)) {
      const value = globals[name];
      defineProperty(globalThis, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
      if (typeof value === 'function' && value.prototype && !Object.hasOwn(value.prototype, Symbol.toStringTag)) {
        defineProperty(value.prototype, Symbol.toStringTag, { __proto__: null, value: name, configurable: true });
      }
    }
  };

  /** Members of a web interface can be enumerated, those of a class can't. */
  internal.enumerable = (prototype, names) => {
    for (const name of names) defineProperty(prototype, name, { __proto__: null, enumerable: true });
  };

  /** A path that is not absolute is relative to it. */
  internal.process = { cwd: () => '/workspace' };
})
