/** What is broken: requests, answers and streams of each dialect, of our own and, where they are there, recorded. */
import type { RequestPlace } from '@meridian/data-plane/dialect/dialect';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { framedEvents } from '../table/cases/answer-case.ts';
import { CHAT_ANSWERS } from '../table/cases/chat-answers.ts';
import { GEMINI_ANSWERS } from '../table/cases/gemini-answers.ts';
import { MESSAGE_CASES } from '../table/cases/message-cases.ts';
import { MESSAGES_ANSWERS } from '../table/cases/messages-answers.ts';
import { PARAMETER_CASES } from '../table/cases/parameter-cases.ts';
import { RESPONSES_ANSWERS } from '../table/cases/responses-answers.ts';
import { TOOL_CASES } from '../table/cases/tool-cases.ts';
import { recordings } from '../table/recordings.ts';
import { clientRequest } from '../table/run-requests.ts';

export interface RequestSeed {
  readonly body: unknown;
  readonly place: RequestPlace;
}

export interface Seeds {
  readonly requests: readonly RequestSeed[];
  readonly answers: readonly unknown[];
  readonly streams: readonly Buffer[];
  readonly errors: readonly Buffer[];
}

/** Larger recordings tell no more, and take their time. */
const MAX_SEED_BYTES = 64 * 1024;

export function seedsOf(): Readonly<Record<DialectName, Seeds>> {
  const recorded = recordings().filter(({ answer }) => answer.length <= MAX_SEED_BYTES);
  const own = [...CHAT_ANSWERS, ...RESPONSES_ANSWERS, ...MESSAGES_ANSWERS, ...GEMINI_ANSWERS];
  const of = (dialect: DialectName): Seeds => ({
    requests: [
      ...[...MESSAGE_CASES, ...TOOL_CASES, ...PARAMETER_CASES].flatMap(({ asked, isStream }) => {
        const request = asked[dialect];
        return request === undefined ? [] : [clientRequest(dialect, request, isStream === true)];
      }),
      ...recorded.flatMap(({ dialect: name, request }) => {
        if (name !== dialect || request === undefined || JSON.stringify(request.body).length > MAX_SEED_BYTES) return [];
        return [
          { body: request.body, place: { ...(request.model === undefined ? {} : { model: request.model }), stream: request.isStream } },
        ];
      }),
    ],
    answers: [
      ...own.flatMap(({ upstream, body }) => (upstream === dialect && body !== undefined ? [body] : [])),
      ...recorded.flatMap(({ dialect: name, isStream, answer, status }) =>
        name === dialect && !isStream && status < 400 ? [parsedOr(answer)] : [],
      ),
    ],
    streams: [
      ...own.flatMap(({ upstream, events }) => (upstream === dialect && events !== undefined ? [framedEvents(upstream, events)] : [])),
      ...recorded.flatMap(({ dialect: name, isStream, answer, status }) => (name === dialect && isStream && status < 400 ? [answer] : [])),
    ],
    errors: [
      Buffer.from('{"error":{"message":"No.","type":"invalid_request_error","param":"x","code":"y"}}'),
      Buffer.from('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}'),
      Buffer.from('{"error":{"code":429,"message":"Later.","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"3s","reason":"R"}]}}'),
      Buffer.from('{"detail":[{"loc":["body","x"],"msg":"missing"}]}'),
      ...recorded.flatMap(({ answer, status }) => (status >= 400 ? [answer] : [])),
    ],
  });
  return Object.fromEntries(DIALECT_NAMES.map((name) => [name, of(name)])) as Record<DialectName, Seeds>; // one for each name
}

function parsedOr(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return bytes.toString('utf8');
  }
}
