'use strict';
// `pino` writes the log in a thread.
const pino = require('pino');
const log = pino(pino.transport({ target: 'pino/file', options: { destination: 1 } }));
const server = require('node:http').createServer((_, res) => {
  log.info('request');
  res.end(String(process.pid));
});
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
