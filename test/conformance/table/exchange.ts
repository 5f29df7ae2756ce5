/** One request on its way through two dialects, as a node carries it: in the pass-through lane where they are the same, else translated. */
import { withAnsweredCalls } from '@meridian/data-plane/canonical/answered-calls';
import { LOSSES, type Loss, type LossName } from '@meridian/data-plane/canonical/loss';
import type { Dialect, EncodeRequestTerms, RequestPlace } from '@meridian/data-plane/dialect/dialect';
import type { Lane } from '@meridian/data-plane/dialect/lane';
import { passThroughLane } from '@meridian/data-plane/dialect/pass-through-lane';
import { translatedLane } from '@meridian/data-plane/dialect/translated-lane';
import { GatewayError } from '@meridian/domain/error';
import type { Json } from './json.ts';

export const REQUEST_ID = 'req_0123456789abcdefghijkl';
export const COST_USD = '0.0012345';
/** The answer's model, as the client asked for it. */
export const SHOWN_MODEL = 'shown-model';
const CREATED_SECONDS = 1_790_000_000;

export interface ClientRequest {
  readonly body: Json;
  readonly place: RequestPlace;
}

/** What a client gets, and what was said to be lost on the way. */
export interface Carried {
  readonly bytes: Buffer;
  readonly losses: readonly Loss[];
}

/** An exchange that ended with an error of ours. */
export interface Refused {
  readonly error: GatewayError;
}

export function isRefused(outcome: Carried | Refused): outcome is Refused {
  return 'error' in outcome;
}

/** `bytes`: as a node does between two ends of one dialect. `words`: through the canonical language, as between any two. */
export type Via = 'bytes' | 'words';

/** The lane and the body for the upstream. */
export function carryRequest(
  client: Dialect,
  upstream: Dialect,
  request: ClientRequest,
  terms: EncodeRequestTerms,
  via: Via,
): (Carried & { readonly lane: Lane; readonly wantsUsage: boolean }) | Refused {
  const body = Buffer.from(JSON.stringify(request.body));
  try {
    const passThrough = client.readPassThrough('chat', body, request.place);
    const lane =
      via === 'bytes'
        ? passThroughLane(client, 'chat', passThrough, request.place)
        : translatedLane(client, upstream, withAnsweredCalls(client.decodeRequest(body, request.place)), {
            requestId: REQUEST_ID,
            createdSeconds: CREATED_SECONDS,
          });
    const encoded = lane.request(terms);
    return { bytes: Buffer.concat(encoded.body), losses: encoded.losses, lane, wantsUsage: passThrough.facts.wantsStreamUsage };
  } catch (error) {
    return refusal(error);
  }
}

export function carryAnswer(lane: Lane, answer: Buffer): Carried | Refused {
  try {
    const { body, losses } = lane.answer(answer, { model: SHOWN_MODEL }).rewrite({ model: SHOWN_MODEL, costUsdLiteral: COST_USD });
    return { bytes: Buffer.concat(body), losses };
  } catch (error) {
    return refusal(error);
  }
}

/** An error that breaks the stream is in its bytes, as the client gets it. */
export function carryStream(client: Dialect, lane: Lane, pieces: readonly Buffer[], wantsUsage: boolean): Carried {
  const stream = lane.stream({ wantsStreamUsage: wantsUsage, model: SHOWN_MODEL });
  const out: Buffer[] = [];
  for (const piece of pieces) {
    if (stream.end.state !== 'running') break;
    stream.push(piece);
    out.push(...stream.take());
  }
  if (stream.end.state === 'running') stream.close();
  out.push(...stream.take());
  const { end } = stream;
  if (end.state === 'broken') out.push(...(stream.failure?.(end.error) ?? [client.renderStreamError(end.error, REQUEST_ID)]));
  else out.push(...stream.terminal(COST_USD));
  const bytes = Buffer.concat(out);
  return { bytes, losses: lossesTold(bytes) };
}

/** What a stream says of itself that it could not carry. */
function lossesTold(bytes: Buffer): readonly Loss[] {
  const told = [...bytes.toString('utf8').matchAll(/"meridian_?loss":(\[[^\]]*\])/gi)].flatMap(
    ([, list = '[]']) => JSON.parse(list) as string[],
  );
  return told.map((word) => {
    const name = LOSS_NAMES.find((one) => word === one || word.startsWith(`${one}(`));
    if (name === undefined) throw new Error(`no loss is named ${word}`);
    return { name };
  });
}

const LOSS_NAMES = Object.keys(LOSSES) as LossName[];

/** Anything but an error of ours is a fault and goes on. */
function refusal(error: unknown): Refused {
  if (error instanceof GatewayError) return { error };
  throw error;
}

/** The bytes in pieces of so many bytes. */
export function cut(bytes: Buffer, pieceBytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  return pieces;
}
