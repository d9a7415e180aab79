// The same server for Node.js. As a worker, it sends the id of its process. Without a cluster, it prints a
// line.
const server = require('node:http').createServer((request, response) => response.end('hello'));
process.send?.(process.pid);
server.listen(0, '127.0.0.1', () => {
  if (!process.send) console.log(server.address().port);
});
