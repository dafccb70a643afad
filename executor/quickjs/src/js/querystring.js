// node:querystring.
(function (internal) {
  'use strict';
  const { natives } = internal;

  const escape = (value) => {
    const text = typeof value === 'string' ? value : typeof value === 'object' ? String(value) : `${value}`;
    if (!text.isWellFormed()) throw internal.nodeError(URIError, 'ERR_INVALID_URI', 'URI malformed');
    return encodeURIComponent(text);
  };
  const unescapeBuffer = (text) => {
    const bytes = internal.Buffer.from(`${text}`);
    let to = 0;
    for (let at = 0; at < bytes.length; at += 1, to += 1) {
      const pair = bytes[at] === 0x25 ? String.fromCharCode(bytes[at + 1], bytes[at + 2]) : '';
      if (/^[0-9a-f]{2}$/i.test(pair)) {
        bytes[to] = parseInt(pair, 16);
        at += 2;
      } else bytes[to] = bytes[at];
    }
    return bytes.subarray(0, to);
  };
  const unescape = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return unescapeBuffer(text).toString();
    }
  };
  const primitive = (value) => {
    if (typeof value === 'string') return value;
    if (typeof value === 'number' && isFinite(value)) return `${value}`;
    if (typeof value === 'bigint' || typeof value === 'boolean') return `${value}`;
    return '';
  };
  const stringify = (object, separator, equals, options) => {
    if (object === null || typeof object !== 'object') return '';
    const encode = options?.encodeURIComponent ?? querystring.escape;
    const sign = equals || '=';
    const pieces = [];
    for (const key of Object.keys(object)) {
      const name = encode(primitive(key)) + sign;
      const value = object[key];
      for (const each of Array.isArray(value) ? value : [value]) pieces.push(name + encode(primitive(each)));
    }
    return pieces.join(separator || '&');
  };
  const parse = (text, separator, equals, options) => {
    const found = Object.create(null);
    if (typeof text !== 'string' || text.length === 0) return found;
    const decode = options?.decodeURIComponent ?? querystring.unescape;
    const most = options?.maxKeys ?? 1000;
    const sign = equals || '=';
    let pieces = text.split(separator || '&').filter((piece) => piece !== '');
    if (most > 0) pieces = pieces.slice(0, most);
    for (const piece of pieces) {
      const at = piece.indexOf(sign);
      const part = (raw) => {
        const plain = raw.replaceAll('+', ' ');
        return plain.includes('%') ? decode(plain) : plain;
      };
      const key = part(at === -1 ? piece : piece.slice(0, at));
      const value = at === -1 ? '' : part(piece.slice(at + sign.length));
      if (!(key in found)) found[key] = value;
      else if (Array.isArray(found[key])) found[key].push(value);
      else found[key] = [found[key], value];
    }
    return found;
  };
  const querystring = { unescapeBuffer, unescape, escape, stringify, encode: stringify, parse, decode: parse };
  internal.querystring = querystring;
})
