// Deep equality as `node:assert` and `util.isDeepStrictEqual` have it.
(function (internal) {
  'use strict';
  const { isMap, isSet, isDate, isArrayBuffer, isShared, isRegExp, BOXED } = internal.brands;
  const { isError } = internal.primordials;
  const ownKeys = (value) => Reflect.ownKeys(value).filter((key) => Object.prototype.propertyIsEnumerable.call(value, key));
  const bytes = (value) => (ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value));
  const kind = (value) => Object.prototype.toString.call(value);

  const same = (a, b, strict) => (strict ? Object.is(a, b) : a == b || (a !== a && b !== b));

  const equalBytes = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

  const equalNumbers = (a, b, strict) => a.length === b.length && a.every((value, at) => same(value, b[at], strict));

  /** Each of `a` has its own equal among `b`. */
  const paired = (a, b, equal) => {
    const left = [...b];
    for (const value of a) {
      const at = left.findIndex((other) => equal(value, other));
      if (at === -1) return false;
      left.splice(at, 1);
    }
    return left.length === 0;
  };

  const equalSets = (a, b, equal) => {
    if (a.size !== b.size) return false;
    const rest = [...a].filter((value) => !b.has(value));
    return paired(rest, [...b].filter((value) => !a.has(value)), equal);
  };
  const equalMaps = (a, b, equal) => {
    if (a.size !== b.size) return false;
    const loose = [];
    for (const [key, value] of a) {
      if (!b.has(key)) loose.push([key, value]);
      else if (!equal(value, b.get(key))) return false;
    }
    const others = [...b].filter(([key]) => !a.has(key));
    return paired(loose, others, (one, other) => equal(one[0], other[0]) && equal(one[1], other[1]));
  };

  const compare = (a, b, strict, seen) => {
    if (a === b) return a !== 0 || !strict || Object.is(a, b);
    if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
      if (strict || (typeof a === 'object' && a !== null) || (typeof b === 'object' && b !== null)) return Object.is(a, b);
      return same(a, b, false);
    }
    if (strict && Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
    if (kind(a) !== kind(b) || Array.isArray(a) !== Array.isArray(b)) return false;
    if (seen.get(a) === b) return true;
    const before = seen.get(a);
    seen.set(a, b);
    const verdict = contents(a, b, strict, (one, other) => compare(one, other, strict, seen));
    if (before === undefined) seen.delete(a);
    else seen.set(a, before);
    return verdict;
  };

  const contents = (a, b, strict, equal) => {
    if (Array.isArray(a) && a.length !== b.length) return false;
    if (isDate(a) !== isDate(b) || (isDate(a) && !Object.is(a.getTime(), b.getTime()))) return false;
    if (isRegExp(a) && (!isRegExp(b) || String(a) !== String(b) || a.lastIndex !== b.lastIndex)) return false;
    if (isError(a) && (!isError(b) || a.message !== b.message || a.name !== b.name || !equal(a.cause, b.cause))) return false;
    for (const [, is] of BOXED) if (is(a) && (!is(b) || !Object.is(a.valueOf(), b.valueOf()))) return false;
    if (isArrayBuffer(a) || isShared(a)) {
      if (!equalBytes(bytes(a), bytes(b))) return false;
    } else if (ArrayBuffer.isView(a)) {
      const floats = /Float/.test(a[Symbol.toStringTag]);
      if (!(floats ? equalNumbers(a, b, strict) : equalBytes(bytes(a), bytes(b)))) return false;
    }
    if (isSet(a) && !(isSet(b) && equalSets(a, b, equal))) return false;
    if (isMap(a) && !(isMap(b) && equalMaps(a, b, equal))) return false;
    const numbered = ArrayBuffer.isView(a);
    const named = (value) => (numbered ? ownKeys(value).filter((key) => typeof key === 'symbol' || !/^\d+$/.test(key)) : ownKeys(value));
    const keys = named(a).filter((key) => strict || typeof key === 'string');
    const others = named(b).filter((key) => strict || typeof key === 'string');
    return keys.length === others.length && keys.every((key) => Object.prototype.propertyIsEnumerable.call(b, key) && equal(a[key], b[key]));
  };

  internal.deepEqual = (a, b, strict) => compare(a, b, strict, new Map());
})
