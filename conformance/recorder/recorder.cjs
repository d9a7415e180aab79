// Runs one scenario on a JavaScript runtime with `cluster`, and writes the observations.
//
//     node recorder.cjs SCENARIO.json [EXECUTABLE ARGUMENT...]
//
// With an executable, the primary starts the executable as the workers, instead of JavaScript workers.
//
// One file for the primary and its workers, without dependencies. Each observation is a line on standard
// output, written at once, so lines of several processes do not mix. All processes inherit standard output,
// so its end of file is the exit of the last process. scenarios/README.md defines the lines, patterns and
// actions; src/vocabulary.rs and src/program.rs are the counterparts in Rust. The clients run elsewhere.
'use strict';

const { spawn } = require('child_process');
const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const https = require('https');
const net = require('net');
const path = require('path');

const scenario = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));

// The directory of the run.
const place = process.env.PLACE ?? process.cwd();

/** What the code of a form uses. Any port is the kernel's choice; a pre-shared key makes a certificate unnecessary. */
const secure = { ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2', pskCallback: () => Buffer.alloc(32, 7) };
const bindings = { net, http, https, http2, dgram, secure, done: () => {}, free: 0, signal: new AbortController().signal };

if (cluster.isPrimary) primary();
else worker(cluster.worker.id);

// ---- lines, patterns, rules

/** An observer: `write` writes a line, `observe` also performs the actions of the rules. */
function observer(name, rules, act) {
  const programs = rules.map((rule) => ({ pattern: pattern(rule.on), met: 0, actions: rule.do }));

  function write(what, details) {
    const words = Object.entries(details).map(([key, value]) => ` ${key}=${value}`);
    fs.writeSync(1, `${name}: ${what}${words.join('')}\n`);
  }

  function observe(what, details, about) {
    write(what, details);
    const fitting = programs.filter((program) => fits(program.pattern, what, details));
    fitting.forEach((program) => program.met++);
    const due = fitting.filter(({ pattern, met }) => pattern.nth === undefined || pattern.nth === met);
    for (const action of due.flatMap((program) => program.actions)) {
      const [verb, value] = typeof action === 'string' ? [action] : Object.entries(action)[0];
      perform(() => act[verb](value, about, details), verb);
      if (verb === 'raise' || verb === 'block_until_path') return;
    }
  }

  return { write, observe };
}

/** An error of a runtime that lacks a function. Node.js has every function that an action uses. */
const LACK = /is not a (function|constructor)|is not defined|not (yet )?(implemented|supported)/i;

/** Performs an action. Names an action that the runtime lacks on standard error; the error itself is thrown as always. */
function perform(act, verb) {
  try {
    act();
  } catch (error) {
    if (LACK.test(error?.message)) fs.writeSync(2, `cannot perform ${verb}: ${error.message.split('\n')[0]}\n`);
    throw error;
  }
}

function pattern(text) {
  const [asked, nth] = text.split(' #');
  const [what, ...details] = asked.split(' ');
  return { what, details: details.map((detail) => detail.split(/=(.*)/s)), nth: nth && Number(nth) };
}

function fits(pattern, what, details) {
  return pattern.what === what && pattern.details.every(([key, value]) => String(details[key]) === value);
}

/** A server's address in lines: a port, or the name of a path. */
function whereabouts(address) {
  return typeof address === 'string' ? { path: path.basename(address) } : { port: address.port };
}

// ---- sockets

/** Observes the connections and datagrams of servers. */
function serving(observe) {
  const sockets = new Set();

  function connection(server, socket) {
    follow(server, socket);
    observe('connection', { server }, socket);
  }

  function follow(server, socket) {
    let rest = '';
    let ended = false;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A connection ends only once: ignores an error after the end, and connections that were sent away.
    const over = (what) => {
      if (ended || passed.has(socket)) return;
      ended = true;
      observe(what, { server }, socket);
    };
    socket.on('end', () => over('end'));
    socket.on('error', () => over('reset'));
    socket.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      lines.forEach((text) => observe('data', { server, text }, socket));
    });
  }

  /** Observes the handle of a message under the text of the message. */
  function adopt(text, handle) {
    if (handle instanceof net.Socket) follow(text, handle);
    else if (handle instanceof net.Server) handle.on('connection', (socket) => connection(text, socket));
    else datagram(text, handle);
  }

  const passed = new WeakSet();
  const datagram = (server, socket) =>
    socket.on('message', (text, { address, port }) => observe('datagram', { server, text, port }, {
      write: (answer) => socket.send(answer.trimEnd(), port, address),
    }));
  return { sockets, connection, datagram, adopt, passed };
}

/** The kind of a handle, for lines. */
function kind(handle) {
  if (!handle) return {};
  return { with: handle instanceof net.Socket ? 'connection' : handle instanceof net.Server ? 'server' : 'datagrams' };
}

function raise(signal) {
  process.kill(process.pid, signal);
}

/** Blocks the process until a path exists. */
function block_until_path(name) {
  const never = new Int32Array(new SharedArrayBuffer(4));
  while (!fs.existsSync(name)) Atomics.wait(never, 0, 0, 1);
}

/** A message in a line: a string as it is, any other value as JSON. */
function messageText(message) {
  return typeof message === 'string' ? message : JSON.stringify(message);
}

/** The value of a form's code; `path` is that of the server. */
function evaluate(code, path) {
  const given = { ...bindings, place: path };
  return new Function(...Object.keys(given), `return ${code}`)(...Object.values(given));
}

function crash() {
  throw new Error('crash, as the scenario demands');
}

// ---- the primary

function primary() {
  // The workers run another executable: this setup is not observed. `own` holds the arguments that every
  // worker needs.
  const isOther = process.argv.length > 3;
  const own = process.argv.slice(isOther ? 5 : 2);
  let unseen = isOther ? 1 : 0;
  const policies = { round_robin: cluster.SCHED_RR, shared: cluster.SCHED_NONE };
  if (scenario.settings?.policy_from !== 'environment') {
    cluster.schedulingPolicy = policies[scenario.settings?.policy ?? 'round_robin'];
  }
  if (scenario.settings?.serialization) cluster.settings.serialization = scenario.settings.serialization;
  if (scenario.settings?.catches) process.on('uncaughtException', () => {});
  if (isOther) startInstead(...process.argv.slice(3));
  if (scenario.settings?.as === 'nobody') becomeNobody();

  const observesSetup = scenario.primary.some((rule) => rule.do.some((action) => action === 'settings' || action.setup));
  const mine = new Map();
  const held = [];
  const env = {};
  const workers = new Map();
  const find = (target, it) => (target === 'same' ? it : workers.get(target));
  const life = (worker) => ({
    state: worker.state,
    after_disconnect: worker.exitedAfterDisconnect,
    connected: worker.isConnected(),
    dead: worker.isDead(),
    listed: worker.id in cluster.workers,
  });
  const seen = (what, worker, details = {}) =>
    observe(what, { worker: worker.id, ...details, ...life(worker) }, worker);

  function fork(more) {
    const worker = cluster.fork({ ...env, ...more });
    workers.set(worker.id, worker);
    // Node stops counting a channel as work after a sent descriptor. Without `ref`, a primary could exit
    // between the last worker's `exit` and `disconnect`. Bun has no `ref` of a channel.
    worker.process.channel?.ref?.();
    worker.on('error', (error) => seen('error', worker, { error: error.code }));
    worker.process.stdio?.forEach((pipe, fd) => pipe && fd !== 0 && listenTo(worker, pipe, fd));
  }

  /** A pipe of a worker. Its standard output carries its lines and is forwarded to ours. */
  function listenTo(worker, pipe, fd) {
    if (fd === 1) return pipe.on('data', (chunk) => fs.writeSync(1, chunk));
    let rest = '';
    pipe.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      lines.forEach((text) => seen('pipe', worker, { fd, text }));
    });
  }

  function fork_with(more, _, { port }) {
    const filled = ([name, value]) => [name, value.replaceAll('$port', port)];
    fork(Object.fromEntries(Object.entries(more).map(filled)));
  }

  /** The settings, without the arguments that every run needs. */
  function settings({ args, cwd, silent }) {
    const given = (args ?? own).slice(own.length);
    return { args: given.length ? given.join(',') : '-', cwd: cwd ?? '-', silent: silent === true };
  }

  function setup({ args, exec_argv: execArgv, inspect_port: inspectPort, ...rest }) {
    if (args) rest.args = [...own, ...args];
    if (execArgv) rest.execArgv = execArgv;
    if (inspectPort !== undefined) rest.inspectPort = inspectPort;
    cluster.setupPrimary(rest);
  }

  function open({ server: name, path: at, udp, bound }) {
    const opened = (address, handle) => {
      Object.assign(env, { [`PORT_${name}`]: address.port, [`FD_${name}`]: handle?.fd });
      observe('opened', { server: name, ...whereabouts(address) });
    };
    if (bound) {
      const handle = udp ? new (process.binding('udp_wrap').UDP)() : new (process.binding('tcp_wrap').TCP)(1);
      const address = {};
      handle.bind('127.0.0.1', 0, 0);
      handle.getsockname(address);
      mine.set(name, handle);
      process.nextTick(() => opened(address, handle));
    } else if (udp) {
      const socket = dgram.createSocket('udp4');
      socket.bind(0, '127.0.0.1', () => opened(socket.address()));
      mine.set(name, socket);
      sockets.datagram(name, socket);
    } else {
      const server = net.createServer((socket) => sockets.connection(name, socket));
      server.listen(at ? { path: at } : { host: '127.0.0.1', port: 0 }, () => opened(server.address(), server._handle));
      mine.set(name, server);
    }
  }

  function send_handle({ to, text, what, keep_open: keepOpen }, it) {
    const socket = what ? mine.get(what) : it;
    if (!what && !keepOpen) sockets.passed.add(socket);
    workers.get(to).send(text, socket, { keepOpen });
  }

  /** The return value of `send` is the answer; without a callback, a closed channel would also emit an error. */
  function trySend(worker, text) {
    const sent = worker.send(text, worker.isConnected() ? undefined : () => {});
    write('tried', { worker: worker.id, text, sent });
  }

  /** Waits until a process has exited and all its descriptors are closed, which is when its last thread is over. */
  function blockUntilExit(pid) {
    const isZombie = () => /^ Z/.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(')').pop());
    while (!isZombie() || fs.readdirSync(`/proc/${pid}/task`).length > 1);
  }

  /** Opens files until no descriptor is left. */
  function exhaust_fds() {
    try {
      for (;;) held.push(fs.openSync('/dev/null'));
    } catch (error) {
      if (error.code !== 'EMFILE') throw error;
    }
  }

  const { write, observe } = observer('primary', scenario.primary, {
    fork: (count) => { for (let i = 0; i < count; i++) fork(); },
    fork_with,
    setup,
    settings: () => write('settings', settings(cluster.settings)),
    try_send: ({ to, text }, it) => trySend(find(to, it), text),
    block_until_exit: (target, it) => blockUntilExit(find(target, it).process.pid),
    policy: (name) => { cluster.schedulingPolicy = policies[name]; },
    send: ({ to, text }, it) => { if (find(to, it).isConnected()) find(to, it).send(text); },
    disconnect: (target, it) => find(target, it).disconnect(),
    disconnect_all: () => cluster.disconnect(() => observe('all_disconnected', {})),
    kill: ({ worker, signal }, it) => find(worker, it).kill(signal),
    inspect: (target, it) => write('look', { worker: find(target, it).id, ...life(find(target, it)) }),
    exhaust_fds,
    free_fds: () => held.splice(0).forEach((file) => fs.closeSync(file)),
    open,
    close: (name) => mine.get(name).close(),
    send_handle,
    reply: (text, it) => came(it).write(`${text}\n`),
    end: (_, it) => came(it).end(),
    exit: (code) => process.exit(code),
    crash,
    raise,
  });
  const sockets = serving(observe);
  /** The connection of a line: the handle of a worker's message, or the line's own. */
  const came = (it) => (it instanceof cluster.Worker ? it.came : it);

  if (observesSetup) cluster.on('setup', (now) => unseen-- > 0 || observe('setup', settings(now)));
  for (const event of ['fork', 'online', 'disconnect']) cluster.on(event, (worker) => seen(event, worker));
  cluster.on('listening', (worker, { address, addressType, port }) =>
    seen('listening', worker, { address: shown(address), type: addressType, port }));
  cluster.on('message', (worker, message, handle) => {
    const text = messageText(message);
    if (handle) sockets.adopt(text, handle);
    worker.came = handle;
    seen('message', worker, { text, ...kind(handle) });
  });
  cluster.on('exit', (worker, code, signal) => seen('exit', worker, { code: code ?? '-', signal: signal ?? '-' }));
  observe('start', {});
}

/** The address of a `listening` event; for a path, only its name. */
function shown(address) {
  return address?.startsWith(place) ? path.basename(address) : address ?? '-';
}

/** Cluster starts workers by `process.execPath`; `exec`, otherwise a script, is only the first argument. */
function startInstead(executable, exec, ...args) {
  process.execPath = executable;
  cluster.setupPrimary({ exec, args, execArgv: [] });
}

/** Drops the privileges of root. Any other user has none to drop. */
function becomeNobody() {
  if (process.getuid() !== 0) return;
  process.setgid('nogroup');
  process.setuid('nobody');
}

// ---- a worker

function worker(id) {
  const servers = new Map();
  const ports = new Map();
  const filled = (text) => text.replaceAll('$worker', id);
  const given = (what, name) => process.env[`${what}_${name}`] && Number(process.env[`${what}_${name}`]);
  const port = (name) => ports.get(name) ?? given('PORT', name) ?? 0;
  const life = () => ({
    after_disconnect: cluster.worker.exitedAfterDisconnect === true,
    connected: cluster.worker.isConnected(),
  });

  function listen({ server: name, max_connections, form, ...options }) {
    const server = form ? plain(evaluate(form, options.path)) : net.createServer();
    if (max_connections !== undefined) server.maxConnections = max_connections;
    settle(name, server, options);
    server.on('connection', (socket) => sockets.connection(name, socket));
    if (!form) server.listen(where(options));
  }

  /** Removes the protocol of a server: its connections are plain streams of bytes. */
  function plain(server) {
    server.allowHalfOpen = false;
    return server.removeAllListeners('connection');
  }

  function bind({ server: name, v6, form, ...options }) {
    const { reuse_address: reuseAddr, reuse_port: reusePort, ipv6_only: ipv6Only } = options;
    const type = v6 ? 'udp6' : 'udp4';
    const socket = form ? evaluate(form) : dgram.createSocket({ type, reuseAddr, reusePort, ipv6Only });
    settle(name, socket, options);
    sockets.datagram(name, socket);
    const { fd, host: address, port, exclusive } = where(options);
    if (!form) socket.bind(fd === undefined ? { address, port, exclusive } : { fd });
  }

  /** Registers and observes a server of either kind. */
  function settle(name, server, options) {
    servers.set(name, server);
    // Before the listener of the cluster, which a form may already have added: the primary's reaction may end
    // this process.
    server.prependListener('listening', () => {
      const address = server.address();
      ports.set(name, address.port);
      observe('listening', { server: name, ...whereabouts(address) });
    });
    server.on('error', ({ code }) => {
      const { path, port } = where(options);
      observe('listen_failed', { server: name, error: code, ...(path ? { path } : { port }) });
    });
    server.on('close', () => observe('closed', { server: name }));
  }

  function where(options) {
    const { host, path, backlog, exclusive } = options;
    const { ipv6_only: ipv6Only, reuse_port: reusePort } = options;
    const { readable_all: readableAll, writable_all: writableAll } = options;
    if (path) return { path, readableAll, writableAll, backlog, exclusive };
    if (options.fd_of) return { fd: given('FD', options.fd_of) };
    const at = options.port ?? (options.port_of ? port(options.port_of) : 0);
    return { host, port: at, backlog, exclusive, reusePort, ipv6Only };
  }

  function send_datagram({ to, text, from }) {
    const socket = from ? servers.get(from) : dgram.createSocket('udp4');
    socket.send(filled(text), port(to), '127.0.0.1', () => from || socket.close());
  }

  function send_handle({ text, what, keep_open: keepOpen }, it) {
    if (!what && !keepOpen) sockets.passed.add(it);
    process.send(filled(text), what ? servers.get(what) : it, { keepOpen }, () => {});
  }

  /** The child has the channel and the connection, and exits when the client has ended. */
  function leave_child_with_channel(_, socket) {
    spawn('cat', { stdio: [socket, 'ignore', 'ignore', process.channel.fd] });
  }

  /** The overloads of `send` without a handle. The length of a form selects one, so that a run is repeatable. */
  const overloads = [
    (message, sent) => process.send(message, sent),
    (message, sent) => process.send(message, undefined, sent),
    (message, sent) => process.send(message, null, sent),
    (message, sent) => process.send(message, undefined, undefined, sent),
    (message, sent) => process.send(message, undefined, {}, sent),
    (message, sent) => process.send(message, null, { keepOpen: true }, sent),
  ];

  const { write, observe } = observer(`worker ${id}`, scenario.workers?.[id] ?? scenario.worker, {
    listen,
    bind,
    close: (name) => servers.get(name).close(),
    send_datagram,
    send: (text) => { if (process.connected) process.send(filled(text), () => {}); },
    send_form: (form) => {
      if (process.connected) overloads[form.length % overloads.length](evaluate(form), () => {});
    },
    try_send: (text) => {
      const sent = process.send(filled(text), process.connected ? undefined : () => {});
      write('tried', { text: filled(text), sent });
    },
    send_reserved: () => process.send({ cmd: 'NODE_CLUSTER', ack: 4711 }),
    send_handle,
    disconnect: () => cluster.worker.disconnect(),
    kill: () => cluster.worker.kill(),
    leave_child_with_channel,
    disconnect_channel: () => { if (process.connected) process.disconnect(); },
    block_forever: () => { for (;;); },
    block_until_path,
    inspect: () => write('look', life()),
    exit: (code) => process.exit(code),
    crash,
    raise,
    reply: (text, socket) => socket.write(`${filled(text)}\n`),
    end: (_, socket) => socket.end(),
    end_all: () => sockets.sockets.forEach((socket) => socket.end()),
    env: (name) => write('env', { name, value: process.env[name] ?? '-' }),
    args: () => write('args', { given: process.argv.slice(3).join(',') || '-' }),
    exec_args: () => write('exec_args', { given: process.execArgv.join(',') || '-' }),
    cwd: () => write('cwd', { path: process.cwd() === place ? '.' : process.cwd() }),
    write: ({ fd, text }) => fs.writeSync(fd, `${filled(text)}\n`),
  });
  const sockets = serving(observe);

  cluster.worker.on('message', (message, handle) => {
    const text = messageText(message);
    if (handle) sockets.adopt(text, handle);
    observe('message', { text, ...kind(handle) }, handle);
  });
  cluster.worker.on('disconnect', () => observe('disconnect', life()));
  observe('start', {});
}
