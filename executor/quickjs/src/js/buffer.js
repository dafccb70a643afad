// `Buffer`, from its package, with the slow parts done by the engine.
(function (internal) {
  'use strict';
  const { natives } = internal;
  const { buffer } = internal.vendor;
  const { Buffer } = buffer;
  const wellFormed = internal.primordials.text.toWellFormed;
  const view = (bytes, start, end) => new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);

  const isUtf8 = (encoding) => encoding === undefined || /^utf-?8$/i.test(encoding);

  const from = Buffer.from;
  Buffer.from = function (value, encoding, length) {
    if (typeof value === 'string') {
      if (isUtf8(encoding)) return over(natives.utf8Encode(wellFormed(value)));
      if (encoding === 'hex') return over(hexBytes(value));
      // The package pads `=` and skips what is not base64 only now and then as Node.js does.
      if (encoding === 'base64' || encoding === 'base64url') return over(base64Bytes(value));
    }
    if (value === null || (typeof value !== 'object' && typeof value !== 'string')) {
      throw internal.invalidArgType('first argument', 'of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object', value);
    }
    return from.call(this, value, encoding, length);
  };
  const over = (bytes) => Object.setPrototypeOf(bytes, Buffer.prototype);

  const hexBytes = (text) => {
    const whole = /^(?:[0-9a-f]{2})*/i.exec(text)[0];
    return Uint8Array.fromHex(whole);
  };
  const base64Bytes = (text) => {
    const end = text.indexOf('=');
    const clean = (end === -1 ? text : text.slice(0, end)).replace(/-/g, '+').replace(/_/g, '/').replace(/[^A-Za-z0-9+/]/g, '');
    const useful = clean.length % 4 === 1 ? clean.slice(0, -1) : clean;
    return Uint8Array.fromBase64(useful, { lastChunkHandling: 'loose' });
  };

  const nativeFill = Uint8Array.prototype.fill;
  const fill = Buffer.prototype.fill;
  Buffer.prototype.fill = function (value, start, end, encoding) {
    if (typeof value !== 'number' || start !== undefined) return fill.call(this, value, start, end, encoding);
    return nativeFill.call(this, value & 255);
  };
  const checkSize = (size) => {
    if (typeof size !== 'number') throw internal.invalidArgType('size', 'of type number', size);
    if (!(size >= 0 && size <= buffer.kMaxLength)) throw internal.outOfRange('size', `>= 0 && <= ${buffer.kMaxLength}`, size);
  };
  const alloc = Buffer.alloc;
  Buffer.allocUnsafe = Buffer.allocUnsafeSlow = function (size) {
    checkSize(size);
    return alloc.call(this, size);
  };
  Buffer.alloc = function (size, value, encoding) {
    checkSize(size);
    if (typeof value !== 'number') return alloc.call(this, size, value, encoding);
    return alloc.call(this, size).fill(value);
  };

  const toString = Buffer.prototype.toString;
  Buffer.prototype.toString = function (encoding, start, end) {
    const from = Math.min(Math.max(start | 0, 0), this.length);
    const to = end === undefined ? this.length : Math.min(Math.max(end | 0, 0), this.length);
    if (to <= from) return '';
    const part = () => view(this, from, to);
    if (isUtf8(encoding)) return natives.utf8Decode(part(), false);
    switch (`${encoding}`.toLowerCase()) {
      case 'hex':
        return part().toHex();
      case 'base64':
        return part().toBase64();
      case 'base64url':
        return part().toBase64({ alphabet: 'base64url', omitPadding: true });
      case 'ascii':
      case 'latin1':
      case 'binary':
      case 'ucs2':
      case 'ucs-2':
      case 'utf16le':
      case 'utf-16le':
        return toString.call(this, encoding, from, to);
      default:
        throw internal.nodeError(TypeError, 'ERR_UNKNOWN_ENCODING', `Unknown encoding: ${encoding}`);
    }
  };
  Buffer.prototype.toLocaleString = Buffer.prototype.toString;

  const byteLength = Buffer.byteLength;
  Buffer.byteLength = function (value, encoding) {
    if (typeof value === 'string' && isUtf8(encoding)) return natives.utf8Encode(wellFormed(value)).length;
    if (typeof value !== 'string' && !ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)) {
      throw internal.invalidArgType('string', 'of type string or an instance of Buffer or ArrayBuffer', value);
    }
    return byteLength.call(this, value, encoding);
  };

  // Without the properties that the package keeps for old browsers.
  delete Buffer.prototype._isBuffer;
  delete Buffer.TYPED_ARRAY_SUPPORT;
  Buffer.isBuffer = (value) => value instanceof Buffer;
  delete Buffer.prototype[Symbol.for('nodejs.util.inspect.custom')];
  delete Buffer.prototype.inspect;
  Object.defineProperty(Buffer.prototype, Symbol.for('nodejs.util.inspect.custom'), {
    __proto__: null,
    configurable: true,
    writable: true,
    value: function inspect(_depth, options) {
      const shown = this.length > 50 ? 50 : this.length;
      let text = view(this, 0, shown).toHex().replace(/(.{2})/g, '$1 ').trim();
      const more = this.length - shown;
      if (more > 0) text += ` ... ${more} more byte${more > 1 ? 's' : ''}`;
      const extra = Object.keys(this).slice(this.length);
      if (extra.length > 0) {
        const own = { __proto__: null };
        for (const name of extra) own[name] = this[name];
        text += `${this.length > 0 ? ', ' : ''}${internal.inspect(own, { ...options, breakLength: Infinity, compact: true }).slice(27, -2)}`;
      }
      return `<${this.constructor.name} ${text}>`;
    },
  });
  Object.defineProperty(Buffer, 'name', { __proto__: null, value: 'Buffer', configurable: true });

  const isAscii = (bytes) => new Uint8Array(bytes.buffer ?? bytes).every((byte) => byte < 128);
  internal.Buffer = Buffer;
  Object.defineProperty(globalThis, 'Buffer', { __proto__: null, value: Buffer, writable: true, configurable: true });
  const { kMaxLength } = buffer;
  internal.bufferModule = {
    Buffer,
    SlowBuffer: buffer.SlowBuffer,
    constants: { MAX_LENGTH: kMaxLength, MAX_STRING_LENGTH: 2 ** 30 - 1 },
    kMaxLength,
    kStringMaxLength: 2 ** 30 - 1,
    INSPECT_MAX_BYTES: 50,
    atob,
    btoa,
    isAscii,
    isUtf8: (bytes) => natives.utf8Decode(new Uint8Array(bytes.buffer ?? bytes), true) !== undefined,
  };
})
