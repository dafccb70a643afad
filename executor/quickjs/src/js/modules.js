// What `import` finds: `internal.modules` by bare name. The loader asks `resolve` for the name of what is imported.
(function (internal) {
  'use strict';
  const { nodeError, timers, vendor, utilModule, assert, path } = internal;
  const EventEmitter = vendor.events;

  EventEmitter.captureRejectionSymbol = Symbol.for('nodejs.rejection');
  EventEmitter.errorMonitor = Symbol('events.errorMonitor');
  EventEmitter.getEventListeners = (emitter, name) => emitter.listeners?.(name) ?? [];
  EventEmitter.on = (emitter, name, options = {}) => {
    const waiting = [];
    const held = [];
    let failed = null;
    let finished = false;
    const push = (...args) => (waiting.length > 0 ? waiting.shift().resolve({ value: args, done: false }) : held.push(args));
    const fail = (error) => {
      if (waiting.length > 0) waiting.shift().reject(error);
      else failed = { error };
    };
    const stop = () => {
      finished = true;
      emitter.off(name, push);
      emitter.off('error', fail);
      for (const { resolve } of waiting.splice(0)) resolve({ value: undefined, done: true });
      return Promise.resolve({ value: undefined, done: true });
    };
    emitter.on(name, push);
    if (name !== 'error') emitter.on('error', fail);
    options.signal?.addEventListener('abort', () => fail(internal.abortError(options.signal)), { once: true });
    return {
      next() {
        if (held.length > 0) return Promise.resolve({ value: held.shift(), done: false });
        if (failed) {
          const { error } = failed;
          failed = null;
          return Promise.reject(error);
        }
        if (finished) return Promise.resolve({ value: undefined, done: true });
        return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
      },
      return: stop,
      throw(error) {
        stop();
        return Promise.reject(error);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  };
  EventEmitter.EventEmitter = EventEmitter;
  // The package is from before functions had their names.
  Object.defineProperty(EventEmitter, 'name', { __proto__: null, value: 'EventEmitter', configurable: true });

  const modules = {
    __proto__: null,
    assert,
    'assert/strict': assert.strict,
    buffer: internal.bufferModule,
    crypto: internal.cryptoModule,
    events: EventEmitter,
    path,
    'path/posix': path,
    perf_hooks: internal.performanceModule,
    querystring: internal.querystring,
    string_decoder: { StringDecoder: internal.StringDecoder },
    timers: { ...timers.api, promises: timers.promises },
    'timers/promises': timers.promises,
    url: internal.urlModule,
    util: utilModule,
    'util/types': utilModule.types,
  };
  internal.modules = modules;
  internal.moduleNames = Object.keys(modules);

  /** The name of the module that `specifier` means. */
  internal.resolve = (specifier) => {
    const prefixed = specifier.startsWith('node:');
    const bare = prefixed ? specifier.slice(5) : specifier;
    if (modules[bare]) return `node:${bare}`;
    if (internal.nodeModules[bare]) {
      throw nodeError(Error, 'ERR_MODULE_NOT_FOUND', `Cannot find module 'node:${bare}': runtime "isolate" has no node:${bare}; use runtime "node"`);
    }
    if (prefixed) throw nodeError(Error, 'ERR_UNKNOWN_BUILTIN_MODULE', `No such built-in module: ${specifier}`);
    throw nodeError(Error, 'ERR_MODULE_NOT_FOUND', `Cannot find package '${specifier}': npm packages need runtime "node" with dependencies`);
  };

  /** The source of a module: its exports are on `import.meta.exports`. */
  internal.moduleSource = (name) => {
    const names = Object.keys(modules[name.slice(5)]).filter((key) => key !== 'default' && /^[A-Za-z_$][\w$]*$/.test(key));
    return `const it = import.meta.exports; export default it;\n${names.map((key, at) => `const e${at} = it.${key}; export { e${at} as ${key} };`).join('\n')}`;
  };
})
