import pino from 'pino';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createLogger, type RequestLine, requestLines } from './logger.ts';

const LINE: RequestLine = {
  requestId: 'req_1',
  account: 'acc_1',
  model: 'a"b\n\u2028c',
  outcome: 'failed',
  status: 502,
  code: 'upstream_error',
  chargeNano: 0n,
  ms: 7,
};

function written(level: string, line: RequestLine): string[] {
  const lines: string[] = [];
  const log = pino({ level, enabled: level !== 'silent' }, pino.destination({ dest: '/dev/null', sync: true }));
  requestLines(log, { node: 'n"1' }, (text) => lines.push(text)).request(line);
  return lines;
}

describe('the log', () => {
  it('opens its destination', () => {
    expect(createLogger('silent', {}).level).toBe('silent');
    expect(createLogger('warn', {}).level).toBe('warn');
  });
});

describe('the line of a request', () => {
  it('is one line of JSON, whatever the client called its model', () => {
    const [text = ''] = written('info', LINE);
    expect(text.indexOf('\n')).toBe(text.length - 1);
    expect(JSON.parse(text)).toEqual({
      level: 30,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      node: 'n"1',
      request_id: 'req_1',
      account: 'acc_1',
      model: 'a"b\n\u2028c',
      outcome: 'failed',
      status: 502,
      code: 'upstream_error',
      charge_nano: '0',
      ms: 7,
      msg: 'request',
    });
  });

  it('tells the time to the millisecond, also after the clock was set back', () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const lines: string[] = [];
    const log = pino({ level: 'info' }, pino.destination({ dest: '/dev/null', sync: true }));
    const { request } = requestLines(log, {}, (text) => lines.push(text));
    const times = ['2026-01-31T23:59:59.999Z', '2026-02-01T00:00:00.000Z', '2026-02-01T00:00:00.007Z', '2026-01-31T23:59:58.042Z'];
    for (const time of times) {
      vi.setSystemTime(new Date(time));
      request(LINE);
    }
    expect(lines.map((line) => JSON.parse(line).time)).toEqual(times);
  });

  it('has no code where nothing failed, and is not written where the level leaves it out', () => {
    expect(JSON.parse(written('info', { ...LINE, code: undefined })[0] ?? '')).not.toHaveProperty('code');
    expect(written('warn', LINE)).toEqual([]);
    expect(written('silent', LINE)).toEqual([]);
  });
});
