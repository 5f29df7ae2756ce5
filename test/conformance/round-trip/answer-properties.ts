/** What holds for every answer: written for a client, whole or as a stream, and read again, it says what it said. */
import { withAnsweredCalls } from '@meridian/data-plane/canonical/answered-calls';
import { boundedCallId } from '@meridian/data-plane/canonical/call-id';
import { LOSSES, type LossName } from '@meridian/data-plane/canonical/loss';
import type { Part, ReasoningCarrier } from '@meridian/data-plane/canonical/message';
import type { Request } from '@meridian/data-plane/canonical/request';
import type { Response } from '@meridian/data-plane/canonical/response';
import { boundedToolName } from '@meridian/data-plane/canonical/tool-name';
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import type { DialectName } from '@meridian/domain/dialect';
import fc from 'fast-check';
import { answerForm } from './answer-form.ts';
import { answers } from './arbitrary-answers.ts';
import { chunks, cuts, type StreamedAnswer, streams } from './arbitrary-streams.ts';
import { expectSame } from './differences.ts';
import { foldEvents } from './fold-events.ts';
import { sameJsonText } from './json-forms.ts';
import { nextTurn } from './next-turn.ts';

/** What the client has asked: no more than that, and for the proofs of the thinking. */
export function plainRequest(dialect: DialectName): Request {
  return {
    dialect,
    model: 'a-model',
    messages: [{ role: 'user', parts: [{ type: 'text', text: 'Hi', citations: [], rest: {} }], name: undefined, rest: {} }],
    tools: [],
    toolChoice: undefined,
    parallelToolCalls: undefined,
    stream: false,
    wantsStreamUsage: true,
    maxOutputTokens: undefined,
    sampling: {
      temperature: undefined,
      topP: undefined,
      topK: undefined,
      seed: undefined,
      frequencyPenalty: undefined,
      presencePenalty: undefined,
    },
    stop: [],
    choices: 1,
    logprobs: undefined,
    format: undefined,
    reasoning: { effort: 'high', budgetTokens: undefined, wantsCarriers: true },
    serviceTier: 'standard',
    user: undefined,
    rest: {},
  };
}

const TERMS = { requestId: 'req_0123456789abcdef', createdSeconds: 1_700_000_000, model: undefined } as const;

export function writeAnswer(answer: Response, client: DialectName): { readonly body: Buffer; readonly losses: ReadonlySet<LossName> } {
  const { body, losses } = dialectOf(client).encodeResponse(answer, { ...TERMS, request: plainRequest(client), costUsdLiteral: undefined });
  for (const { name } of losses) {
    const to: readonly DialectName[] = LOSSES[name].to;
    if (!to.includes(client)) throw new Error(`${name} is not said to be lost to ${client}`);
  }
  return { body: Buffer.concat([...body]), losses: new Set(losses.map(({ name }) => name)) };
}

const NONE: ReadonlySet<LossName> = new Set();

/** The time that is written where none was told is ours. */
function timed(answer: Response): Response {
  return { ...answer, createdSeconds: answer.createdSeconds ?? TERMS.createdSeconds };
}

/** An answer that was read in one dialect, written whole for a client of another, and read again. */
export function wholeAnswers(upstream: DialectName, client: DialectName): fc.IPropertyWithHooks<[Response]> {
  return fc.property(answers(upstream), (answer) => {
    const { body, losses } = writeAnswer(answer, client);
    const again = dialectOf(client).decodeResponse(body);
    const foreign = upstream !== client;
    expectSame(
      answerForm(timed(answer), client, { losses, foreign, streamed: false }),
      answerForm(again, client, { losses: NONE, foreign, streamed: false }),
      () => body.toString('utf8'),
    );
  });
}

/** A stream of one dialect's events, written for a client of another, cut anywhere, and read again: it tells what a whole answer tells. */
export function streamedAnswers(
  upstream: DialectName,
  client: DialectName,
): fc.IPropertyWithHooks<[StreamedAnswer, readonly number[], readonly number[]]> {
  return fc.property(streams(upstream), cuts, cuts, ({ answer, events }, batches, sizes) => {
    const dialect = dialectOf(client);
    const encoder = dialect.encodeStream({ ...TERMS, wantsStreamUsage: true, request: { ...plainRequest(client), stream: true } });
    const written: Buffer[] = [];
    for (let at = 0, batch = 0; at < events.length; batch++) {
      const size = 1 + (batches[batch % batches.length] ?? 0);
      written.push(...encoder.push(events.slice(at, at + size)));
      at += size;
    }
    written.push(...encoder.end(undefined));
    const bytes = Buffer.concat(written);
    const decoder = dialect.decodeStream();
    const read = chunks(bytes, sizes).flatMap((chunk) => decoder.push(chunk));
    const again = foldEvents([...read, ...decoder.end()]);
    const foreign = upstream !== client;
    const shown = () => bytes.toString('utf8');
    const whole = writeAnswer(answer, client);
    const told = answerForm(again, client, { losses: NONE, foreign, streamed: true });
    expectSame(answerForm(timed(answer), client, { losses: whole.losses, foreign, streamed: true }), told, shown);
    expectSame(answerForm(dialect.decodeResponse(whole.body), client, { losses: NONE, foreign, streamed: true }), told, shown);
  });
}

/** Models that take most, and want nothing in the place of a proof that there never was. */
const UPSTREAM_MODELS: Readonly<Record<DialectName, string>> = {
  'openai-chat': 'gpt-4.1',
  'openai-responses': 'gpt-4.1',
  'anthropic-messages': 'claude-sonnet-4-5',
  gemini: 'gemini-2.5-flash',
};
/** The longest id of a call that an upstream takes. */
const MAX_CALL_ID_CHARACTERS: Readonly<Partial<Record<DialectName, number>>> = {
  'openai-chat': 40,
  'openai-responses': 64,
  'anthropic-messages': 64,
};

/** What an upstream wants to find again in an assistant's turn: proofs, with the thinking that they prove, and calls with theirs. */
function provedIn(
  parts: readonly Part[],
  upstream: DialectName,
): { readonly thinking: readonly unknown[]; readonly calls: readonly unknown[] } {
  const own = (carriers: readonly ReasoningCarrier[] = []) =>
    carriers.filter(({ dialect }) => dialect === upstream).flatMap(({ value }) => proofIn(value));
  const longest = MAX_CALL_ID_CHARACTERS[upstream];
  // Thinking of a turn is one there, and its proofs are a list.
  const isList = upstream === 'openai-chat';
  const blocks = parts.flatMap((part) =>
    part.type === 'reasoning' ? [{ text: isList ? '' : part.text, proofs: own(part.carriers) }] : [],
  );
  const proved = blocks.filter(({ proofs }) => proofs.length > 0);
  return {
    thinking: isList ? proved.flatMap(({ proofs }) => proofs) : proved,
    calls: parts.flatMap((part) =>
      part.type === 'tool_call'
        ? [
            {
              id: longest === undefined ? part.id : boundedCallId(part.id, longest),
              name: boundedToolName(part.name),
              arguments: sameJsonText(part.arguments),
              proofs: own(part.carriers),
            },
          ]
        : [],
    ),
  };
}

/** A proof without what stands around it: an item's id is of the answer that it is in. */
function proofIn(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'encrypted_content' in value ? value.encrypted_content : value;
}

/** The characters that were said. Blanks may go, and what declines stands behind the text in some turns. */
function charactersOf(parts: readonly Part[]): string {
  const said = parts.map((part) => (part.type === 'text' || part.type === 'refusal' ? part.text : '')).join('');
  return said.replace(/\s+/g, '').split('').sort().join('');
}

/** Those of the proofs that are there again, where some are said to be lost. */
function kept(proofs: ReturnType<typeof provedIn>, again: ReturnType<typeof provedIn>): ReturnType<typeof provedIn> {
  const there = again.thinking.map((proof) => JSON.stringify(proof));
  return { ...proofs, thinking: proofs.thinking.filter((proof) => there.includes(JSON.stringify(proof))) };
}

/**
 * An answer of an upstream, through a client of any dialect, and back to the upstream with the next turn: its calls stand there under its own
 * ids, and each proof of its thinking byte for byte.
 */
export function returningAnswers(upstream: DialectName, client: DialectName): fc.IPropertyWithHooks<[Response]> {
  return fc.property(answers(upstream), (given) => {
    const [choice] = given.choices;
    const said = (choice?.parts ?? []).filter(comesBack);
    const answer = { ...given, choices: choice === undefined ? [] : [{ ...choice, parts: said }] };
    const { body } = writeAnswer(answer, client);
    const dialect = dialectOf(upstream);
    const next = withAnsweredCalls(nextTurn(client, body));
    expectSame(thoughtIn(said), thoughtIn(next.messages.flatMap(({ parts }) => parts)), () => body.toString('utf8'));
    const { body: written, losses } = dialect.encodeRequest(next, {
      model: UPSTREAM_MODELS[upstream],
      maxOutputTokens: undefined,
      modelMaxOutputTokens: 8_192,
      capabilities: ['tools', 'vision', 'reasoning'],
    });
    const sent = dialect.decodeRequest(Buffer.concat([...written]), { model: 'a-model', stream: false });
    const again = sent.messages.flatMap(({ role, parts }) => (role === 'assistant' ? parts : []));
    const shown = () => `${body}\n\n${Buffer.concat([...written])}`;
    const [before, after] = [provedIn(said, upstream), provedIn(again, upstream)];
    const isLost = losses.some(({ name }) => name === 'reasoning');
    expectSame(isLost ? kept(before, after) : before, after, shown);
    expectSame(charactersOf(said), charactersOf(again), shown);
  });
}

/** All that was thought. */
function thoughtIn(parts: readonly Part[]): string {
  return parts.map((part) => (part.type === 'reasoning' ? part.text : '')).join('');
}

/** What a client has a place for in its history; thinking without a proof is nobody's. */
function comesBack(part: Part): boolean {
  return part.type === 'reasoning' ? part.carriers.length > 0 : part.type !== 'image' && part.type !== 'audio';
}
