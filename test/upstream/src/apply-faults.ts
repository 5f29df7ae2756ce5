// Turns a healthy reply into the faulty one the knobs ask for.

import { type ApiError, errorBody, errorForStatus, errorObject, type ProviderName } from './api-error.ts';
import type { Knobs } from './knobs.ts';
import { recutSegments } from './recut.ts';
import { type Ending, type Reply, type Segment, segment, wholeReply } from './reply.ts';

const HTML =
  '<!DOCTYPE html>\n<html>\n<head><title>Bad gateway</title></head>\n<body>\n<center><h1>Bad gateway</h1></center>\n<hr><center>cloudflare</center>\n</body>\n</html>\n';

/** The error a `status` knob stands for, with its waiting times. */
export function faultError(knobs: Knobs): { error: ApiError; headers: string[] } | null {
  if (knobs.status === undefined || knobs.status < 400) return null;
  const headers: string[] = [];
  if (knobs.retry_after !== undefined) headers.push('retry-after', String(knobs.retry_after));
  if (knobs.retry_after_ms !== undefined) headers.push('retry-after-ms', String(knobs.retry_after_ms));
  return { error: errorForStatus(knobs.status, knobs.code ?? null), headers };
}

/** A page of HTML where JSON was promised, as a broken proxy in front of a provider gives it. */
export function htmlReply(status: number): Reply {
  return wholeReply(status, ['content-type', 'text/html; charset=UTF-8', 'server', 'cloudflare'], HTML);
}

/** The leading segments up to and with the event number `count`. */
function firstEvents(segments: Segment[], count: number): Segment[] {
  let seen = 0;
  let end = 0;
  while (end < segments.length && seen < count) {
    seen += segments[end]?.events ?? 0;
    end += 1;
  }
  return segments.slice(0, end);
}

/** What a fault after `count` lets through: that many events of a stream, that many bytes of a JSON body. */
function truncated(reply: Reply, count: number, ending: Ending): Reply {
  if (reply.length === null) return { ...reply, segments: firstEvents(reply.segments, count), ending, shortened: true };
  const bytes = reply.segments[0]?.bytes ?? Buffer.alloc(0);
  const kept = bytes.subarray(0, Math.min(count, Math.max(0, bytes.length - 1)));
  const segments = kept.length === 0 ? [] : [{ bytes: kept, pieces: 0, events: 0, usage: false }];
  // A declared length that is not reached cannot end in order: the connection has to close.
  return { ...reply, segments, ending: ending === 'end' ? 'close' : ending, shortened: true };
}

function brokenEvent(old: Segment): Segment {
  const text = old.bytes.toString('utf8').trimEnd();
  const cut = text.slice(0, Math.max(8, Math.floor(text.length / 2)));
  return { ...segment(`${cut}\n\n`), pieces: 0, usage: false };
}

function malformed(reply: Reply, event: number): Reply {
  if (reply.length === null) {
    let seen = 0;
    const segments = reply.segments.map((old) => {
      seen += old.events;
      return old.events > 0 && seen === event ? brokenEvent(old) : old;
    });
    return { ...reply, segments };
  }
  const bytes = reply.segments[0]?.bytes ?? Buffer.alloc(0);
  const half = bytes.subarray(0, Math.max(1, Math.floor(bytes.length / 2)));
  return { ...reply, segments: [{ bytes: half, pieces: 0, events: 1, usage: false }], length: half.length };
}

function errorEvent(reply: Reply, provider: ProviderName, count: number, knobs: Knobs): Reply {
  const error = errorForStatus(knobs.status ?? 500, knobs.code ?? null);
  const payload =
    provider === 'openai'
      ? { error: errorObject(provider, error) }
      : {
          error: { code: error.status, message: error.message },
          choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: 'error', native_finish_reason: 'error' }],
        };
  const events = [...firstEvents(reply.segments, count), segment(`data: ${JSON.stringify(payload)}\n\n`)];
  // OpenRouter's recorded streams close with [DONE] also after an error; OpenAI's stop at the error.
  if (provider === 'openrouter') events.push(segment('data: [DONE]\n\n'));
  return { ...reply, segments: events, ending: 'end', shortened: true };
}

/** Blank lines before a JSON body, which OpenRouter sends to keep a slow call alive. */
function padded(reply: Reply, lines: number): Reply {
  const [body] = reply.segments;
  if (reply.length === null || body === undefined) return reply;
  const bytes = Buffer.concat([Buffer.from('\n         \n'.repeat(lines)), body.bytes]);
  return { ...reply, segments: [{ ...body, bytes }], length: bytes.length };
}

/** Applies every knob that changes bytes or endings. Statuses were answered before a reply was generated. */
export function applyFaults(healthy: Reply, knobs: Knobs, provider: ProviderName): Reply {
  let reply = knobs.padding === undefined ? healthy : padded(healthy, knobs.padding);
  if (knobs.malformed !== undefined) reply = malformed(reply, knobs.malformed);
  if (knobs.error_event_after !== undefined && reply.length === null) {
    reply = errorEvent(reply, provider, knobs.error_event_after, knobs);
  }
  if (knobs.cut_after !== undefined) reply = truncated(reply, knobs.cut_after, knobs.cut_hard === true ? 'close' : 'end');
  if (knobs.reset_after !== undefined) reply = truncated(reply, knobs.reset_after, 'reset');
  if (knobs.silence_after !== undefined) reply = truncated(reply, knobs.silence_after, 'silence');
  if (knobs.recut !== undefined) reply = { ...reply, segments: recutSegments(reply.segments, knobs.recut, knobs.seed ?? 1) };
  if (knobs.reset === true) reply = { ...reply, instead: 'reset' };
  if (knobs.silence === true) reply = { ...reply, instead: 'silence' };
  return reply;
}

/** The reply for a `status` knob. */
export function errorReply(provider: ProviderName, error: ApiError, headers: string[]): Reply {
  const type = provider === 'openai' ? 'application/json; charset=utf-8' : 'application/json';
  return wholeReply(error.status, ['content-type', type, ...headers], errorBody(provider, error));
}
