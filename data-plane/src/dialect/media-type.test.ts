import { describe, expect, it } from 'vitest';
import { sniffedMediaType } from './media-type.ts';

describe('the type of a medium', () => {
  it.each([
    ['image/png', [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
    ['image/jpeg', [0xff, 0xd8, 0xff, 0xe0]],
    ['image/gif', Array.from(Buffer.from('GIF89a'))],
    ['image/webp', Array.from(Buffer.from('RIFF1234WEBPVP8'))],
    ['audio/wav', Array.from(Buffer.from('RIFF1234WAVEfmt'))],
    ['application/pdf', Array.from(Buffer.from('%PDF-1.7'))],
    ['video/mp4', Array.from(Buffer.from('0000ftypisom'))],
    [undefined, Array.from(Buffer.from('Hello, world'))],
    [undefined, []],
  ])('is %s by its first bytes', (mediaType, bytes) => {
    expect(sniffedMediaType(Buffer.from(bytes).toString('base64'))).toBe(mediaType);
  });
});
