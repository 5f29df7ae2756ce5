// Turns a healthy reply into the faulty one the knobs ask for.

import type { ApiError } from './api-error.ts';
import type { Knobs } from './knobs.ts';
import { recutSegments } from './recut.ts';
import { type Ending, type Reply, type Segment, segment, wholeReply } from './reply.ts';
import type { Wire } from './wire.ts';

const HTML =
  '<!DOCTYPE html>\n<html>\n<head><title>Bad gateway</title></head>\n<body>\n<center><h1>Bad gateway</h1></center>\n<hr><center>cloudflare</center>\n</body>\n</html>\n';

/** The error a `status` knob stands for, with its waiting times. */
export function faultError(knobs: Knobs, wire: Wire): { error: ApiError; headers: string[] } | null {
  if (knobs.status === undefined || knobs.status < 400) return null;
  const headers: string[] = [];
  if (!wire.tellsRetryInHeaders) return { error: wire.errorForStatus(knobs.status, knobs), headers };
  if (knobs.retry_after !== undefined) headers.push('retry-after', String(knobs.retry_after));
  if (knobs.retry_after_ms !== undefined) headers.push('retry-after-ms', String(knobs.retry_after_ms));
  return { error: wire.errorForStatus(knobs.status, knobs), headers };
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

/** Cut in the middle of its JSON; the line ends stay, so that the next event is found. */
function brokenEvent(old: Segment): Segment {
  const text = old.bytes.toString('utf8');
  const body = text.trimEnd();
  const start = body.indexOf('data: ') < 0 ? 0 : body.indexOf('data: ') + 'data: '.length;
  const cut = body.slice(0, start + Math.max(2, Math.floor((body.length - start) / 2)));
  return { ...segment(cut + text.slice(body.length)), pieces: 0, usage: false };
}

/** The number of the first event that carries content; the second where none does. */
function firstContentEvent(segments: Segment[]): number {
  const at = segments.findIndex((part) => part.pieces > 0);
  return at < 0 ? 2 : segments.slice(0, at + 1).reduce((sum, part) => sum + part.events, 0);
}

function malformed(reply: Reply, event: number): Reply {
  if (reply.length === null) {
    const broken = event === 0 ? firstContentEvent(reply.segments) : event;
    let seen = 0;
    const segments = reply.segments.map((old) => {
      seen += old.events;
      return old.events > 0 && seen === broken ? brokenEvent(old) : old;
    });
    return { ...reply, segments };
  }
  const bytes = reply.segments[0]?.bytes ?? Buffer.alloc(0);
  const half = bytes.subarray(0, Math.max(1, Math.floor(bytes.length / 2)));
  return { ...reply, segments: [{ bytes: half, pieces: 0, events: 1, usage: false }], length: half.length };
}

/** More than anybody takes for one event. */
const OVERSIZED_BYTES = 9 * 1024 * 1024;

/** The first events of a stream, then one that is too large for its reader, which is waited for to hang up. */
function oversized(reply: Reply, event: number): Reply {
  if (reply.length !== null) return reply;
  const large = segment(`data: {"padding":"${'x'.repeat(OVERSIZED_BYTES)}"}\n\n`);
  return { ...reply, segments: [...firstEvents(reply.segments, event - 1), large], ending: 'silence', shortened: true };
}

function errorEvent(reply: Reply, count: number, errorEvents: (eventsBefore: number) => Segment[]): Reply {
  const before = firstEvents(reply.segments, count);
  const events = before.reduce((sum, part) => sum + part.events, 0);
  return { ...reply, segments: [...before, ...errorEvents(events)], ending: 'end', shortened: true };
}

/** Blank lines before a JSON body, which OpenRouter sends to keep a slow call alive. */
function padded(reply: Reply, lines: number): Reply {
  const [body] = reply.segments;
  if (reply.length === null || body === undefined) return reply;
  const bytes = Buffer.concat([Buffer.from('\n         \n'.repeat(lines)), body.bytes]);
  return { ...reply, segments: [{ ...body, bytes }], length: bytes.length };
}

/**
 * Applies every knob that changes bytes or endings. Statuses were answered before a reply was generated; `errorEvents`
 * says what a stream says that fails after so many events.
 */
export function applyFaults(healthy: Reply, knobs: Knobs, errorEvents: (eventsBefore: number) => Segment[]): Reply {
  let reply = knobs.padding === undefined ? healthy : padded(healthy, knobs.padding);
  if (knobs.malformed !== undefined) reply = malformed(reply, knobs.malformed);
  if (knobs.oversize !== undefined) reply = oversized(reply, knobs.oversize);
  if (knobs.error_event_after !== undefined && reply.length === null) {
    reply = errorEvent(reply, knobs.error_event_after, errorEvents);
  }
  if (knobs.cut_after !== undefined) reply = truncated(reply, knobs.cut_after, knobs.cut_hard === true ? 'close' : 'end');
  if (knobs.reset_after !== undefined) reply = truncated(reply, knobs.reset_after, 'reset');
  if (knobs.silence_after !== undefined) reply = truncated(reply, knobs.silence_after, 'silence');
  if (knobs.recut !== undefined) reply = { ...reply, segments: recutSegments(reply.segments, knobs.recut, knobs.seed ?? 1) };
  if (knobs.reset === true) reply = { ...reply, instead: 'reset' };
  if (knobs.silence === true) reply = { ...reply, instead: 'silence' };
  return reply;
}
