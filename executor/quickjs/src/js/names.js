// What Node.js has and this runtime has not: only to say so.
(function (internal) {
  'use strict';
  const { create, text } = internal.primordials;
  const GLOBALS =
    'Blob BroadcastChannel ByteLengthQueuingStrategy CloseEvent CompressionStream CountQueuingStrategy CryptoKey DecompressionStream EventSource File FormData Headers Intl MessageChannel MessageEvent MessagePort Navigator PerformanceObserver PerformanceObserverEntryList PerformanceResourceTiming ReadableByteStreamController ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest ReadableStreamDefaultController ReadableStreamDefaultReader Request Response Storage TextDecoderStream TextEncoderStream TransformStream TransformStreamDefaultController WebAssembly WebSocket WritableStream WritableStreamDefaultController WritableStreamDefaultWriter __dirname __filename exports fetch localStorage module navigator process require sessionStorage';
  const MODULES =
    '_http_agent _http_client _http_common _http_incoming _http_outgoing _http_server _stream_duplex _stream_passthrough _stream_readable _stream_transform _stream_wrap _stream_writable _tls_common _tls_wrap async_hooks child_process cluster console constants dgram diagnostics_channel dns dns/promises domain fs fs/promises http http2 https inspector inspector/promises module net os path/win32 process punycode readline readline/promises repl sea sqlite stream stream/consumers stream/promises stream/web sys test test/reporters tls trace_events tty v8 vm wasi worker_threads zlib';
  const table = (names) => {
    const known = create(null);
    for (const name of names.split(' ')) known[name] = true;
    return known;
  };
  const globals = table(GLOBALS);
  internal.nodeModules = table(MODULES);
  internal.absentGlobals = GLOBALS.split(' ');

  /** A better message for a ReferenceError about a global that only Node.js has. */
  internal.absent = (message) => {
    const end = text.indexOf(message, ' is not defined');
    if (end === -1 || end + 15 !== message.length) return message;
    const name = text.slice(message, 0, end);
    return globals[name] === true ? `${message} in runtime "isolate"; use runtime "node"` : message;
  };
})
