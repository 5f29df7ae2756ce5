/** What changes in the bytes of an answer on its way to a client of its own dialect: the model's name, and the cost in its usage. */
import { isObject, withLiteral } from './json.ts';
import { type Edit, type Span, valueAt } from './json-scanner.ts';
import { withoutUpstreamCost } from './upstream-cost.ts';

/** Where the edited members stand; undefined for one that is not there. */
export interface EditedMembers {
  readonly model: Span | undefined;
  readonly usage: Span | undefined;
  /** What the dialect calls the cost. */
  readonly costName: 'cost_usd' | 'costUsd';
}

export function answerEdits(
  body: Buffer,
  { model, usage, costName }: EditedMembers,
  edits: { readonly model: string | undefined; readonly costUsdLiteral: string },
): Edit[] {
  const list: Edit[] = [];
  if (model !== undefined && edits.model !== undefined) list.push({ ...model, text: JSON.stringify(edits.model) });
  const edit = usage === undefined ? undefined : costEdit(body, usage, costName, edits.costUsdLiteral);
  if (edit !== undefined) list.push(edit);
  return list;
}

const OPEN_BRACE = 0x7b;

/**
 * What adds the cost to the usage object that stands there, and takes the provider's own out of it; undefined where it is none. It goes by
 * the parsed object: the answer has been paid for by now, so no way of writing a name may fail here.
 */
export function costEdit(body: Buffer, usage: Span, costName: EditedMembers['costName'], costUsdLiteral: string): Edit | undefined {
  if (body[usage.start] !== OPEN_BRACE) return undefined;
  const counts = valueAt(body, usage);
  if (!isObject(counts)) return undefined;
  const own = withoutUpstreamCost(counts);
  if (own !== counts) return { ...usage, text: withLiteral(own, costName, costUsdLiteral) };
  const isEmpty = Object.keys(counts).length === 0;
  return { start: usage.end - 1, end: usage.end - 1, text: `${isEmpty ? '' : ','}"${costName}":${costUsdLiteral}` };
}
