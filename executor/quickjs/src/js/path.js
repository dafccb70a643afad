// node:path, from its package: POSIX paths only. `win32` is left out.
(function (internal) {
  'use strict';
  const path = internal.vendor['path-browserify'];
  path.posix = path;
  path.toNamespacedPath = (given) => given;
  internal.path = path;
})
