/** Writes intents and finals until it is killed; reports on stdout those whose waiters were called. */
import fs from 'node:fs';
import { openSpool } from './spool.ts';
import { finalOf, heldIds, intentOf } from './testing.ts';

const [folder = '', incarnation = ''] = process.argv.slice(2);
const ids = heldIds();
const spool = await openSpool({
  folder,
  incarnation: BigInt(incarnation),
  ids,
  limits: { segmentBytes: 64 * 1024 },
  alarm: (message, fields) => console.error(message, fields),
});

// Straight to the file descriptor: what was reported must not be lost in a buffer of ours.
const report = (kind: string, name: string) => fs.writeSync(1, `${kind} ${name}\n`);

let count = 0;
function serve(): void {
  const name = `${incarnation}-${count++}`;
  spool.intent(intentOf(name), (error) => {
    if (error !== undefined) throw error;
    report('intent', name);
    setImmediate(() => {
      spool.final(finalOf(name, 7n), (failed) => {
        if (failed !== undefined) throw failed;
        report('final', name);
        serve();
      });
    });
  });
}

for (let index = 0; index < 16; index++) serve();
