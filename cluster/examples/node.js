// An ordinary server without code for a cluster: the worker of `node.rs`. `node node.js PORT` runs it alone.
const http = require('node:http');

const server = http.createServer((request, response) => response.end(`process ${process.pid}\n`));
server.listen(Number(process.argv[2] ?? 8000), '127.0.0.1');
