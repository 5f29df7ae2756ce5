// Cuts the bytes of a body anew, at the places where readers of streams tend to fail.

import { joinSegments, type Segment } from './reply.ts';
import { seededRandom } from './seeded.ts';

/** So many bytes each; at random; inside every multi-byte character; inside every line ending; not at all. */
export type RecutStyle = number | 'random' | 'utf8' | 'crlf' | 'whole';

const LONGEST_RANDOM_CUT = 64;
const CR = 13;
const LF = 10;

/** The offsets at which `bytes` is cut, ascending, without 0 and the end. */
export function cutOffsets(bytes: Buffer, style: RecutStyle, seed: number): number[] {
  const offsets: number[] = [];
  if (style === 'whole') return offsets;
  if (typeof style === 'number') {
    for (let at = style; at < bytes.length; at += style) offsets.push(at);
    return offsets;
  }
  if (style === 'random') {
    const random = seededRandom(seed);
    for (let at = 0; ; ) {
      at += 1 + Math.floor(random() * LONGEST_RANDOM_CUT);
      if (at >= bytes.length) return offsets;
      offsets.push(at);
    }
  }
  for (let at = 1; at < bytes.length; at++) {
    const before = bytes[at - 1] ?? 0;
    const here = bytes[at] ?? 0;
    // 10xxxxxx continues a character: a cut before it falls inside one.
    const inside = style === 'utf8' ? (here & 0xc0) === 0x80 : here === LF && (before === CR || before === LF);
    if (inside) offsets.push(at);
  }
  return offsets;
}

/** The bytes between the cuts; joined again they are `bytes`. */
export function recut(bytes: Buffer, style: RecutStyle, seed: number): Buffer[] {
  const parts: Buffer[] = [];
  let start = 0;
  for (const offset of [...cutOffsets(bytes, style, seed), bytes.length]) {
    if (offset > start) parts.push(bytes.subarray(start, offset));
    start = offset;
  }
  return parts;
}

/** Cuts segments anew; what a segment carries goes to the cut that holds its last byte. */
export function recutSegments(segments: Segment[], style: RecutStyle, seed: number): Segment[] {
  const whole = joinSegments(segments).bytes;
  const parts = recut(whole, style, seed).map((bytes): Segment => ({ bytes, pieces: 0, events: 0, usage: false }));
  let index = 0;
  let end = parts[0]?.bytes.length ?? 0;
  let offset = 0;
  for (const old of segments) {
    offset += old.bytes.length;
    while (end < offset && index < parts.length - 1) {
      index += 1;
      end += parts[index]?.bytes.length ?? 0;
    }
    const holder = parts[index];
    if (holder === undefined) break;
    holder.pieces += old.pieces;
    holder.events += old.events;
    holder.usage ||= old.usage;
  }
  return parts;
}
