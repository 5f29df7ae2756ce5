import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import type { AnswerStream } from '../dialect/dialect.ts';
import { openaiChat } from '../dialect/openai-chat/index.ts';
import { Deadlines, TICK_MS } from '../upstream/deadline.ts';
import { type ClientStream, Delivery, KEEP_ALIVE_EVERY_MS, OPEN_AFTER_MS } from './commit.ts';

const META = { providerId: 'p1', attempts: 1, actualModel: 'm', costUsdLiteral: undefined };

/** The client's side as a list of what reached it, with a held clock. */
function held(slow = false) {
  let nowMs = 1_000_000;
  const timers = new Deadlines({ nowMs: () => nowMs });
  const seen: string[] = [];
  let drain: (() => void) | undefined;
  const client: ClientStream = {
    open: (meta) => seen.push(meta === undefined ? 'open -' : `open ${meta.providerId} ${meta.actualModel}`),
    write: (events) => {
      seen.push(`write ${events.length}`);
      return !slow;
    },
    onDrain: (resume) => {
      drain = resume;
    },
    keepAlive: () => seen.push('keep-alive'),
    finish: (events) => seen.push(`finish ${events.length}`),
    breakOff: (error, bytes) => seen.push(['break', error.code, ...(bytes ?? []).map(String)].join(' ')),
  };
  const feed = { pause: () => seen.push('pause'), resume: () => seen.push('resume') };
  return {
    seen,
    feed,
    delivery: new Delivery(client, timers),
    pass: (ms: number) => {
      for (let step = 0; step < ms; step += 250) {
        nowMs += 250;
        timers.advance();
      }
    },
    drain: () => drain?.(),
    timers,
  };
}

function stream(...events: object[]): AnswerStream {
  const made = openaiChat.passThroughStream({ wantsStreamUsage: false, model: undefined });
  for (const event of events) made.push(Buffer.from(`data: ${JSON.stringify(event)}\n\n`));
  return made;
}

const ROLE = { id: 'c', choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] };
const TEXT = { id: 'c', choices: [{ index: 0, delta: { content: 'Hi' } }] };

describe('the delivery of a stream', () => {
  it('holds everything back until the first content, then sends head and preamble together', () => {
    const { delivery, seen, feed } = held();
    delivery.answeredBy(META);
    delivery.progress(stream(ROLE), feed);
    expect(delivery.state).toBe('held');
    expect(seen).toEqual([]);
    delivery.progress(stream(ROLE, TEXT), feed);
    expect(delivery.state).toBe('committed');
    expect(seen).toEqual(['open p1 m', 'write 2']);
  });

  it('tells in the head which model the upstream has named', () => {
    const { delivery, seen, feed } = held();
    delivery.answeredBy(META);
    delivery.progress(stream({ ...ROLE, model: 'm-2026-11-01' }, TEXT), feed);
    expect(seen[0]).toBe('open p1 m-2026-11-01');
  });

  it('tells of an error after the commit as the stream itself writes it', () => {
    const { delivery, seen, feed } = held();
    const counted = Object.assign(stream(TEXT), { failure: () => [Buffer.from('failed as the 3rd event')] });
    delivery.progress(counted, feed);
    delivery.breakOff(new GatewayError('upstream_error'));
    expect(seen.at(-1)).toBe('break upstream_error failed as the 3rd event');
  });

  it('opens after the wait without content and keeps the connection alive, and can still fail as an event', () => {
    const { delivery, seen, pass } = held();
    pass(OPEN_AFTER_MS + 500);
    expect(delivery.state).toBe('open');
    expect(seen).toEqual(['open -', 'keep-alive']);
    pass(KEEP_ALIVE_EVERY_MS + 500);
    expect(seen).toEqual(['open -', 'keep-alive', 'keep-alive']);
    delivery.breakOff(new GatewayError('upstream_timeout'));
    expect(seen.at(-1)).toBe('break upstream_timeout');
    pass(KEEP_ALIVE_EVERY_MS * 3);
    expect(seen.at(-1)).toBe('break upstream_timeout');
  });

  it.each([0, 1, 4_000, 6_000, 14_000])('is never silent for longer than the interval, %i ms after a look', (afterMs) => {
    const { delivery, seen, feed, pass } = held();
    const events = stream(TEXT);
    delivery.progress(events, feed);
    pass(afterMs);
    events.push(Buffer.from(`data: ${JSON.stringify(TEXT)}\n\n`));
    delivery.progress(events, feed);
    expect(seen).not.toContain('keep-alive');
    pass(KEEP_ALIVE_EVERY_MS * (2 / 3) - 1_000);
    expect(seen).not.toContain('keep-alive');
    pass(KEEP_ALIVE_EVERY_MS / 3 + 1_000 + TICK_MS);
    for (let count = 1; count < 4; count++) {
      expect(seen.filter((line) => line === 'keep-alive')).toHaveLength(count);
      pass(KEEP_ALIVE_EVERY_MS);
    }
  });

  it('sends no keep-alive while events flow', () => {
    const { delivery, seen, feed, pass } = held();
    const events = stream(TEXT);
    for (let count = 0; count < 20; count++) {
      events.push(Buffer.from(`data: ${JSON.stringify(TEXT)}\n\n`));
      delivery.progress(events, feed);
      pass(KEEP_ALIVE_EVERY_MS * (2 / 3) - 1_000);
    }
    expect(seen).not.toContain('keep-alive');
  });

  it('stops reading the upstream while the client is slow', () => {
    const { delivery, seen, feed, drain } = held(true);
    delivery.progress(stream(TEXT), feed);
    expect(seen).toEqual(['open -', 'write 1', 'pause']);
    drain();
    expect(seen.at(-1)).toBe('resume');
  });

  it('hands nothing on after the client has left, and takes what comes so that it does not pile up', () => {
    const { delivery, seen, feed, pass } = held();
    delivery.clientGone();
    const events = stream(TEXT);
    delivery.progress(events, feed);
    expect(events.take()).toEqual([]);
    pass(OPEN_AFTER_MS * 2);
    delivery.finish([Buffer.from('data: [DONE]\n\n')]);
    expect(seen).toEqual([]);
  });

  it('opens at the end when a stream finished without content', () => {
    const { delivery, seen, timers } = held();
    delivery.finish([Buffer.from('data: [DONE]\n\n')]);
    expect(seen).toEqual(['open -', 'finish 1']);
    expect(timers.size).toBe(0);
  });
});
