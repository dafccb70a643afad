// TextEncoder and TextDecoder (https://encoding.spec.whatwg.org), for the encodings that tools meet.
(function (internal) {
  'use strict';
  const { natives, nodeError } = internal;
  const wellFormed = internal.primordials.text.toWellFormed;

  const LABELS = { __proto__: null };
  const label = (encoding, names) => {
    for (const name of names.split(' ')) LABELS[name] = encoding;
  };
  label('utf-8', 'utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8');
  label('utf-16le', 'utf-16le utf-16 ucs-2 unicode iso-10646-ucs-2 csunicode unicodefeff');
  label('utf-16be', 'utf-16be unicodefffe');
  label('windows-1252', 'windows-1252 latin1 iso-8859-1 iso8859-1 iso88591 iso_8859-1 l1 ascii us-ascii cp1252 x-cp1252 ansi_x3.4-1968 cp819');

  /** 0x80 to 0x9f of windows-1252. */
  const HIGH = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

  class TextEncoder {
    get encoding() {
      return 'utf-8';
    }
    encode(input = '') {
      return natives.utf8Encode(wellFormed(`${input}`));
    }
    encodeInto(source, destination) {
      if (typeof source !== 'string') throw internal.invalidArgType('src', 'of type string', source);
      let read = 0;
      let written = 0;
      for (const character of source) {
        const bytes = natives.utf8Encode(wellFormed(character));
        if (written + bytes.length > destination.length) break;
        destination.set(bytes, written);
        written += bytes.length;
        read += character.length;
      }
      return { read, written };
    }
  }

  const bytesOf = (input) => {
    if (input === undefined) return new Uint8Array(0);
    if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
    if (input instanceof ArrayBuffer || input instanceof SharedArrayBuffer) return new Uint8Array(input);
    throw nodeError(TypeError, 'ERR_INVALID_ARG_TYPE', 'The "list" argument must be an instance of SharedArrayBuffer, ArrayBuffer or ArrayBufferView.');
  };

  const joined = (first, second) => {
    if (first.length === 0) return second;
    const both = new Uint8Array(first.length + second.length);
    both.set(first);
    both.set(second, first.length);
    return both;
  };

  /** How many bytes at the end begin a character that may still be completed. */
  const openUtf8 = (bytes) => {
    for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
      const byte = bytes[bytes.length - back];
      if ((byte & 0xc0) === 0x80) continue;
      const needs = byte >= 0xf0 && byte < 0xf5 ? 4 : byte >= 0xe0 && byte < 0xf0 ? 3 : byte >= 0xc2 && byte < 0xe0 ? 2 : 1;
      if (needs <= back) return 0;
      // What can't become a character is an error now.
      return natives.utf8Decode(bytes.slice(-back), false).length === 1 ? back : 0;
    }
    return 0;
  };

  const invalid = () => nodeError(TypeError, 'ERR_ENCODING_INVALID_ENCODED_DATA', 'The encoded data was not valid for encoding utf-8');

  class TextDecoder {
    #encoding;
    #fatal;
    #ignoreBom;
    #rest = new Uint8Array(0);
    #atStart = true;
    constructor(encoding = 'utf-8', options = {}) {
      const found = LABELS[`${encoding}`.trim().toLowerCase()];
      if (!found) throw nodeError(RangeError, 'ERR_ENCODING_NOT_SUPPORTED', `The "${encoding}" encoding is not supported`);
      this.#encoding = found;
      this.#fatal = !!options?.fatal;
      this.#ignoreBom = !!options?.ignoreBOM;
    }
    get encoding() {
      return this.#encoding;
    }
    get fatal() {
      return this.#fatal;
    }
    get ignoreBOM() {
      return this.#ignoreBom;
    }
    decode(input = undefined, options = undefined) {
      const streams = !!options?.stream;
      const bytes = joined(this.#rest, bytesOf(input));
      const open = streams ? this.#open(bytes) : 0;
      this.#rest = bytes.slice(bytes.length - open);
      const text = this.#decoded(open ? bytes.subarray(0, bytes.length - open) : bytes);
      const bare = this.#atStart && !this.#ignoreBom && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
      this.#atStart = streams ? this.#atStart && text === '' : true;
      return bare;
    }
    #open(bytes) {
      if (this.#encoding === 'utf-8') return openUtf8(bytes);
      return this.#encoding === 'windows-1252' ? 0 : bytes.length % 2;
    }
    #decoded(bytes) {
      if (this.#encoding === 'utf-8') {
        const text = natives.utf8Decode(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length), this.#fatal);
        if (text !== undefined && text !== null) return text;
        this.#rest = new Uint8Array(0);
        throw invalid();
      }
      return this.#encoding === 'windows-1252' ? this.#windows(bytes) : this.#wide(bytes);
    }
    #windows(bytes) {
      let text = '';
      for (const byte of bytes) text += byte >= 0x80 && byte < 0xa0 ? HIGH[byte - 0x80] : String.fromCharCode(byte);
      return text;
    }
    #wide(bytes) {
      let text = '';
      const low = this.#encoding === 'utf-16le' ? 0 : 1;
      for (let at = 0; at + 1 < bytes.length; at += 2) text += String.fromCharCode(bytes[at + low] | (bytes[at + 1 - low] << 8));
      if (bytes.length % 2) text += '\ufffd';
      if (this.#fatal && (bytes.length % 2 || !text.isWellFormed())) throw invalid();
      return text.toWellFormed();
    }
  }
  internal.expose({ TextEncoder, TextDecoder });
})
