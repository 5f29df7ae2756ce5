/** Request + plan → the lane to each candidate. */
import type { DialectName, Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { withAnsweredCalls } from '../canonical/answered-calls.ts';
import type { EmbeddingRequest } from '../canonical/embedding.ts';
import type { Request } from '../canonical/request.ts';
import type { Dialect, EmbeddingsCodec, PassThroughRequest, RequestPlace } from '../dialect/dialect.ts';
import type { Lane } from '../dialect/lane.ts';
import { passThroughLane } from '../dialect/pass-through-lane.ts';
import { type TranslationTerms, translatedEmbeddings, translatedLane } from '../dialect/translated-lane.ts';
import type { Candidate, Plan } from './plan.ts';

/** A request as its client wrote it. */
export interface Written {
  readonly dialect: Dialect;
  readonly operation: Operation;
  readonly body: Buffer;
  readonly place: RequestPlace;
  readonly passThrough: PassThroughRequest;
}

export type DialectNamed = (name: DialectName) => Dialect;

/**
 * Reads the body into the canonical language where a candidate needs it, once, and before anything is reserved: throws GatewayError 400
 * for one that cannot be read so. The function returned throws where a request cannot be said in a candidate's dialect.
 */
export function lanesTo(
  written: Written,
  { candidates, settings }: Plan,
  dialectNamed: DialectNamed,
  terms: TranslationTerms,
): (candidate: Candidate) => Lane {
  const { dialect, operation, passThrough } = written;
  // What is set for the asked name has to be written into the request, and only the canonical language knows where.
  const passes = ({ endpoint }: Candidate): boolean => endpoint.dialect === dialect.name && settings === undefined;
  const same = passThroughLane(dialect, operation, passThrough, written.place);
  if (candidates.every(passes)) return () => same;
  const translated = operation === 'embeddings' ? embeddingsLane(written) : chatLane(written, settings?.reasoningEffort, terms);
  return (candidate) => {
    if (passes(candidate)) return same;
    return translated(dialectNamed(candidate.endpoint.dialect));
  };
}

function chatLane({ dialect, body, place }: Written, effort: string | undefined, terms: TranslationTerms): (upstream: Dialect) => Lane {
  const asked = withAnsweredCalls(dialect.decodeRequest(body, place));
  const request: Request = effort === undefined ? asked : { ...asked, reasoning: { effort, budgetTokens: undefined } };
  return (upstream) => translatedLane(dialect, upstream, request, terms);
}

function embeddingsLane({ dialect, body, place }: Written): (upstream: Dialect) => Lane {
  const codec: EmbeddingsCodec | undefined = dialect.embeddings;
  if (codec === undefined) throw new GatewayError('unsupported_endpoint', { message: 'This protocol has no embeddings.' });
  const request: EmbeddingRequest = codec.decodeRequest(body, place);
  return (upstream) => translatedEmbeddings(codec, upstream, request);
}
