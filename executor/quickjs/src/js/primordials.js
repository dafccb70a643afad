// The language as it was before any tool's code could rewrite it. What decides on a call's ending uses only these.
(function (internal) {
  'use strict';
  const apply = Function.prototype.call;
  const uncurried = apply.bind.bind(apply);
  const methods = (prototype, names) => {
    const taken = Object.create(null);
    for (const name of names) taken[name] = uncurried(prototype[name]);
    return taken;
  };
  internal.primordials = {
    __proto__: null,
    uncurried,
    parse: JSON.parse,
    stringify: JSON.stringify,
    freeze: Object.freeze,
    create: Object.create,
    getPrototypeOf: Object.getPrototypeOf,
    isError: Error.isError,
    isFinite: Number.isFinite,
    Number,
    String,
    Error,
    TypeError,
    ReferenceError,
    text: methods(String.prototype, ['slice', 'split', 'startsWith', 'includes', 'replace', 'toWellFormed', 'indexOf', 'lastIndexOf']),
    push: uncurried(Array.prototype.push),
    defineProperty: Object.defineProperty,
    weakAdd: uncurried(WeakSet.prototype.add),
    weakHas: uncurried(WeakSet.prototype.has),
    exec: uncurried(RegExp.prototype.exec),
    dateNow: Date.now,
  };
})
