// The same server for Node.js. Without a cluster, it prints a line.
const server = require('node:http').createServer((request, response) => response.end('hello'));
server.listen(0, '127.0.0.1', () => {
  if (!process.send) console.log(server.address().port);
});
