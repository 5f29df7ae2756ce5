/** The answer that a stream of canonical events tells, as one: what a whole answer of the same content is. */
import type { StreamEvent } from '@meridian/data-plane/canonical/event';
import type { Finish } from '@meridian/data-plane/canonical/finish';
import type { Citation, Part, ReasoningCarrier, ToolCallPart } from '@meridian/data-plane/canonical/message';
import type { Response, UsageReport } from '@meridian/data-plane/canonical/response';

interface OpenChoice {
  readonly parts: Part[];
  /** Where the calls stand among the parts, by their number. */
  readonly calls: Map<number, number>;
  /** Sources of the text that is to come. */
  readonly early: Citation[];
  /** A block of thinking has begun that no proof has ended. */
  isThinking: boolean;
  finish: Finish | undefined;
}

/** Throws where the events do not keep to their grammar: a start once and first, an end once and last, nothing of a choice behind its finish. */
export function foldEvents(events: readonly StreamEvent[]): Response {
  const [start] = events;
  if (start?.type !== 'start') throw new Error(`a stream begins with ${start?.type ?? 'nothing'}`);
  if (events.filter(({ type }) => type === 'start').length > 1) throw new Error('a stream begins twice');
  const ends = events.filter(({ type }) => type === 'end' || type === 'error');
  if (ends.length !== 1 || ends[0] !== events.at(-1)) throw new Error('a stream ends once, at its end');
  const failure = events.at(-1);
  if (failure?.type === 'error') throw failure.error;
  const choices = new Map<number, OpenChoice>();
  let usage: UsageReport | undefined;
  let serviceTier: Response['serviceTier'];
  for (const event of events) {
    if (event.type === 'usage') usage = event.report;
    else if (event.type === 'service_tier') serviceTier = event.serviceTier;
    if (!('choice' in event)) continue;
    const choice = choices.get(event.choice) ?? { parts: [], calls: new Map(), early: [], isThinking: false, finish: undefined };
    choices.set(event.choice, choice);
    // A source may be told when all of the text is.
    if (choice.finish !== undefined && event.type !== 'citation') throw new Error(`${event.type} behind the finish of its choice`);
    add(choice, event);
  }
  return {
    ...(start.dialect === undefined ? {} : { dialect: start.dialect }),
    id: start.id,
    createdSeconds: start.createdSeconds,
    model: start.model,
    choices: [...choices]
      .sort(([a], [b]) => a - b)
      .map(([index, { parts, finish }]) => ({ index, parts, finish, logprobs: undefined, rest: {} })),
    usage,
    serviceTier,
    rest: start.rest,
  };
}

function add(choice: OpenChoice, event: StreamEvent & { readonly choice: number }): void {
  const { parts } = choice;
  const last = parts.at(-1);
  if (event.type !== 'reasoning' && event.type !== 'reasoning_carrier' && event.type !== 'citation' && event.type !== 'tool_call_arguments')
    choice.isThinking = false;
  switch (event.type) {
    case 'text':
      if (last?.type === 'text') parts[parts.length - 1] = { ...last, text: last.text + event.text };
      else parts.push({ type: 'text', text: event.text, citations: choice.early.splice(0), rest: {} });
      break;
    case 'citation':
      cite(choice, event.citation);
      break;
    case 'reasoning':
      if (choice.isThinking && last?.type === 'reasoning') parts[parts.length - 1] = { ...last, text: last.text + event.text };
      else parts.push({ type: 'reasoning', text: event.text, carriers: [] });
      choice.isThinking = true;
      break;
    case 'reasoning_carrier':
      prove(choice, event.carrier);
      break;
    case 'refusal':
      if (last?.type === 'refusal') parts[parts.length - 1] = { ...last, text: last.text + event.text };
      else parts.push({ type: 'refusal', text: event.text });
      break;
    case 'tool_call_start': {
      const { id, name, kind, carriers, rest } = event;
      if (event.call !== choice.calls.size) throw new Error(`call ${event.call} is the number ${choice.calls.size} of its choice`);
      choice.calls.set(event.call, parts.length);
      parts.push({ type: 'tool_call', id, name, arguments: '', kind, ...(carriers === undefined ? {} : { carriers }), rest });
      break;
    }
    case 'tool_call_arguments': {
      const at = choice.calls.get(event.call);
      const call = at === undefined ? undefined : parts[at];
      if (at === undefined || call?.type !== 'tool_call') throw new Error(`arguments of call ${event.call} before it`);
      parts[at] = { ...call, arguments: call.arguments + event.text } satisfies ToolCallPart;
      break;
    }
    case 'media':
    case 'foreign':
      parts.push(event.part);
      break;
    case 'finish':
      choice.finish = event.finish;
      break;
    default:
      throw new Error(`${event.type} is of no choice`);
  }
}

function cite({ parts, early }: OpenChoice, citation: Citation): void {
  const at = parts.findLastIndex(({ type }) => type === 'text');
  const text = parts[at];
  if (text?.type === 'text') parts[at] = { ...text, citations: [...text.citations, citation] };
  else early.push(citation);
}

function prove(choice: OpenChoice, carrier: ReasoningCarrier): void {
  const { parts } = choice;
  const last = parts.at(-1);
  if (choice.isThinking && last?.type === 'reasoning') parts[parts.length - 1] = { ...last, carriers: [carrier] };
  else parts.push({ type: 'reasoning', text: '', carriers: [carrier] });
  choice.isThinking = false;
}
