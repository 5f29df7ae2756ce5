/** A whole answer. */
import type { DialectName } from '@meridian/domain/dialect';
import type { ServiceTier } from '@meridian/domain/price';
import type { Usage } from '@meridian/domain/usage';
import type { Finish } from './finish.ts';
import type { Part, Rest } from './message.ts';

export interface Response {
  /** The dialect it was read from, which alone gets its `rest`, and that of its parts, back. Absent: none. */
  readonly dialect?: DialectName;
  readonly id: string;
  /** Seconds since 1970, as the upstream says; undefined when it does not. */
  readonly createdSeconds: number | undefined;
  /** The model name the upstream answered with. */
  readonly model: string | undefined;
  readonly choices: readonly Choice[];
  readonly usage: UsageReport | undefined;
  readonly serviceTier: ServiceTier | undefined;
  readonly rest: Rest;
}

export interface Choice {
  readonly index: number;
  readonly parts: readonly Part[];
  /** Undefined where the upstream named no reason. */
  readonly finish: Finish | undefined;
  readonly logprobs: unknown;
  readonly rest: Rest;
}

/** Usage in disjoint components, and what else the provider told. */
export interface UsageReport {
  readonly usage: Usage;
  /** A part of the output, for information; undefined when it was not told. */
  readonly reasoningTokens: number | undefined;
  /** As the provider wrote it. */
  readonly raw: Rest;
}
