/** Whether sound takes so many bytes a second that its length is bounded by them, silence included. */
import type { Span } from './json-scanner.ts';
import { sniffedMediaType } from './media-type.ts';

/** Base64 of the head of a WAV file up to its rate, whole groups of four. */
const HEAD_CHARACTERS = 44;
/** The lowest rate that speech is recorded in is 8 kHz; a rate that nobody can hear makes hours of a few bytes. */
const LEAST_SAMPLES_PER_SECOND = 4_000;
/** Samples as they are: integers, floating point, and either with more about their channels. */
const PLAIN_FORMATS: ReadonlySet<number> = new Set([1, 3, 0xfffe]);

/**
 * Of base64 that stands as a JSON string in `span`. MP3 has a least rate, and so has WAV as its head tells it. In FLAC, Opus or AAC an
 * hour of silence is a few kilobytes, and costs as much as an hour of speech; those, and what is not known, are not steady.
 */
export function isSteadyAudio(body: Buffer, { start }: Span): boolean {
  const base64 = body.toString('latin1', start + 1, start + 1 + HEAD_CHARACTERS);
  const type = sniffedMediaType(base64);
  return type === 'audio/mp3' || (type === 'audio/wav' && isPlainWav(Buffer.from(base64, 'base64')));
}

/** The format and its rate, where they stand first. */
function isPlainWav(head: Buffer): boolean {
  if (head.length < 28 || head.toString('latin1', 12, 16) !== 'fmt ') return false;
  return PLAIN_FORMATS.has(head.readUInt16LE(20)) && head.readUInt32LE(24) >= LEAST_SAMPLES_PER_SECOND;
}
