/** All that holds of what goes round, for each pair of dialects. */
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import type { IRawProperty } from 'fast-check';
import { returningAnswers, streamedAnswers, wholeAnswers } from './answer-properties.ts';
import { writtenRequests } from './request-properties.ts';

export interface RoundTrip {
  /** `requests openai-chat gemini`: who says it, and to whom. */
  readonly name: string;
  readonly property: IRawProperty<unknown>;
}

const PROPERTIES: Readonly<Record<string, (from: DialectName, to: DialectName) => unknown>> = {
  requests: writtenRequests,
  answers: wholeAnswers,
  streams: streamedAnswers,
  returns: returningAnswers,
};

export const ROUND_TRIPS: readonly RoundTrip[] = Object.entries(PROPERTIES).flatMap(([kind, propertyOf]) =>
  DIALECT_NAMES.flatMap((from) =>
    DIALECT_NAMES.map((to) => ({ name: `${kind} ${from} ${to}`, property: propertyOf(from, to) as IRawProperty<unknown> })),
  ),
);
