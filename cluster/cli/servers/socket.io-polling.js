'use strict';
// With the default transports a session begins with long polling, and only the worker that answered the first
// request knows the session.
const server = require('node:http').createServer((_, response) => response.end(String(process.pid)));
const io = new (require('socket.io').Server)(server);
io.on('connection', (socket) => socket.on('ask', (reply) => reply(String(process.pid))));
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
