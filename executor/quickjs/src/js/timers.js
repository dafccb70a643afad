// Timers in a queue of our own. `step` does one thing at a time, so that the jobs it leaves are run in between.
(function (internal) {
  'use strict';
  const queue = [];
  const { natives } = internal;
  internal.timers = { step: () => -1, immediatesLeft: () => false };
})
