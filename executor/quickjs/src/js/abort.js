// AbortController and AbortSignal (https://dom.spec.whatwg.org/#aborting-ongoing-activities).
(function (internal) {
  'use strict';
  const { nodeError } = internal;
  const allowed = Symbol('allowed');
  const custom = Symbol.for('nodejs.util.inspect.custom');
  const { setTimeout } = internal.timers.api;
  let abort;

  class AbortSignal extends EventTarget {
    #aborted = false;
    #reason = undefined;
    #dependents = [];
    static {
      abort = (signal, reason) => {
        if (signal.#aborted) return;
        signal.#aborted = true;
        signal.#reason = reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason;
        for (const dependent of signal.#dependents) abort(dependent, signal.#reason);
        signal.dispatchEvent(new Event('abort'));
      };
    }
    constructor(key) {
      if (key !== allowed) throw nodeError(TypeError, 'ERR_ILLEGAL_CONSTRUCTOR', 'Illegal constructor');
      super();
    }
    get aborted() {
      return this.#aborted;
    }
    get reason() {
      return this.#reason;
    }
    throwIfAborted() {
      if (this.#aborted) throw this.#reason;
    }
    static abort(reason = undefined) {
      const signal = new AbortSignal(allowed);
      abort(signal, reason);
      return signal;
    }
    static timeout(delay) {
      const signal = new AbortSignal(allowed);
      setTimeout(() => abort(signal, new DOMException('The operation was aborted due to timeout', 'TimeoutError')), delay).unref();
      return signal;
    }
    static any(signals) {
      const any = new AbortSignal(allowed);
      const sources = [...signals];
      const aborted = sources.find((source) => source.aborted);
      if (aborted) abort(any, aborted.reason);
      else for (const source of sources) source.#dependents.push(any);
      return any;
    }
    [custom](depth, options, inspect) {
      return `AbortSignal ${inspect({ aborted: this.aborted }, options)}`;
    }
  }
  internal.handlerProperty(AbortSignal.prototype, 'abort');
  internal.enumerable(AbortSignal.prototype, ['aborted', 'reason', 'throwIfAborted']);

  class AbortController {
    #signal = new AbortSignal(allowed);
    get signal() {
      return this.#signal;
    }
    abort(reason = undefined) {
      abort(this.#signal, reason);
    }
    [custom](depth, options, inspect) {
      return `AbortController ${inspect({ signal: this.signal }, options)}`;
    }
  }
  internal.enumerable(AbortController.prototype, ['signal', 'abort']);
  internal.expose({ AbortController, AbortSignal });

  /** What Node.js's own functions reject with. */
  internal.abortError = (signal) => {
    const error = new Error('The operation was aborted', { cause: signal.reason });
    error.name = 'AbortError';
    error.code = 'ABORT_ERR';
    return error;
  };
})
