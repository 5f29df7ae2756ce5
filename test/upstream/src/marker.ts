// The `[[sim …]]` and `[[ref …]]` marks that a test writes into a message, because a message survives any gateway.

const SIM = /\[\[sim\s+([^\]]*)\]\]/g;
const REF = /\[\[ref\s+([^\]]*)\]\]/;
const ANY = /\s*\[\[(?:sim|ref)\s+[^\]]*\]\]/g;

/** The contents of every `[[sim …]]` mark, in order. */
export function simMarks(text: string): string[] {
  return [...text.matchAll(SIM)].map((match) => (match[1] ?? '').trim());
}

/** The content of the first `[[ref …]]` mark. */
export function refMark(text: string): string | null {
  return REF.exec(text)?.[1]?.trim() ?? null;
}

/** The text as the simulated model reads it: marks steer it and are not talked about. */
export function withoutMarkers(text: string): string {
  return text.replace(ANY, '');
}
