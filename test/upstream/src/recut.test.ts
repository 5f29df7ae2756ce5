import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cutOffsets, type RecutStyle, recut, recutSegments } from './recut.ts';
import { recordedBytes } from './replay.ts';
import { segment } from './reply.ts';
import { startUpstream, type Upstream } from './server.ts';

const RECORDINGS = fileURLToPath(new URL('../../../../shared/fixtures/open', import.meta.url));
const present = existsSync(RECORDINGS);
if (!present) console.log(`recordings are not tested: there is no folder ${RECORDINGS}`);
const streams = present
  ? readdirSync(RECORDINGS, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(sse|chunks\.txt)$/.test(file))
  : [];

const STYLES: RecutStyle[] = [1, 7, 'random', 'utf8', 'crlf', 'whole'];

test('cuts joined again are the bytes, whatever the bytes and the style', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...STYLES), fc.nat(), (array, style, seed) => {
      const bytes = Buffer.from(array);
      const parts = recut(bytes, style, seed);
      expect(Buffer.concat(parts).equals(bytes)).toBe(true);
      expect(parts.every((part) => part.length > 0)).toBe(true);
    }),
  );
});

test('utf8 cuts inside characters, crlf between the bytes of a line ending', () => {
  expect(cutOffsets(Buffer.from('aé€😀'), 'utf8', 1)).toEqual([2, 4, 5, 7, 8, 9]);
  expect(cutOffsets(Buffer.from('a\r\n\r\nb\n\nc'), 'crlf', 1)).toEqual([2, 4, 7]);
});

test('the same seed cuts at the same places, another seed elsewhere', () => {
  const bytes = Buffer.alloc(1000, 'x');
  expect(cutOffsets(bytes, 'random', 5)).toEqual(cutOffsets(bytes, 'random', 5));
  expect(cutOffsets(bytes, 'random', 5)).not.toEqual(cutOffsets(bytes, 'random', 6));
});

test('what segments carry stays with their last byte', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1, maxLength: 20 }), { minLength: 1 }), fc.constantFrom(...STYLES), (texts, style) => {
      const old = texts.map((text, at) => segment(text, { pieces: 1, usage: at === texts.length - 1 }));
      const cut = recutSegments(old, style, 3);
      expect(cut.reduce((sum, part) => sum + part.pieces, 0)).toBe(texts.length);
      expect(cut.findIndex((part) => part.usage)).toBe(cut.length - 1);
    }),
  );
});

describe.runIf(present)('recorded streams', () => {
  let upstream: Upstream;
  beforeAll(async () => {
    upstream = await startUpstream({ port: 0, fixturesDir: RECORDINGS });
  });
  afterAll(() => upstream.close());

  test.each(streams)('%s keeps its bytes however it is cut', async (file) => {
    const bytes = recordedBytes(join(RECORDINGS, file));
    for (const style of STYLES) expect(Buffer.concat(recut(bytes, style, 11)).equals(bytes)).toBe(true);
    const name = file.replace(/\.(sse|chunks\.txt)$/, '');
    // A byte a turn is slow for the largest recordings, and shows nothing there that it does not show in the others.
    const styles = bytes.length < 3000 ? STYLES : STYLES.slice(2);
    const bodies = await Promise.all(
      styles.map(async (style) => {
        const response = await fetch(`${upstream.origin}/v1/chat/completions`, {
          method: 'POST',
          headers: { authorization: 'Bearer sk-test', 'x-sim': `recut=${style} seed=11` },
          body: JSON.stringify({ model: `sim/${name}`, stream: true, messages: [] }),
        });
        return Buffer.from(await response.arrayBuffer());
      }),
    );
    for (const body of bodies) expect(body.equals(bytes)).toBe(true);
  });
});
