// URL and URLSearchParams (https://url.spec.whatwg.org); parsing is native.
(function (internal) {
  'use strict';
  const { natives, nodeError, invalidArgType } = internal;
  const wellFormed = internal.primordials.text.toWellFormed;
  const PARTS = ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash'];
  const custom = Symbol.for('nodejs.util.inspect.custom');

  const decoded = (text) => {
    const plain = text.replaceAll('+', ' ');
    if (!plain.includes('%')) return plain;
    const bytes = natives.utf8Encode(wellFormed(plain));
    let to = 0;
    for (let at = 0; at < bytes.length; at += 1, to += 1) {
      const pair = bytes[at] === 0x25 ? String.fromCharCode(bytes[at + 1], bytes[at + 2]) : '';
      if (/^[0-9a-f]{2}$/i.test(pair)) {
        bytes[to] = parseInt(pair, 16);
        at += 2;
      } else bytes[to] = bytes[at];
    }
    return natives.utf8Decode(bytes.slice(0, to), false);
  };
  const encoded = (text) =>
    encodeURIComponent(wellFormed(text))
      .replace(/[!'()~]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
      .replaceAll('%20', '+');

  const parsed = (query) => {
    const list = [];
    for (const piece of query.split('&')) {
      if (piece === '') continue;
      const equals = piece.indexOf('=');
      if (equals === -1) list.push([decoded(piece), '']);
      else list.push([decoded(piece.slice(0, equals)), decoded(piece.slice(equals + 1))]);
    }
    return list;
  };

  const missing = (...names) =>
    nodeError(TypeError, 'ERR_MISSING_ARGS', `The ${names.join(' and ')} argument${names.length > 1 ? 's' : ''} must be specified`);
  const checkName = (args) => {
    if (args.length < 1) throw missing('"name"');
  };
  const checkPair = (args) => {
    if (args.length < 2) throw missing('"name"', '"value"');
  };

  const iterators = Object.create(Iterator.prototype, {
    [Symbol.toStringTag]: { value: 'URLSearchParams Iterator', configurable: true },
  });
  const iterator = (steps) => Object.create(iterators, { next: { value: () => steps.next() } });

  let attach;
  let refill;

  class URLSearchParams {
    #list = [];
    #url = null;
    static {
      attach = (params, url) => {
        params.#url = url;
      };
      refill = (params, query) => {
        params.#list = parsed(query);
      };
    }
    constructor(init = undefined) {
      if (init === undefined || init === null) return;
      if (typeof init === 'object' || typeof init === 'function') this.#fill(init);
      else {
        const text = wellFormed(`${init}`);
        this.#list = parsed(text[0] === '?' ? text.slice(1) : text);
      }
    }
    #fill(init) {
      const iterate = init[Symbol.iterator];
      if (iterate === undefined || iterate === null) {
        for (const name of Reflect.ownKeys(init)) {
          if (typeof name === 'string' && Object.getOwnPropertyDescriptor(init, name)?.enumerable) {
            this.#list.push([wellFormed(name), wellFormed(`${init[name]}`)]);
          }
        }
        return;
      }
      if (typeof iterate !== 'function') throw nodeError(TypeError, 'ERR_ARG_NOT_ITERABLE', 'Query pairs must be iterable');
      for (const pair of init) {
        const both = typeof pair === 'object' && pair !== null && typeof pair[Symbol.iterator] === 'function' ? [...pair] : [];
        if (both.length !== 2) throw nodeError(TypeError, 'ERR_INVALID_TUPLE', 'Each query pair must be an iterable [name, value] tuple');
        this.#list.push([wellFormed(`${both[0]}`), wellFormed(`${both[1]}`)]);
      }
    }
    #changed() {
      if (this.#url) this.#url.search = this.toString();
    }
    get size() {
      return this.#list.length;
    }
    append(name, value) {
      checkPair(arguments);
      this.#list.push([wellFormed(`${name}`), wellFormed(`${value}`)]);
      this.#changed();
    }
    delete(name, value = undefined) {
      checkName(arguments);
      const key = wellFormed(`${name}`);
      this.#list = this.#list.filter(([own, held]) => own !== key || (value !== undefined && held !== `${value}`));
      this.#changed();
    }
    get(name) {
      checkName(arguments);
      const key = wellFormed(`${name}`);
      return this.#list.find(([own]) => own === key)?.[1] ?? null;
    }
    getAll(name) {
      checkName(arguments);
      const key = wellFormed(`${name}`);
      return this.#list.filter(([own]) => own === key).map(([, value]) => value);
    }
    has(name, value = undefined) {
      checkName(arguments);
      const key = wellFormed(`${name}`);
      return this.#list.some(([own, held]) => own === key && (value === undefined || held === `${value}`));
    }
    set(name, value) {
      checkPair(arguments);
      const key = wellFormed(`${name}`);
      const text = wellFormed(`${value}`);
      const first = this.#list.find(([own]) => own === key);
      if (first) {
        first[1] = text;
        this.#list = this.#list.filter((pair) => pair === first || pair[0] !== key);
      } else this.#list.push([key, text]);
      this.#changed();
    }
    sort() {
      this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      this.#changed();
    }
    forEach(callback, thisArg = undefined) {
      if (typeof callback !== 'function') throw invalidArgType('callback', 'of type function', callback);
      for (const [name, value] of this) callback.call(thisArg, value, name, this);
    }
    *#each(part) {
      for (let at = 0; at < this.#list.length; at += 1) yield part(this.#list[at]);
    }
    entries() {
      return iterator(this.#each((pair) => [...pair]));
    }
    keys() {
      return iterator(this.#each(([name]) => name));
    }
    values() {
      return iterator(this.#each(([, value]) => value));
    }
    toString() {
      return this.#list.map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join('&');
    }
    [custom](depth, options, inspect) {
      if (this.#list.length === 0) return 'URLSearchParams {}';
      const shown = this.#list.map(([name, value]) => `${inspect(name, options)} => ${inspect(value, options)}`);
      const width = shown.reduce((sum, text) => sum + text.length, 0) + shown.length * 2;
      return width > (options.breakLength ?? 80)
        ? `URLSearchParams {\n  ${shown.join(',\n  ')} }`
        : `URLSearchParams { ${shown.join(', ')} }`;
    }
  }
  Object.defineProperty(URLSearchParams.prototype, Symbol.iterator, {
    __proto__: null,
    value: URLSearchParams.prototype.entries,
    writable: true,
    configurable: true,
  });

  const parse = (input, base) => natives.urlParse(wellFormed(`${input}`), base === undefined ? undefined : wellFormed(`${base}`)) ?? null;

  class URL {
    #parts;
    #params = null;
    constructor(input, base = undefined) {
      if (arguments.length === 0) throw missing('"url"');
      const parts = parse(input, base);
      if (parts === null) {
        const error = nodeError(TypeError, 'ERR_INVALID_URL', 'Invalid URL');
        error.input = `${input}`;
        if (base !== undefined) error.base = `${base}`;
        throw error;
      }
      this.#parts = parts;
    }
    #set(part, value) {
      this.#parts = natives.urlSet(this.#parts[0], part, wellFormed(`${value}`)) ?? this.#parts;
    }
    get href() {
      return this.#parts[0];
    }
    set href(value) {
      const parts = parse(value);
      if (parts === null) throw nodeError(TypeError, 'ERR_INVALID_URL', 'Invalid URL');
      this.#parts = parts;
      if (this.#params) refill(this.#params, this.#parts[9].slice(1));
    }
    get origin() {
      return this.#parts[1];
    }
    get search() {
      return this.#parts[9];
    }
    set search(value) {
      this.#set('search', value);
      if (this.#params) refill(this.#params, this.#parts[9].slice(1));
    }
    get searchParams() {
      if (!this.#params) {
        this.#params = new URLSearchParams(this.#parts[9]);
        attach(this.#params, this);
      }
      return this.#params;
    }
    toString() {
      return this.#parts[0];
    }
    toJSON() {
      return this.#parts[0];
    }
    static canParse(input, base = undefined) {
      return parse(input, base) !== null;
    }
    static parse(input, base = undefined) {
      return parse(input, base) === null ? null : new URL(input, base);
    }
    static {
      for (const part of ['protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'hash']) {
        const index = PARTS.indexOf(part);
        Object.defineProperty(this.prototype, part, {
          __proto__: null,
          get() {
            return this.#parts[index];
          },
          set(value) {
            this.#set(part, value);
          },
          enumerable: true,
          configurable: true,
        });
      }
    }
    [custom](depth, options, inspect) {
      if (typeof depth === 'number' && depth < 0) return this;
      const shown = {};
      for (const part of ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'searchParams', 'hash']) {
        shown[part] = this[part];
      }
      return `URL ${inspect(shown, options)}`;
    }
  }
  internal.enumerable(URL.prototype, ['href', 'origin', 'search', 'searchParams', 'toString', 'toJSON']);
  internal.expose({ URL, URLSearchParams });

  const fileURLToPath = (value) => {
    const url = typeof value === 'string' ? new URL(value) : value;
    if (url?.protocol !== 'file:') throw nodeError(TypeError, 'ERR_INVALID_URL_SCHEME', 'The URL must be of scheme file');
    return decodeURIComponent(url.pathname);
  };
  const pathToFileURL = (path) => {
    const url = new URL('file:///');
    url.pathname = `${path}`.replaceAll('%', '%25').replaceAll('\\', '%5C').replaceAll('\n', '%0A').replaceAll('?', '%3F').replaceAll('#', '%23');
    return url;
  };
  const urlToHttpOptions = (url) => ({
    protocol: url.protocol,
    hostname: url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname,
    hash: url.hash,
    search: url.search,
    pathname: url.pathname,
    path: `${url.pathname}${url.search}`,
    href: url.href,
    ...(url.port === '' ? {} : { port: Number(url.port) }),
    ...(url.username || url.password ? { auth: `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}` } : {}),
  });
  const format = (url, options = {}) => {
    if (!(url instanceof URL)) throw invalidArgType('urlObject', 'an instance of URL', url);
    const shown = new URL(url.href);
    if (options.auth === false) shown.username = shown.password = '';
    if (options.fragment === false) shown.hash = '';
    if (options.search === false) shown.search = '';
    return shown.href;
  };
  internal.urlModule = {
    URL,
    URLSearchParams,
    domainToASCII: (domain) => natives.domainToASCII(`${domain}`),
    domainToUnicode: (domain) => natives.domainToUnicode(`${domain}`),
    fileURLToPath,
    pathToFileURL,
    urlToHttpOptions,
    format,
  };
})
