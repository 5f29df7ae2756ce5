/**
 * What a connection remembers, so that a turn can follow an earlier one by its id (`previous_response_id`): the items of input and output
 * of each, as bytes. Turns that follow one another form a chain, and a chain that branches is a tree whose stem is kept once.
 *
 * When there is no more room the oldest chain goes, from its last turn up to where another one branches off.
 */
import type { LaneName } from './lanes.ts';
import { MAX_STATE_BYTES } from './limits.ts';

/** For the objects around the bytes of a turn, so that many empty ones are bounded as well. */
const TURN_OVERHEAD_BYTES = 512;

/** Room for the conversations of several connections. */
export class StateRoom {
  readonly maxBytes: number;
  bytes = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }
}

/** A turn that is remembered. Its memory is freed when nothing refers to it any more: no id, no later turn, and no holder. */
export interface KeptTurn {
  readonly id: string;
  /** In which it was served. */
  readonly lane: LaneName;
  readonly parent: KeptTurn | undefined;
  /** Items, joined by commas; empty for none. */
  readonly items: Buffer;
  /** The JSON of `tools`, for the turns that follow and name none. */
  readonly tools: Buffer | undefined;
  /** With all before it. */
  readonly chainBytes: number;
  readonly ownBytes: number;
  uses: number;
  followers: number;
}

export interface TurnToKeep {
  readonly id: string;
  readonly lane: LaneName;
  /** The turn that it follows, held. */
  readonly parent: KeptTurn | undefined;
  /** Of its input, and of its output. */
  readonly items: readonly Buffer[];
  readonly tools: Buffer | undefined;
}

export class Conversation {
  readonly #room: StateRoom;
  readonly #maxBytes: number;
  /** By response id; the one that was used last stands last. */
  readonly #turns = new Map<string, KeptTurn>();
  #bytes = 0;

  constructor(room: StateRoom, maxBytes = MAX_STATE_BYTES) {
    this.#room = room;
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The turn with a response id, to be given back by `release`; undefined when it is not remembered (any more). */
  hold(id: string): KeptTurn | undefined {
    const turn = this.#turns.get(id);
    if (turn === undefined) return undefined;
    this.#turns.delete(id);
    this.#turns.set(id, turn);
    turn.uses++;
    return turn;
  }

  release(held: KeptTurn): void {
    for (let turn: KeptTurn | undefined = held; turn !== undefined; turn = turn.parent) {
      turn.uses--;
      if (turn.uses > 0) return;
      this.#count(-turn.ownBytes);
      if (turn.parent !== undefined) turn.parent.followers--;
    }
  }

  /** Copies what it is given. A chain that is larger than all the room there is, is not remembered. */
  keep({ id, lane, parent, items, tools }: TurnToKeep): void {
    this.forget(id);
    let itemBytes = 0;
    for (const part of items) itemBytes += part.length;
    // Those that follow one another share the bytes of their tools.
    const inheritsTools = tools !== undefined && tools === parent?.tools;
    const ownBytes = TURN_OVERHEAD_BYTES + itemBytes + items.length + (inheritsTools ? 0 : (tools?.length ?? 0));
    const chainBytes = ownBytes + (parent?.chainBytes ?? 0);
    if (chainBytes > this.#maxBytes) return;
    const turn: KeptTurn = {
      id,
      lane,
      parent,
      items: joined(items),
      tools: tools === undefined || inheritsTools ? tools : Buffer.from(tools),
      chainBytes,
      ownBytes,
      uses: 1,
      followers: 0,
    };
    if (parent !== undefined) {
      parent.uses++;
      parent.followers++;
    }
    this.#turns.set(id, turn);
    this.#count(ownBytes);
    while ((this.#bytes > this.#maxBytes || this.#room.bytes > this.#room.maxBytes) && this.#dropOldestChain());
  }

  /** The id is not known any more. */
  forget(id: string): void {
    const turn = this.#turns.get(id);
    if (turn === undefined) return;
    this.#turns.delete(id);
    this.release(turn);
  }

  clear(): void {
    for (const id of [...this.#turns.keys()]) this.forget(id);
  }

  #dropOldestChain(): boolean {
    for (const oldest of this.#turns.values()) {
      if (oldest.followers > 0) continue;
      for (let turn: KeptTurn | undefined = oldest; turn !== undefined && turn.followers === 0; turn = turn.parent) {
        if (this.#turns.get(turn.id) === turn) this.forget(turn.id);
      }
      return true;
    }
    return false;
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#room.bytes += bytes;
  }
}

/** The items of a chain from its first turn on, joined by commas; nothing where there are none. */
export function itemsOf(last: KeptTurn | undefined): Buffer[] {
  const chain: Buffer[] = [];
  for (let turn = last; turn !== undefined; turn = turn.parent) if (turn.items.length > 0) chain.push(turn.items);
  return chain.reverse();
}

const COMMA = Buffer.from(',');

/** Lists of items as one; empty ones leave no comma. */
export function joined(lists: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [];
  for (const list of lists) {
    if (list.length === 0) continue;
    if (parts.length > 0) parts.push(COMMA);
    parts.push(list);
  }
  return Buffer.concat(parts);
}
