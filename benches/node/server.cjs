// A server on Node's own cluster, for the command `peers`: `node server.cjs POLICY WORKERS`, where POLICY is
// `round-robin`, `shared` or `single` (no cluster). Prints the port when all workers listen, and runs until
// killed. The variable PORT has the port.
'use strict';

const cluster = require('node:cluster');
const net = require('node:net');

const ANSWER = 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello';
const [policy, workers] = [process.argv[2], Number(process.argv[3])];

function serve(listening) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(ANSWER));
  });
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => listening(server.address().port));
}

if (policy === 'single') {
  serve((port) => console.log(port));
} else if (cluster.isPrimary) {
  cluster.schedulingPolicy = policy === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;
  let listening = 0;
  cluster.on('listening', (worker, { port }) => {
    listening += 1;
    if (listening === workers) console.log(port);
  });
  for (let i = 0; i < workers; i += 1) cluster.fork();
} else {
  serve(() => {});
}
