/** Breaks inputs in the ways in which they break in the world, and in some in which only an attacker breaks them. */
import { pick } from '../../random.ts';

export type Random = () => number;

const NASTY_STRINGS = [
  '',
  ' ',
  '\u0000',
  '\ud800',
  'x'.repeat(5_000),
  '__proto__',
  'constructor',
  'data:image/png;base64,',
  'data:;base64,AAAA',
  'http://127.0.0.1/',
  '[DONE]',
  '{"a":',
  'call_mrd_WyJhIl0',
  'toolu_mrd_e30',
  'bXJkMXsiZCI6ImdlbWluaSIsInYiOnt9fQ==',
  '\u202eabc',
] as const;
const NASTY_NUMBERS = [0, -1, 1.5, 1e308, -1e308, 9_007_199_254_740_991, 4_294_967_296, 1e-320] as const;
const MAX_DEPTH = 400;

function nastyValue(random: Random): unknown {
  switch (Math.floor(random() * 8)) {
    case 0:
      return null;
    case 1:
      return random() < 0.5;
    case 2:
      return pick(NASTY_NUMBERS, random());
    case 3:
      return pick(NASTY_STRINGS, random());
    case 4:
      return [];
    case 5:
      return {};
    case 6:
      return [null, {}, [], 'x', 1];
    default:
      return nested(Math.floor(random() * MAX_DEPTH), random() < 0.5);
  }
}

function nested(depth: number, asArray: boolean): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = asArray ? [value] : { a: value };
  return value;
}

type Holder = { readonly of: Record<string, unknown>; readonly key: string } | { readonly of: unknown[]; readonly key: number };

function holders(value: unknown, found: Holder[] = []): Holder[] {
  if (Array.isArray(value)) {
    for (const [key, item] of value.entries()) {
      found.push({ of: value, key });
      holders(item, found);
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      found.push({ of: value as Record<string, unknown>, key });
      holders(item, found);
    }
  }
  return found;
}

/** Changes one to four places of a JSON value: type, presence, number, order, name. */
export function mutatedJson(value: unknown, random: Random): unknown {
  const copy: unknown = structuredClone(value);
  for (let times = 1 + Math.floor(random() * 4); times > 0; times--) {
    const all = holders(copy);
    if (all.length === 0) return nastyValue(random);
    const { of, key } = pick(all, random());
    const target = of as Record<string | number, unknown>;
    switch (Math.floor(random() * 7)) {
      case 0:
        target[key] = nastyValue(random);
        break;
      case 1:
        if (Array.isArray(of)) of.splice(key as number, 1);
        else delete target[key];
        break;
      case 2: {
        // What stands elsewhere, in this place.
        const other = pick(all, random());
        target[key] = structuredClone((other.of as Record<string | number, unknown>)[other.key]);
        break;
      }
      case 3:
        if (Array.isArray(of)) of.push(...Array.from({ length: 1 + Math.floor(random() * 40) }, () => structuredClone(of[key as number])));
        else target[`${key}_`] = target[key];
        break;
      case 4:
        if (Array.isArray(of)) of.reverse();
        else if (typeof target[key] === 'string') target[key] = pick(NASTY_STRINGS, random());
        break;
      case 5:
        if (typeof target[key] === 'number') target[key] = pick(NASTY_NUMBERS, random());
        else if (typeof target[key] === 'string') target[key] = (target[key] as string).slice(0, Math.floor(random() * 8));
        break;
      default:
        if (!Array.isArray(of))
          Object.defineProperty(target, '__proto__', { value: { polluted: true }, enumerable: true, configurable: true, writable: true });
    }
  }
  return copy;
}

/** Changes bytes: flips, cuts, repeats, foreign bytes. */
export function mutatedBytes(bytes: Buffer, random: Random): Buffer {
  let copy = Buffer.from(bytes);
  for (let times = 1 + Math.floor(random() * 4); times > 0 && copy.length > 0; times--) {
    const at = Math.floor(random() * copy.length);
    const to = Math.min(copy.length, at + Math.floor(random() * 64));
    switch (Math.floor(random() * 6)) {
      case 0:
        copy[at] = Math.floor(random() * 256);
        break;
      case 1:
        copy = copy.subarray(0, at);
        break;
      case 2:
        copy = Buffer.concat([copy.subarray(0, at), copy.subarray(to)]);
        break;
      case 3:
        copy = Buffer.concat([copy.subarray(0, to), copy.subarray(at)]);
        break;
      case 4:
        copy = Buffer.concat([
          copy.subarray(0, at),
          Buffer.from(pick(['"', '\\', '}', ']', '\r', '\n\n', '\xff', ',', '{"', '\u0000'], random()), 'latin1'),
          copy.subarray(at),
        ]);
        break;
      default:
        copy = Buffer.concat([copy.subarray(0, at), Buffer.from([0xc3]), copy.subarray(at)]);
    }
  }
  return copy;
}

/** Changes a stream event by event: lost, doubled, out of order, changed within, with other line ends; or as bytes. */
export function mutatedStream(stream: Buffer, random: Random): Buffer {
  if (random() < 0.3) return mutatedBytes(stream, random);
  let events = stream.toString('utf8').split(/(?<=\r\n\r\n|\n\n)/);
  for (let times = 1 + Math.floor(random() * 4); times > 0 && events.length > 0; times--) {
    const at = Math.floor(random() * events.length);
    const event = events[at] ?? '';
    switch (Math.floor(random() * 6)) {
      case 0:
        events.splice(at, 1);
        break;
      case 1:
        events.splice(at, 0, event);
        break;
      case 2:
        events.push(...events.splice(at, 1));
        break;
      case 3:
        events = events.slice(0, at);
        break;
      case 4:
        events[at] = event.replaceAll('\n', pick(['\r\n', '\r', '\n\n'], random()));
        break;
      default:
        events[at] = event.replace(/^data: ?(.*)$/m, (line, data: string) => {
          try {
            return `data: ${JSON.stringify(mutatedJson(JSON.parse(data), random))}`;
          } catch {
            return line;
          }
        });
    }
  }
  return Buffer.from(events.join(''));
}

/** The same bytes in pieces of random lengths. */
export function recut(bytes: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  const longest = pick([1, 3, 17, 200, 5_000], random());
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + Math.floor(random() * longest);
    pieces.push(bytes.subarray(at, at + length));
    at += length;
    // A body of many single bytes tells no more than one of a few thousand.
    if (pieces.length > 3_000) return [...pieces, bytes.subarray(at)];
  }
  return pieces;
}
