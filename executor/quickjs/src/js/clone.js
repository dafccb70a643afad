// structuredClone (https://html.spec.whatwg.org/multipage/structured-data.html).
(function (internal) {
  'use strict';
  const { uncurried, isError } = internal.primordials;
  const { natives, invalidArgType, nodeError } = internal;
  const brand = (read) => {
    const call = uncurried(read);
    return (value) => {
      try {
        call(value);
        return true;
      } catch {
        return false;
      }
    };
  };
  const getter = (prototype, name) => Object.getOwnPropertyDescriptor(prototype, name).get;
  const isMap = brand(getter(Map.prototype, 'size'));
  const isSet = brand(getter(Set.prototype, 'size'));
  const isDate = brand(Date.prototype.getTime);
  const isArrayBuffer = brand(getter(ArrayBuffer.prototype, 'byteLength'));
  const isShared = brand(getter(SharedArrayBuffer.prototype, 'byteLength'));
  const isRegExp = brand(RegExp.prototype.compile ? getter(RegExp.prototype, 'hasIndices') : getter(RegExp.prototype, 'flags'));
  const isWeak = (value) => value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef;
  const BOXED = [Number, String, Boolean, BigInt, Symbol].map((Kind) => [Kind, brand(Kind.prototype.valueOf)]);
  internal.brands = { isMap, isSet, isDate, isArrayBuffer, isShared, isRegExp, BOXED };
  const ERRORS = new Set(['Error', 'EvalError', 'RangeError', 'ReferenceError', 'SyntaxError', 'TypeError', 'URIError']);

  const refused = (what) => new DOMException(`${what} could not be cloned.`, 'DataCloneError');

  const cloneError = (error, clone, seen) => {
    const name = ERRORS.has(error.name) ? error.name : 'Error';
    const message = Object.getOwnPropertyDescriptor(error, 'message')?.value;
    const made = message === undefined ? new globalThis[name]() : new globalThis[name](`${message}`);
    seen.set(error, made);
    made.stack = `${error.stack}`;
    if (Object.hasOwn(error, 'cause')) Object.defineProperty(made, 'cause', { value: clone(error.cause), writable: true, configurable: true });
    return made;
  };

  const cloneView = (view, clone) => {
    const buffer = clone(view.buffer);
    if (view instanceof DataView) return new DataView(buffer, view.byteOffset, view.byteLength);
    const tag = view[Symbol.toStringTag];
    return new globalThis[tag](buffer, view.byteOffset, view.length);
  };

  const structuredClone = function structuredClone(value, options = undefined) {
    if (arguments.length === 0) throw nodeError(TypeError, 'ERR_MISSING_ARGS', 'The "value" argument must be specified');
    const seen = new Map();
    const transfer = [...(options?.transfer ?? [])];
    const keep = (from, made) => {
      seen.set(from, made);
      return made;
    };
    for (const buffer of transfer) if (!isArrayBuffer(buffer)) throw refused('Value');

    const clone = (from) => {
      if (typeof from === 'symbol') throw refused(String(from));
      if (typeof from === 'function') throw refused(String(from));
      if (typeof from !== 'object' || from === null) return from;
      if (seen.has(from)) return seen.get(from);
      if (natives.isProxy(from) || natives.isPromise(from) || isWeak(from)) throw refused(Object.prototype.toString.call(from).replace('[object', '#<').replace('< ', '<').replace(']', '>'));
      if (Array.isArray(from)) {
        const made = keep(from, new Array(from.length));
        for (const key of Object.keys(from)) made[key] = clone(from[key]);
        return made;
      }
      if (isDate(from)) return keep(from, new Date(from.getTime()));
      if (isRegExp(from)) return keep(from, new RegExp(from.source, from.flags));
      if (isMap(from)) {
        const entries = [...Map.prototype.entries.call(from)];
        const made = keep(from, new Map());
        for (const [key, held] of entries) made.set(clone(key), clone(held));
        return made;
      }
      if (isSet(from)) {
        const values = [...Set.prototype.values.call(from)];
        const made = keep(from, new Set());
        for (const held of values) made.add(clone(held));
        return made;
      }
      if (isArrayBuffer(from)) return keep(from, transfer.includes(from) ? from.transfer() : from.slice(0));
      if (isShared(from)) return keep(from, from);
      if (ArrayBuffer.isView(from)) return keep(from, cloneView(from, clone));
      if (from instanceof DOMException) return keep(from, new DOMException(from.message, from.name));
      if (isError(from)) return cloneError(from, clone, seen);
      for (const [Kind, is] of BOXED) if (is(from)) {
        if (Kind === Symbol) throw refused('Object');
        return keep(from, Object(from.valueOf()));
      }
      const made = keep(from, {});
      for (const key of Object.keys(from)) Object.defineProperty(made, key, { value: clone(from[key]), writable: true, enumerable: true, configurable: true });
      return made;
    };
    const made = clone(value);
    for (const buffer of transfer) if (!buffer.detached) buffer.transfer();
    return made;
  };
  Object.defineProperty(globalThis, 'structuredClone', { __proto__: null, value: structuredClone, writable: true, enumerable: true, configurable: true });
})
