/** Server-sent events as the standard reads them, the slow and simple way. */
export interface SseReading {
  readonly event: string | undefined;
  readonly data: string;
}

/** Events with data; `comments` counts lines that begin with a colon. */
export function readSse(bytes: Buffer): { readonly events: readonly SseReading[]; readonly problems: readonly string[] } {
  const text = bytes.toString('utf8');
  const problems: string[] = [];
  if (text.includes('\uFFFD')) problems.push('a character is broken');
  const events: SseReading[] = [];
  let event: string | undefined;
  let data: string[] = [];
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (line === '') {
      if (data.length > 0) events.push({ event, data: data.join('\n') });
      else if (event !== undefined) problems.push('an event without data');
      event = undefined;
      data = [];
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
  }
  if (data.length > 0) {
    problems.push('the last event does not end');
    events.push({ event, data: data.join('\n') });
  }
  return { events, problems };
}
