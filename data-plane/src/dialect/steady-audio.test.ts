import { describe, expect, it } from 'vitest';
import { isSteadyAudio } from './steady-audio.ts';

function wav({ format = 1, rate = 8_000, chunk = 'fmt ' }): Buffer {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.write(`WAVE${chunk}`, 8);
  head.writeUInt16LE(format, 20);
  head.writeUInt32LE(rate, 24);
  return head;
}

describe('sound whose bytes bound its length', () => {
  it.each<[boolean, string, Buffer]>([
    [true, 'MP3', Buffer.from('ID3 and more')],
    [true, 'WAV', wav({})],
    [true, 'WAV in floating point', wav({ format: 3, rate: 48_000 })],
    [false, 'WAV of a rate that nobody hears', wav({ rate: 1 })],
    [false, 'WAV around another codec', wav({ format: 0x674f })],
    [false, 'WAV that tells its format later', wav({ chunk: 'JUNK' })],
    [false, 'a WAV that is cut', wav({}).subarray(0, 20)],
    [false, 'FLAC', Buffer.from('fLaC and more')],
    [false, 'Opus', Buffer.from('OggS and more')],
    [false, 'anything else', Buffer.from('Hello')],
  ])('is %s of %s', (isSteady, _, bytes) => {
    const body = Buffer.from(JSON.stringify({ data: bytes.toString('base64') }));
    const span = { start: body.indexOf(':') + 1, end: body.length - 1 };
    expect(isSteadyAudio(body, span)).toBe(isSteady);
  });
});
