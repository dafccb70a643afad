// Web Crypto's and node:crypto's digests, random bytes and comparisons. Ciphers, signatures and keys are left out.
(function (internal) {
  'use strict';
  const { natives, Buffer, nodeError, invalidArgType, outOfRange } = internal;
  const MAX_SLICE = 65_536;
  const HASHES = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512'];
  const bytesOf = (data, encoding, name = 'data') => {
    if (typeof data === 'string') return Buffer.from(data, encoding === 'buffer' ? undefined : encoding);
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (data instanceof ArrayBuffer) return new Uint8Array(data);
    throw invalidArgType(name, 'of type string or an instance of Buffer, TypedArray, or DataView', data);
  };
  const plain = (bytes) => (bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const fill = (view) => {
    for (let at = 0; at < view.length; at += MAX_SLICE) view.set(natives.randomBytes(Math.min(MAX_SLICE, view.length - at)), at);
    return view;
  };

  const DIGESTS = { __proto__: null, 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-384': 'sha384', 'SHA-512': 'sha512' };
  class SubtleCrypto {
    async digest(algorithm, data) {
      const name = `${typeof algorithm === 'string' ? algorithm : algorithm?.name}`.toUpperCase();
      if (!DIGESTS[name]) throw new DOMException('Unrecognized algorithm name', 'NotSupportedError');
      const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return natives.digest(DIGESTS[name], bytes).buffer;
    }
  }
  class Crypto {
    getRandomValues(view) {
      if (!ArrayBuffer.isView(view) || view instanceof DataView || /Float/.test(view[Symbol.toStringTag])) {
        throw new DOMException('The data argument must be an integer-type TypedArray', 'TypeMismatchError');
      }
      if (view.byteLength > MAX_SLICE) {
        throw new DOMException(`The requested length exceeds 65,536 bytes`, 'QuotaExceededError');
      }
      fill(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
      return view;
    }
    randomUUID() {
      const bytes = natives.randomBytes(16);
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const hex = bytes.toHex();
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    }
    get subtle() {
      return subtle;
    }
  }
  const subtle = new SubtleCrypto();
  const crypto = new Crypto();
  internal.expose({ Crypto, SubtleCrypto, crypto });

  const known = (algorithm) => {
    if (typeof algorithm !== 'string') throw invalidArgType('algorithm', 'of type string', algorithm);
    const name = algorithm.toLowerCase().replace(/^rsa-/, '').replace(/^sha-/, 'sha');
    return HASHES.includes(name) ? name : null;
  };
  const told = (bytes, encoding) => {
    const buffer = Buffer.from(bytes.buffer);
    return encoding === undefined || encoding === 'buffer' ? buffer : buffer.toString(encoding);
  };

  class Hash {
    #finish;
    #pieces;
    #done = false;
    constructor(finish, pieces = []) {
      this.#finish = finish;
      this.#pieces = pieces;
    }
    update(data, encoding = undefined) {
      if (this.#done) throw nodeError(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
      this.#pieces.push(Buffer.from(bytesOf(data, encoding)));
      return this;
    }
    digest(encoding = undefined) {
      if (this.#done) throw nodeError(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
      this.#done = true;
      return told(this.#finish(plain(Buffer.concat(this.#pieces))), encoding);
    }
    copy() {
      if (this.#done) throw nodeError(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
      return new Hash(this.#finish, [...this.#pieces]);
    }
  }
  class Hmac extends Hash {}

  const createHash = (algorithm) => {
    const name = known(algorithm);
    if (!name) throw Object.assign(new Error('Digest method not supported'), { code: 'ERR_OSSL_EVP_UNSUPPORTED' });
    return new Hash((bytes) => natives.digest(name, bytes));
  };
  const createHmac = (algorithm, key) => {
    const name = known(algorithm);
    if (!name) throw nodeError(Error, 'ERR_CRYPTO_INVALID_DIGEST', `Invalid digest: ${algorithm}`);
    const secret = plain(bytesOf(key, undefined, 'key'));
    return new Hmac((bytes) => natives.hmac(name, secret, bytes));
  };
  const hash = (algorithm, data, encoding = 'hex') => createHash(algorithm).update(data).digest(encoding);

  const randomBytes = (size, callback = undefined) => {
    if (typeof size !== 'number') throw invalidArgType('size', 'of type number', size);
    if (!(size >= 0 && size <= 2 ** 31 - 1)) throw outOfRange('size', '>= 0 && <= 2147483647', size);
    const bytes = fill(Buffer.alloc(size));
    if (!callback) return bytes;
    setImmediate(callback, null, bytes);
    return undefined;
  };
  const randomFillSync = (view, offset = 0, size = view.byteLength - offset) => {
    fill(new Uint8Array(view.buffer, view.byteOffset + offset, size));
    return view;
  };
  const randomInt = (low, high, callback) => {
    if (high === undefined || typeof high === 'function') return randomInt(0, low, high);
    if (!Number.isSafeInteger(low)) throw invalidArgType('min', 'a safe integer', low);
    if (!Number.isSafeInteger(high)) throw invalidArgType('max', 'a safe integer', high);
    if (high <= low) throw outOfRange('max', `greater than the value of "min" (${low})`, high);
    const range = high - low;
    if (range > 2 ** 48 - 1) throw outOfRange('max - min', '<= 281474976710655', range);
    const limit = 2 ** 48 - (2 ** 48 % range);
    for (;;) {
      const value = Buffer.from(natives.randomBytes(6).buffer).readUIntBE(0, 6);
      if (value >= limit) continue;
      if (!callback) return low + (value % range);
      setImmediate(callback, null, low + (value % range));
      return undefined;
    }
  };
  const timingSafeEqual = (one, other) => {
    const a = bytesOf(one, undefined, 'buf1');
    const b = bytesOf(other, undefined, 'buf2');
    if (a.length !== b.length) throw nodeError(RangeError, 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH', 'Input buffers must have the same byte length');
    let differs = 0;
    for (let at = 0; at < a.length; at += 1) differs |= a[at] ^ b[at];
    return differs === 0;
  };
  internal.cryptoModule = {
    createHash,
    createHmac,
    hash,
    Hash,
    Hmac,
    getHashes: () => [...HASHES],
    randomBytes,
    randomFillSync,
    randomInt,
    randomUUID: () => crypto.randomUUID(),
    getRandomValues: (view) => crypto.getRandomValues(view),
    timingSafeEqual,
    subtle,
    webcrypto: crypto,
  };
})
