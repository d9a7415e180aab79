'use strict';
// The command `cluster` loads this file before a Node.js program, by `--require` in `NODE_OPTIONS`: Node.js
// 18 and later. A worker answers pings and requests for statistics. As a lame duck, the worker asks clients
// to connect elsewhere, and closes idle connections last. The program observes nothing else: no listener for
// its messages, no handle that keeps the process running, no option in its children. Before the lame duck, no
// object of Node.js and of the program is changed.

// A thread, and a child of the program, have no channel to the primary.
const isWorker = process.connected && require('node:cluster').isWorker;
if (isWorker && isWrapper()) passOnChannel();
else {
  removeFromNodeOptions();
  if (isWorker) observe();
}

/** Whether this process only starts the program: with variables, by a script of `package.json`, or with a loader. */
function isWrapper() {
  const wrappers = /\/(?:node_modules|nodejs)\/(?:@dotenvx\/dotenvx|cross-env|dotenv|dotenv-cli|env-cmd|npm|npm-run-all2?\/bin\/run-s|pnpm|corepack|yarn|tsx)\//;
  try {
    return wrappers.test(require('node:fs').realpathSync(process.argv[1]));
  } catch {
    // No script, or a name without the extension.
    return false;
  }
}

/** Children of a wrapper get the channel and this file. The wrapper is no worker, and reads no message. */
function passOnChannel() {
  const children = require('node:child_process');
  const cluster = require('node:cluster');
  const { id } = cluster.worker;
  // A server of the wrapper, such as the Unix socket of `tsx` for its child, does not belong to the service.
  cluster.isPrimary = true;
  cluster.isWorker = false;
  const { fd } = process.channel;
  const key = Object.getOwnPropertySymbols(process).find((symbol) => symbol.description === 'kChannelHandle');
  process[key].readStop();

  /** The streams of a child, with the channel to the primary in place of a channel to the wrapper, and variables. */
  function share(stdio = 'pipe') {
    const streams = typeof stdio === 'string' ? [stdio, stdio, stdio] : [...stdio];
    while (streams.length < 3) streams.push('pipe');
    const own = streams.indexOf('ipc');
    const number = own < 0 ? streams.length : own;
    streams[number] = fd;
    return [streams, { NODE_CHANNEL_FD: `${number}`, NODE_UNIQUE_ID: `${id}` }];
  }

  // `spawn`, `fork`, `exec` and `execFile` call this method.
  const { spawn } = children.ChildProcess.prototype;
  children.ChildProcess.prototype.spawn = function (options) {
    const [stdio, variables] = share(options.stdio);
    const own = Object.entries(variables).map((pair) => pair.join('='));
    return Reflect.apply(spawn, this, [{ ...options, stdio, envPairs: [...options.envPairs, ...own] }]);
  };
  const { spawnSync } = children;
  children.spawnSync = (file, ...rest) => {
    const args = Array.isArray(rest[0]) ? rest.shift() : [];
    const [options = {}] = rest;
    const [stdio, variables] = share(options.stdio);
    return spawnSync(file, args, { ...options, stdio, env: { ...(options.env ?? process.env), ...variables } });
  };
  require('node:module').syncBuiltinESMExports();
}

/** Children of the program are no workers, and do not load this file. */
function removeFromNodeOptions() {
  const own = `--require "${__filename.replace(/[\\"]/g, '\\$&')}"`;
  const rest = process.env.NODE_OPTIONS?.replace(` ${own}`, '').replace(own, '');
  if (rest) process.env.NODE_OPTIONS = rest;
  else delete process.env.NODE_OPTIONS;
}

function observe() {
  const diagnostics = require('node:diagnostics_channel');

  /** The least time, in milliseconds, of a client to send a request or to read that the connection closes. */
  const GRACE = 500;
  /** The time, in milliseconds, of a program to exit after its last connection. */
  const EXIT = 1_000;

  // The program may replace these functions.
  const { setTimeout } = globalThis;
  const send = process.send.bind(process);
  const exit = process.exit.bind(process);
  const { bigint: nanoseconds } = process.hrtime;

  /** The sockets accepted within this many milliseconds. A weak reference would prolong the life of a short connection: only a
   *  full garbage collection clears weak references. */
  const RECENT = 1_000;
  let recent = [];
  let mostRecent = 64;
  let aging;
  /** Earlier sockets, as weak references: a closed connection occupies no memory. */
  const sockets = new Set();
  let largest = 64;
  const servers = new WeakSet();
  /** Open sessions of HTTP/2. */
  const sessions = new Set();
  let isLame = false;
  let isDraining = false;
  /** Idle connections are open until this time. */
  let closeAt = 0;

  // Node.js calls the listeners of internal messages only for messages with a `cmd` that begins with `NODE_`,
  // and ignores the messages of this file itself.
  process.on('internalMessage', (message) => {
    if (message.cmd === 'NODE_CLUSTER_PING') {
      reply({ cmd: 'NODE_CLUSTER_PONG', seq: message.seq, count: openSockets().length });
    } else if (message.cmd === 'NODE_CLUSTER_STATS') report();
    else if (message.cmd === 'NODE_CLUSTER_LAME_DUCK') becomeLameDuck();
    else if (message.cmd === 'NODE_CLUSTER' && message.act === 'disconnect') drain();
  });

  // This channel exists in every version, for every kind of server, and follows the event `connection`.
  diagnostics.subscribe('net.server.socket', ({ socket }) => {
    recent.push(socket);
    if (recent.length > mostRecent) age();
    else aging ??= setTimeout(endRecent, RECENT).unref();
    if (isHttp2(socket.server) && !servers.has(socket.server)) addSessions(socket.server, socket);
    if (isLame) {
      keepIdle(socket.server);
      postpone();
    }
  });

  function reply(message) {
    // An error: the channel is closed.
    send(message, undefined, undefined, () => {});
  }

  function endRecent() {
    aging = undefined;
    age();
  }

  function age() {
    const open = recent.filter((socket) => !socket.destroyed);
    recent = [];
    mostRecent = Math.max(64, 2 * open.length);
    for (const socket of open) sockets.add(new WeakRef(socket));
    if (sockets.size > largest) largest = Math.max(64, 2 * earlierSockets().length);
  }

  function openSockets() {
    age();
    return earlierSockets();
  }

  function earlierSockets() {
    const open = [];
    for (const reference of sockets) {
      const socket = reference.deref();
      if (socket && !socket.destroyed) open.push(socket);
      else sockets.delete(reference);
    }
    return open;
  }

  function isHttp1(server) {
    return typeof server?.closeIdleConnections === 'function';
  }

  function isHttp2(server) {
    return typeof server?.updateSettings === 'function';
  }

  function addSessions(server, socket) {
    servers.add(server);
    server.on('session', addSession);
    // Without TLS, the first session has begun before this call.
    const key = Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === 'session');
    if (socket[key]) addSession(socket[key]);
  }

  function addSession(session) {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    if (isLame) session.close();
  }

  function becomeLameDuck() {
    if (isLame) return;
    isLame = true;
    announceInAnswers();
    // An answer that began before the lame duck may promise a lasting connection.
    diagnostics.subscribe('http.server.response.finish', ({ response }) => {
      if (response.shouldKeepAlive) postpone();
    });
    for (const { server } of openSockets()) keepIdle(server);
    // GOAWAY: open streams complete, and the client opens further streams on another connection.
    for (const session of sessions) session.close();
    postpone();
  }

  /** Each answer of HTTP/1 has `Connection: close`, and Node.js closes the connection after the answer. */
  function announceInAnswers() {
    const { ServerResponse } = require('node:http');
    const original = ServerResponse.prototype.writeHead;
    function writeHead(status, ...rest) {
      if (Number(status) === 101) return Reflect.apply(original, this, [status, ...rest]);
      this.shouldKeepAlive = false;
      if (!this.headersSent && this.hasHeader('connection')) this.setHeader('Connection', 'close');
      return Reflect.apply(original, this, [status, ...rest.map(withoutConnection)]);
    }
    ServerResponse.prototype.writeHead = writeHead;
    ServerResponse.prototype.writeHeader = writeHead;
  }

  /** The headers of `writeHead`, an object, pairs or alternating names and values, without `Connection`. */
  function withoutConnection(headers) {
    const isOther = (name) => String(name).toLowerCase() !== 'connection';
    if (typeof headers !== 'object' || headers === null) return headers;
    if (!Array.isArray(headers)) return Object.fromEntries(Object.entries(headers).filter(([name]) => isOther(name)));
    if (Array.isArray(headers[0])) return headers.filter(([name]) => isOther(name));
    return headers.filter((_, index) => isOther(headers[index - (index % 2)]));
  }

  /** `Server.close` closes idle connections at once, although a client may be about to send. */
  function keepIdle(server) {
    if (!isHttp1(server) || Object.hasOwn(server, 'closeIdleConnections')) return;
    const close = server.closeIdleConnections;
    const value = () => {
      if (now() >= closeAt) Reflect.apply(close, server, []);
    };
    Object.defineProperty(server, 'closeIdleConnections', { value, configurable: true, writable: true });
  }

  /** Milliseconds of a clock that never jumps. */
  function now() {
    return Number(nanoseconds()) / 1e6;
  }

  function postpone() {
    closeAt = now() + GRACE;
  }

  /** The primary has ended the lame duck, and Node.js has closed the servers. */
  function drain() {
    if (isDraining) return;
    isDraining = true;
    becomeLameDuck();
    acceptSecondClose();
    closeIdle();
    setInterval(closeIdle, GRACE / 5).unref();
    process.once('disconnect', () => setTimeout(endProgram, EXIT).unref());
  }

  /** At SIGTERM, many programs close all servers: an error would end the program in the middle. */
  function acceptSecondClose() {
    const { Server } = require('node:net');
    const { close } = Server.prototype;
    Server.prototype.close = function (callback) {
      if (this.listening || typeof callback !== 'function') return Reflect.apply(close, this, [callback]);
      this.once('close', () => callback());
      return Reflect.apply(close, this, []);
    };
  }

  function closeIdle() {
    if (now() < closeAt) return;
    for (const socket of openSockets()) {
      const { server } = socket;
      // The client has never sent a byte: to Node.js such a connection is not idle.
      if (socket.bytesRead === 0 && (isHttp1(server) || isHttp2(server))) socket.destroy();
      else if (isHttp1(server)) server.closeIdleConnections();
    }
  }

  /** A program with an interval or with a pool of connections does not exit by itself. */
  function endProgram() {
    if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM');
    else exit();
  }

  /** The events of delays are counted in steps of this many milliseconds. */
  const RESOLUTION = 20;
  /** Delays are measured until this many milliseconds after a request for statistics: an idle worker does nothing. */
  const INTEREST = 60_000;
  let delays;
  let interest;
  let utilization;

  /** The reply waits for one more measurement: a request is often read at the end of a long delay. */
  function report() {
    // Not earlier: loading this module takes 0.4 ms of a start.
    const { monitorEventLoopDelay } = require('node:perf_hooks');
    if (delays === undefined) {
      delays = monitorEventLoopDelay({ resolution: RESOLUTION });
      delays.enable();
    }
    clearTimeout(interest);
    interest = setTimeout(() => {
      delays.disable();
      delays = undefined;
    }, INTEREST).unref();
    setTimeout(() => reply(statistics()), RESOLUTION).unref();
  }

  /** Times are in milliseconds, since the previous reply. */
  function statistics() {
    const delay = (time) => (time > 0 ? Math.max(0, time / 1e6 - RESOLUTION) : 0);
    const [delayMean, delayMax] = [delay(delays.mean), delay(delays.max)];
    delays.reset();
    const { eventLoopUtilization } = require('node:perf_hooks').performance;
    const last = eventLoopUtilization();
    const since = utilization ? eventLoopUtilization(last, utilization) : last;
    utilization = last;
    // `process.memoryUsage` opens a file, and throws without descriptors.
    const { used_heap_size: heapUsed, total_heap_size: heapTotal } = require('node:v8').getHeapStatistics();
    const connections = openSockets().length;
    return { cmd: 'CLUSTER_STATS', connections, heapUsed, heapTotal, delayMean, delayMax, utilization: since.utilization };
  }
}
