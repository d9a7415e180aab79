// The Node.js side of benches/channel.rs: a primary with a worker, or a worker, on Node's own cluster. The
// primary reads lines with a command in JSON, and prints the duration of each in nanoseconds.
'use strict';

const cluster = require('node:cluster');
const net = require('node:net');
const readline = require('node:readline');

const socket = net.createServer();

const commands = {
  // Sends `count` messages of `size` characters, at most `window` before an answer; each is answered.
  exchange({ count, size, window, socket: passes }, done) {
    const worker = Object.values(cluster.workers)[0];
    const message = 'x'.repeat(size);
    const send = () => (passes ? worker.send(message, socket, { keepOpen: true }) : worker.send(message));
    let [sent, received] = [0, 0];
    worker.on('message', () => {
      received += 1;
      if (received === count) {
        worker.removeAllListeners('message');
        done();
      } else if (sent < count) {
        sent += 1;
        send();
      }
    });
    for (; sent < Math.min(window, count); sent += 1) send();
  },
  // Forks `count` workers, one after the other, and kills each that listens. The time until a worker listens
  // counts.
  fork({ count }, done, elapsed = 0n) {
    const begin = process.hrtime.bigint();
    const worker = cluster.fork();
    worker.once('listening', () => {
      elapsed += process.hrtime.bigint() - begin;
      worker.process.kill('SIGKILL');
    });
    worker.once('exit', () => {
      if (count === 1) done(elapsed);
      else commands.fork({ count: count - 1 }, done, elapsed);
    });
  },
};

function lead() {
  cluster.fork().once('listening', () => console.log('ready'));
  socket.listen(0, '127.0.0.1');
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const command = JSON.parse(line);
    const begin = process.hrtime.bigint();
    commands[command.name](command, (time) => console.log(`${time ?? process.hrtime.bigint() - begin}`));
  });
}

if (cluster.isPrimary) {
  lead();
} else {
  net.createServer().listen(0, '127.0.0.1');
  process.on('message', (message, handle) => {
    handle?.close();
    process.send(handle ? 'received' : message);
  });
}
