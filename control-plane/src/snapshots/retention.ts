/** How long the log is kept: enough revs of each lane for any node that can go on by deltas, and for a look at what happened. */
import { LANES } from '@meridian/domain/snapshot';
import type { Database } from '../database/connect.ts';
import { deleteLog, selectHeads } from './store.ts';

const RETAINED_REVS = 200_000;
const MAX_ROWS_A_RUN = 20_000;

/** Removes some of the rows that are further back than `retainedRevs`; true when there are more. Two replicas at once do no harm. */
export async function pruneLog(db: Database, retainedRevs: number = RETAINED_REVS): Promise<boolean> {
  const { revs } = await selectHeads(db);
  let more = false;
  for (const lane of LANES) {
    const upto = revs[lane] - retainedRevs;
    if (upto > 0 && (await deleteLog(db, lane, upto, MAX_ROWS_A_RUN)) === MAX_ROWS_A_RUN) more = true;
  }
  return more;
}
