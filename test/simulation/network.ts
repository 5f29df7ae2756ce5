/**
 * Streams between nodes and the control plane, as TCP gives them: within one, frames come in order and once, or the stream
 * ends. A one-way or two-way partition holds frames back; keepalives end the stream on each side at its own time, so one side
 * may go on with a stream that the other has given up. What is in flight when a stream ends is lost from some frame on, in each
 * direction. A side that connects anew does so beside its old stream, whose frames may still arrive: so frames of one node reach
 * the control plane doubled and out of order, but never within one stream.
 */
import type { Dice } from './dice.ts';
import { frameText } from './frames.ts';
import type { Life } from './life.ts';
import type { Timeline } from './timeline.ts';

/** What a side does with its end of a stream. */
export interface StreamHandlers<In> {
  receive(frame: In): void;
  /** No more frames come; called once, not after this side has closed. */
  ended(reason: string): void;
}

/** One side's end. */
export interface StreamEnd<Out> {
  /** Frames of a closed or ended stream go nowhere. */
  send(frame: Out): void;
  /** Ends the stream; this side hears nothing more. */
  close(): void;
}

export interface Listener<Up, Down> {
  readonly life: Life;
  /** Accepts a stream. */
  accept(end: StreamEnd<Down>): StreamHandlers<Up>;
}

type Direction = 'up' | 'down';

/** From one node to the control plane and back. */
export interface Wire {
  readonly name: string;
  /** Directions in which nothing gets through. */
  readonly blocked: Set<Direction>;
  /** Mean delay of a frame, one way. */
  delayMs: number;
}

const KEEPALIVE_MS = 5_000;
const KEEPALIVE_TIMEOUT_MS = 3_000;

/** One side of a stream: where its incoming frames go. */
interface Side {
  readonly life: Life;
  handlers: { receive(frame: never): void; ended(reason: string): void } | undefined;
}

interface Frame {
  /** Undefined: the end of the stream. */
  readonly content: { readonly frame: unknown } | undefined;
  readonly readyAtMs: number;
}

interface Lane {
  readonly direction: Direction;
  readonly to: Side;
  queue: Frame[];
  lastAtMs: number;
  planned: boolean;
  /** Nothing more is put into it. */
  ended: boolean;
}

interface Stream {
  readonly name: string;
  readonly wire: Wire;
  readonly node: Side;
  readonly control: Side;
  readonly up: Lane;
  readonly down: Lane;
}

export class Network {
  readonly #timeline: Timeline;
  readonly #dice: Dice;
  #streams = new Set<Stream>();
  #wires: Wire[] = [];

  constructor(timeline: Timeline, dice: Dice) {
    this.#timeline = timeline;
    this.#dice = dice;
  }

  wire(name: string, delayMs: number): Wire {
    const wire: Wire = { name, blocked: new Set(), delayMs };
    this.#wires.push(wire);
    return wire;
  }

  /**
   * Opens a stream from a node's process to what listens. Where nobody does, `ended` is called soon; where the wire is blocked,
   * nothing happens: the caller has its own watchdog.
   */
  connect<Up, Down>(
    name: string,
    wire: Wire,
    life: Life,
    listener: () => Listener<Up, Down> | undefined,
    handlers: StreamHandlers<Down>,
  ): StreamEnd<Up> {
    const node: Side = { life, handlers };
    const found = listener();
    if (found === undefined || wire.blocked.size > 0) {
      if (wire.blocked.size === 0) {
        life.after(this.#delay(wire), `${name} refused`, () => {
          const { handlers: held } = node;
          node.handlers = undefined;
          held?.ended('nobody listens');
        });
      }
      return {
        send: () => life.effect(),
        close: () => {
          node.handlers = undefined;
        },
      };
    }
    const control: Side = { life: found.life, handlers: undefined };
    const lane = (direction: Direction, to: Side): Lane => ({
      ...{ direction, to, queue: [], lastAtMs: 0, planned: false, ended: false },
    });
    const stream: Stream = { name, wire, node, control, up: lane('up', control), down: lane('down', node) };
    this.#streams.add(stream);
    let accepted = false;
    // It is accepted with the first frame.
    control.handlers = {
      receive: (frame) => {
        if (!accepted) {
          accepted = true;
          control.handlers = found.accept({
            send: (answer) => this.#send(stream, stream.down, control, answer),
            close: () => this.#close(stream, control, stream.down),
          });
        }
        control.handlers?.receive(frame);
      },
      ended: () => undefined,
    };
    return {
      send: (frame) => this.#send(stream, stream.up, node, frame),
      close: () => this.#close(stream, node, stream.up),
    };
  }

  /** Breaks the wire's streams; of what is in flight the first frames arrive. */
  breakStreams(wire: Wire, reason: string): void {
    for (const stream of [...this.#streams]) {
      if (stream.wire !== wire) continue;
      this.#loseTail(stream.up);
      this.#loseTail(stream.down);
      this.#end(stream, stream.up);
      this.#end(stream, stream.down);
      this.#timeline.note(`${stream.name} breaks: ${reason}`);
    }
  }

  /** Nothing gets through in the directions; keepalives notice in their time. */
  block(wire: Wire, directions: readonly Direction[]): void {
    for (const direction of directions) wire.blocked.add(direction);
    for (const stream of [...this.#streams]) {
      if (stream.wire !== wire) continue;
      for (const side of [stream.node, stream.control]) {
        const delayMs = this.#dice.between(KEEPALIVE_TIMEOUT_MS, KEEPALIVE_MS + KEEPALIVE_TIMEOUT_MS);
        this.#timeline.after(delayMs, `${stream.name} keepalive at ${side === stream.node ? 'node' : 'control plane'}`, () => {
          if (wire.blocked.size === 0 || side.handlers === undefined || !side.life.alive) return;
          this.#give(stream, side, 'keepalive');
        });
      }
    }
  }

  unblock(wire: Wire): void {
    if (wire.blocked.size === 0) return;
    wire.blocked.clear();
    for (const stream of this.#streams) {
      if (stream.wire !== wire) continue;
      this.#plan(stream, stream.up);
      this.#plan(stream, stream.down);
    }
  }

  /** The process is gone: its kernel ends its streams; what it had sent may still arrive. */
  processDied(life: Life, powerCut: boolean): void {
    for (const stream of [...this.#streams]) {
      for (const [side, out] of [
        [stream.node, stream.up],
        [stream.control, stream.down],
      ] as const) {
        if (side.life !== life) continue;
        side.handlers = undefined;
        if (powerCut) {
          // Nobody says goodbye: the other side finds out by its keepalive.
          out.queue = [];
          const other = side === stream.node ? stream.control : stream.node;
          this.#timeline.after(
            this.#dice.between(KEEPALIVE_TIMEOUT_MS, KEEPALIVE_MS + KEEPALIVE_TIMEOUT_MS),
            `${stream.name} keepalive`,
            () => {
              this.#give(stream, other, 'keepalive');
            },
          );
        } else {
          this.#loseTail(out);
          this.#end(stream, out);
        }
      }
    }
  }

  #send(stream: Stream, lane: Lane, from: Side, frame: unknown): void {
    from.life.effect();
    if (lane.ended) return;
    const readyAtMs = Math.max(lane.lastAtMs, this.#timeline.nowMs + this.#delay(stream.wire));
    lane.lastAtMs = readyAtMs;
    lane.queue.push({ content: { frame }, readyAtMs });
    this.#plan(stream, lane);
  }

  #close(stream: Stream, side: Side, out: Lane): void {
    side.handlers = undefined;
    this.#end(stream, out);
  }

  /** The end goes out behind what is in flight. */
  #end(stream: Stream, lane: Lane): void {
    if (lane.ended) return;
    lane.ended = true;
    lane.lastAtMs = Math.max(lane.lastAtMs, this.#timeline.nowMs + this.#delay(stream.wire));
    lane.queue.push({ content: undefined, readyAtMs: lane.lastAtMs });
    this.#plan(stream, lane);
  }

  /** A side gives the stream up. */
  #give(stream: Stream, side: Side, reason: string): void {
    const { handlers } = side;
    side.handlers = undefined;
    this.#end(stream, side === stream.node ? stream.up : stream.down);
    side.life.run(() => handlers?.ended(reason));
  }

  #loseTail(lane: Lane): void {
    if (lane.ended) return;
    lane.queue = lane.queue.slice(0, this.#dice.between(0, lane.queue.length));
  }

  #plan(stream: Stream, lane: Lane): void {
    const next = lane.queue[0];
    if (next === undefined || lane.planned || stream.wire.blocked.has(lane.direction)) return;
    lane.planned = true;
    const what = next.content === undefined ? 'end' : frameText(next.content.frame);
    this.#timeline.at(next.readyAtMs, `${stream.name} ${lane.direction} ${what}`, () => {
      lane.planned = false;
      if (stream.wire.blocked.has(lane.direction)) return;
      const frame = lane.queue.shift();
      if (frame !== undefined) this.#deliver(stream, lane, frame);
      this.#plan(stream, lane);
    });
  }

  #deliver(stream: Stream, lane: Lane, { content }: Frame): void {
    const { to } = lane;
    if (content !== undefined) {
      // The handler knows what its peer sends.
      if (to.life.alive) to.life.run(() => to.handlers?.receive(content.frame as never));
      return;
    }
    const { handlers } = to;
    to.handlers = undefined;
    const back = lane === stream.up ? stream.down : stream.up;
    this.#end(stream, back);
    if (lane === stream.down || lane === stream.up) {
      if (stream.up.ended && stream.down.ended && stream.up.queue.length === 0 && stream.down.queue.length === 0)
        this.#streams.delete(stream);
    }
    if (to.life.alive) to.life.run(() => handlers?.ended('the other side has ended it'));
  }

  #delay(wire: Wire): number {
    return Math.ceil(wire.delayMs * 0.5 + this.#dice.exponential(wire.delayMs * 0.5));
  }
}
