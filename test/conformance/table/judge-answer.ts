/** What became of one answer on its way to one client. */
import type { Dialect } from '@meridian/data-plane/dialect/dialect';
import type { GatewayError } from '@meridian/domain/error';
import type { AnswerReading } from './answer-reading.ts';
import { compareAnswers, type Difference } from './compare-answers.ts';
import { type Carried, type ClientRequest, carryAnswer, carryRequest, carryStream, cut, isRefused, type Via } from './exchange.ts';
import { readAnswer } from './reading.ts';
import { upstreamTerms } from './upstream-terms.ts';

/** Longer streams are cut into larger pieces than single bytes. */
const MAX_BYTEWISE_BYTES = 50_000;
const LARGE_PIECE_BYTES = 7;

export interface UpstreamAnswer {
  readonly bytes: Buffer;
  readonly isStream: boolean;
}

export interface JudgedAnswer {
  /** What the upstream wrote, and what it says. */
  readonly answer: Buffer;
  readonly told: AnswerReading;
  /** Undefined where the answer ended as an error of ours. */
  readonly got: AnswerReading | undefined;
  readonly bytes: Buffer;
  readonly error: GatewayError | undefined;
  readonly losses: readonly string[];
  readonly differences: readonly Difference[];
}

export function judgeAnswer(
  client: Dialect,
  upstream: Dialect,
  via: Via,
  request: ClientRequest,
  { bytes: answer, isStream }: UpstreamAnswer,
): JudgedAnswer {
  const told = readAnswer(upstream.name, answer, isStream, true);
  const asked = carryRequest(client, upstream, request, upstreamTerms(upstream.name, undefined), via);
  if (isRefused(asked)) return failed(answer, told, asked.error, [{ of: 'request', what: asked.error.message }]);
  const differences: Difference[] = [];
  let carried: Carried;
  if (isStream) {
    carried = carryStream(client, asked.lane, [answer], asked.wantsUsage);
    const pieces = cut(answer, answer.length > MAX_BYTEWISE_BYTES ? LARGE_PIECE_BYTES : 1);
    const recut = carryStream(client, asked.lane, pieces, asked.wantsUsage);
    if (!recut.bytes.equals(carried.bytes)) differences.push({ of: 'framing', what: 'other cuts of the same bytes give another stream' });
  } else {
    const outcome = carryAnswer(asked.lane, answer);
    if (isRefused(outcome)) {
      const { error } = outcome;
      const isExpected = told.error !== undefined;
      return failed(answer, told, error, isExpected ? [] : [{ of: 'error', what: `${error.message} ${String(error.cause)}` }]);
    }
    carried = outcome;
  }
  const got = readAnswer(client.name, carried.bytes, isStream, asked.wantsUsage);
  const tellsUsage = client.name !== 'openai-chat' || !isStream || asked.wantsUsage;
  differences.push(...compareAnswers(told, got, { client: client.name, upstream: upstream.name, via, isStream, tellsUsage }));
  const losses = [...new Set(carried.losses.map(({ name }) => name))];
  return { answer, told, got, bytes: carried.bytes, error: undefined, losses, differences };
}

function failed(answer: Buffer, told: AnswerReading, error: GatewayError, differences: readonly Difference[]): JudgedAnswer {
  return { answer, told, got: undefined, bytes: Buffer.alloc(0), error, losses: [], differences };
}
