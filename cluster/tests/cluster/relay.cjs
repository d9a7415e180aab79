// The values of the relay tests. The worker with the ROLE `a` sends every value, and the worker with the ROLE
// `b` reports the received values. The primary with the argument `relay` forwards the values of `a`, as Node
// does; with `echo`, the primary sends every value to a Rust worker.
'use strict';
const cluster = require('cluster');
const { inspect } = require('util');
require('buffer').INSPECT_MAX_BYTES = Infinity;

const nested = (levels, wrap) => { let value = 7; while (levels--) value = wrap(value); return value; };
const depth = (value) => {
    let levels = 0;
    for (; typeof value === 'object'; levels++) value = Array.isArray(value) ? value[0] : value.a;
    return `${levels} levels`;
};
// Finite doubles with random bits. The doubles are the same in each run.
const doubles = (count) => {
    let state = 88172645463325252n;
    const next = () => {
        for (const [left, by] of [[true, 13n], [false, 7n], [true, 17n]]) {
            state ^= BigInt.asUintN(64, left ? state << by : state >> by);
        }
        return state;
    };
    const view = new DataView(new ArrayBuffer(8));
    const all = [];
    while (all.length < count) {
        view.setBigUint64(0, next());
        const number = view.getFloat64(0);
        if (Number.isFinite(number)) all.push(number);
    }
    return all;
};
const error = (make) => { const it = make(); it.stack = `${it.name}: here`; return it; };
const cycle = () => { const it = { name: 'cycle', list: [] }; it.self = it; it.list.push(it.list, it); return it; };
const shared = () => { const [it, bytes] = [{ x: 1 }, new Uint8Array([1])]; return [it, it, { it }, bytes, bytes]; };
const sparse = () => { const it = []; it[3] = 'x'; it[4_000_000_000] = 'y'; return it; };
const besides = () => { const it = [1, , 3]; it.name = 'n'; it['-1'] = 2; return it; };
const bytes = (Kind) => () => new Kind(new Uint8Array(16).map((_, index) => index * 37).buffer);
class Own { constructor() { this.x = 1; } }

const values = {
    null: () => null, true: () => true, false: () => false, zero: () => 0, 'minus zero': () => -0, one: () => 1.5,
    'not a number': () => NaN, infinite: () => [Infinity, -Infinity], large: () => [2 ** 31, 2 ** 53, 2 ** 53 + 2, 1e21, 1e300],
    small: () => [5e-324, 2.2250738585072014e-308, 0.1, 1 / 3], 'big integer': () => 10n,
    'big integers': () => [0n, -5n, 2n ** 64n, -(2n ** 200n)], empty: () => '', text: () => 'text',
    latin: () => 'gr\u00fc\u00df', wide: () => '\u65e5\u672c', astral: () => 'a\u{1F600}', half: () => ['\ud83d', 'x\udc00y', { '\ud800': 1 }],
    control: () => '\u0000\n\t"\\/\u2028', undefined: () => ({ there: undefined, list: [undefined] }),
    order: () => ({ b: 1, a: 2, 10: 3, 9: 4, '': 5, A: 6, __proto: 7 }), dates: () => [new Date(0), new Date(-1), new Date(NaN)],
    expression: () => [/a"b/gimsuy, /\u65e5/], holes: () => [1, , undefined, 4], sparse, besides,
    map: () => new Map([[1, 'a'], [{ k: 1 }, new Map()], ['s', new Set([1])]]), set: () => new Set([1, 'x', {}, undefined]),
    buffer: () => Buffer.from([0, 1, 255]), 'array buffer': () => new Uint8Array([1, 2, 3]).buffer,
    'view of a part': () => new Uint8Array(new Uint8Array([9, 8, 7, 6]).buffer, 1, 2), 'data view': bytes(DataView),
    error: () => error(() => new Error('text')), 'error kinds': () => [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((Kind) => error(() => new Kind('k'))),
    'error with a cause': () => error(() => new Error('outer', { cause: error(() => new TypeError('inner')) })),
    boxed: () => [new Boolean(true), new Boolean(false), new Number(-0), new String('s\ud800'), Object(7n)],
    own: () => new Own(), 'without prototype': () => Object.assign(Object.create(null), { x: 1 }), cycle, shared,
    names: () => ({ cmd: 'NODE_', msg: { cmd: 'NODE_CLUSTER' }, type: 7 }), 'not a text': () => ({ cmd: ['NODE_X'] }),
    'of node': () => require('crypto').createHash('md5'),
    ...Object.fromEntries([
        'Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array', 'Float16Array',
        'Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array',
    ].filter((name) => globalThis[name]).map((name) => [name, bytes(globalThis[name])])),
    ...(ArrayBuffer.prototype.resize && { resizable: () => new ArrayBuffer(3, { maxByteLength: 9 }) }),
    'deep list': () => nested(1500, (inner) => [inner]), 'deep object': () => nested(1500, (a) => ({ a })),
    doubles: () => doubles(100_000), bytes: () => Buffer.alloc(3_000_000, 'bytes'),
};

const show = (value, name) => {
    if (name.startsWith('deep')) return depth(value);
    if (value instanceof DataView) return `DataView ${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}`;
    const options = { depth: null, showHidden: true, maxArrayLength: null, maxStringLength: null, breakLength: Infinity };
    // Without the position of a view in the received buffer, which does not matter.
    const text = inspect(value, options).replace(/\[byteOffset\]: \d+|\[buffer\]: ArrayBuffer \{[^}]*\}/g, '');
    if (name === 'resizable') return `${text}, at most ${value.maxByteLength}`;
    return text.length < 1000 ? text : require('crypto').createHash('md5').update(text).digest('hex');
};

if (cluster.isWorker && process.env.ROLE === 'a') {
    process.on('message', () => {
        for (const [name, make] of Object.entries(values)) {
            try { process.send([name, make()]); } catch (error) { process.send([name, error.name]); }
        }
        process.send(['end', null]);
    });
} else if (cluster.isWorker) {
    const report = [];
    process.on('message', ([name, value]) => {
        if (name === 'end') process.send(report); else report.push(`${name}: ${show(value, name)}`);
    });
} else if (process.argv[3] === 'relay') {
    cluster.setupPrimary({ exec: __filename, args: [], serialization: process.argv[4] });
    const b = cluster.fork({ ROLE: 'b' }).on('message', (report) => {
        for (const line of report) console.log(JSON.stringify(line));
        cluster.disconnect();
    });
    b.on('online', () => {
        const a = cluster.fork({ ROLE: 'a' }).on('message', (message) => b.send(message));
        a.on('online', () => a.send('go'));
    });
} else {
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'none', args: [], serialization: process.argv[4] });
    const worker = cluster.fork({ PROGRAM: process.argv[3] });
    const sent = [];
    const send = (name, make) => {
        const value = make();
        try { worker.send([name, value]); } catch { return; }
        const clone = () => (process.argv[4] === 'json' ? JSON.parse(JSON.stringify(value)) : value);
        sent.push([name, show(clone(), name)]);
    };
    worker.on('online', () => Object.entries(values).forEach(([name, make]) => send(name, make)));
    worker.on('message', ([name, value]) => {
        const [expected, text] = sent.shift();
        if (name !== expected) console.log(name, 'instead of', expected);
        // Node itself sends these values as plain objects.
        const plain = ['own', 'without prototype', 'of node'].includes(name);
        if (show(value, name) !== text && !plain) {
            console.log(name, 'changed:', show(value, name), text);
        }
        if (!sent.length) worker.disconnect();
    });
    worker.on('exit', (code) => console.log('exit', code));
}
