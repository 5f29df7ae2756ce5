/** One WebSocket of a client: its messages become turns, its turns are served lane by lane, and it ends in good order. */
import type { Socket } from 'node:net';
import { GatewayError } from '@meridian/domain/error';
import type { WebSocket } from 'ws';
import type { Principal } from '../../admission/authenticate.ts';
import type { RatePermit } from '../../admission/rate-limit.ts';
import type { Dialect } from '../../dialect/dialect.ts';
import type { Exchange, Reply } from '../../exchange.ts';
import type { Timers } from '../../routing/commit.ts';
import { ByteRoom } from '../byte-room.ts';
import { type ClientMessage, type CreateMessage, RefusedMessage, readMessage, type SteerMessage } from './client-message.ts';
import { Conversation, type KeptTurn, type StateRoom } from './conversation.ts';
import { type LaneName, Lanes } from './lanes.ts';
import {
  CLOSE_WITHIN_MS,
  LIFETIME_MS,
  MAX_ARRIVAL_MS,
  MAX_CONNECTION_MESSAGE_BYTES,
  MAX_OVERTIME_MS,
  MAX_STEER_BYTES,
  MAX_STREAM_IDS,
  PING_EVERY_MS,
  SILENT_MS,
  SMALL_MESSAGE_BYTES,
} from './limits.ts';
import { includingState } from './reasoning-state.ts';
import { errorMessage, type RefusalCode, refusal } from './refusal.ts';
import { type Outlet, TurnReply } from './turn-reply.ts';
import { requestBody, toolsFor } from './turn-request.ts';
import { UnreadWatch } from './unread-watch.ts';

export interface ConnectionDeps {
  readonly dialect: Dialect;
  readonly newRequestId: () => string;
  readonly nowMs: () => number;
  readonly timers: Timers;
  /** Whose key opened the connection, as it stands now: a key can be revoked between two turns. Throws GatewayError. */
  readonly authenticate: (atMs: number) => Principal;
  /** Undefined for a key without rate limits. */
  readonly enter: (principal: Principal) => RatePermit | undefined;
  /** Serves a turn; the permit is released by then. Never rejects. */
  readonly serve: (exchange: Exchange, reply: Reply) => Promise<void>;
  /** Whether what a model's name stands for reasons. */
  readonly reasons: (model: string, principal: Principal) => boolean;
  /** Throws GatewayError. */
  readonly prewarm: (exchange: Exchange, reply: Reply) => void;
  readonly onStatus: (status: number) => void;
  readonly onError: (requestId: string, error: GatewayError) => void;
  /** For all connections of the node. */
  readonly stateRoom: StateRoom;
  /** For all connections of the key. */
  readonly messageRoom: ByteRoom;
}

interface Turn {
  readonly requestId: string;
  readonly lane: LaneName;
  readonly create: CreateMessage;
  readonly bytes: number;
}

/** Why no further turn is served, and how the connection is closed when those that run have ended. */
interface Ending {
  readonly why: GatewayError;
  /** Told also to a client for which no turn waits. */
  readonly tellsAlways: boolean;
  readonly closeCode: number;
  readonly closeReason: string;
}

/** Of a client's control frame: two bytes of head, four of mask. */
const CONTROL_HEAD_BYTES = 6;

export class Connection implements Outlet {
  readonly #deps: ConnectionDeps;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #lanes = new Lanes<Turn>();
  readonly #conversation: Conversation;
  readonly #room: ByteRoom;
  readonly #replies = new Set<TurnReply>();
  #waitingForDrain: (() => void)[] = [];
  #ending: Ending | undefined;
  #closed = false;
  #corked = false;
  /** Of a message that has not come whole. */
  #arrivingBytes = 0;
  #arrivalTimer: { cancel(): void } | undefined;
  #pingsInSilence = 0;
  #pingTimer: { cancel(): void };
  readonly #unread: UnreadWatch;
  #closeTimer: { cancel(): void } | undefined;
  #overtimeTimer: { cancel(): void } | undefined;
  readonly #lifetimeTimer: { cancel(): void };

  constructor(deps: ConnectionDeps, ws: WebSocket, socket: Socket, onClosed: () => void) {
    this.#deps = deps;
    this.#ws = ws;
    this.#socket = socket;
    this.#conversation = new Conversation(deps.stateRoom);
    this.#room = new ByteRoom(MAX_CONNECTION_MESSAGE_BYTES, deps.messageRoom);
    const takenBytes = (): number => socket.bytesWritten - socket.writableLength;
    this.#unread = new UnreadWatch(deps.timers, takenBytes, () => this.terminate());
    // Before the listener that reads messages out of it.
    socket.prependListener('data', (chunk: Buffer) => this.#arriving(chunk.length));
    socket.on('drain', () => this.#drained());
    ws.on('message', (data, isBinary) => this.#message(data as Buffer, isBinary));
    for (const control of ['ping', 'pong'] as const) ws.on(control, (data: Buffer) => this.#controlled(data.length));
    // What broke the protocol has been told in the closing code; 'close' follows.
    ws.on('error', () => {});
    ws.once('close', () => {
      this.#close();
      onClosed();
    });
    this.#pingTimer = deps.timers.after(PING_EVERY_MS, () => this.#pingAgain());
    this.#lifetimeTimer = deps.timers.after(LIFETIME_MS, () => this.end(lifetimeEnding()));
  }

  /** Turns that are being served. */
  get running(): number {
    return this.#lanes.running;
  }

  get gone(): boolean {
    return this.#closed || this.#ws.readyState !== this.#ws.OPEN || this.#socket.destroyed;
  }

  get ready(): boolean {
    return !this.#socket.writableNeedDrain;
  }

  send(text: Buffer): void {
    if (this.gone) return;
    this.#cork();
    this.#ws.send(text, { binary: false });
  }

  ping(): void {
    if (!this.gone) this.#ws.ping();
  }

  onDrain(resume: () => void): void {
    this.#waitingForDrain.push(resume);
    if (!this.#closed) this.#unread.begin();
  }

  /** No further turn is served. Those that run are finished; then the connection is closed. */
  end(ending: Ending): void {
    if (this.#ending !== undefined) return;
    this.#ending = ending;
    for (const turn of this.#lanes.takeWaiting()) {
      this.#refuse(ending.why, turn.requestId, turn.lane);
      this.#room.count(-turn.bytes);
    }
    this.#closeWhenIdle();
    if (!this.gone) this.#overtimeTimer = this.#deps.timers.after(MAX_OVERTIME_MS, () => this.#leave(ending));
  }

  /** Closes the connection at once; what runs has lost its client. */
  terminate(): void {
    this.#ws.terminate();
  }

  #message(text: Buffer, isBinary: boolean): void {
    this.#arrived();
    const requestId = this.#deps.newRequestId();
    let message: ClientMessage;
    try {
      if (isBinary) throw new GatewayError('invalid_request_error', { message: 'Messages must be text.' });
      message = readMessage(text);
    } catch (thrown) {
      if (thrown instanceof RefusedMessage) this.#refuse(thrown.why, requestId, thrown.streamId);
      else this.#refuse(GatewayError.from(thrown), requestId, undefined);
      return;
    }
    if (message.kind === 'create') this.#enter({ requestId, lane: message.streamId, create: message, bytes: text.length });
    else if (message.kind === 'steer') this.#refuseSteering(message, text.length, requestId);
  }

  #enter(turn: Turn): void {
    const { requestId, lane, bytes } = turn;
    if (this.#ending !== undefined) {
      this.#refuse(this.#ending.why, requestId, lane);
      return;
    }
    const noRoom = this.#noRoomFor(bytes);
    if (noRoom !== undefined) {
      this.#refuse(noRoom, requestId, lane);
      return;
    }
    const entered = this.#lanes.enter(turn);
    if (entered !== 'entered') {
      this.#refuse(entered === 'too_many_streams' ? tooManyStreams() : tooManyWaiting(), requestId, lane);
      return;
    }
    this.#room.count(bytes);
    this.#advance();
  }

  /** Starts what can be served now. A client that does not read gets no further turn. */
  #advance(): void {
    while (this.ready && !this.gone) {
      const turn = this.#lanes.next();
      if (turn === undefined) break;
      void this.#serve(turn);
    }
  }

  /** Never rejects. */
  async #serve(turn: Turn): Promise<void> {
    const { requestId, lane, create } = turn;
    const { dialect } = this.#deps;
    let heldBytes = turn.bytes;
    let hidesReasoningState = false;
    const reply = new TurnReply({
      requestId,
      dialect,
      streamId: lane,
      hidesReasoningState: () => hidesReasoningState,
      outlet: this,
      onError: (error) => this.#deps.onError(requestId, error),
      onStatus: this.#deps.onStatus,
    });
    this.#replies.add(reply);
    let previous: KeptTurn | undefined;
    try {
      const arrivedMs = this.#deps.nowMs();
      const principal = this.#principal(arrivedMs);
      previous = this.#previousOf(create);
      const withState = this.#reasons(create, principal) ? includingState(create.include) : undefined;
      hidesReasoningState = withState !== undefined;
      const body = requestBody(create, previous, withState);
      const noRoom = this.#noRoomFor(body.length);
      if (noRoom !== undefined) throw noRoom;
      heldBytes += body.length;
      this.#room.count(body.length);
      const exchange = { requestId, dialect, operation: 'chat', principal, body, place: {}, arrivedMs } as const;
      if (create.generate) {
        const permit = this.#deps.enter(principal);
        if (permit?.refusal !== undefined) throw permit.refusal;
        await this.#deps.serve({ ...exchange, permit }, reply);
      } else {
        this.#deps.prewarm(exchange, reply);
      }
    } catch (thrown) {
      reply.fail(GatewayError.from(thrown));
    }
    this.#replies.delete(reply);
    this.#room.count(-heldBytes);
    if (!this.#closed) this.#remember(turn, previous, reply);
    if (previous !== undefined) this.#conversation.release(previous);
    this.#lanes.left(lane);
    this.#advance();
    this.#closeWhenIdle();
  }

  #reasons({ model, generate }: CreateMessage, principal: Principal): boolean {
    return generate && model !== undefined && this.#deps.reasons(model, principal);
  }

  #principal(atMs: number): Principal {
    try {
      return this.#deps.authenticate(atMs);
    } catch (thrown) {
      const why = GatewayError.from(thrown);
      // It will not get better: the connection has no other key.
      if (why.source === 'client') this.end({ why, tellsAlways: false, closeCode: 1008, closeReason: why.code });
      throw why;
    }
  }

  #previousOf({ previousResponseId }: CreateMessage): KeptTurn | undefined {
    if (previousResponseId === undefined) return undefined;
    const held = this.#conversation.hold(previousResponseId);
    if (held === undefined) {
      const message = `Previous response with id '${previousResponseId.slice(0, 256)}' not found.`;
      throw refusal('previous_response_not_found', message, 'previous_response_id');
    }
    return held;
  }

  #remember({ lane, create }: Turn, previous: KeptTurn | undefined, { answered }: TurnReply): void {
    if (answered === undefined) {
      // What it followed is in doubt, and the protocol has it forgotten; a branch that fails leaves the lane it came from alone.
      if (previous !== undefined && previous.lane === lane) this.#conversation.forget(previous.id);
      return;
    }
    this.#conversation.keep({
      id: answered.responseId,
      lane,
      parent: previous,
      items: [...(create.items === undefined ? [] : [create.items]), answered.outputItems],
      tools: toolsFor(create, previous),
    });
  }

  #refuse(why: GatewayError, requestId: string, streamId: string | undefined): void {
    this.#deps.onStatus(why.status);
    this.send(errorMessage(why, this.#deps.dialect, { requestId, streamId }));
    this.#pauseUnlessReady();
  }

  /** Input for a turn that runs cannot be brought to a provider that has been called over HTTP. */
  #refuseSteering({ previousResponseId, input }: SteerMessage, bytes: number, requestId: string): void {
    if (bytes > MAX_STEER_BYTES) {
      const message = `A response that runs takes no further input here, and response.steer may have at most ${MAX_STEER_BYTES} bytes.`;
      this.#refuse(new GatewayError('request_too_large', { message }), requestId, undefined);
      return;
    }
    const error = {
      type: 'invalid_request_error',
      code: 'steering_not_supported',
      message: 'A response that runs takes no further input here. Send it with the next response.create.',
    };
    const steer = { previous_response_id: previousResponseId, input };
    this.send(Buffer.from(JSON.stringify({ type: 'response.steer.failed', sequence_number: 0, error, steer })));
    this.#pauseUnlessReady();
  }

  /** Answers that nobody reads are not to pile up. */
  #pauseUnlessReady(): void {
    if (this.ready || this.gone) return;
    this.#ws.pause();
    this.onDrain(() => this.#ws.resume());
  }

  /** Messages of one turn of the event loop leave in one packet. */
  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    setImmediate(() => {
      this.#corked = false;
      this.#socket.uncork();
    });
  }

  #drained(): void {
    this.#unread.end();
    const waiting = this.#waitingForDrain;
    this.#waitingForDrain = [];
    for (const resume of waiting) resume();
    this.#advance();
  }

  #pingAgain(): void {
    // One that has much to read yet cannot answer a ping that stands behind it; the stall timer sees to that one.
    if (this.ready && this.#pingsInSilence * PING_EVERY_MS >= SILENT_MS) {
      this.terminate();
      return;
    }
    this.#pingsInSilence++;
    this.ping();
    this.#pingTimer = this.#deps.timers.after(PING_EVERY_MS, () => this.#pingAgain());
  }

  #arriving(bytes: number): void {
    this.#pingsInSilence = 0;
    if (this.#closed) return;
    this.#arrivingBytes += bytes;
    this.#room.count(bytes);
    this.#arrivalTimer ??= this.#deps.timers.after(MAX_ARRIVAL_MS, () => this.#late());
    if (this.#arrivingBytes > SMALL_MESSAGE_BYTES && this.#room.fullFor(0) !== undefined) this.#cutOff(1013, 'too many large messages');
  }

  /** A control frame may come amid a message, and is no part of it. */
  #controlled(payloadBytes: number): void {
    const frameBytes = Math.min(this.#arrivingBytes, CONTROL_HEAD_BYTES + payloadBytes);
    this.#arrivingBytes -= frameBytes;
    this.#room.count(-frameBytes);
    if (this.#arrivingBytes === 0) this.#arrived();
  }

  #arrived(): void {
    this.#room.count(-this.#arrivingBytes);
    this.#arrivingBytes = 0;
    this.#arrivalTimer?.cancel();
    this.#arrivalTimer = undefined;
  }

  /** A message that comes drop by drop would be held for as long as its connection lasts. */
  #late(): void {
    this.#arrivalTimer = undefined;
    // What is not read here cannot arrive.
    if (this.#ws.isPaused) this.#arrivalTimer = this.#deps.timers.after(MAX_ARRIVAL_MS, () => this.#late());
    else this.#cutOff(1008, 'a message took too long to arrive');
  }

  #noRoomFor(bytes: number): GatewayError | undefined {
    const full = this.#room.fullFor(bytes);
    if (full === undefined) return undefined;
    if (full === this.#room) return tooManyWaiting();
    if (full === this.#deps.messageRoom) {
      const message = 'The requests of this API key that wait or are served on this node are too large together.';
      return new GatewayError('rate_limit_exceeded', { message, retryAfterSeconds: 1, details: { limit: 'websocket_message_bytes' } });
    }
    return new GatewayError('overloaded', { message: 'Too many large requests are being read at the moment.', retryAfterSeconds: 1 });
  }

  #closeWhenIdle(): void {
    const ending = this.#ending;
    if (ending !== undefined && this.#lanes.running === 0) this.#leave(ending);
  }

  /** A turn that still runs has lost its client. */
  #leave(ending: Ending): void {
    if (this.gone) return;
    if (ending.tellsAlways) this.#refuse(ending.why, this.#deps.newRequestId(), undefined);
    this.#shut(ending.closeCode, ending.closeReason);
  }

  #shut(code: number, reason: string): void {
    if (this.gone) return;
    this.#ws.close(code, reason);
    this.#closeTimer = this.#deps.timers.after(CLOSE_WITHIN_MS, () => this.terminate());
  }

  /** Closes amid a message, of which no more is read; so its peer's part of the closing handshake is not seen either. */
  #cutOff(code: number, reason: string): void {
    this.#shut(code, reason);
    this.#ws.pause();
  }

  #close(): void {
    this.#closed = true;
    this.#pingTimer.cancel();
    this.#lifetimeTimer.cancel();
    this.#closeTimer?.cancel();
    this.#overtimeTimer?.cancel();
    this.#arrived();
    for (const turn of this.#lanes.takeWaiting()) this.#room.count(-turn.bytes);
    this.#conversation.clear();
    for (const reply of this.#replies) reply.connectionGone();
    this.#drained();
  }
}

function lifetimeEnding(): Ending {
  const message = `Responses websocket connection limit reached (${LIFETIME_MS / 60_000} minutes). Create a new websocket connection to continue.`;
  return {
    why: refusal('websocket_connection_limit_reached', message),
    tellsAlways: true,
    closeCode: 1001,
    closeReason: 'connection limit reached',
  };
}

/** The node stops. */
export function drainEnding(): Ending {
  return {
    why: new GatewayError('overloaded', { message: 'This node is shutting down.', retryAfterSeconds: 1 }),
    tellsAlways: false,
    closeCode: 1012,
    closeReason: 'this node is shutting down',
  };
}

function tooManyStreams(): GatewayError {
  const message = `This WebSocket connection has reached its maximum number of distinct stream IDs (${MAX_STREAM_IDS}). Reuse an existing stream_id or open a new WebSocket connection.`;
  return refusal('websocket_stream_limit_reached', message, 'stream_id');
}

function tooManyWaiting(): GatewayError {
  const code: RefusalCode = 'websocket_queue_limit_reached';
  const message = 'Too many requests wait on this connection. Wait for a response to end.';
  return new GatewayError('rate_limit_exceeded', { message, details: { code } });
}
