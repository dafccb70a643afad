// The way out of a container without a network: a proxy on its loopback whose connections go on to the executor over the
// container's own streams, as frames of `kind(1) channel(4) length(4) payload`. What they may reach is decided there.
'use strict';

const outlet = (() => {
  const net = require('node:net');

  // Bytes that may be under way in one direction of one channel; the executor has the same.
  const WINDOW = 256 * 1024;
  const CHUNK = 64 * 1024;
  const MAX_CONNECTIONS = 60;
  const HEADER = 9;

  const channels = new Map();
  let opened = 0;
  let held = Buffer.alloc(0);

  function send(kind, channel, payload = Buffer.alloc(0)) {
    const header = Buffer.alloc(HEADER);
    header.write(kind, 0, 'latin1');
    header.writeUInt32BE(channel, 1);
    header.writeUInt32BE(payload.length, 5);
    process.stdout.write(Buffer.concat([header, payload]));
  }

  function connected(socket) {
    const id = ++opened;
    const channel = { socket, credit: WINDOW };
    channels.set(id, channel);
    send('o', id);
    socket.on('data', (data) => {
      for (let at = 0; at < data.length; at += CHUNK) send('d', id, data.subarray(at, at + CHUNK));
      channel.credit -= data.length;
      if (channel.credit < CHUNK) socket.pause();
    });
    socket.on('end', () => send('e', id));
    socket.on('error', () => {});
    socket.on('close', () => {
      if (channels.delete(id)) send('c', id);
    });
  }

  function handle(kind, id, payload) {
    const channel = channels.get(id);
    if (!channel) return;
    switch (kind) {
      case 'd': {
        const used = Buffer.alloc(4);
        used.writeUInt32BE(payload.length);
        channel.socket.write(payload, () => send('m', id, used));
        break;
      }
      case 'm':
        channel.credit += payload.readUInt32BE(0);
        if (channel.credit >= CHUNK) channel.socket.resume();
        break;
      case 'e':
        channel.socket.end();
        break;
      case 'c':
        channels.delete(id);
        channel.socket.destroy();
        break;
    }
  }

  return {
    /// The address of the proxy.
    open() {
      const server = net.createServer({ allowHalfOpen: true }, connected);
      server.maxConnections = MAX_CONNECTIONS;
      return new Promise((resolve, reject) => {
        server.on('error', reject);
        server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
      });
    },

    receive(bytes) {
      held = held.length > 0 ? Buffer.concat([held, bytes]) : bytes;
      while (held.length >= HEADER) {
        const end = HEADER + held.readUInt32BE(5);
        if (held.length < end) return;
        handle(held.toString('latin1', 0, 1), held.readUInt32BE(1), held.subarray(HEADER, end));
        held = held.subarray(end);
      }
    },

    report(payload) {
      send('r', 0, payload);
    },
  };
})();

