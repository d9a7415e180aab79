async function run(task) {
  if (typeof task.double !== 'number') throw new Error('a task is { double: number }');
  return task.double * 2;
}
process.on('message', async (message) => {
  if (message?.cmd !== 'CLUSTER_TASK') return;
  const { id, task } = message;
  try {
    process.send({ cmd: 'CLUSTER_TASK_DONE', id, result: await run(task) });
  } catch (error) {
    process.send({ cmd: 'CLUSTER_TASK_FAILED', id, error: String(error) });
  }
});
process.send('CLUSTER_TASKS_READY');
