// Serves one call: from the bytes of a request to the reply, its pace, and the facts the journal keeps.

import { ApiError, invalid } from './api-error.ts';
import { applyFaults, faultError, htmlReply } from './apply-faults.ts';
import type { Pace } from './delivery.ts';
import type { CallFacts, FaultRules } from './fault-rules.ts';
import { isObject, type JsonObject, type JsonValue } from './json-value.ts';
import { describeKnobs, KnobError, type Knobs } from './knobs.ts';
import { refMark, simMarks } from './marker.ts';
import type { ReplayLibrary } from './replay.ts';
import { type Reply, wholeReply } from './reply.ts';
import type { Call, Healthy, Surroundings, Wire } from './wire.ts';

/** What a served call leaves behind. */
export interface Served {
  reply: Reply;
  pace: Pace;
  id: string | null;
  model: string | null;
  stream: boolean;
  marker: string | null;
  fault: string | null;
  usage: JsonObject | null;
}

/** What this process serves calls with. */
export interface Workshop extends Surroundings {
  rules: FaultRules;
  replay: ReplayLibrary;
  /** Milliseconds between the pieces of a stream unless a knob says otherwise. */
  paceMs: number;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

function readBody(body: Buffer, wire: Wire): JsonObject {
  let value: JsonValue;
  try {
    value = JSON.parse(UTF8.decode(body));
  } catch {
    throw wire.badJson();
  }
  if (!isObject(value)) throw wire.badJson();
  return value;
}

/** The text in which marks are looked for: the last user message, or the inputs of an embedding request. */
function markedText(body: JsonObject): string {
  const texts: string[] = [];
  const collect = (content: JsonValue | undefined): void => {
    if (typeof content === 'string') texts.push(content);
    else if (Array.isArray(content)) content.forEach(collect);
    else if (isObject(content)) collect(content.text ?? content.content ?? content.parts);
  };
  const isUser = (turn: JsonValue): boolean => isObject(turn) && (turn.role === 'user' || turn.role === undefined);
  for (const turns of [body.messages, body.input, body.contents, body.requests]) {
    if (!Array.isArray(turns) || !turns.some(isObject)) continue;
    // Tool results have the user's role on some wires and texts of the tool's in them: the user's last words are before them.
    const last = turns.findLast((turn) => isUser(turn) && isObject(turn) && says(turn));
    collect(turns === body.requests ? turns : last);
    return texts.join('\n');
  }
  collect(body.input ?? body.prompt ?? body.content ?? body.contents);
  return texts.join('\n');
}

/** Whether a turn holds words of a user's own, not only the results of tools. */
function says(turn: JsonObject): boolean {
  if (turn.type !== undefined && turn.type !== 'message') return false;
  const parts = turn.content ?? turn.parts;
  if (!Array.isArray(parts)) return true;
  return parts.some((part) => isObject(part) && part.type !== 'tool_result' && part.functionResponse === undefined);
}

function markerOf(body: JsonObject, text: string): string | null {
  const mark = refMark(text);
  if (mark !== null) return mark;
  const { metadata, user } = body;
  if (isObject(metadata) && typeof metadata.ref === 'string') return metadata.ref;
  return typeof user === 'string' ? user : null;
}

function replayName(call: Call, body: JsonObject): string | null {
  // Gemini names its model in the path.
  const named = /\/models\/sim\/([^:?]+)/.exec(call.path)?.[1] ?? (typeof body.model === 'string' ? body.model : '');
  if (named.startsWith('sim/')) return named.slice('sim/'.length);
  return /\/models\/sim\//.test(call.path) ? decodeURIComponent(named) : null;
}

function serveOperation(call: Call, wire: Wire, body: JsonObject, knobs: Knobs, shop: Workshop): Healthy {
  const recorded = replayName(call, body);
  if (recorded !== null && call.method === 'POST') {
    const stream = body.stream === true || call.path.includes(':streamGenerateContent');
    return { ...shop.replay.play(recorded, stream), paced: false };
  }
  return wire.serve(call, body, knobs, shop);
}

function paceOf(knobs: Knobs, paced: boolean, shop: Workshop): Pace {
  // A cut that two writes of one turn would heal on the way is no cut.
  const fallback = knobs.recut === undefined ? (paced ? shop.paceMs : 0) : 'turn';
  return {
    delayMs: knobs.delay_ms ?? 0,
    firstByteDelayMs: knobs.first_byte_delay_ms ?? 0,
    segmentMs: knobs.pace_ms ?? fallback,
  };
}

/**
 * Serves a call on the wire its path belongs to; `known` tells that it is one of the provider's own paths. Never throws:
 * whatever is wrong with the call becomes the provider's error answer.
 */
export function serve(call: Call, wire: Wire, known: boolean, shop: Workshop): Served {
  const served: Served = {
    reply: wholeReply(500, [], ''),
    pace: { delayMs: 0, firstByteDelayMs: 0, segmentMs: 0 },
    id: null,
    model: null,
    stream: false,
    marker: null,
    fault: null,
    usage: null,
  };
  try {
    const body = call.method === 'POST' ? readBody(call.body, wire) : {};
    const text = markedText(body);
    const { model, stream } = wire.glance(call, body);
    served.model = model;
    served.stream = stream;
    served.marker = markerOf(body, text);
    const facts: CallFacts = { provider: call.provider, path: call.path, model, keyFingerprint: call.key?.slice(-4) ?? null, text };
    const knobs = shop.rules.resolve(facts, [...(call.sim === null ? [] : [call.sim]), ...simMarks(text)]);
    served.fault = describeKnobs(knobs);
    served.pace = paceOf(knobs, false, shop);
    // A recording is played to whoever asks: what it answers was decided when it was made.
    if (known && replayName(call, body) === null) wire.check(call, body);
    if (knobs.not_json === true) {
      served.reply = applyFaults(htmlReply(knobs.status ?? 200), knobs, () => []);
      return served;
    }
    const asked = faultError(knobs, wire);
    if (asked !== null && (knobs.error_event_after === undefined || !served.stream)) {
      const reply = wire.errorReply(asked.error, call);
      served.reply = applyFaults({ ...reply, headers: [...reply.headers, ...asked.headers] }, knobs, () => []);
      return served;
    }
    const healthy = serveOperation(call, wire, body, knobs, shop);
    served.id = healthy.id;
    served.usage = healthy.usage;
    served.pace = paceOf(knobs, healthy.paced, shop);
    const error = wire.errorForStatus(knobs.status ?? 500, knobs);
    served.reply = applyFaults(healthy.reply, knobs, (before) =>
      healthy.errorEvents === undefined ? wire.errorEvents(error, call, before) : healthy.errorEvents(error, before),
    );
  } catch (error) {
    served.reply = wire.errorReply(asApiError(error), call);
  }
  return served;
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof KnobError) return invalid(`Simulated upstream: ${error.message}.`, 'x-sim', 'invalid_knob');
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError(500, `Simulated upstream failed: ${message}`, { code: 'simulator_failure' });
}
