'use strict';
// A program that shuts down gracefully with the help of a package; the argument is the name of the package.
// An interval keeps the program running, as a pool of connections to a database does.

const server = require('node:http').createServer((_, res) => res.end(String(process.pid)));
const end = () => console.log('the program ends itself');
const shutdown = {
  'http-terminator'() {
    const terminator = require('http-terminator').createHttpTerminator({ server });
    process.on('SIGTERM', async () => {
      await terminator.terminate();
      end();
      process.exit();
    });
  },
  stoppable() {
    const { stop } = require('stoppable')(server, 5_000);
    process.on('SIGTERM', () =>
      stop((error) => {
        if (error) throw error;
        end();
        process.exit();
      }),
    );
  },
  '@godaddy/terminus'() {
    require('@godaddy/terminus').createTerminus(server, { signal: 'SIGTERM', onSignal: async () => end() });
  },
  'http-graceful-shutdown'() {
    require('http-graceful-shutdown')(server, { timeout: 5_000, finally: end });
  },
};
shutdown[process.argv[2]]();
setInterval(() => {}, 1_000);
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port));
