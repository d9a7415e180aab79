'use strict';
// Loaded by the command `cluster` before a Node.js program: answers pings and serves as a lame duck. The program
// observes nothing else. Node 18 and later.

const cluster = require('node:cluster');
if (cluster.isWorker && process.connected) prepare();

function prepare() {
  const diagnostics = require('node:diagnostics_channel');
  /** Open connections of every server of this process. */
  const sockets = new Set();
  let isLame = false;

  process.on('internalMessage', (message) => {
    if (message.cmd === 'NODE_CLUSTER_LAME_DUCK') becomeLameDuck();
    else if (message.cmd === 'NODE_CLUSTER_PING') {
      process.send({ cmd: 'NODE_CLUSTER_PONG', seq: message.seq, count: sockets.size }, undefined, undefined, () => {});
    }
  });

  diagnostics.subscribe('net.server.socket', ({ socket }) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });

  diagnostics.subscribe('http.server.request.start', ({ response }) => {
    if (isLame) response.shouldKeepAlive = false;
  });

  function becomeLameDuck() {
    isLame = true;
  }
}
