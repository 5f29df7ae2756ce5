/** What is done at hours of the day. Whoever adds a job adds a line here; a job that is taken out is forgotten at the next start. */
import type { AuditRuns } from '../audit/runs.ts';
import type { TierRuns } from '../tiers/runs.ts';
import type { ScheduledJob } from './scheduled.ts';

export type ScheduledJobName = 'tiers' | 'audit';

const HOUR_SECONDS = 3_600;

export interface ScheduledWork {
  readonly tierRuns: Pick<TierRuns, 'catchUp'>;
  readonly auditRuns: Pick<AuditRuns, 'make'>;
}

export function scheduledJobs({ tierRuns, auditRuns }: ScheduledWork): (ScheduledJob & { readonly name: ScheduledJobName })[] {
  return [
    {
      name: 'tiers',
      // Two minutes past, so that what nodes admitted before the hour has come in.
      cron: '2 0,6,12,18 * * *',
      maxSeconds: HOUR_SECONDS,
      run: async (signal) => void (await tierRuns.catchUp(signal)),
    },
    {
      name: 'audit',
      cron: '30 3 * * *',
      maxSeconds: HOUR_SECONDS,
      run: async () => void (await auditRuns.make()),
    },
  ];
}
