/**
 * Calls whose arguments come in pieces (`willContinue`, `partialArgs`): the first piece has the name, those that follow have values by
 * their place in the arguments, and the last one nothing that continues.
 */
import { AnswerLimitError } from '../answer-limit.ts';
import { isObject, type JsonObject, text } from '../json.ts';
import { fieldsOf, listOf } from './proto-json.ts';

/** Far more than a model writes; a place beyond it in a list would make one of that length. */
const MAX_LIST_ITEMS = 10_000;
const MAX_PATH_STEPS = 64;
const MAX_CHARACTERS = 16 * 1024 * 1024;

type Node = string | number | boolean | null | Node[] | Map<string, Node>;

interface OpenCall {
  readonly part: JsonObject;
  readonly call: JsonObject;
  readonly root: Map<string, Node>;
  characters: number;
}

/** Puts the pieces of calls together. A synchronous machine for the parts of one candidate. */
export class CallPieces {
  #open: OpenCall | undefined;

  /** The parts that are whole with this one: itself, unless it is a piece of a call. Throws GatewayError `upstream_error`. */
  take(value: unknown): readonly unknown[] {
    const part = fieldsOf(value);
    if (!isObject(part.functionCall)) return [value];
    const call = fieldsOf(part.functionCall);
    const continues = call.willContinue === true;
    const isFirst = text(call.name) !== undefined && call.name !== '';
    if (isFirst && !continues && call.partialArgs === undefined) return [...this.end(), value];
    const before = isFirst ? this.end() : [];
    if (isFirst) this.#open = { part, call, root: new Map(), characters: 0 };
    const open = this.#open;
    // A piece of no call says nothing.
    if (open === undefined) return before;
    for (const piece of listOf(call.partialArgs)) put(open, fieldsOf(piece));
    return continues ? before : [...before, ...this.end()];
  }

  /** The call that has not been ended. */
  end(): readonly unknown[] {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return [];
    const { willContinue: _, partialArgs: __, args, ...call } = open.call;
    return [{ ...open.part, functionCall: { ...call, args: { ...(isObject(args) ? args : {}), ...(plain(open.root) as JsonObject) } } }];
  }
}

/** A text that continues is written behind what stands in its place. */
function put(open: OpenCall, piece: JsonObject): void {
  const steps = stepsOf(text(piece.jsonPath) ?? '');
  const last = steps.at(-1);
  const value = valueIn(piece);
  if (last === undefined || value === undefined) return;
  open.characters += typeof value === 'string' ? value.length : 1;
  if (open.characters > MAX_CHARACTERS) throw new AnswerLimitError(`arguments of more than ${MAX_CHARACTERS} characters`);
  let node: Node = open.root;
  for (const [index, step] of steps.slice(0, -1).entries()) {
    let next = childOf(node, step);
    if (!(next instanceof Map) && !Array.isArray(next)) {
      next = typeof steps[index + 1] === 'number' ? [] : new Map();
      setChild(node, step, next, open);
    }
    node = next;
  }
  const there = childOf(node, last);
  setChild(node, last, typeof value === 'string' && typeof there === 'string' ? there + value : value, open);
}

function valueIn(piece: JsonObject): string | number | boolean | null | undefined {
  for (const value of [piece.stringValue, piece.numberValue, piece.boolValue]) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  }
  return 'nullValue' in piece ? null : undefined;
}

const STEP = /\.([^.[\]]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]/gy;

/** Of a path like `$.list[0].name`; none for one that cannot be read. */
function stepsOf(path: string): readonly (string | number)[] {
  const steps: (string | number)[] = [];
  STEP.lastIndex = 1;
  while (path.startsWith('$') && STEP.lastIndex < path.length) {
    const step = STEP.exec(path);
    if (step === null || steps.length === MAX_PATH_STEPS) return [];
    const [, name, place, single, double] = step;
    if (place === undefined) steps.push(name ?? (single ?? double ?? '').replace(/\\(.)/g, '$1'));
    else steps.push(Number(place));
  }
  return steps;
}

function childOf(node: Node, step: string | number): Node | undefined {
  if (node instanceof Map) return node.get(String(step));
  return Array.isArray(node) && typeof step === 'number' ? node[step] : undefined;
}

function setChild(node: Node, step: string | number, value: Node, open: OpenCall): void {
  if (node instanceof Map) node.set(String(step), value);
  else if (Array.isArray(node) && typeof step === 'number') {
    if (step >= MAX_LIST_ITEMS) throw new AnswerLimitError(`a list of more than ${MAX_LIST_ITEMS} items`);
    open.characters += Math.max(0, step - node.length);
    if (open.characters > MAX_CHARACTERS) throw new AnswerLimitError(`arguments of more than ${MAX_CHARACTERS} characters`);
    while (node.length < step) node.push(null);
    node[step] = value;
  }
}

function plain(node: Node): unknown {
  if (node instanceof Map) return Object.fromEntries([...node].map(([name, value]) => [name, plain(value)]));
  return Array.isArray(node) ? node.map(plain) : node;
}
