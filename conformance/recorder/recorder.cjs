// Runs one scenario on a JavaScript runtime that has `cluster`, and writes down what is observed.
//
//     node recorder.cjs SCENARIO.json [EXECUTABLE ARGUMENT...]
//
// With an executable, the primary's workers are no JavaScript but this.
//
// One file for the primary and its workers, without dependencies. Every observation is one line on standard output, one
// write each, so that the lines of several processes do not mix; standard output is inherited, so its end of
// file means that the last process is gone. The lines, the patterns and the actions are those of
// scenarios/README.md; src/words.rs and src/program.rs say the same in Rust. Clients are not run here.
'use strict';

const cluster = require('cluster');
const fs = require('fs');
const net = require('net');

const scenario = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));

if (cluster.isPrimary) primary();
else worker(cluster.worker.id);

// ---- lines, patterns, rules

/** The observer: `write` writes a line down, `observe` also does what the rules say. */
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
      act[verb](value, about);
      if (verb === 'die') return;
    }
  }

  return { write, observe };
}

function pattern(text) {
  const [asked, nth] = text.split(' #');
  const [what, ...details] = asked.split(' ');
  return { what, details: details.map((detail) => detail.split(/=(.*)/s)), nth: nth && Number(nth) };
}

function fits(pattern, what, details) {
  return pattern.what === what && pattern.details.every(([key, value]) => String(details[key]) === value);
}

function die(signal) {
  process.kill(process.pid, signal);
}

// ---- the primary

function primary() {
  const policies = { round_robin: cluster.SCHED_RR, shared: cluster.SCHED_NONE };
  cluster.schedulingPolicy = policies[scenario.settings?.policy ?? 'round_robin'];
  if (process.argv.length > 3) startInstead(...process.argv.slice(3));

  const workers = new Map();
  const find = (target, it) => (target === 'it' ? it : workers.get(target));
  const life = (worker) => ({
    state: worker.state,
    after_disconnect: worker.exitedAfterDisconnect,
    connected: worker.isConnected(),
    dead: worker.isDead(),
    listed: worker.id in cluster.workers,
  });
  const seen = (what, worker, details = {}) =>
    observe(what, { worker: worker.id, ...details, ...life(worker) }, worker);

  function fork(env) {
    const worker = cluster.fork(env);
    workers.set(worker.id, worker);
    // Once a descriptor was sent over it, a channel does not keep Node alive. Without this, a primary that hears of the
    // last worker's exit first ends before it hears of the disconnect.
    worker.process.channel?.ref();
    worker.on('error', (error) => seen('error', worker, { error: error.code }));
  }

  const { write, observe } = observer('primary', scenario.primary, {
    fork: (count) => { for (let i = 0; i < count; i++) fork(); },
    fork_with: fork,
    send: ({ to, text }, it) => { if (find(to, it).isConnected()) find(to, it).send(text); },
    disconnect: (target, it) => find(target, it).disconnect(),
    disconnect_all: () => cluster.disconnect(() => observe('all_disconnected', {})),
    kill: ({ worker, signal }, it) => find(worker, it).kill(signal),
    look: (target, it) => write('look', { worker: find(target, it).id, ...life(find(target, it)) }),
    exit: (code) => process.exit(code),
    die,
  });

  for (const event of ['fork', 'online', 'disconnect']) cluster.on(event, (worker) => seen(event, worker));
  cluster.on('listening', (worker, { address, addressType, port }) =>
    seen('listening', worker, { address: address ?? '-', type: addressType, port }));
  cluster.on('message', (worker, text) => seen('message', worker, { text }));
  cluster.on('exit', (worker, code, signal) => seen('exit', worker, { code: code ?? '-', signal: signal ?? '-' }));
  observe('start', {});
}

/** Workers are started by the path of Node's own executable; `exec`, a script otherwise, is just their first argument. */
function startInstead(executable, exec, ...args) {
  process.execPath = executable;
  cluster.setupPrimary({ exec, args, execArgv: [] });
}

// ---- a worker

function worker(id) {
  const servers = new Map();
  const sockets = new Set();
  const filled = (text) => text.replaceAll('$worker', id);

  function listen({ server: name, host, port_of }) {
    const server = net.createServer();
    servers.set(name, server);
    server.on('listening', () => observe('listening', { server: name, port: server.address().port }));
    server.on('error', ({ code, port }) => observe('listen_failed', { server: name, error: code, port }));
    server.on('connection', (socket) => serve(name, socket));
    server.on('close', () => observe('closed', { server: name }));
    server.listen({ host, port: servers.get(port_of)?.address()?.port ?? 0 });
  }

  function serve(name, socket) {
    let rest = '';
    let ended = false;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A connection is over once: what breaks after its end is not seen.
    const over = (what) => {
      if (ended) return;
      ended = true;
      observe(what, { server: name }, socket);
    };
    socket.on('end', () => over('end'));
    socket.on('error', () => over('reset'));
    socket.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      lines.forEach((text) => observe('data', { server: name, text }, socket));
    });
    observe('connection', { server: name }, socket);
  }

  const { write, observe } = observer(`worker ${id}`, scenario.workers?.[id] ?? scenario.worker, {
    listen,
    close: (name) => servers.get(name).close(),
    send: (text) => { if (process.connected) process.send(filled(text), () => {}); },
    disconnect: () => cluster.worker.disconnect(),
    kill: () => cluster.worker.kill(),
    exit: (code) => process.exit(code),
    crash: () => { throw new Error('the scenario says: crash'); },
    die,
    reply: (text, socket) => socket.write(`${filled(text)}\n`),
    end: (_, socket) => socket.end(),
    end_all: () => sockets.forEach((socket) => socket.end()),
    env: (name) => write('env', { name, value: process.env[name] ?? '-' }),
  });

  cluster.worker.on('message', (text) => observe('message', { text }));
  cluster.worker.on('disconnect', () => observe('disconnect', {
    after_disconnect: cluster.worker.exitedAfterDisconnect === true,
    connected: cluster.worker.isConnected(),
  }));
  observe('start', {});
}
