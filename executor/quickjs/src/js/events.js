// node:events: what the package has not, or has from an older Node.js.
(function (internal) {
  'use strict';
  const { vendor, abortError, invalidArgType } = internal;
  const EventEmitter = vendor.events;

  EventEmitter.captureRejectionSymbol = Symbol.for('nodejs.rejection');
  EventEmitter.errorMonitor = Symbol('events.errorMonitor');
  EventEmitter.getEventListeners = (emitter, name) => emitter.listeners?.(name) ?? [];
  EventEmitter.EventEmitter = EventEmitter;
  // The package is from before functions had their names.
  Object.defineProperty(EventEmitter, 'name', { __proto__: null, value: 'EventEmitter', configurable: true });

  /** Listens to an emitter or an event target, and gives what stops it. */
  const listen = (source, name, listener, options) => {
    if (typeof source?.on === 'function') {
      source.on(name, listener);
      return () => source.removeListener(name, listener);
    }
    if (typeof source?.addEventListener !== 'function') throw invalidArgType('emitter', 'an instance of EventEmitter', source);
    source.addEventListener(name, listener, options);
    return () => source.removeEventListener(name, listener);
  };

  /** An `error` is an end of its own only for emitters. */
  const listenForError = (source, name, listener) =>
    typeof source.on === 'function' && name !== 'error' ? listen(source, 'error', listener) : () => {};

  EventEmitter.once = async function once(emitter, name, options = {}) {
    const { signal } = options;
    if (signal?.aborted) throw abortError(signal);
    const stops = [];
    try {
      return await new Promise((resolve, reject) => {
        stops.push(listen(emitter, name, (...args) => resolve(args)));
        stops.push(listenForError(emitter, name, reject));
        if (signal) stops.push(listen(signal, 'abort', () => reject(abortError(signal)), { once: true }));
      });
    } finally {
      for (const stop of stops) stop();
    }
  };

  EventEmitter.on = function on(emitter, name, options = {}) {
    const { signal } = options;
    if (signal?.aborted) throw abortError(signal);
    const waiting = [];
    const held = [];
    let failed = null;
    let finished = false;
    const done = () => ({ value: undefined, done: true });
    const push = (...args) => {
      if (waiting.length > 0) waiting.shift().resolve({ value: args, done: false });
      else held.push(args);
    };
    const fail = (error) => {
      if (waiting.length > 0) waiting.shift().reject(error);
      else failed = { error };
      stop();
    };
    const stop = () => {
      finished = true;
      for (const each of stops) each();
      for (const { resolve } of waiting.splice(0)) resolve(done());
      return Promise.resolve(done());
    };
    const stops = [listen(emitter, name, push), listenForError(emitter, name, fail)];
    if (signal) stops.push(listen(signal, 'abort', () => fail(abortError(signal)), { once: true }));
    return {
      next() {
        if (held.length > 0) return Promise.resolve({ value: held.shift(), done: false });
        if (failed) {
          const { error } = failed;
          failed = null;
          return Promise.reject(error);
        }
        if (finished) return Promise.resolve(done());
        return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
      },
      return: stop,
      throw(error) {
        fail(error);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  };
  internal.EventEmitter = EventEmitter;
})
