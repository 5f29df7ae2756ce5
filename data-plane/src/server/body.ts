/**
 * Request bodies: read whole, within limits each, of those of one sender and of all of them together; gzip is unpacked within the same
 * limits. A sender is whoever shares a part of the room: an API key, or an address where nobody has shown one yet.
 */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { GatewayError } from '@meridian/domain/error';
import { ByteRoom } from './byte-room.ts';

export const MAX_BODY_BYTES = 32 * 1024 * 1024;

export interface BodyLimits {
  readonly maxBodyBytes: number;
  /** Of all bodies of this reader together, from their first byte until they are released. */
  readonly maxBufferedBytes: number;
  /** Of those of one sender. */
  readonly maxSenderBytes: number;
  /** So much of each body comes in though there is no room, and is spared `minWindowBytes`: as many as there are connections. */
  readonly smallBodyBytes: number;
  /** How often it is looked at what has come, in milliseconds. */
  readonly windowMs: number;
  /** What has to come of a body in each whole window that it is read in: what does not keep coming gives its room back. */
  readonly minWindowBytes: number;
  /** In which a body has to be whole. Absent: the server's own limit holds. */
  readonly maxWindows?: number;
}

/** Of what is sent with an API key. */
const KEY_BODY_LIMITS: BodyLimits = {
  maxBodyBytes: MAX_BODY_BYTES,
  maxBufferedBytes: 512 * 1024 * 1024,
  maxSenderBytes: 160 * 1024 * 1024,
  smallBodyBytes: 64 * 1024,
  windowMs: 15_000,
  // 8 KiB a second: half of what a line of 128 kbit/s takes.
  minWindowBytes: 120 * 1024,
};

/** A body that comes. */
interface Arrival {
  bytes: number;
  /** When the last window ended. */
  windowStartBytes: number;
  /** Windows that have ended since it began, its first one in part. */
  windows: number;
  readonly refuse: (error: GatewayError) => void;
}

export class BodyReader {
  readonly #limits: BodyLimits;
  readonly #room: ByteRoom;
  /** Of senders of whom something is held. */
  readonly #rooms = new Map<string, ByteRoom>();
  readonly #arrivals = new Set<Arrival>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: BodyLimits = KEY_BODY_LIMITS) {
    this.#limits = limits;
    this.#room = new ByteRoom(limits.maxBufferedBytes);
  }

  get bufferedBytes(): number {
    return this.#room.bytes;
  }

  /** Senders of whom something is held. */
  get senders(): number {
    return this.#rooms.size;
  }

  /**
   * Reads the body and calls back once. Errors: 413 over the limit, 415 for an encoding other than gzip, 400 for broken
   * gzip, 429 when too much of this sender is held, 503 when the node holds too many bodies, 408 when the body does not keep
   * coming, 499 when the client closes before the end.
   * The bytes count as buffered until `release` is called with the sender and the body's length.
   */
  read(request: IncomingMessage, sender: string, done: (error: GatewayError | null, body?: Buffer) => void): void {
    const encoding = request.headers['content-encoding']?.toLowerCase() ?? 'identity';
    if (encoding !== 'identity' && encoding !== 'gzip') {
      done(new GatewayError('unsupported_media_type', { message: `Request bodies may be plain or gzip, not ${encoding.slice(0, 32)}.` }));
      return;
    }
    const declaredBytes = Number(request.headers['content-length'] ?? 0);
    if (declaredBytes > this.#limits.maxBodyBytes) {
      done(this.#tooLarge());
      return;
    }
    const chunks: Buffer[] = [];
    let settled = false;
    const finish = (error: GatewayError | null): void => {
      if (settled) return;
      settled = true;
      this.#arrivals.delete(arrival);
      if (error !== null) {
        this.release(sender, arrival.bytes);
        chunks.length = 0;
        if (source !== request) {
          // Nothing is unpacked for an answer that is already known.
          request.unpipe();
          source.destroy();
        }
        request.resume();
        done(error);
        return;
      }
      const [only] = chunks;
      const body = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, arrival.bytes);
      // The request reaches them for as long as it is answered: they would be held beside the body, and not be counted.
      chunks.length = 0;
      done(null, body);
    };
    const arrival: Arrival = { bytes: 0, windowStartBytes: 0, windows: 0, refuse: finish };
    this.#arrivals.add(arrival);
    this.#timer ??= setInterval(() => this.endWindow(), this.#limits.windowMs).unref();
    const source: Readable = encoding === 'gzip' ? request.pipe(createGunzip()) : request;
    source.on('data', (chunk: Buffer) => {
      if (settled) return;
      const bytes = arrival.bytes + chunk.length;
      if (bytes > this.#limits.maxBodyBytes) {
        finish(this.#tooLarge());
        return;
      }
      const room = this.#roomOf(sender);
      const full = bytes > this.#limits.smallBodyBytes ? room.fullFor(chunk.length) : undefined;
      if (full !== undefined) {
        finish(full === room ? this.#tooMuchOfOne() : tooMuch());
        return;
      }
      arrival.bytes = bytes;
      room.count(chunk.length);
      this.#rooms.set(sender, room);
      chunks.push(chunk);
    });
    source.on('end', () => finish(null));
    if (source !== request)
      source.on('error', (cause) =>
        finish(new GatewayError('invalid_request_error', { message: 'The gzip body cannot be unpacked.', cause })),
      );
    request.on('error', (cause) => finish(new GatewayError('client_closed_request', { cause })));
    request.on('close', () => {
      if (!request.complete) finish(new GatewayError('client_closed_request'));
    });
  }

  /** Gives back what `read` counted. */
  release(sender: string, bytes: number): void {
    const room = this.#rooms.get(sender);
    room?.count(-bytes);
    if (room?.bytes === 0) this.#rooms.delete(sender);
  }

  /** Refuses the bodies that do not keep coming, or are not whole in time. Runs every `windowMs` while there are any. */
  endWindow(): void {
    if (this.#arrivals.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    const { minWindowBytes, smallBodyBytes, maxWindows = Number.POSITIVE_INFINITY } = this.#limits;
    for (const arrival of this.#arrivals) {
      const isSlow = arrival.bytes > smallBodyBytes && arrival.bytes - arrival.windowStartBytes < minWindowBytes;
      // The first window was not a whole one.
      if ((isSlow && arrival.windows > 0) || arrival.windows >= maxWindows) arrival.refuse(tooSlow());
      arrival.windowStartBytes = arrival.bytes;
      arrival.windows++;
    }
  }

  #roomOf(sender: string): ByteRoom {
    return this.#rooms.get(sender) ?? new ByteRoom(this.#limits.maxSenderBytes, this.#room);
  }

  #tooLarge(): GatewayError {
    return new GatewayError('request_too_large', { message: `The request body is larger than ${this.#limits.maxBodyBytes} bytes.` });
  }

  #tooMuchOfOne(): GatewayError {
    const message = `Your requests that this node reads and serves at the moment are larger than ${this.#limits.maxSenderBytes} bytes together.`;
    return new GatewayError('rate_limit_exceeded', { message, retryAfterSeconds: 1, details: { limit: 'body_bytes' } });
  }
}

function tooMuch(): GatewayError {
  return new GatewayError('overloaded', { message: 'Too many large requests are being read at the moment.', retryAfterSeconds: 1 });
}

function tooSlow(): GatewayError {
  return new GatewayError('invalid_request_error', { message: 'The request did not arrive in time.', status: 408 });
}
