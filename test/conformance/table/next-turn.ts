/**
 * The turn after an answer: the client sends back what it got, with results for what was called, and the upstream must find its own words
 * again: the same calls under its own ids, and every proof of what it thought, byte for byte.
 */

import { dialectOf } from '@meridian/data-plane/dialect/registry';
import type { DialectName } from '@meridian/domain/dialect';
import type { AnswerReading } from './answer-reading.ts';
import { TOOLS } from './cases/request-case.ts';
import type { Difference } from './compare-answers.ts';
import { readRequest } from './compare-requests.ts';
import { type ClientRequest, carryRequest, isRefused, type Via } from './exchange.ts';
import { canonicalText, isJson, type Json, parsed } from './json.ts';
import { upstreamTerms } from './upstream-terms.ts';

/** Undefined where there is nothing that could come back: an error, or parts that only one side knows. */
export function judgeNextTurn(
  client: DialectName,
  upstream: DialectName,
  told: AnswerReading,
  got: AnswerReading,
  via: Via,
): Difference[] | undefined {
  const [choice] = told.choices;
  const [shown] = got.choices;
  const from = dialectOf(client);
  const to = dialectOf(upstream);
  if (choice === undefined || shown === undefined || told.choices.length > 1 || got.replay.length === 0) return undefined;
  if (told.error !== undefined || !told.isWhole || choice.foreign.length + choice.media.length > 0) return undefined;
  if (choice.text + choice.refusal === '' && choice.calls.length === 0) return undefined;
  // An older form of calls has no ids, and its results a form of their own.
  if (client === 'openai-chat' && shown.calls.some(({ id }) => id === '')) return undefined;
  const request = nextRequest(client, got, shown.calls);
  const outcome = carryRequest(from, to, request, upstreamTerms(upstream, undefined), via);
  if (isRefused(outcome)) return [{ of: 'refusal', what: outcome.error.message }];
  const body: unknown = JSON.parse(outcome.bytes.toString('utf8'));
  const reading = readRequest(upstream, isJson(body) ? body : {}, false);
  const found: Difference[] = reading.problems.map((what) => ({ of: 'rules', what }));
  const differ = (of: string, expected: unknown, actual: unknown): void => {
    if (canonicalText(expected) !== canonicalText(actual)) {
      found.push({ of, what: `${canonicalText(expected).slice(0, 150)} became ${(canonicalText(actual) ?? 'nothing').slice(0, 150)}` });
    }
  };
  differ(
    'turns',
    ['user', 'assistant', 'user'],
    reading.turns.map(({ role }) => role),
  );
  const turn = reading.turns.find(({ role }) => role === 'assistant');
  if (turn === undefined) return found;
  differ('text', squeezed(choice.text + choice.refusal), squeezed(turn.text));
  differ(
    'calls',
    choice.calls.map(({ name, arguments: args, kind }) => ({
      name,
      arguments: canonicalText(kind === 'custom' ? { input: args } : argumentsOf(args)),
    })),
    turn.calls,
  );
  const ids = choice.calls.map(({ id }) => id).filter((id) => id !== '');
  const taken = ids.filter((id) => /^[a-zA-Z0-9_-]{1,40}$/.test(id));
  // Ids that the upstream itself would refuse come back in a form that it takes.
  if (taken.length === ids.length && ids.length > 0) differ('ids', ids, turn.callIds);
  // What one provider takes instead of a proof stands where there was none.
  differ(
    'proofs',
    choice.proofs,
    turn.proofs.filter((proof) => proof !== 'skip_thought_signature_validator'),
  );
  differ(
    'results',
    choice.calls.map((_, call) => ({ call, text: `result${call}` })),
    reading.turns.at(-1)?.results.map(({ call, text }) => ({ call, text: squeezed(text) })),
  );
  return found;
}

/**
 * The turn after an answer, sent to an upstream that has not given it: what was said and called must be there, and nothing that only its
 * issuer can read. Undefined where there is nothing that could come back.
 */
export function judgeMovedTurn(
  client: DialectName,
  upstream: DialectName,
  told: AnswerReading,
  got: AnswerReading,
): Difference[] | undefined {
  const [choice] = told.choices;
  const [shown] = got.choices;
  if (choice === undefined || shown === undefined || choice.proofs.length === 0 || told.choices.length > 1) return undefined;
  if (got.replay.length === 0 || choice.foreign.length + choice.media.length > 0 || !told.isWhole) return undefined;
  if (choice.text + choice.refusal === '' && choice.calls.length === 0) return undefined;
  const request = nextRequest(client, got, shown.calls);
  const outcome = carryRequest(dialectOf(client), dialectOf(upstream), request, upstreamTerms(upstream, undefined), 'words');
  if (isRefused(outcome)) return [{ of: 'refusal', what: outcome.error.message }];
  const text = outcome.bytes.toString('utf8');
  const body: unknown = JSON.parse(text);
  const reading = readRequest(upstream, isJson(body) ? body : {}, false);
  const found: Difference[] = reading.problems.map((what) => ({ of: 'rules', what }));
  for (const proof of choice.proofs)
    if (text.includes(proof)) found.push({ of: 'proofs', what: `${proof.slice(0, 40)}… is sent to another` });
  const turn = reading.turns.find(({ role }) => role === 'assistant');
  if (squeezed(turn?.text ?? '') !== squeezed(choice.text + choice.refusal)) found.push({ of: 'text', what: `it became ${turn?.text}` });
  if (turn?.calls.length !== choice.calls.length) found.push({ of: 'calls', what: `${choice.calls.length} became ${turn?.calls.length}` });
  return found;
}

function squeezed(text: string): string {
  return text.replace(/\s+/g, '');
}

function argumentsOf(args: string): unknown {
  return args.trim() === '' ? {} : parsed(args);
}

function nextRequest(client: DialectName, { replay }: AnswerReading, calls: AnswerReading['choices'][number]['calls']): ClientRequest {
  const results = calls.map((call, index) => ({ ...call, result: `result ${index}` }));
  const body = ((): Json => {
    switch (client) {
      case 'openai-chat':
        return {
          tools: TOOLS[client],
          messages: [
            { role: 'user', content: 'Hello' },
            ...replay,
            ...results.map(({ id, result }) => ({ role: 'tool', tool_call_id: id, content: result })),
            { role: 'user', content: 'Go on' },
          ],
        };
      case 'openai-responses':
        return {
          store: false,
          tools: TOOLS[client],
          input: [
            { role: 'user', content: 'Hello' },
            ...replay,
            ...results.map(({ id, result, kind }) => ({
              type: kind === 'custom' ? 'custom_tool_call_output' : 'function_call_output',
              call_id: id,
              output: result,
            })),
            { role: 'user', content: 'Go on' },
          ],
        };
      case 'anthropic-messages':
        return {
          max_tokens: 4_000,
          tools: TOOLS[client],
          messages: [
            { role: 'user', content: 'Hello' },
            ...replay,
            {
              role: 'user',
              content: [
                ...results.map(({ id, result }) => ({ type: 'tool_result', tool_use_id: id, content: result })),
                { type: 'text', text: 'Go on' },
              ],
            },
          ],
        };
      case 'gemini':
        return {
          tools: TOOLS[client],
          contents: [
            { role: 'user', parts: [{ text: 'Hello' }] },
            ...replay,
            {
              role: 'user',
              parts: [
                ...results.map(({ id, name, result }) => ({
                  functionResponse: { ...(id === '' ? {} : { id }), name, response: { output: result } },
                })),
                { text: 'Go on' },
              ],
            },
          ],
        };
      default:
        return client satisfies never;
    }
  })();
  return client === 'gemini'
    ? { body, place: { model: 'client-model', stream: false } }
    : { body: { model: 'client-model', ...body }, place: {} };
}
