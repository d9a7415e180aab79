'use strict';
// Clients of socket.io with the default transports; each client has an address of its own. A session begins
// with long polling, each request on a connection of its own, upgrades to a WebSocket, and ends. A client
// opens session after session until the standard input ends. A client repeats a message until the
// acknowledgement arrives. `lost` counts messages without an acknowledgement, `failed` counts failed requests
// and connections.

const http = require('node:http');
const { io } = require('socket.io-client');

const ADDRESSES = 16;
/** The number of messages of a session before the upgrade, and again after the upgrade. */
const MESSAGES = 5;

let isRunning = true;
let lost = 0;
let failed = 0;
let complete = 0;

process.stdin.on('end', () => (isRunning = false)).resume();

exports.run = async (port) => {
  const addresses = [...Array(ADDRESSES).keys()].map((n) => `127.0.0.${n + 2}`);
  await Promise.all(addresses.map((address) => visit(port, address)));
  console.log(`lost ${lost}, failed ${failed}`);
  process.exit();
};

async function visit(port, localAddress) {
  let isFirst = true;
  while (isRunning || isFirst) {
    await session(port, new http.Agent({ localAddress }));
    if (!isFirst) continue;
    isFirst = false;
    complete += 1;
    if (complete === ADDRESSES) console.log(`a session of each address, failed ${failed}`);
  }
}

async function session(port, agent) {
  const options = { agent, forceNew: true, reconnectionDelay: 50, ackTimeout: 5_000, retries: 10 };
  const socket = io(`http://127.0.0.1:${port}`, options);
  socket.on('connect_error', fail).on('disconnect', (reason) => socket.active && fail(reason));
  await ask(socket);
  while (socket.io.engine?.transport.name !== 'websocket') await new Promise((next) => setTimeout(next, 5));
  await ask(socket);
  socket.disconnect();
}

async function ask(socket) {
  for (let n = 0; n < MESSAGES; n += 1) {
    await socket.emitWithAck('ask').catch((error) => {
      lost += 1;
      console.error('lost:', error);
    });
  }
}

function fail(reason) {
  failed += 1;
  console.error('failed:', reason);
}
