// Runs server.cjs under Node's own cluster: `node primary.cjs round-robin|shared WORKERS`.
const cluster = require('node:cluster');
const path = require('node:path');

const [policy, workers] = process.argv.slice(2);
cluster.schedulingPolicy = policy === 'shared' ? cluster.SCHED_NONE : cluster.SCHED_RR;
cluster.setupPrimary({ exec: path.join(__dirname, 'server.cjs'), args: [] });
for (let i = 0; i < Number(workers); i += 1) cluster.fork();
