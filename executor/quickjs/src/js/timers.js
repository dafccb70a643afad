// Timers, in a queue of our own. `step` does one thing at a time, so that the jobs it leaves are run in between.
(function (internal) {
  'use strict';
  const { natives, checkFunction } = internal;
  const { Number, String } = internal.primordials;
  const MAX_DELAY = 2 ** 31 - 1;

  // A binary heap by due time, then by age. Timers that were cleared stay until they come up.
  const heap = [];
  let size = 0;
  let lastId = 0;
  let now = 0;
  let referenced = 0;

  const before = (a, b) => a.due < b.due || (a.due === b.due && a.order < b.order);

  const insert = (entry) => {
    let at = size;
    size += 1;
    for (; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!before(entry, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = entry;
  };

  const removeFirst = () => {
    size -= 1;
    const last = heap[size];
    heap[size] = undefined;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && before(heap[child + 1], heap[child])) child += 1;
      if (!before(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
  };

  const byId = { __proto__: null };
  let order = 0;

  const schedule = (timer) => {
    order += 1;
    const entry = { __proto__: null, timer, due: now + timer.delay, order };
    timer.entry = entry;
    insert(entry);
  };

  const hold = (timer, active, ref) => {
    if (timer.active && timer.ref) referenced -= 1;
    timer.active = active;
    timer.ref = ref;
    if (active && ref) referenced += 1;
  };

  const stop = (timer) => {
    hold(timer, false, timer.ref);
    timer.entry = null;
    delete byId[timer.id];
  };

  class Timeout {
    #timer;
    constructor(callback, delay, args, repeats) {
      lastId += 1;
      let after = Number(delay);
      if (!(after >= 1 && after <= MAX_DELAY)) after = 1;
      const timer = { __proto__: null, id: lastId, callback, args, delay: after | 0, repeats, entry: null, active: false, ref: true, handle: this };
      this.#timer = timer;
      if (size === 0 || now === 0) now = natives.monotonic() | 0;
      hold(timer, true, true);
      schedule(timer);
    }
    ref() {
      hold(this.#timer, this.#timer.active, true);
      return this;
    }
    unref() {
      hold(this.#timer, this.#timer.active, false);
      return this;
    }
    hasRef() {
      return this.#timer.ref;
    }
    refresh() {
      if (this.#timer.active) schedule(this.#timer);
      return this;
    }
    close() {
      stop(this.#timer);
      return this;
    }
    [Symbol.toPrimitive]() {
      byId[this.#timer.id] = this.#timer;
      return this.#timer.id;
    }
    [Symbol.dispose]() {
      stop(this.#timer);
    }
    static stop(value) {
      if (typeof value === 'object' && value !== null && #timer in value) stop(value.#timer);
      else if (typeof value === 'number' || typeof value === 'string') {
        const timer = byId[value];
        if (timer) stop(timer);
      }
    }
  }
  const stopTimeout = Timeout.stop;
  delete Timeout.stop;

  let immediates = [];
  let current = [];
  let next = 0;
  let waiting = 0;

  class Immediate {
    #entry;
    constructor(callback, args) {
      this.#entry = { __proto__: null, callback, args, handle: this, active: true, ref: true };
      immediates[immediates.length] = this.#entry;
      waiting += 1;
    }
    ref() {
      if (this.#entry.active && !this.#entry.ref) waiting += 1;
      this.#entry.ref = true;
      return this;
    }
    unref() {
      if (this.#entry.active && this.#entry.ref) waiting -= 1;
      this.#entry.ref = false;
      return this;
    }
    hasRef() {
      return this.#entry.ref;
    }
    [Symbol.dispose]() {
      stopImmediate(this);
    }
    static stop(value) {
      if (typeof value === 'object' && value !== null && #entry in value) settle(value.#entry);
    }
  }
  const stopImmediate = Immediate.stop;
  delete Immediate.stop;

  const settle = (entry) => {
    if (entry.active && entry.ref) waiting -= 1;
    entry.active = false;
  };

  // Whether timers come next, or immediates.
  let checking = false;

  const dueTimer = () => {
    while (size > 0) {
      const { timer } = heap[0];
      if (timer.entry !== heap[0]) removeFirst();
      else return heap[0].due <= now ? timer : null;
    }
    return null;
  };

  const fire = (timer) => {
    removeFirst();
    timer.entry = null;
    if (!timer.repeats) stop(timer);
    try {
      timer.callback.call(timer.handle, ...timer.args);
    } finally {
      if (timer.repeats && timer.active && timer.entry === null) schedule(timer);
    }
  };

  const runImmediate = () => {
    for (; next < current.length; ) {
      const entry = current[next];
      current[next] = undefined;
      next += 1;
      if (!entry.active) continue;
      settle(entry);
      entry.callback.call(entry.handle, ...entry.args);
      return true;
    }
    return false;
  };

  /** Runs one callback and gives 0; or gives the milliseconds to wait; or -1 when nothing can come any more. */
  const step = () => {
    for (let phase = 0; phase < 3; phase += 1) {
      if (!checking) {
        const timer = dueTimer();
        if (timer) {
          fire(timer);
          return 0;
        }
        checking = true;
        current = immediates;
        immediates = [];
        next = 0;
      }
      if (runImmediate()) return 0;
      checking = false;
      now = natives.monotonic() | 0;
    }
    if (waiting > 0) return 0;
    if (referenced === 0) return -1;
    // The heap's head is live: `dueTimer` has just removed what was cleared.
    if (size === 0) return -1;
    const wait = heap[0].due - natives.monotonic();
    return wait > 0 ? wait : 0;
  };

  /** Whether immediates that were set before now are still to run. */
  const immediatesLeft = () => waiting > 0 && (immediates.length > 0 || next < current.length);

  const hide = (name, value) =>
    Object.defineProperty(globalThis, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });

  const api = {
    setTimeout(callback, delay, ...args) {
      checkFunction(callback, 'callback');
      return new Timeout(callback, delay, args, false);
    },
    setInterval(callback, delay, ...args) {
      checkFunction(callback, 'callback');
      return new Timeout(callback, delay, args, true);
    },
    setImmediate(callback, ...args) {
      checkFunction(callback, 'callback');
      return new Immediate(callback, args);
    },
    clearTimeout(timer) {
      stopTimeout(timer);
    },
    clearInterval(timer) {
      stopTimeout(timer);
    },
    clearImmediate(immediate) {
      stopImmediate(immediate);
    },
  };
  for (const name of Object.keys(api)) hide(name, api[name]);

  const abortError = (signal) => internal.abortError(signal);

  /** A promise for what `set` calls back with, which a signal can reject. */
  const promised = (set, clear, value, options = {}) => {
    const { signal, ref = true } = options;
    if (signal?.aborted) return Promise.reject(abortError(signal));
    return new Promise((resolve, reject) => {
      const timer = set(() => {
        signal?.removeEventListener('abort', abort);
        resolve(value);
      });
      const abort = () => {
        clear(timer);
        reject(abortError(signal));
      };
      if (!ref) timer.unref();
      signal?.addEventListener('abort', abort, { once: true });
    });
  };
  const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate } = api;
  const promises = {
    setTimeout: (delay, value, options) => promised((done) => setTimeout(done, delay), clearTimeout, value, options),
    setImmediate: (value, options) => promised((done) => setImmediate(done), clearImmediate, value, options),
    async *setInterval(delay, value, options = {}) {
      for (;;) yield await promises.setTimeout(delay, value, options);
    },
    scheduler: {
      wait: (delay, options) => promises.setTimeout(delay, undefined, options),
      yield: () => promises.setImmediate(),
    },
  };
  const custom = Symbol.for('nodejs.util.promisify.custom');
  const hidden = (target, value) => Object.defineProperty(target, custom, { __proto__: null, value, enumerable: true });
  hidden(setTimeout, promises.setTimeout);
  hidden(setImmediate, promises.setImmediate);

  internal.timers = { __proto__: null, step, immediatesLeft, api, promises };
})
