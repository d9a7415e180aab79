'use strict';
const server = require('node:http').createServer();
// Long polling needs the same worker for each request of a session; a WebSocket is one connection.
const io = new (require('socket.io').Server)(server, { transports: ['websocket'] });
io.on('connection', (socket) => socket.on('ask', (reply) => reply(String(process.pid))));
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
