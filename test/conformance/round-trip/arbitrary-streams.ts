/** Streamed answers: the events of whole ones, cut into pieces anywhere, with calls that come beside each other. */
import type { StreamEvent } from '@meridian/data-plane/canonical/event';
import type { Part } from '@meridian/data-plane/canonical/message';
import type { Response } from '@meridian/data-plane/canonical/response';
import type { DialectName } from '@meridian/domain/dialect';
import fc from 'fast-check';
import { answers } from './arbitrary-answers.ts';

export interface StreamedAnswer {
  readonly answer: Response;
  readonly events: readonly StreamEvent[];
}

/** Where to cut, taken one after the other; from the beginning again where there are no more. */
class Cuts {
  readonly #numbers: readonly number[];
  #next = 0;

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  take(): number {
    return this.#numbers[this.#next++ % this.#numbers.length] ?? 0;
  }

  /** A text in pieces, at any of its UTF-16 units. */
  pieces(text: string): readonly string[] {
    const pieces: string[] = [];
    for (let rest = text; rest !== ''; ) {
      // Long texts come in long pieces.
      const length = Math.max(1 + this.take(), Math.ceil(text.length / 50));
      pieces.push(rest.slice(0, length));
      rest = rest.slice(length);
    }
    return pieces;
  }
}

/** The events of one choice, each run of calls beside each other as one list, of which the events may interleave. */
function eventsOfParts(choice: number, parts: readonly Part[], cuts: Cuts): readonly StreamEvent[] {
  const events: StreamEvent[] = [];
  let call = 0;
  let waiting: StreamEvent[][] = [];
  const release = (): void => {
    while (waiting.length > 0) {
      const list = waiting[cuts.take() % waiting.length];
      const event = list?.shift();
      if (event !== undefined) events.push(event);
      waiting = waiting.filter(({ length }) => length > 0);
    }
  };
  for (const part of parts) {
    if (part.type !== 'tool_call') release();
    switch (part.type) {
      case 'text':
        for (const text of cuts.pieces(part.text)) events.push({ type: 'text', choice, text, logprobs: undefined });
        for (const citation of part.citations) events.push({ type: 'citation', choice, citation });
        break;
      case 'reasoning':
        for (const text of cuts.pieces(part.text)) events.push({ type: 'reasoning', choice, text });
        for (const carrier of part.carriers) events.push({ type: 'reasoning_carrier', choice, carrier });
        break;
      case 'refusal':
        for (const text of cuts.pieces(part.text)) events.push({ type: 'refusal', choice, text });
        break;
      case 'tool_call': {
        const { id, name, kind, carriers, rest, arguments: written } = part;
        const place = { choice, call: call++ };
        const head = { type: 'tool_call_start', ...place, id, name, kind, rest } as const;
        // Calls begin in their order.
        events.push(...waiting.flatMap((list) => (list[0]?.type === 'tool_call_start' ? [list.shift() as StreamEvent] : [])));
        waiting.push([
          carriers === undefined ? head : { ...head, carriers },
          ...cuts.pieces(written).map((text): StreamEvent => ({ type: 'tool_call_arguments', ...place, text })),
        ]);
        break;
      }
      case 'image':
      case 'audio':
        events.push({ type: 'media', choice, part });
        break;
      case 'foreign':
        events.push({ type: 'foreign', choice, part });
        break;
      default:
        throw new Error(`no answer streams a ${part.type}`);
    }
  }
  release();
  return events;
}

function eventsOf(answer: Response, cuts: Cuts): readonly StreamEvent[] {
  const { dialect, id, createdSeconds, model, rest, choices, usage, serviceTier } = answer;
  let open = choices.map(({ index, parts, finish }) => {
    const events = [...eventsOfParts(index, parts, cuts)];
    if (finish !== undefined) events.push({ type: 'finish', choice: index, finish });
    return events;
  });
  const events: StreamEvent[] = [{ type: 'start', ...(dialect === undefined ? {} : { dialect }), id, createdSeconds, model, rest }];
  if (serviceTier !== undefined) events.push({ type: 'service_tier', serviceTier });
  while (open.length > 0) {
    const list = open[cuts.take() % open.length];
    const event = list?.shift();
    if (event !== undefined) events.push(event);
    open = open.filter(({ length }) => length > 0);
  }
  if (usage !== undefined) events.push({ type: 'usage', report: usage });
  return [...events, { type: 'end' }];
}

/** Numbers by which texts and bytes are cut. */
export const cuts: fc.Arbitrary<readonly number[]> = fc.array(fc.nat(20), { minLength: 1, maxLength: 8 });

/** Streamed answers that were read in this dialect. */
export function streams(dialect: DialectName): fc.Arbitrary<StreamedAnswer> {
  return fc.tuple(answers(dialect), cuts).map(([answer, numbers]) => ({ answer, events: eventsOf(answer, new Cuts(numbers)) }));
}

/** Bytes in chunks of the sizes that the numbers give, of one byte at least. */
export function chunks(bytes: Buffer, numbers: readonly number[]): readonly Buffer[] {
  const sizes = new Cuts(numbers);
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = Math.max(1 + sizes.take() * 3, Math.ceil(bytes.length / 2_000));
    found.push(bytes.subarray(at, at + size));
    at += size;
  }
  return found;
}
