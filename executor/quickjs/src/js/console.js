(function (internal) {
  'use strict';
  const { natives } = internal;
  globalThis.console = { log(...a) { natives.print(false, a.join(' ').toWellFormed() + '\n') }, error(...a) { natives.print(true, a.join(' ').toWellFormed() + '\n') } };
})
