import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_EVENT_BYTES, type SseEvent, SseSplitter } from './sse.ts';

interface Read {
  readonly name: string | undefined;
  readonly data: string | undefined;
  readonly raw: string;
  readonly cutShort: boolean;
}

function read(event: SseEvent): Read {
  return { name: event.name, data: event.data?.toString(), raw: event.raw.toString(), cutShort: event.cutShort };
}

function split(...chunks: Buffer[]): Read[] {
  const splitter = new SseSplitter();
  return [...chunks.flatMap((chunk) => splitter.push(chunk)), ...splitter.end()].map(read);
}

const data = (...chunks: string[]) => split(...chunks.map((chunk) => Buffer.from(chunk))).map((event) => event.data);

function cut(bytes: Buffer, positions: readonly number[]): Buffer[] {
  const sorted = [...new Set(positions.map((position) => position % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((from, index) => bytes.subarray(from, sorted[index] ?? bytes.length));
}

describe('the event splitter', () => {
  it('gives the same events however the bytes are cut', () => {
    const line = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 8 }).map((text) => `data: ${text.replaceAll(/[\r\n]/g, '')}`),
      fc.constantFrom('data', 'data:', 'data:x', 'data:  x', ': note', 'event: error', 'id: 7', 'retry: 10', 'noise', '', '', ''),
    );
    const stream = fc
      .array(fc.tuple(line, fc.constantFrom('\n', '\n', '\r\n', '\r')), { maxLength: 24 })
      .map((lines) => lines.map((pair) => pair.join('')).join(''));
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 12 }), fc.boolean(), (text, positions, unfinished) => {
        const bytes = Buffer.from(unfinished ? text.slice(0, -1) : text);
        const whole = split(bytes);
        expect(split(...cut(bytes, positions))).toEqual(whole);
        expect(split(...Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)))).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps the bytes of every event', () => {
    const text = ': hi\n\nevent: a\ndata: 1\r\n\r\ndata:2\r\rdata: é\ndata: b\n\n';
    expect(split(Buffer.from(text)).map((event) => event.raw)).toEqual([
      ': hi\n\n',
      'event: a\ndata: 1\r\n\r\n',
      'data:2\r\r',
      'data: é\ndata: b\n\n',
    ]);
  });

  it('reads LF, CRLF and lone CR, also where CR and LF come apart', () => {
    expect(data('data: 1\n\ndata: 2\n\n')).toEqual(['1', '2']);
    expect(data('data: 1\r\n\r\ndata: 2\r\n\r\n')).toEqual(['1', '2']);
    expect(data('data: 1\r\rdata: 2\r\r')).toEqual(['1', '2']);
    expect(data('data: 1\r', '\n\r', '\ndata: 2\r\n\r', '\n')).toEqual(['1', '2']);
  });

  it('hands an LF event on as soon as its empty line is there', () => {
    const splitter = new SseSplitter();
    expect(splitter.push(Buffer.from('data: 1\n'))).toHaveLength(0);
    expect(splitter.push(Buffer.from('\nda')).map(read)).toMatchObject([{ data: '1' }]);
  });

  it('joins the lines of one event and takes a value without a space', () => {
    expect(data('data:{"a":\ndata: 1}\n\n')).toEqual(['{"a":\n1}']);
    expect(data('data:  x\n\n')).toEqual([' x']);
  });

  it('gives comments no data and ignores empty lines and a byte order mark', () => {
    expect(data('\ufeffdata: 1\n\n\n\n: OPENROUTER PROCESSING\n\n')).toEqual(['1', undefined]);
  });

  it('gives a last event without its line end, marked as cut short', () => {
    expect(split(Buffer.from('data: 1\n\ndata: 2'))).toMatchObject([
      { cutShort: false },
      { data: '2', raw: 'data: 2\n\n', cutShort: true },
    ]);
  });

  it('hands on a line of a mebibyte, however small its pieces', () => {
    const line = `data: ${'x'.repeat(1024 * 1024)}`;
    for (const pieceBytes of [64, 16_384, 2 * 1024 * 1024]) {
      const bytes = Buffer.from(`${line}\n\n`);
      const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, at) =>
        bytes.subarray(at * pieceBytes, (at + 1) * pieceBytes),
      );
      const [event, ...more] = split(...pieces);
      expect(event?.data?.length).toBe(1024 * 1024);
      expect(more).toEqual([]);
    }
  });

  it('refuses an event that is too large, however small its pieces', () => {
    const splitter = new SseSplitter();
    const piece = Buffer.alloc(1024 * 1024, 'x');
    splitter.push(Buffer.from('data: '));
    for (let mebibytes = 1; mebibytes < MAX_EVENT_BYTES / piece.length; mebibytes++) splitter.push(piece);
    expect(() => splitter.push(piece)).toThrow(expect.objectContaining({ code: 'upstream_error' }));
    expect(() => new SseSplitter().push(Buffer.concat([Buffer.alloc(MAX_EVENT_BYTES, 'x'), Buffer.from('\n\n')]))).toThrow();
  });
});
