/** Lets clients in over WebSocket: whatever is wrong with the key is told before, as a plain HTTP answer. */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { GatewayError } from '@meridian/domain/error';
import { WebSocketServer } from 'ws';
import type { Principal } from '../../admission/authenticate.ts';
import type { Dialect } from '../../dialect/dialect.ts';
import { spokenAt } from '../../dialect/place.ts';
import type { Spoken } from '../../dialect/registry.ts';
import { ByteRoom } from '../byte-room.ts';
import { HttpReply } from '../reply.ts';
import { plainPath } from '../server.ts';
import { Connection, type ConnectionDeps, drainEnding } from './connection.ts';
import { StateRoom } from './conversation.ts';
import {
  CLOSE_WITHIN_MS,
  MAX_CONNECTIONS,
  MAX_CONNECTIONS_PER_KEY,
  MAX_KEY_MESSAGE_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_NODE_MESSAGE_BYTES,
  MAX_NODE_STATE_BYTES,
} from './limits.ts';

export const WEBSOCKET_PATH = '/v1/responses';
/** Of the metrics. */
const NAME = 'websocket';

export interface DoorDeps extends Omit<ConnectionDeps, 'dialect' | 'authenticate' | 'onStatus' | 'stateRoom' | 'messageRoom'> {
  readonly region: string;
  readonly dialectOf: (spoken: Spoken) => Dialect;
  /** Keeps what the request shows of its key, and looks at it each time it is asked. */
  readonly authenticatorOf: (request: IncomingMessage) => (atMs: number) => Principal;
  /** Why a request of this key would be refused by its rate limits now. */
  readonly rateRefusal: (principal: Principal) => GatewayError | undefined;
  readonly draining: () => boolean;
  readonly onStatus: (name: string, status: number) => void;
  /** A connection, or an answer to one that was not let in, is open; `onClosed` follows. */
  readonly onOpened: () => void;
  readonly onClosed: () => void;
}

/** Whether a request is one to change to WebSocket, where we speak that. */
export function wantsWebSocket(request: IncomingMessage): boolean {
  if (request.method !== 'GET' || request.headers.upgrade?.toLowerCase() !== 'websocket') return false;
  const path = plainPath(request.url ?? '/');
  return path === WEBSOCKET_PATH || path.startsWith(`${WEBSOCKET_PATH}?`);
}

/** What one key has of a node. */
interface KeyShare {
  connections: number;
  readonly room: ByteRoom;
}

export class WebSocketDoor {
  readonly #deps: DoorDeps;
  readonly #server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
  });
  readonly #connections = new Set<Connection>();
  readonly #keys = new Map<string, KeyShare>();
  /** Keys whose connections have left: to be forgotten when their turns have ended. */
  readonly #restingKeys = new Set<string>();
  readonly #stateRoom = new StateRoom(MAX_NODE_STATE_BYTES);
  readonly #messageRoom = new ByteRoom(MAX_NODE_MESSAGE_BYTES);

  constructor(deps: DoorDeps) {
    this.#deps = deps;
    this.#server.on('wsClientError', (cause, socket, request) => {
      const message = `The request to change to WebSocket is not valid: ${cause.message}.`;
      this.#refuse(request, socket, new GatewayError('invalid_request_error', { message }), this.#deps.newRequestId());
    });
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** What the connections remember of their conversations. */
  get stateBytes(): number {
    return this.#stateRoom.bytes;
  }

  /** Messages that arrive, wait or are served. */
  get messageBytes(): number {
    return this.#messageRoom.bytes;
  }

  /** Of a request that `wantsWebSocket`. */
  upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    const deps = this.#deps;
    const requestId = deps.newRequestId();
    const authenticate = deps.authenticatorOf(request);
    let principal: Principal;
    try {
      if (deps.draining()) throw new GatewayError('overloaded', { message: 'This node is shutting down.', retryAfterSeconds: 1 });
      principal = authenticate(deps.nowMs());
      const refusal = deps.rateRefusal(principal) ?? this.#crowded(principal.key.id);
      if (refusal !== undefined) throw refusal;
    } catch (thrown) {
      this.#refuse(request, stream, GatewayError.from(thrown), requestId);
      return;
    }
    this.#server.once('headers', (headers) => headers.push(`x-request-id: ${requestId}`, `x-meridian-region: ${deps.region}`));
    // Calls back in this turn, or not at all.
    this.#server.handleUpgrade(request, stream, head, (ws) => {
      deps.onStatus(NAME, 101);
      deps.onOpened();
      const share = this.#enter(principal.key.id);
      const connectionDeps: ConnectionDeps = {
        ...deps,
        dialect: this.#dialect(),
        authenticate,
        onStatus: (status) => deps.onStatus('chat', status),
        stateRoom: this.#stateRoom,
        messageRoom: share.room,
      };
      const connection = new Connection(connectionDeps, ws, stream as Socket, () => {
        this.#connections.delete(connection);
        this.#leave(principal.key.id, share);
        deps.onClosed();
      });
      this.#connections.add(connection);
    });
    this.#server.removeAllListeners('headers');
  }

  /** Turns that run are finished, then their connections are closed; those of the others at once. */
  drain(): void {
    for (const connection of this.#connections) connection.end(drainEnding());
  }

  /** Closes what is still open. */
  close(): void {
    for (const connection of this.#connections) connection.terminate();
  }

  #dialect(): Dialect {
    return this.#deps.dialectOf(spokenAt(WEBSOCKET_PATH, {}));
  }

  #crowded(keyId: string): GatewayError | undefined {
    if ((this.#keys.get(keyId)?.connections ?? 0) >= MAX_CONNECTIONS_PER_KEY) {
      const message = `This API key may have ${MAX_CONNECTIONS_PER_KEY} WebSocket connections to a node at one time.`;
      return new GatewayError('rate_limit_exceeded', { message, retryAfterSeconds: 1, details: { limit: 'websocket_connections' } });
    }
    if (this.#connections.size < MAX_CONNECTIONS) return undefined;
    return new GatewayError('overloaded', { message: 'This node has too many WebSocket connections at the moment.', retryAfterSeconds: 1 });
  }

  #enter(keyId: string): KeyShare {
    const share = this.#keys.get(keyId) ?? { connections: 0, room: new ByteRoom(MAX_KEY_MESSAGE_BYTES, this.#messageRoom) };
    share.connections++;
    this.#keys.set(keyId, share);
    return share;
  }

  /** Turns that outlast their connections keep their part of the room: the next connection of the key shares it with them. */
  #leave(keyId: string, share: KeyShare): void {
    share.connections--;
    if (share.connections === 0) this.#restingKeys.add(keyId);
    for (const resting of this.#restingKeys) {
      const held = this.#keys.get(resting);
      if (held?.connections === 0 && held.room.bytes > 0) continue;
      this.#restingKeys.delete(resting);
      if (held?.connections === 0) this.#keys.delete(resting);
    }
  }

  /** Answers on the socket as to any request, and closes it. */
  #refuse(request: IncomingMessage, stream: Duplex, error: GatewayError, requestId: string): void {
    const deps = this.#deps;
    deps.onOpened();
    const response = new ServerResponse(request);
    response.assignSocket(stream as Socket);
    response.once('finish', () => stream.end());
    // A client that does not close is not waited for.
    const timer = deps.timers.after(CLOSE_WITHIN_MS, () => stream.destroy());
    stream.once('close', () => timer.cancel());
    new HttpReply(request, response, {
      requestId,
      region: deps.region,
      dialect: this.#dialect(),
      standingHeaders: [],
      onError: (told) => deps.onError(requestId, told),
      onStatus: (status) => deps.onStatus(NAME, status),
      onClosed: deps.onClosed,
      closing: () => true,
    }).fail(error);
  }
}
