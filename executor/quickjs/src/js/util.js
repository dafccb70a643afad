// node:util.
(function (internal) {
  'use strict';
  const { inspect, format, formatWithOptions, stripVTControlCharacters, natives, invalidArgType, checkFunction, nodeError } = internal;
  const { isError } = internal.primordials;
  const { isMap, isSet, isDate, isArrayBuffer, isShared, isRegExp, BOXED } = internal.brands;
  const custom = Symbol.for('nodejs.util.promisify.custom');
  const AsyncFunction = (async () => {}).constructor;
  const GeneratorFunction = function* () {}.constructor;
  const AsyncGeneratorFunction = async function* () {}.constructor;
  const kind = (value) => Object.prototype.toString.call(value).slice(8, -1);
  const tagOf = (value) => (ArrayBuffer.isView(value) && !(value instanceof DataView) ? value[Symbol.toStringTag] : undefined);

  const promisify = (original) => {
    checkFunction(original, 'original');
    if (original[custom]) {
      checkFunction(original[custom], 'util.promisify.custom');
      return Object.defineProperty(original[custom], custom, { __proto__: null, value: original[custom], configurable: true });
    }
    function promised(...args) {
      return new Promise((resolve, reject) => {
        Reflect.apply(original, this, [...args, (error, value) => (error ? reject(error) : resolve(value))]);
      });
    }
    Object.setPrototypeOf(promised, Object.getPrototypeOf(original));
    Object.defineProperty(promised, custom, { __proto__: null, value: promised, configurable: true });
    return Object.defineProperties(promised, Object.getOwnPropertyDescriptors(original));
  };
  promisify.custom = custom;

  const callbackify = (original) => {
    checkFunction(original, 'original');
    return function callbackified(...args) {
      const callback = args.pop();
      checkFunction(callback, 'last argument');
      const later = (...told) => setImmediate(() => callback.apply(this, told));
      Reflect.apply(original, this, args).then(
        (value) => later(null, value),
        (reason) => {
          if (reason) return later(reason);
          const error = nodeError(Error, 'ERR_FALSY_VALUE_REJECTION', 'Promise was rejected with falsy value');
          error.reason = reason;
          return later(error);
        },
      );
    };
  };

  const inherits = (constructor, base) => {
    checkFunction(constructor, 'ctor');
    checkFunction(base, 'superCtor');
    Object.defineProperty(constructor, 'super_', { __proto__: null, value: base, writable: true, configurable: true });
    Object.setPrototypeOf(constructor.prototype, base.prototype);
  };

  const deprecate = (original, message, code = undefined) => {
    let warned = false;
    return function deprecated(...args) {
      if (!warned) console.error(`(node) ${code ? `[${code}] ` : ''}DeprecationWarning: ${message}`);
      warned = true;
      return new.target ? Reflect.construct(original, args, new.target) : Reflect.apply(original, this, args);
    };
  };

  const types = {
    isMap,
    isSet,
    isDate,
    isRegExp,
    isArrayBuffer,
    isSharedArrayBuffer: isShared,
    isAnyArrayBuffer: (value) => isArrayBuffer(value) || isShared(value),
    isNativeError: (value) => isError(value),
    isPromise: (value) => natives.isPromise(value),
    isProxy: (value) => natives.isProxy(value),
    isAsyncFunction: (value) => value instanceof AsyncFunction || value instanceof AsyncGeneratorFunction,
    isGeneratorFunction: (value) => value instanceof GeneratorFunction || value instanceof AsyncGeneratorFunction,
    isGeneratorObject: (value) => /^(Async)?Generator$/.test(kind(value)),
    isWeakMap: (value) => value instanceof WeakMap,
    isWeakSet: (value) => value instanceof WeakSet,
    isMapIterator: (value) => kind(value) === 'Map Iterator',
    isSetIterator: (value) => kind(value) === 'Set Iterator',
    isModuleNamespaceObject: (value) => kind(value) === 'Module',
    isArgumentsObject: (value) => kind(value) === 'Arguments',
    isArrayBufferView: (value) => ArrayBuffer.isView(value),
    isDataView: (value) => value instanceof DataView,
    isTypedArray: (value) => tagOf(value) !== undefined,
    isBoxedPrimitive: (value) => BOXED.some(([, is]) => typeof value === 'object' && value !== null && is(value)),
    isExternal: () => false,
  };
  for (const [Kind, is] of BOXED) types[`is${Kind.name}Object`] = (value) => typeof value === 'object' && value !== null && is(value);
  for (const name of ['Uint8Array', 'Uint8ClampedArray', 'Uint16Array', 'Uint32Array', 'Int8Array', 'Int16Array', 'Int32Array', 'Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array']) {
    types[`is${name}`] = (value) => tagOf(value) === name;
  }

  internal.utilModule = {
    inspect,
    format,
    formatWithOptions,
    stripVTControlCharacters,
    promisify,
    callbackify,
    inherits,
    deprecate,
    types,
    isDeepStrictEqual: (a, b) => internal.deepEqual(a, b, true),
    isArray: Array.isArray,
    isError: (value) => isError(value),
    toUSVString: (value) => `${value}`.toWellFormed(),
    debuglog: () => Object.assign(() => {}, { enabled: false }),
    aborted: async (signal) => {
      if (!(signal instanceof AbortSignal)) throw invalidArgType('signal', 'an instance of AbortSignal', signal);
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    },
    styleText: (style, text) => {
      for (const name of [style].flat()) {
        const codes = inspect.colors?.[name];
        if (codes) text = `\u001b[${codes[0]}m${text}\u001b[${codes[1]}m`;
      }
      return text;
    },
    TextEncoder,
    TextDecoder,
  };
})
