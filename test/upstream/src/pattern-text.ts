// Makes a text that matches a regular expression of the kind schemas contain: classes, groups, choices, counts.

import { seededRandom } from './seeded.ts';

const DIGITS = '0123456789';
const WORD = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_';
const PRINTABLE = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');

/** Reads a pattern left to right and writes the shortest text each part allows; anchors and look-arounds write nothing. */
class PatternReader {
  readonly #source: string;
  readonly #random: () => number;
  readonly #least: number;
  #at = 0;

  constructor(source: string, least: number) {
    this.#source = source;
    this.#random = seededRandom(source.length);
    this.#least = least;
  }

  choice(): string {
    const options = [this.#sequence()];
    while (this.#source[this.#at] === '|') {
      this.#at += 1;
      options.push(this.#sequence());
    }
    return options[0] ?? '';
  }

  #sequence(): string {
    let text = '';
    while (this.#at < this.#source.length) {
      const next = this.#source[this.#at];
      if (next === '|' || next === ')') break;
      const start = this.#at;
      const one = this.#atom();
      const again = this.#at;
      const [fewest, most] = this.#count();
      const after = this.#at;
      const wanted = Math.max(fewest, Math.min(most, fewest === 0 && most > 1 ? 1 : fewest, 64));
      const enough = most > fewest && one.length > 0 ? Math.max(wanted, Math.min(most, this.#least)) : wanted;
      for (let i = 0; i < enough; i++) {
        if (i === 0) {
          text += one;
          continue;
        }
        // Written afresh each time, so that a class gives different characters.
        this.#at = start;
        text += this.#atom();
        this.#at = again;
      }
      this.#at = after;
    }
    return text;
  }

  #count(): [number, number] {
    const rest = this.#source.slice(this.#at);
    const found = /^(?:[*+?]|\{(\d+)(,?)(\d*)\})\??/.exec(rest);
    if (found === null) return [1, 1];
    this.#at += found[0].length;
    const [mark, low, comma, high] = found;
    if (mark.startsWith('*')) return [0, Number.POSITIVE_INFINITY];
    if (mark.startsWith('+')) return [1, Number.POSITIVE_INFINITY];
    if (mark.startsWith('?')) return [0, 1];
    const fewest = Number(low);
    if (comma === '') return [fewest, fewest];
    return [fewest, high === undefined || high === '' ? Number.POSITIVE_INFINITY : Number(high)];
  }

  #atom(): string {
    const char = this.#source[this.#at++] ?? '';
    if (char === '^' || char === '$') return '';
    if (char === '.') return 'x';
    if (char === '[') return this.#class();
    if (char === '\\') return this.#pick(this.#escape());
    if (char !== '(') return char;
    const look = /^\?(?:[=!]|<[=!])/.test(this.#source.slice(this.#at));
    const opening = /^\?(?:[:=!]|<[=!]|<\w+>)/.exec(this.#source.slice(this.#at));
    if (opening !== null) this.#at += opening[0].length;
    const inner = this.choice();
    this.#at += 1;
    return look ? '' : inner;
  }

  #escape(): string {
    const char = this.#source[this.#at++] ?? '';
    switch (char) {
      case 'd':
        return DIGITS;
      case 'w':
        return WORD;
      case 's':
        return ' ';
      case 'b':
      case 'B':
        return '';
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'D':
      case 'S':
        return 'x';
      case 'W':
        return '-';
      case 'u': {
        const code = this.#source.slice(this.#at, this.#at + 4);
        this.#at += 4;
        return String.fromCharCode(Number.parseInt(code, 16));
      }
      default:
        return char;
    }
  }

  #class(): string {
    const negated = this.#source[this.#at] === '^';
    if (negated) this.#at += 1;
    let members = '';
    while (this.#at < this.#source.length && this.#source[this.#at] !== ']') {
      const char = this.#source[this.#at++] ?? '';
      if (char === '\\') {
        members += this.#escape();
        continue;
      }
      const end = this.#source[this.#at + 1];
      if (this.#source[this.#at] === '-' && end !== undefined && end !== ']') {
        this.#at += 2;
        for (let code = char.charCodeAt(0); code <= end.charCodeAt(0) && members.length < 4096; code++)
          members += String.fromCharCode(code);
        continue;
      }
      members += char;
    }
    this.#at += 1;
    return this.#pick(negated ? [...PRINTABLE].filter((char) => !members.includes(char)).join('') : members);
  }

  #pick(members: string): string {
    return members[Math.floor(this.#random() * members.length)] ?? '';
  }
}

/** A text that matches `pattern` where it is of the common kind; `least` asks open counts for that many repetitions. */
export function matchingText(pattern: string, least: number): string {
  return new PatternReader(pattern, least).choice();
}
