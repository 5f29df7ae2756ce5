/** What a route answers that asks for a run of scheduled work. */
import { GatewayError } from '@meridian/domain/error';
import { z } from 'zod';

const RETRY_AFTER_SECONDS = 5;

export const SCHEDULED_RUN = z.object({
  object: z.literal('scheduled_run'),
  job: z.string(),
  queued: z.boolean().describe('False where a run was in the queue or under way already.'),
});

/** Rejects with `overloaded` while there is no scheduler to take it. */
export async function scheduleRun(job: string, runSoon: () => Promise<boolean>): Promise<z.infer<typeof SCHEDULED_RUN>> {
  try {
    return { object: 'scheduled_run', job, queued: await runSoon() };
  } catch (cause) {
    throw new GatewayError('overloaded', {
      message: 'The scheduler is not there at the moment.',
      retryAfterSeconds: RETRY_AFTER_SECONDS,
      cause,
    });
  }
}
