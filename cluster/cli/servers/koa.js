'use strict';
const Koa = require('koa');
const app = new Koa();
app.use((context) => {
  context.body = String(process.pid);
});
const server = app.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
