/** The last thing a node does with its leases: what is free goes back, and the control plane has it before the node is gone. */
import type { LeaseDesk } from '../admission/lease-desk.ts';
import type { LeaseClient } from './lease-client.ts';
import type { UsageClient } from './usage-client.ts';

/** While a record is on its way to the disk, or an answer to a last question may still bring a grant, which goes back too. */
const LOOK_AGAIN_MS = 20;

export interface HandBackDeps {
  readonly desk: Pick<LeaseDesk, 'returnAll' | 'status'>;
  readonly leases: Pick<LeaseClient, 'unwritten'>;
  readonly usage: Pick<UsageClient, 'drain'>;
  readonly clock: { nowMs(): number };
}

/**
 * Returns all that is free and uploads until the control plane has acknowledged everything: true; or until the time is
 * over: false, and the rest is reported by the next start. Nothing must be in flight any more.
 */
export async function handBack({ desk, leases, usage, clock }: HandBackDeps, withinMs: number): Promise<boolean> {
  // A process that is told to go has no more time because its clock is set back.
  const endMs = performance.now() + withinMs;
  desk.returnAll(clock.nowMs());
  for (;;) {
    const drained = await usage.drain(Math.max(0, endMs - performance.now()));
    if (drained && leases.unwritten === 0 && desk.status().questions === 0) return true;
    if (performance.now() >= endMs) return false;
    if (drained) await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}
