/**
 * Counts tokens, in a thread of its own: one job after the other, as they come. Of the text nothing stays behind, and no
 * message of an error that could quote it is passed on.
 */
import { getHeapStatistics } from 'node:v8';
import { parentPort } from 'node:worker_threads';
import type { CountJob, CountReport } from './token-counter.ts';
import type { Encoding } from './tokenizers.ts';

/**
 * The merging of one piece of text (a word, a run of spaces or of signs) takes time by the square of its length, so that
 * 64 KiB of spaces would take seconds. A longer piece is counted by its bytes, which its tokens are never more than.
 */
const LONGEST_PIECE_CHARACTERS = 128;

interface Tokenizer {
  readonly pieces: RegExp;
  /** Of ordinary text: what looks like a mark of the chat format is text too. */
  readonly count: (text: string) => number;
  readonly forget: () => void;
}

const ORDINARY = { disallowedSpecial: new Set<string>() };

async function load(encoding: Encoding): Promise<Tokenizer> {
  const { CL100K_TOKEN_SPLIT_REGEX, O200K_TOKEN_SPLIT_REGEX } = await import('gpt-tokenizer/encodingParams/constants');
  switch (encoding) {
    case 'o200k_base': {
      const { clearMergeCache, countTokens } = await import('gpt-tokenizer/encoding/o200k_base');
      return { pieces: O200K_TOKEN_SPLIT_REGEX, count: (text) => countTokens(text, ORDINARY), forget: clearMergeCache };
    }
    case 'cl100k_base': {
      const { clearMergeCache, countTokens } = await import('gpt-tokenizer/encoding/cl100k_base');
      return { pieces: CL100K_TOKEN_SPLIT_REGEX, count: (text) => countTokens(text, ORDINARY), forget: clearMergeCache };
    }
    default:
      return encoding satisfies never;
  }
}

const tokenizers = new Map<Encoding, Tokenizer>();

async function tokenizerOf(encoding: Encoding): Promise<Tokenizer> {
  const known = tokenizers.get(encoding);
  if (known !== undefined) return known;
  const startedMs = performance.now();
  const heapBefore = heapBytes();
  const tokenizer = await load(encoding);
  tokenizer.count('warm');
  tokenizers.set(encoding, tokenizer);
  report({ kind: 'loaded', encoding, heapBytes: Math.max(0, heapBytes() - heapBefore), tookMs: performance.now() - startedMs });
  return tokenizer;
}

function heapBytes(): number {
  return getHeapStatistics().total_heap_size;
}

/** The text between two long pieces is cut from it as it would be cut in place: a piece begins where the last one ends. */
function countText({ pieces, count }: Tokenizer, text: string): number {
  if (text.length <= LONGEST_PIECE_CHARACTERS) return count(text);
  let tokens = 0;
  let from = 0;
  for (const { 0: piece, index } of text.matchAll(pieces)) {
    if (piece.length <= LONGEST_PIECE_CHARACTERS) continue;
    tokens += count(text.slice(from, index)) + Buffer.byteLength(piece);
    from = index + piece.length;
  }
  return tokens + count(text.slice(from));
}

function report(said: CountReport): void {
  parentPort?.postMessage(said);
}

parentPort?.on('message', async ({ encoding, texts }: CountJob) => {
  let tokens: number | undefined;
  let tokenizer: Tokenizer | undefined;
  try {
    tokenizer = await tokenizerOf(encoding);
    tokens = 0;
    for (const text of texts) tokens += countText(tokenizer, text);
  } catch {
    tokens = undefined;
  }
  tokenizer?.forget();
  report({ kind: 'counted', tokens });
});
