// Tries forms of calls in one worker, one after the other, and writes the result of each form. Started as a
// primary, the script is the oracle: Node's own primary. `forms.json` has the forms. The script compares
// nothing.
//
// FORMS_FILE: a file with a JSON list of { kind: 'listen' | 'send', code }. FORMS_FROM: the number of the
// first form to try. FORMS_OUT: the output file, with a line before and after each form. FORMS_SETTINGS: the
// settings of the oracle.
'use strict';

const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const https = require('https');
const net = require('net');
const os = require('os');
const path = require('path');
const tls = require('tls');
const util = require('util');

/// Whether to report the requests of forms, for `families.json`. `free` is 0 then, a port of the kernel's
/// choice.
const ends = process.env.FORMS_ENDS === '1';

/// The timeout of a form, in milliseconds; an answered form takes less.
const PATIENCE = 10_000;

function oracle() {
    const { policy, ...settings } = JSON.parse(process.env.FORMS_SETTINGS);
    cluster.schedulingPolicy = policy === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;
    cluster.setupPrimary({ exec: __filename, args: [], execArgv: [], ...settings });
    const worker = cluster.fork();
    worker.on('message', (message) => worker.send(message, () => {}));
    worker.on('error', () => {});
    worker.on('exit', (code, signal) => process.exit(code === 0 && !signal ? 0 : 10));
}

async function attempt() {
    const forms = JSON.parse(fs.readFileSync(process.env.FORMS_FILE, 'utf8'));
    for (let form = Number(process.env.FORMS_FROM); form < forms.length; form++) {
        note({ form });
        note({ form, outcome: await outcome(forms[form], form) });
    }
}

function note(line) {
    fs.appendFileSync(process.env.FORMS_OUT, JSON.stringify(line) + '\n');
}

async function outcome({ kind, code }, form) {
    const caught = new Promise((resolve) => {
        process.removeAllListeners('uncaughtException');
        process.once('uncaughtException', (error) => resolve({ uncaught: name(error) }));
    });
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE, { silent: true }).unref());
    return Promise.race([caught, late, (kind === 'send' ? echo : listen)(code, form)]);
}

function name(error) {
    return error.code || error.name;
}

// ---- messages

const echoes = [];
let wake = () => {};
process.on('message', (message) => {
    echoes.push(message);
    wake();
});

async function next() {
    while (echoes.length === 0) await new Promise((resolve) => { wake = resolve; });
    return echoes.shift();
}

/// If the second message arrives alone, the first message was not delivered.
async function echo(code) {
    const marker = `marker ${Math.random()}`;
    try {
        process.send(new Function(`return ${code}`)());
    } catch (error) {
        return { thrown: name(error) };
    }
    process.send(marker);
    const came = await next();
    if (came === marker) return { swallowed: true };
    await next();
    return ends ? { json: JSON.stringify(came) } : { echo: show(came) };
}

function show(value) {
    const text = util.inspect(value, { depth: Infinity, maxStringLength: 40, breakLength: Infinity });
    // Without the stack of an error, which contains paths.
    return value instanceof Error ? `${value}` : text;
}

// ---- servers

/// A pre-shared key makes a certificate unnecessary.
const KEY = Buffer.alloc(32, 7);
const secure = { ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2', pskCallback: () => KEY };

async function listen(code, form) {
    let called = 0;
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'form-'));
    const held = /\bbusy\b/.test(code) ? await hold() : null;
    const given = {
        net, http, https, http2, dgram, secure,
        done: () => { called++; },
        free: /\bfree\b/.test(code) && !ends ? await free() : 0,
        busy: held?.address().port,
        place: path.join(directory, 'socket'),
        abstract: `\0form-${process.pid}-${form}`,
        signal: new AbortController().signal,
    };
    const clear = () => {
        held?.close();
        fs.rmSync(directory, { recursive: true, force: true });
    };
    let server;
    try {
        server = new Function(...Object.keys(given), `return ${code}`)(...Object.values(given));
    } catch (error) {
        clear();
        return { thrown: name(error) };
    }
    const ended = await Promise.race([event(server, 'listening'), event(server, 'error')]);
    const result = ended instanceof Error ? { error: name(ended) } : await serving(server, given);
    if (!ended) await close(server);
    clear();
    return { ...result, called };
}

function event(emitter, name) {
    return new Promise((resolve) => emitter.once(name, resolve));
}

function close(server) {
    server.closeAllConnections?.();
    return new Promise((resolve) => server.close(resolve));
}

/// A busy port, held by this process alone.
async function hold() {
    const server = net.createServer().listen({ port: 0, exclusive: true });
    await event(server, 'listening');
    return server;
}

async function free() {
    const server = await hold();
    const { port } = server.address();
    await close(server);
    return port;
}

/// The address, compared with the requested address, and the clients that are served there.
async function serving(server, { free, place, abstract }) {
    const address = server.address();
    if (ends) return asked(server, address, place);
    if (typeof address === 'string') {
        const where = address === place ? 'place' : address.startsWith(abstract) ? 'abstract' : 'elsewhere';
        const mode = where === 'place' ? (fs.statSync(place).mode & 0o777).toString(8) : undefined;
        const reach = where === 'abstract' && pads ? listed : served;
        return { path: where, mode, served: await reach(server, { path: address }) };
    }
    const { family, port } = address;
    const hosts = { '::': ['127.0.0.1', '::1'], '0.0.0.0': ['127.0.0.1'] }[address.address] ?? [address.address];
    const clients = hosts.map((host) => served(server, { host, port, family: net.isIP(host.split('%')[0]) }));
    return { address: address.address, family, port: port === free ? 'asked' : 'chosen', served: await Promise.all(clients) };
}

/// The worker's request to its primary, if any: a handle of the cluster has its own `close`.
function asked(server, address, place) {
    const state = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'state symbol');
    const shared = Object.hasOwn(state ? server[state].handle : server._handle, 'close');
    if (typeof address === 'string') return { shared, path: address === place, mode: fs.statSync(place, { throwIfNoEntry: false })?.mode & 0o777 };
    if (server instanceof dgram.Socket) return { shared, type: server.type, address: address.address };
    return { shared, key: server._connectionKey };
}

function served(server, to) {
    if (server instanceof dgram.Socket) return reached(server, to);
    if (!(server instanceof http.Server || server.constructor.name.startsWith('Http2'))) {
        if (!server.listenerCount('connection')) server.on('connection', (socket) => socket.on('error', () => {}).resume().end('x'));
    }
    return new Promise((resolve) => {
        const client = server instanceof tls.Server
            ? tls.connect({ ...to, ...secure, pskCallback: () => ({ psk: KEY, identity: 'form' }), checkServerIdentity: () => {} })
            : net.connect(to);
        const end = (answer) => { client.destroy(); resolve(answer); };
        client.on(server instanceof tls.Server ? 'secureConnect' : 'data', () => end(true)).on('error', (error) => end(name(error)));
        client.on('close', () => resolve(false));
        if (!(server instanceof tls.Server)) client.write('GET / HTTP/1.0\r\n\r\n');
    });
}

/// The libuv of Node 20 pads an abstract name with NULs, also for clients: clients find only names bound by
/// libuv, and not the exact name that our primary and every later Node bind.
const pads = Number(process.versions.node.split('.')[0]) < 22;

/// Whether the kernel lists the name.
function listed(server, { path }) {
    return fs.readFileSync('/proc/net/unix', 'latin1').includes(`@${path.slice(1)}`);
}

function reached(server, { host, port, family }) {
    return new Promise((resolve) => {
        const client = dgram.createSocket(`udp${family}`);
        const end = (answer) => { client.close(); resolve(answer); };
        server.once('message', () => end(true));
        client.send('x', port, host, (error) => error && end(name(error)));
    });
}

if (cluster.isPrimary) oracle();
else attempt().then(() => process.exit(0), (error) => { note({ broken: error.stack }); process.exit(11); });
