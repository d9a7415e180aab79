'use strict';
// The command `cluster` loads this file before a Node.js program, by `--require` in `NODE_OPTIONS`; Node.js
// 18 and later. The preload makes a worker answer pings and requests for statistics. As a lame duck, the
// worker asks clients to connect elsewhere, and in the end closes idle connections. The program cannot
// observe anything else: the preload adds no listener for the program's messages, no handle that keeps the
// process running, and no option for children. Before the lame duck, the preload changes no object of Node.js
// or of the program.

// Only the main thread of a worker has the channel to the primary. A thread of the worker and a child of the
// program have none.
const isWorker = process.connected && require('node:cluster').isWorker;
if (isWorker && isWrapper()) passOnChannel();
else {
  removeFromNodeOptions();
  if (isWorker) observe();
}

/** Whether this process is a wrapper, which only starts the program: with variables, by a script of `package.json`, or
 *  with a loader. */
function isWrapper() {
  const wrappers = /\/(?:node_modules|nodejs)\/(?:@dotenvx\/dotenvx|cross-env|dotenv|dotenv-cli|env-cmd|npm|npm-run-all2?\/bin\/run-s|pnpm|corepack|yarn|tsx)\//;
  try {
    return wrappers.test(require('node:fs').realpathSync(process.argv[1]));
  } catch {
    // There is no script, or `process.argv[1]` lacks the extension of the file.
    return false;
  }
}

/** Passes the channel and this file on to the children of a wrapper. The wrapper itself is then no worker, and reads no
 *  message. */
function passOnChannel() {
  const children = require('node:child_process');
  const cluster = require('node:cluster');
  const { id } = cluster.worker;
  // A server of the wrapper, for example the Unix socket that `tsx` opens for its child, must not listen
  // through the primary: the server does not belong to the service.
  cluster.isPrimary = true;
  cluster.isWorker = false;
  const { fd } = process.channel;
  const key = Object.getOwnPropertySymbols(process).find((symbol) => symbol.description === 'kChannelHandle');
  process[key].readStop();

  /** The streams and the variables of a child. The channel to the primary replaces a channel to the wrapper. */
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

/** Removes the option that loads this file: children of the program are no workers. */
function removeFromNodeOptions() {
  const own = `--require "${__filename.replace(/[\\"]/g, '\\$&')}"`;
  const rest = process.env.NODE_OPTIONS?.replace(` ${own}`, '').replace(own, '');
  if (rest) process.env.NODE_OPTIONS = rest;
  else delete process.env.NODE_OPTIONS;
}

function observe() {
  const diagnostics = require('node:diagnostics_channel');

  /** How long, in milliseconds, an idle connection stays open at least: the client may be about to send a request, or to
   *  read that the connection closes. */
  const GRACE = 500;
  /** How long, in milliseconds, the program may run after its last connection has ended. */
  const EXIT = 1_000;

  // The preload keeps the original functions, because the program may replace them.
  const { setTimeout } = globalThis;
  const send = process.send.bind(process);
  const exit = process.exit.bind(process);
  const { bigint: nanoseconds } = process.hrtime;

  /** Sockets accepted within this many milliseconds have strong references, in `recent`. Weak references would keep
   *  short connections in memory longer: only a full garbage collection clears weak references. */
  const RECENT = 1_000;
  let recent = [];
  let mostRecent = 64;
  let aging;
  /** Sockets accepted earlier, as weak references: a closed connection occupies no memory. */
  const sockets = new Set();
  let largest = 64;
  const servers = new WeakSet();
  /** Open sessions of HTTP/2. */
  const sessions = new Set();
  let isLame = false;
  let isDraining = false;
  /** Idle connections stay open until this time, in milliseconds of `now`. */
  let closeAt = 0;

  // Node.js emits `internalMessage` only for messages with a `cmd` that begins with `NODE_`, and Node.js
  // itself ignores the messages that are meant for this file.
  process.on('internalMessage', (message) => {
    if (message.cmd === 'NODE_CLUSTER_PING') {
      reply({ cmd: 'NODE_CLUSTER_PONG', seq: message.seq, count: openSockets().length });
    } else if (message.cmd === 'NODE_CLUSTER_STATS') report();
    else if (message.cmd === 'NODE_CLUSTER_LAME_DUCK') becomeLameDuck();
    else if (message.cmd === 'NODE_CLUSTER' && message.act === 'disconnect') drain();
  });

  // Every version of Node.js has this channel, for every kind of server; it publishes after the event
  // `connection`.
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
    // Without the callback, a send on a closed channel would emit an error.
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
    // On a server without TLS, the first session exists before this listener, and therefore emits no
    // `session`.
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
    // An answer that began before the lame duck may have promised a lasting connection, so the client may
    // send one more request.
    diagnostics.subscribe('http.server.response.finish', ({ response }) => {
      if (response.shouldKeepAlive) postpone();
    });
    for (const { server } of openSockets()) keepIdle(server);
    // `close` sends GOAWAY: open streams complete, and the client opens further streams on another
    // connection.
    for (const session of sessions) session.close();
    postpone();
  }

  /** Adds `Connection: close` to each answer of HTTP/1. Node.js then closes the connection after the answer. */
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

  /** The headers without `Connection`. `writeHead` accepts an object, a list of pairs, or a list in which names and
   *  values alternate. */
  function withoutConnection(headers) {
    const isOther = (name) => String(name).toLowerCase() !== 'connection';
    if (typeof headers !== 'object' || headers === null) return headers;
    if (!Array.isArray(headers)) return Object.fromEntries(Object.entries(headers).filter(([name]) => isOther(name)));
    if (Array.isArray(headers[0])) return headers.filter(([name]) => isOther(name));
    return headers.filter((_, index) => isOther(headers[index - (index % 2)]));
  }

  /** Keeps idle connections of a server open until `closeAt`. Otherwise `Server.close` would close them at once, although
   *  a client may be about to send a request. */
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

  /** Begins when the primary has ended the lame duck, and Node.js has closed the servers. */
  function drain() {
    if (isDraining) return;
    isDraining = true;
    becomeLameDuck();
    acceptSecondClose();
    closeIdle();
    setInterval(closeIdle, GRACE / 5).unref();
    process.once('disconnect', () => setTimeout(endProgram, EXIT).unref());
  }

  /** Lets the program close a closed server without an error. At SIGTERM many programs close all their servers, and an
   *  error would end their shutdown half-way. */
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
      // The client has never sent a byte. Node.js does not count such a connection as idle, so the preload
      // closes it.
      if (socket.bytesRead === 0 && (isHttp1(server) || isHttp2(server))) socket.destroy();
      else if (isHttp1(server)) server.closeIdleConnections();
    }
  }

  /** Ends the program. A program with an interval or with a pool of connections does not exit by itself. */
  function endProgram() {
    if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM');
    else exit();
  }

  /** The delay of the event loop is measured once per this number of milliseconds. */
  const RESOLUTION = 20;
  /** Measuring stops this number of milliseconds after the last request for statistics, so that the measurement does not
   *  wake an idle worker. */
  const INTEREST = 60_000;
  let delays;
  let interest;
  let utilization;

  /** Replies after one more measurement: a request often arrives during a long delay, which is measured only afterwards. */
  function report() {
    // Loaded late, because loading this module takes 0.4 ms of the start of each worker.
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

  /** The statistics since the previous reply. Times are in milliseconds. */
  function statistics() {
    const delay = (time) => (time > 0 ? Math.max(0, time / 1e6 - RESOLUTION) : 0);
    const [delayMean, delayMax] = [delay(delays.mean), delay(delays.max)];
    delays.reset();
    const { eventLoopUtilization } = require('node:perf_hooks').performance;
    const last = eventLoopUtilization();
    const since = utilization ? eventLoopUtilization(last, utilization) : last;
    utilization = last;
    // `process.memoryUsage` is no alternative: the function opens a file, and throws when no descriptor is
    // free.
    const { used_heap_size: heapUsed, total_heap_size: heapTotal } = require('node:v8').getHeapStatistics();
    const connections = openSockets().length;
    return { cmd: 'CLUSTER_STATS', connections, heapUsed, heapTotal, delayMean, delayMax, utilization: since.utilization };
  }
}
