/** The way of a request to one upstream, and of that upstream's answer back to the client. */
import type { GatewayError } from '@meridian/domain/error';
import type { Answer, AnswerStream, Encoded, EncodeRequestTerms, StreamTerms } from './dialect.ts';

export interface AnswerTerms {
  /** Replaces the answer's model name; undefined leaves it. */
  readonly model: string | undefined;
}

export interface Lane {
  /** The client's headers that go on to the upstream; flat, lower case. */
  readonly passOn: readonly string[];
  /** Throws GatewayError 400 where the request cannot be said in the upstream's dialect. */
  request(terms: EncodeRequestTerms): Encoded;
  /** Throws GatewayError `upstream_error` on an answer that cannot be read, or that is an error in a success's clothes. */
  answer(body: Buffer, terms: AnswerTerms): Answer;
  stream(terms: StreamTerms): AnswerStream;
  /** An upstream's error answer as our error. */
  upstreamError(status: number, headers: Readonly<Record<string, string>>, body: Buffer): GatewayError;
}
