// The part of the User Timing and High Resolution Time standards that tools use.
(function (internal) {
  'use strict';
  const { natives, nodeError } = internal;
  const { dateNow } = internal.primordials;
  let origin = natives.monotonic();
  let wall = dateNow();
  let entries = [];

  const now = () => natives.monotonic() - origin;
  internal.now = now;
  internal.restartClock = () => {
    origin = natives.monotonic();
    wall = dateNow();
  };

  class PerformanceEntry {
    constructor(name, entryType, startTime, duration, detail) {
      this.name = name;
      this.entryType = entryType;
      this.startTime = startTime;
      this.duration = duration;
      if (detail !== undefined) this.detail = detail;
    }
    toJSON() {
      return { ...this };
    }
  }
  class PerformanceMark extends PerformanceEntry {
    constructor(name, options = {}) {
      super(`${name}`, 'mark', options.startTime ?? now(), 0, options.detail ?? null);
    }
  }
  class PerformanceMeasure extends PerformanceEntry {}

  const at = (mark, missing) => {
    if (mark === undefined) return missing;
    if (typeof mark === 'number') return mark;
    const found = entries.findLast((entry) => entry.entryType === 'mark' && entry.name === `${mark}`);
    if (!found) throw new DOMException(`The "${mark}" performance mark has not been set`, 'SyntaxError');
    return found.startTime;
  };
  const kept = (entry) => {
    entries.push(entry);
    return entry;
  };

  class Performance extends EventTarget {
    constructor(key) {
      if (key !== internal) throw nodeError(TypeError, 'ERR_ILLEGAL_CONSTRUCTOR', 'Illegal constructor');
      super();
    }
    get timeOrigin() {
      return wall;
    }
    now() {
      return now();
    }
    mark(name, options = undefined) {
      return kept(new PerformanceMark(name, options ?? {}));
    }
    measure(name, from = undefined, to = undefined) {
      const options = typeof from === 'object' && from !== null ? from : { start: from, end: to };
      const end = at(options.end, options.duration === undefined ? now() : at(options.start, 0) + options.duration);
      const start = at(options.start, options.duration === undefined ? 0 : end - options.duration);
      return kept(new PerformanceMeasure(`${name}`, 'measure', start, end - start, options.detail ?? null));
    }
    getEntries() {
      return [...entries];
    }
    getEntriesByName(name, type = undefined) {
      return entries.filter((entry) => entry.name === name && (type === undefined || entry.entryType === type));
    }
    getEntriesByType(type) {
      return entries.filter((entry) => entry.entryType === type);
    }
    clearMarks(name = undefined) {
      entries = entries.filter((entry) => entry.entryType !== 'mark' || (name !== undefined && entry.name !== name));
    }
    clearMeasures(name = undefined) {
      entries = entries.filter((entry) => entry.entryType !== 'measure' || (name !== undefined && entry.name !== name));
    }
    timerify(callback) {
      return callback;
    }
    toJSON() {
      return { timeOrigin: wall };
    }
  }
  const performance = new Performance(internal);
  internal.expose({ Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure, performance });
  internal.performanceModule = { performance, PerformanceEntry, PerformanceMark, PerformanceMeasure };
})
