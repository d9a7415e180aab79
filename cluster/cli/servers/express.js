'use strict';
const app = require('express')();
app.get('/', (_, res) => res.send(String(process.pid)));
const server = app.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
