'use strict';
// The command `cluster` loads this file before a Node.js program, by `--require` in `NODE_OPTIONS`; Node.js
// 18 and later. The preload makes a worker answer pings and requests for statistics. As a lame duck, the
// worker asks clients to connect elsewhere, and in the end closes idle connections. The program cannot
// observe anything else: the preload adds no listener for the program's messages, no handle that keeps the
// process running, and no option for children. Before the lame duck, the preload changes no object of Node.js
// or of the program.
//
// Each start of a worker runs this file. Modules for the lame duck are therefore loaded at the lame duck, and
// functions are not nested without a reason, because V8 parses nested functions twice.

/** How long, in milliseconds, an idle connection stays open at least: the client may be about to send a request, or to
 *  read that the connection closes. */
const GRACE = 500;
/** How long, in milliseconds, the program may run after its last connection has ended. */
const EXIT = 1_000;

// The preload keeps the original functions, because the program may replace them.
const { setInterval, setTimeout, clearTimeout } = globalThis;
const { send, exit, _getActiveHandles: activeHandles } = process;
const { bigint: nanoseconds } = process.hrtime;

/** The servers with a connection, and the same servers as weak references. */
const isKnown = new WeakSet();
const servers = new Set();
/** Open sessions of HTTP/2. */
const sessions = new Set();
let isLame = false;
let isDraining = false;
/** The time, in milliseconds, from a change of the number of open connections to its report; 0: the policy of the
 *  primary does not compare workers. */
let reportAfter = 0;
/** The number in the last report; -1: a connection has arrived since. */
let reported = -1;
let isReporting = false;
/** Idle connections stay open until this time, in milliseconds of `now`. */
let closeAt = 0;

// Only the main thread of a worker has the channel to the primary. A thread of the worker and a child of the
// program have none.
const isWorker = process.connected && require('node:cluster').isWorker;
if (isWorker && isWrapper()) passOnChannel();
else {
  removeFromNodeOptions();
  if (isWorker) {
    observe();
    const options = [process.env.NODE_OPTIONS, ...process.execArgv].join(' ');
    if (options.includes('--inspect')) moveInspector(options);
  }
}

/** Whether this process is a wrapper, which only starts the program: with variables, by a script of `package.json`, or
 *  with a loader. */
function isWrapper() {
  let script = process.argv[1] ?? '';
  // A link to a wrapper, as in `node_modules/.bin`, has no extension.
  if (!script.endsWith('js')) {
    try {
      script = require('node:fs').realpathSync.native(script);
    } catch {
      // There is no script, or `process.argv[1]` lacks the extension of the file.
    }
  }
  // The long expression is compiled only for scripts of packages.
  if (!['/node_modules/', '/nodejs/', '/.yarn/'].some((folder) => script.includes(folder))) return false;
  const packages =
    /\/(?:node_modules|nodejs)\/(?:@babel\/node\/bin|@dotenvx\/dotenvx|@nestjs\/cli|@yarnpkg\/cli-dist|c8|corepack|cross-env|dotenv|dotenv-cli|env-cmd|npm|npm-run-all2?\/bin\/run-s|nyc|pnpm|run-script-os|ts-node\/dist\/bin-esm|tsx|yarn)[/.]/;
  return packages.test(script) || /\/\.yarn\/releases\/yarn-[^/]*$/.test(script);
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
  const own = `--require "${__filename.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  const rest = process.env.NODE_OPTIONS?.replace(` ${own}`, '').replace(own, '');
  if (rest) process.env.NODE_OPTIONS = rest;
  else delete process.env.NODE_OPTIONS;
}

/** Opens the inspector on a port of its own if another worker has the port of the option: the port plus the number of
 *  the worker, as in Node's own cluster. */
function moveInspector(options) {
  const asked = [...options.matchAll(/--inspect(-brk|-wait)?(?:=(?:(\S*):)?\d*)?(?= |$)/g)].pop();
  if (!asked) return;
  const inspector = require('node:inspector');
  if (inspector.url()) return;
  const [, waits, host = '127.0.0.1'] = asked;
  const port = process.debugPort + require('node:cluster').worker.id;
  // The kernel chooses the port if the second one is taken as well.
  for (const own of [port > 65535 ? 0 : port, 0]) {
    try {
      if (!inspector.url()) inspector.open(own, host.replace(/^\[|\]$/g, ''), Boolean(waits));
    } catch {
      // The permission model may forbid the inspector.
    }
  }
}

function observe() {
  const { subscribe } = require('node:diagnostics_channel');
  // Node.js emits `internalMessage` only for messages with a `cmd` that begins with `NODE_`, and Node.js
  // itself ignores the messages that are meant for this file.
  process.on('internalMessage', (message) => {
    if (message.cmd === 'NODE_CLUSTER_PING') {
      reply({ cmd: 'NODE_CLUSTER_PONG', seq: message.seq, count: countConnections() });
    } else if (message.cmd === 'NODE_CLUSTER_STATS') report();
    else if (message.cmd === 'NODE_CLUSTER_LAME_DUCK') becomeLameDuck();
    else if (message.cmd === 'NODE_CLUSTER') {
      if (message.act === 'disconnect') drain();
      else if (message.report > 0 && reportAfter === 0) {
        reportAfter = message.report;
        reportLoad();
      }
    }
  });
  // Every version of Node.js has this channel, for every kind of server; it publishes after the event
  // `connection`. The preload keeps no socket, not even by a weak reference: the garbage collection would
  // copy closed connections.
  subscribe('net.server.socket', ({ socket }) => {
    if (!isKnown.has(socket.server)) addServer(socket.server, socket);
    if (isLame) postpone();
    if (reportAfter > 0) {
      // The primary counts this connection as open until the next report, even if the number is then the
      // same.
      reported = -1;
      if (!isReporting) reportLater();
    }
  });
}

function reportLater() {
  isReporting = true;
  setTimeout(reportLoad, reportAfter).unref();
}

/** Reports the number of open connections, if changed or if a connection has arrived, and again until none is open. */
function reportLoad() {
  isReporting = false;
  const count = countConnections();
  if (count !== reported) {
    reported = count;
    reply({ cmd: 'NODE_CLUSTER_LOAD', count });
  }
  if (count > 0) reportLater();
}

function reply(message) {
  // Without the callback, a send on a closed channel would emit an error.
  Reflect.apply(send, process, [message, undefined, undefined, () => {}]);
}

function addServer(server, socket) {
  isKnown.add(server);
  servers.add(new WeakRef(server));
  if (isHttp2(server)) addSessions(server, socket);
  if (isLame) keepIdle(server);
}

function liveServers() {
  const live = [];
  for (const reference of servers) {
    const server = reference.deref();
    if (server) live.push(server);
    else servers.delete(reference);
  }
  return live;
}

function countConnections() {
  return liveServers().reduce((count, { _connections }) => count + _connections, 0);
}

function isHttp1(server) {
  return typeof server?.closeIdleConnections === 'function';
}

function isHttp2(server) {
  return typeof server?.updateSettings === 'function';
}

function addSessions(server, socket) {
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
  require('node:diagnostics_channel').subscribe('http.server.response.finish', ({ response }) => {
    if (response.shouldKeepAlive) postpone();
  });
  for (const server of liveServers()) keepIdle(server);
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
  if (!isHttp1(server)) return;
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
  for (const server of liveServers()) {
    let close;
    // The method of the class of Node.js: the program may have another for its server or for a subclass.
    for (let object = server; object; object = Object.getPrototypeOf(object)) {
      if (Object.hasOwn(object, 'closeIdleConnections')) close = object.closeIdleConnections;
    }
    if (close) Reflect.apply(close, server, []);
  }
  for (const socket of Reflect.apply(activeHandles, process, [])) {
    const { server } = socket;
    if (!isHttp1(server) && !isHttp2(server)) continue;
    // The client has never sent a byte. Node.js does not count such a connection as idle, so the preload
    // closes it.
    if (socket.bytesRead === 0) socket.destroy();
  }
}

/** Ends the program. A program with an interval or with a pool of connections does not exit by itself. */
function endProgram() {
  if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM');
  else Reflect.apply(exit, process, []);
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
  return { cmd: 'CLUSTER_STATS', connections: countConnections(), heapUsed, heapTotal, delayMean, delayMax, utilization: since.utilization };
}
