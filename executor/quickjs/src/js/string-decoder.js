// node:string_decoder, over TextDecoder.
(function (internal) {
  'use strict';
  const { Buffer, nodeError } = internal;
  const NAMES = { __proto__: null, utf8: 'utf8', 'utf-8': 'utf8', ucs2: 'utf16le', 'ucs-2': 'utf16le', utf16le: 'utf16le', 'utf-16le': 'utf16le', latin1: 'latin1', binary: 'latin1', ascii: 'ascii', base64: 'base64', base64url: 'base64url', hex: 'hex' };

  class StringDecoder {
    #decoder = null;
    #rest = Buffer.alloc(0);
    constructor(encoding = 'utf8') {
      this.encoding = NAMES[`${encoding}`.toLowerCase()];
      if (!this.encoding) throw nodeError(TypeError, 'ERR_UNKNOWN_ENCODING', `Unknown encoding: ${encoding}`);
      this.#begin();
    }
    #begin() {
      if (this.encoding === 'utf8') this.#decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      if (this.encoding === 'utf16le') this.#decoder = new TextDecoder('utf-16le', { ignoreBOM: true });
      this.#rest = Buffer.alloc(0);
    }
    write(data) {
      if (typeof data === 'string') return data;
      if (!ArrayBuffer.isView(data)) throw internal.invalidArgType('buf', 'an instance of Buffer, TypedArray, or DataView', data);
      if (this.#decoder) return this.#decoder.decode(data, { stream: true });
      const bytes = Buffer.concat([this.#rest, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]);
      const open = this.encoding.startsWith('base64') ? bytes.length % 3 : 0;
      this.#rest = bytes.subarray(bytes.length - open);
      return bytes.toString(this.encoding, 0, bytes.length - open);
    }
    end(data = undefined) {
      const text = data === undefined ? '' : this.write(data);
      const last = this.#decoder ? this.#decoder.decode() : this.#rest.toString(this.encoding);
      this.#begin();
      return text + last;
    }
  }
  internal.StringDecoder = StringDecoder;
})
