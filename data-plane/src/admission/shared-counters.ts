/** What the nodes of a region know of each other's use; `redis/` satisfies it. Nothing on a request's way waits for it. */
import type { BucketUse } from './rate-bucket.ts';

/** One key's use on this node, since it was last told. */
export interface KeyUse {
  readonly keyId: string;
  /** Ascending; told again under the same one where no answer came, and counted once. */
  readonly seq: number;
  readonly buckets: readonly (BucketUse & { readonly name: string })[];
  /** Requests under way here, now. */
  readonly running: readonly { readonly name: string; readonly count: number }[];
}

/** How a key stands in the region, in the order in which its use was told. */
export interface KeyStanding {
  readonly levels: readonly number[];
  /** Requests under way on other nodes. */
  readonly elsewhere: readonly number[];
}

export interface SharedCounters {
  /** The region is out of reach, or has not answered as it should. */
  readonly away: boolean;
  /** Tells the use of keys. Rejects where no answer came in time: what was counted of it is not known then. */
  share(uses: readonly KeyUse[]): Promise<readonly KeyStanding[]>;
}
