/** A request that does not fit by its bytes → how many tokens its input has at most, its text counted exactly. */
import type { Operation } from '@meridian/domain/dialect';
import { maxCost } from '@meridian/domain/max-cost';
import type { Asked, Estimate, Ways } from './estimate.ts';
import type { TokenCounts } from './token-counter.ts';
import { encodingOf } from './tokenizers.ts';

/** A longer body stays with the bound by its bytes. */
export const COUNTED_BODY_MAX_BYTES = 256 * 1024;

/** The text of a request's input; satisfied by a dialect's. */
export interface InputText {
  readonly texts: readonly string[];
  readonly otherTokensBound: number;
}

/** Ways whose models are known by name, which tells their tokenizer. */
export interface NamedWays extends Ways {
  readonly candidates: readonly (Ways['candidates'][number] & { readonly model: { readonly id: string } })[];
}

/** Where the text stands; satisfied by an exchange. */
export interface TextSource {
  readonly body: Buffer;
  readonly dialect: {
    inputText(operation: Operation, body: Buffer, inputTokensBound: number): InputText;
  };
}

/**
 * `done` is called later with the bound, or with undefined where the count did not come in time. The function returned
 * gives up the wait; undefined where nothing is counted: the model's tokenizer is not known, the body is too long or not all of
 * the input, too many wait, or not even a request without text would fit in what is left.
 */
export function countInput(
  counter: TokenCounts,
  { body, dialect }: TextSource,
  asked: Asked,
  ways: NamedWays,
  terms: Estimate,
  left: number,
  done: (inputTokens: number | undefined) => void,
): (() => void) | undefined {
  if (asked.readsBeyondBody || body.length > COUNTED_BODY_MAX_BYTES) return undefined;
  const encoding = encodingOf(ways.candidates.map(({ model }) => model));
  if (encoding === undefined) return undefined;
  const { texts, otherTokensBound } = dialect.inputText(asked.operation, body, asked.inputTokensBound);
  const least = { ...terms.demand, inputTokens: otherTokensBound, outputTokens: Math.min(terms.demand.outputTokens, terms.choices) };
  if (maxCost(least, terms.markupBasisPoints) > BigInt(left)) return undefined;
  return counter.count(encoding, texts, (tokens) => done(tokens === undefined ? undefined : tokens + otherTokensBound));
}
