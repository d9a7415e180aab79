'use strict';
const pem = require('node:fs').readFileSync('localhost.pem');
const server = require('node:http2').createSecureServer({ key: pem, cert: pem }, (_, res) => res.end(String(process.pid)));
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
