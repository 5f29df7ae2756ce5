/** Runs the seeds that it is sent, and answers each with what came of it. */
import { parentPort } from 'node:worker_threads';
import { runSeed } from './seeds.ts';

parentPort?.on('message', (seed: number) => {
  void runSeed(seed).then((outcome) => parentPort?.postMessage(outcome));
});
