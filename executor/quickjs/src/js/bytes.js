// Bytes to text and to digests, cut into pieces that are small beside the memory limit.
(function (internal) {
  'use strict';
  const { natives } = internal;
  const { uncurried } = internal.primordials;
  const toHex = uncurried(Uint8Array.prototype.toHex);
  const subarray = uncurried(Uint8Array.prototype.subarray);
  const PIECE = 49_152;

  /** Where a piece may end without cutting a character of UTF-8. */
  const boundary = (bytes, from) => {
    const most = from + PIECE;
    if (most >= bytes.length) return bytes.length;
    // After three continuation bytes a fourth belongs to no character.
    for (let at = most; at > most - 3; at -= 1) if ((bytes[at] & 0xc0) !== 0x80) return at;
    return most - 3 >= 0 && (bytes[most - 3] & 0xc0) !== 0x80 ? most - 3 : most;
  };

  /** `undefined` when `fatal` and the bytes are not UTF-8. A byte order mark is kept. */
  natives.utf8Decode = (bytes, fatal) => {
    let text = '';
    for (let from = 0; from < bytes.length; ) {
      const to = boundary(bytes, from);
      const piece = natives.utf8FromHex(toHex(from === 0 && to === bytes.length ? bytes : subarray(bytes, from, to)), fatal);
      if (piece === undefined || piece === null) return undefined;
      text += piece;
      from = to;
    }
    return text;
  };

  const pieces = (bytes) => {
    let from = 0;
    return () => {
      if (from >= bytes.length) return '';
      const to = from + PIECE < bytes.length ? from + PIECE : bytes.length;
      const hex = toHex(subarray(bytes, from, to));
      from = to;
      return hex;
    };
  };
  natives.digest = (name, bytes) => natives.digestPieces(name, pieces(bytes));
  natives.hmac = (name, key, bytes) => natives.hmacPieces(name, toHex(key), pieces(bytes));
})
