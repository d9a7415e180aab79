// The measured program: an HTTP server without knowledge of clusters. It appends its port to the file REPORT.
const { appendFileSync } = require('node:fs');

const server = require('node:http').createServer((request, response) => response.end('hello'));
server.listen(0, '127.0.0.1', () => appendFileSync(process.env.REPORT, `${server.address().port}\n`));
