// Event, CustomEvent and EventTarget (https://dom.spec.whatwg.org), without a tree of nodes.
(function (internal) {
  'use strict';
  const { nodeError, invalidArgType } = internal;
  const custom = Symbol.for('nodejs.util.inspect.custom');
  let start;
  let stopped;
  let setPassive;

  class Event {
    #type;
    #bubbles;
    #cancelable;
    #composed;
    #prevented = false;
    #stopped = false;
    #passive = false;
    #target = null;
    #current = null;
    #phase = 0;
    #stamp = internal.now?.() ?? 0;
    static {
      start = (event, target) => {
        event.#target ??= target;
        event.#current = target;
        event.#phase = target ? 2 : 0;
      };
      stopped = (event) => event.#stopped;
      setPassive = (event, passive) => {
        event.#passive = passive;
      };
    }
    constructor(type, options = undefined) {
      if (arguments.length === 0) throw nodeError(TypeError, 'ERR_MISSING_ARGS', 'The "type" argument must be specified');
      this.#type = `${type}`;
      this.#bubbles = !!options?.bubbles;
      this.#cancelable = !!options?.cancelable;
      this.#composed = !!options?.composed;
    }
    get type() {
      return this.#type;
    }
    get target() {
      return this.#target;
    }
    get currentTarget() {
      return this.#current;
    }
    get srcElement() {
      return this.#target;
    }
    get eventPhase() {
      return this.#phase;
    }
    get bubbles() {
      return this.#bubbles;
    }
    get cancelable() {
      return this.#cancelable;
    }
    get composed() {
      return this.#composed;
    }
    get defaultPrevented() {
      return this.#cancelable && this.#prevented;
    }
    get returnValue() {
      return !this.defaultPrevented;
    }
    get cancelBubble() {
      return this.#stopped;
    }
    get timeStamp() {
      return this.#stamp;
    }
    get isTrusted() {
      return false;
    }
    composedPath() {
      return this.#current ? [this.#current] : [];
    }
    preventDefault() {
      if (!this.#passive) this.#prevented = true;
    }
    stopPropagation() {}
    stopImmediatePropagation() {
      this.#stopped = true;
    }
    [custom](depth, options, inspect) {
      const shown = { type: this.type, defaultPrevented: this.defaultPrevented, cancelable: this.cancelable, timeStamp: this.timeStamp };
      return `${this.constructor.name} ${inspect(shown, options)}`;
    }
  }
  Object.assign(Event, { NONE: 0, CAPTURING_PHASE: 1, AT_TARGET: 2, BUBBLING_PHASE: 3 });

  class CustomEvent extends Event {
    #detail;
    constructor(type, options = undefined) {
      super(type, options);
      this.#detail = options?.detail ?? null;
    }
    get detail() {
      return this.#detail;
    }
  }

  const called = (callback, target, event) => {
    try {
      if (typeof callback === 'function') callback.call(target, event);
      else callback.handleEvent(event);
    } catch (error) {
      // As in Node.js: the others still hear of it, and the error is nobody's.
      setTimeout(() => {
        throw error;
      }, 0);
    }
  };

  class EventTarget {
    #listeners = new Map();
    addEventListener(type, callback, options = undefined) {
      if (arguments.length < 2) throw nodeError(TypeError, 'ERR_MISSING_ARGS', 'The "type" and "listener" arguments must be specified');
      if (callback === null || callback === undefined) return;
      if (typeof callback !== 'function' && typeof callback !== 'object') throw invalidArgType('listener', 'an instance of EventListener', callback);
      const { once = false, passive = false, signal, capture = false } = typeof options === 'boolean' ? { capture: options } : (options ?? {});
      if (signal?.aborted) return;
      const key = `${type}`;
      const held = this.#listeners.get(key) ?? [];
      if (held.some((own) => own.callback === callback && own.capture === !!capture)) return;
      this.#listeners.set(key, [...held, { callback, once: !!once, passive: !!passive, capture: !!capture, removed: false }]);
      signal?.addEventListener('abort', () => this.removeEventListener(type, callback, options), { once: true });
    }
    removeEventListener(type, callback, options = undefined) {
      const capture = !!(typeof options === 'boolean' ? options : options?.capture);
      const held = this.#listeners.get(`${type}`) ?? [];
      for (const own of held) if (own.callback === callback && own.capture === capture) own.removed = true;
      this.#listeners.set(`${type}`, held.filter((own) => !own.removed));
    }
    dispatchEvent(event) {
      if (!(event instanceof Event)) throw invalidArgType('event', 'an instance of Event', event);
      if (event.eventPhase !== 0) throw nodeError(Error, 'ERR_EVENT_RECURSION', `The event "${event.type}" is already being dispatched`);
      start(event, this);
      for (const own of this.#listeners.get(event.type) ?? []) {
        if (own.removed) continue;
        if (own.once) this.removeEventListener(event.type, own.callback, own.capture);
        setPassive(event, own.passive);
        called(own.callback, this, event);
        setPassive(event, false);
        if (stopped(event)) break;
      }
      start(event, null);
      return !event.defaultPrevented;
    }
    [custom](depth, options, inspect) {
      return `${this.constructor.name} ${inspect({}, options)}`;
    }
  }
  internal.expose({ Event, CustomEvent, EventTarget });

  /** `target.on<type> = handler`. */
  internal.handlerProperty = (prototype, type) => {
    const handlers = new WeakMap();
    Object.defineProperty(prototype, `on${type}`, {
      __proto__: null,
      get() {
        return handlers.get(this) ?? null;
      },
      set(handler) {
        const before = handlers.get(this);
        if (before) this.removeEventListener(type, before);
        handlers.set(this, typeof handler === 'function' ? handler : null);
        if (typeof handler === 'function') this.addEventListener(type, handler);
      },
      enumerable: true,
      configurable: true,
    });
  };
})
