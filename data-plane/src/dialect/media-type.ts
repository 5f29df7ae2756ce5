/** What kind of medium some bytes are, by how they begin. */

/** So many characters of base64 hold all that is looked at. */
const HEAD_CHARACTERS = 44;

/** Signatures at the beginning, in latin1. */
const SIGNATURES: readonly (readonly [string, RegExp])[] = [
  ['image/png', /^\x89PNG\r\n\x1a\n/],
  ['image/jpeg', /^\xff\xd8\xff/],
  ['image/gif', /^GIF8[79]a/],
  ['image/webp', /^RIFF[\s\S]{4}WEBP/],
  ['image/heic', /^[\s\S]{4}ftyp(heic|heix|mif1)/],
  ['application/pdf', /^%PDF-/],
  ['audio/wav', /^RIFF[\s\S]{4}WAVE/],
  ['audio/mp3', /^(ID3|\xff[\xf2\xf3\xfb])/],
  ['audio/ogg', /^OggS/],
  ['audio/flac', /^fLaC/],
  ['video/mp4', /^[\s\S]{4}ftyp(isom|mp4|avc1|M4V)/],
];

/** The type of a medium in base64 as its first bytes say; undefined where they say nothing that is known. */
export function sniffedMediaType(base64: string): string | undefined {
  const head = Buffer.from(base64.slice(0, HEAD_CHARACTERS), 'base64').toString('latin1');
  return SIGNATURES.find(([, signature]) => signature.test(head))?.[0];
}
