/** Where the records of idempotency keys are: in the region's Redis, or in the process. */
import type { Claim, Finding, Kept } from './record.ts';

/** Each rejects when the store cannot be asked or does not answer; whether there was an effect is not known then. All may be repeated. */
export interface RecordStore {
  /** Claims the key, or renews the owner's own claim. */
  claim(name: string, by: Claim): Promise<Finding>;
  /** False: another request has taken the place of this one, which must not be charged. */
  settle(name: string, by: Claim): Promise<boolean>;
  /** False: another request has taken the place of this one. */
  keep(name: string, by: Claim, kept: Kept): Promise<boolean>;
  /** Frees the key for the next request, where this owner still has it. */
  release(name: string, owner: string): Promise<void>;
}
