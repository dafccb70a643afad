// `util.inspect` and `util.format`, which come from Node.js by way of a package.
(function (internal) {
  'use strict';
  const { inspect, format, formatWithOptions, stripVTControlCharacters } = internal.vendor['node-inspect-extracted'];
  internal.inspect = inspect;
  internal.format = format;
  internal.formatWithOptions = formatWithOptions;
  internal.stripVTControlCharacters = stripVTControlCharacters;
})
