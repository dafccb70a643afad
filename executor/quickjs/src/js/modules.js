// What `import` finds: `internal.modules` by bare name. The loader asks `resolve` for the name of what is imported.
(function (internal) {
  'use strict';
  const { nodeError, timers, utilModule, assert, path } = internal;

  const modules = {
    __proto__: null,
    assert,
    'assert/strict': assert.strict,
    buffer: internal.bufferModule,
    crypto: internal.cryptoModule,
    events: internal.EventEmitter,
    path,
    'path/posix': path,
    perf_hooks: internal.performanceModule,
    querystring: internal.querystring,
    string_decoder: { StringDecoder: internal.StringDecoder },
    timers: { ...timers.api, promises: timers.promises },
    'timers/promises': timers.promises,
    url: internal.urlModule,
    util: utilModule,
    'util/types': utilModule.types,
  };
  internal.modules = modules;
  internal.moduleNames = Object.keys(modules);

  /** The name of the module that `specifier` means. */
  internal.resolve = (specifier) => {
    const prefixed = specifier.startsWith('node:');
    const bare = prefixed ? specifier.slice(5) : specifier;
    if (modules[bare]) return `node:${bare}`;
    if (internal.nodeModules[bare]) {
      throw nodeError(Error, 'ERR_MODULE_NOT_FOUND', `Cannot find module 'node:${bare}': runtime "isolate" has no node:${bare}; use runtime "node"`);
    }
    if (prefixed) throw nodeError(Error, 'ERR_UNKNOWN_BUILTIN_MODULE', `No such built-in module: ${specifier}`);
    throw nodeError(Error, 'ERR_MODULE_NOT_FOUND', `Cannot find package '${specifier}': npm packages need runtime "node" with dependencies`);
  };

  /** The source of a module: its exports are on `import.meta.exports`. */
  internal.moduleSource = (name) => {
    const names = Object.keys(modules[name.slice(5)]).filter((key) => key !== 'default' && /^[A-Za-z_$][\w$]*$/.test(key));
    return `const it = import.meta.exports; export default it;\n${names.map((key, at) => `const e${at} = it.${key}; export { e${at} as ${key} };`).join('\n')}`;
  };
})
