'use strict';
// Clients of the servers in this folder. Each client sends requests without a pause until the standard input
// ends. Then the script prints the number of lost requests, and the process id of the last answer.

const http = require('node:http');
const https = require('node:https');
const http2 = require('node:http2');

/** The number of messages on one WebSocket; then the client opens another. */
const MESSAGES = 20;

let isRunning = true;
let answered = 0;
let lost = 0;
let last;

process.stdin.on('end', () => (isRunning = false)).resume();

exports.run = async (kind, port) => {
  await Promise.all(kinds[kind](port).map(repeat));
  console.log(`lost ${lost}, the last answer is of ${last}`);
  process.exit();
};

async function repeat(ask) {
  while (isRunning) {
    try {
      last = await ask();
      if (++answered === 100) console.log('serving');
    } catch (error) {
      lost += 1;
      console.error('lost:', error);
    }
  }
}

const kinds = {
  http: (port) => lasting(http, port),
  https: (port) => lasting(https, port),
  http2: (port) => [streams(port), streams(port)],
  ws: (port) => [webSocket(port), webSocket(port)],
  'socket.io': (port) => [socketIo(port), socketIo(port)],
};

/** Six clients that keep their connections, and two that open a connection for each request. */
function lasting(module, port) {
  const agent = new module.Agent({ keepAlive: true, maxSockets: 6 });
  const ask = (agent) => () =>
    new Promise((resolve, reject) => {
      const request = module.get({ host: '127.0.0.1', port, agent, rejectUnauthorized: false }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (data) => (body += data));
        response.on('end', () => resolve(body)).on('error', reject);
      });
      request.on('error', reject);
    });
  return [...Array(6).fill(ask(agent)), ...Array(2).fill(ask(false))];
}

function streams(port) {
  let session;
  const ask = async () => {
    if (!session || session.closed || session.destroyed) {
      session = http2.connect(`https://localhost:${port}`, { rejectUnauthorized: false });
      session.on('error', () => {});
    }
    try {
      return await answerOf(session.request());
    } catch (error) {
      // RFC 9113, 8.7: the server has not processed the request, and a client repeats it.
      if (error.message.includes('REFUSED_STREAM') || error.code === 'ERR_HTTP2_GOAWAY_SESSION') return ask();
      throw error;
    }
  };
  return ask;
}

function answerOf(stream) {
  return new Promise((resolve, reject) => {
    let body = '';
    stream.setEncoding('utf8').on('data', (data) => (body += data));
    stream.on('end', () => (body ? resolve(body) : reject(new Error('no answer')))).on('error', reject);
  });
}

function webSocket(port) {
  const WebSocket = require('ws');
  let socket;
  let messages = 0;
  return () =>
    new Promise((resolve, reject) => {
      const send = () => {
        socket.once('message', (answer) => {
          messages += 1;
          if (messages % MESSAGES > 0) return resolve(String(answer));
          socket.once('close', () => resolve(String(answer)));
          socket.close();
        });
        socket.send('ask');
      };
      if (messages % MESSAGES > 0) return send();
      socket = new WebSocket(`ws://127.0.0.1:${port}`);
      socket.on('error', reject).on('open', send);
    });
}

function socketIo(port) {
  const { io } = require('socket.io-client');
  let socket;
  let messages = 0;
  return async () => {
    if (messages % MESSAGES === 0) {
      socket?.disconnect();
      socket = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true });
    }
    messages += 1;
    return socket.timeout(10_000).emitWithAck('ask');
  };
}
