/** Request + plan → the lanes to the candidates. */
import type { DialectName, Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { withAnsweredCalls } from '../canonical/answered-calls.ts';
import type { EmbeddingRequest } from '../canonical/embedding.ts';
import { type FoundMedium, mediaUrls, withFoundMedia } from '../canonical/media-urls.ts';
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

export interface Lanes {
  /** Throws GatewayError 400 where the request cannot be said in the candidate's dialect. */
  to(candidate: Candidate): Lane;
  /** Media that the request points at and that have to be fetched, since a candidate does not fetch; empty for most requests. */
  readonly unfetched: readonly string[];
  /** Puts what was found at those addresses into the request. */
  found(media: ReadonlyMap<string, FoundMedium>): void;
}

/**
 * Reads the body into the canonical language where a candidate needs it, once, and before anything is reserved: throws GatewayError 400
 * for one that cannot be read so.
 */
export function lanesTo(written: Written, { candidates, settings }: Plan, dialectNamed: DialectNamed, terms: TranslationTerms): Lanes {
  const { dialect, operation, passThrough } = written;
  // What is set for the asked name has to be written into the request, and only the canonical language knows where.
  const passes = ({ endpoint }: Candidate): boolean => endpoint.dialect === dialect.name && settings === undefined;
  const same = passThroughLane(dialect, operation, passThrough, written.place);
  if (candidates.every(passes)) return { to: () => same, unfetched: NOTHING, found: () => {} };
  const upstreamOf = ({ endpoint }: Candidate): Dialect => dialectNamed(endpoint.dialect);
  if (operation === 'embeddings') {
    const translated = embeddingsLane(written, terms);
    return { to: (candidate) => (passes(candidate) ? same : translated(upstreamOf(candidate))), unfetched: NOTHING, found: () => {} };
  }
  let request = canonical(written, settings?.reasoningEffort);
  const upstreams = candidates.filter((candidate) => !passes(candidate)).map(upstreamOf);
  return {
    to: (candidate) => (passes(candidate) ? same : translatedLane(dialect, upstreamOf(candidate), request, terms)),
    unfetched: mediaUrls(request, (url) => upstreams.some(({ mustInline }) => mustInline?.(url) === true)),
    found: (media) => {
      request = withFoundMedia(request, media);
    },
  };
}

const NOTHING: readonly string[] = Object.freeze([]);

function canonical({ dialect, body, place, passThrough }: Written, effort: string | undefined): Request {
  const asked = withAnsweredCalls(dialect.decodeRequest(body, place, passThrough.facts));
  return effort === undefined ? asked : withEffort(asked, effort);
}

/** How much to think is set; how the thinking is shown stays as it was asked for. */
function withEffort(request: Request, effort: string): Request {
  const { show, wantsCarriers } = request.reasoning ?? {};
  const shown = { ...(show === undefined ? {} : { show }), ...(wantsCarriers === undefined ? {} : { wantsCarriers }) };
  return { ...request, reasoning: { effort, budgetTokens: undefined, ...shown } };
}

function embeddingsLane({ dialect, body, place }: Written, terms: TranslationTerms): (upstream: Dialect) => Lane {
  const codec: EmbeddingsCodec | undefined = dialect.embeddings;
  if (codec === undefined) throw new GatewayError('unsupported_endpoint', { message: 'This protocol has no embeddings.' });
  const request: EmbeddingRequest = codec.decodeRequest(body, place);
  return (upstream) => translatedEmbeddings(codec, upstream, request, terms);
}
