/** Answers of upstreams of each dialect to clients of each: the cases of our own, and all that were recorded. */
import type { Dialect } from '@meridian/data-plane/dialect/dialect';
import { dialectOf, type Spoken } from '@meridian/data-plane/dialect/registry';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { type AnswerCase, framedEvents } from './cases/answer-case.ts';
import { ASKED_ANSWERS } from './cases/asked-answers.ts';
import { CHAT_ANSWERS } from './cases/chat-answers.ts';
import { GEMINI_ANSWERS } from './cases/gemini-answers.ts';
import { MESSAGES_ANSWERS } from './cases/messages-answers.ts';
import { RESPONSES_ANSWERS } from './cases/responses-answers.ts';
import type { Difference } from './compare-answers.ts';
import type { ClientRequest, Via } from './exchange.ts';
import type { Json } from './json.ts';
import { type JudgedAnswer, judgeAnswer } from './judge-answer.ts';
import { judgeMovedTurn, judgeNextTurn } from './next-turn.ts';
import { recordings } from './recordings.ts';
import type { Row } from './row.ts';

/** The plainest request of each dialect, which asks for all that an answer can hold. */
function plainRequest(dialect: DialectName, isStream: boolean, wantsUsage: boolean, more: Json): ClientRequest {
  const text = 'Hello';
  switch (dialect) {
    case 'openai-chat': {
      const options = wantsUsage ? { stream_options: { include_usage: true } } : {};
      const streaming = isStream ? { stream: true, ...options } : {};
      return { body: { model: 'm', messages: [{ role: 'user', content: text }], ...streaming, ...more }, place: {} };
    }
    case 'openai-responses':
      return {
        body: {
          model: 'm',
          input: text,
          include: ['reasoning.encrypted_content', 'message.output_text.logprobs'],
          store: false,
          stream: isStream,
          ...more,
        },
        place: {},
      };
    case 'anthropic-messages':
      return {
        body: { model: 'm', max_tokens: 2_000, messages: [{ role: 'user', content: text }], stream: isStream, ...more },
        place: {},
      };
    case 'gemini':
      return { body: { contents: [{ role: 'user', parts: [{ text }] }], ...more }, place: { model: 'm', stream: isStream } };
    default:
      return dialect satisfies never;
  }
}

/** Each client with the ways to it: between two ends of one dialect the bytes go through; the words must hold there, too. */
function clientsOf(upstream: DialectName, isStream: boolean): readonly (readonly [Dialect, Via])[] {
  // One dialect frames its streams in two ways.
  const spoken: readonly Spoken[] = isStream ? [...DIALECT_NAMES, 'gemini-json-array'] : DIALECT_NAMES;
  return spoken.flatMap((name) => {
    const client = dialectOf(name);
    const words = [client, 'words'] as const;
    return client.name === upstream ? [[client, 'bytes'] as const, words] : [words];
  });
}

/** One answer on its way to one client. */
export interface CarriedAnswer {
  readonly kind: 'answer' | 'stream' | 'recorded answer' | 'recorded stream';
  readonly number: number;
  readonly what: string;
  readonly client: Dialect;
  readonly upstream: Dialect;
  readonly via: Via;
  readonly judged: JudgedAnswer;
  /** There is no turn after it. */
  readonly isFinal: boolean;
  readonly complaints: readonly string[];
}

export function carriedOwnAnswers(): CarriedAnswer[] {
  return [...CHAT_ANSWERS, ...RESPONSES_ANSWERS, ...MESSAGES_ANSWERS, ...GEMINI_ANSWERS, ...ASKED_ANSWERS].flatMap((one) =>
    clientsOf(one.upstream, one.events !== undefined)
      .filter(([client]) => one.onlyFor?.includes(client.name) !== false)
      .map(([client, via]) => carryOwn(one, client, dialectOf(one.upstream), via)),
  );
}

function carryOwn(one: AnswerCase, client: Dialect, upstream: Dialect, via: Via): CarriedAnswer {
  const isStream = one.events !== undefined;
  const bytes = isStream ? framedEvents(one.upstream, one.events) : Buffer.from(JSON.stringify(one.body));
  const request = plainRequest(client.name, isStream, one.withoutUsage !== true, one.asked?.[client.name] ?? {});
  const judged = judgeAnswer(client, upstream, via, request, { bytes, isStream });
  const lost = via === 'bytes' ? [] : (one.lost?.[client.name] ?? []);
  const unasked = via === 'bytes' ? [] : (one.unasked?.[client.name] ?? []);
  const differences = lost === 'refuse' ? [] : judged.differences.filter(({ of }) => !lost.includes(of) && !unasked.includes(of));
  const complaints = differences.map(told);
  if (lost === 'refuse') {
    if (judged.error === undefined) complaints.push('it was not refused');
  } else if (lost.length > 0 && judged.error === undefined && judged.losses.length === 0) {
    complaints.push(`${lost.join(', ')} is lost without a name`);
  }
  if (judged.got !== undefined && via === 'words')
    complaints.push(...(one.check?.(judged.got, client.name, judged.bytes.toString('utf8')) ?? []));
  const isFinal = one.isFinal === true || one.asked !== undefined;
  return { kind: isStream ? 'stream' : 'answer', number: one.number, what: one.what, client, upstream, via, judged, isFinal, complaints };
}

export function carriedRecordedAnswers(): CarriedAnswer[] {
  return recordings().flatMap(({ name, dialect, status, isStream, answer }) => {
    if (status >= 400) return [];
    const upstream = dialectOf(dialect);
    return clientsOf(dialect, isStream).map(([client, via]) => {
      const judged = judgeAnswer(client, upstream, via, plainRequest(client.name, isStream, true, {}), { bytes: answer, isStream });
      const unexplained = judged.differences.filter(
        ({ of }) =>
          !(of === 'foreign' && judged.losses.includes('unknown_part')) &&
          !(of === 'citations' && judged.losses.includes('citations')) &&
          // Nobody can ask for these in that dialect.
          !(of === 'logprobs' && client.name === 'anthropic-messages'),
      );
      const kind = isStream ? ('recorded stream' as const) : ('recorded answer' as const);
      return { kind, number: 0, what: name, client, upstream, via, judged, isFinal: false, complaints: unexplained.map(told) };
    });
  });
}

export function runOwnAnswers(): Row[] {
  return carriedOwnAnswers().flatMap(rowsOf);
}

export function runRecordedAnswers(): Row[] {
  return carriedRecordedAnswers().flatMap(rowsOf);
}

/** A row for the answer, and those for the turn after it, to the same upstream and to others, where there can be one. */
function rowsOf({ kind, number, what, client, upstream, via, judged, isFinal, complaints }: CarriedAnswer): Row[] {
  const row = { number, client: client.name, via };
  // One dialect frames its streams in two ways.
  const inFraming = (list: readonly string[]): string[] =>
    list.map((complaint) => (client.streamContentType === undefined ? complaint : `as one JSON array: ${complaint}`));
  const first: Row = { ...row, what, upstream: upstream.name, kind, result: resultOf(judged), complaints: inFraming(complaints) };
  if (judged.got === undefined || isFinal) return [first];
  const isRecorded = kind.startsWith('recorded');
  const nextWhat = kind.endsWith('stream') ? `${what} (stream)` : what;
  const rows = [first];
  const next = judgeNextTurn(client.name, upstream.name, judged.told, judged.got, via);
  if (next !== undefined) {
    const nextKind = isRecorded ? ('recorded next turn' as const) : ('next turn' as const);
    rows.push({ ...row, kind: nextKind, what: nextWhat, upstream: upstream.name, result: 'pass', complaints: inFraming(next.map(told)) });
  }
  for (const other of via === 'words' ? DIALECT_NAMES : []) {
    const moved = other === upstream.name ? undefined : judgeMovedTurn(client.name, other, judged.told, judged.got);
    if (moved === undefined) continue;
    const movedKind = isRecorded ? ('recorded moved turn' as const) : ('moved turn' as const);
    rows.push({
      ...row,
      kind: movedKind,
      what: `${nextWhat}, of ${upstream.name}`,
      upstream: other,
      result: 'pass',
      complaints: inFraming(moved.map(told)),
    });
  }
  return rows;
}

function told({ of, what }: Difference): string {
  return `${of}: ${what}`;
}

function resultOf({ error, losses, told: { error: failure, isWhole } }: JudgedAnswer): string {
  if (error !== undefined) return String(error.status);
  if (failure !== undefined || !isWhole) return 'error';
  return losses.length === 0 ? 'pass' : losses.join(', ');
}
