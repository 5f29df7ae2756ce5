/** Request bodies: read whole, within a limit each and a limit for all of them together; gzip is unpacked within the same limit. */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { GatewayError } from '@meridian/domain/error';

export const MAX_BODY_BYTES = 32 * 1024 * 1024;
/** Of all bodies that a node holds at one moment. */
const MAX_BUFFERED_BODY_BYTES = 512 * 1024 * 1024;

export interface BodyLimits {
  readonly maxBodyBytes: number;
  /** Of all bodies of this reader together. */
  readonly maxBufferedBytes: number;
}

export class BodyReader {
  readonly #maxBodyBytes: number;
  readonly #maxBufferedBytes: number;
  #bufferedBytes = 0;

  constructor(limits: BodyLimits = { maxBodyBytes: MAX_BODY_BYTES, maxBufferedBytes: MAX_BUFFERED_BODY_BYTES }) {
    this.#maxBodyBytes = limits.maxBodyBytes;
    this.#maxBufferedBytes = limits.maxBufferedBytes;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /**
   * Reads the body and calls back once. Errors: 413 over the limit, 415 for an encoding other than gzip, 400 for broken
   * gzip, 503 when the node holds too many bodies, 499 when the client closes before the end.
   * The bytes count as buffered until `release` is called with the body's length.
   */
  read(request: IncomingMessage, done: (error: GatewayError | null, body?: Buffer) => void): void {
    const encoding = request.headers['content-encoding']?.toLowerCase() ?? 'identity';
    if (encoding !== 'identity' && encoding !== 'gzip') {
      done(new GatewayError('unsupported_media_type', { message: `Request bodies may be plain or gzip, not ${encoding.slice(0, 32)}.` }));
      return;
    }
    const declaredBytes = Number(request.headers['content-length'] ?? 0);
    if (declaredBytes > this.#maxBodyBytes) {
      done(this.#tooLarge());
      return;
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    let settled = false;
    const finish = (error: GatewayError | null): void => {
      if (settled) return;
      settled = true;
      if (error !== null) {
        this.release(bytes);
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
      const body = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, bytes);
      // The request reaches them for as long as it is answered: they would be held beside the body, and not be counted.
      chunks.length = 0;
      done(null, body);
    };
    const source: Readable = encoding === 'gzip' ? request.pipe(createGunzip()) : request;
    source.on('data', (chunk: Buffer) => {
      if (settled) return;
      if (bytes + chunk.length > this.#maxBodyBytes) {
        finish(this.#tooLarge());
        return;
      }
      if (this.#bufferedBytes + chunk.length > this.#maxBufferedBytes) {
        finish(new GatewayError('overloaded', { message: 'Too many large requests are being read at the moment.', retryAfterSeconds: 1 }));
        return;
      }
      bytes += chunk.length;
      this.#bufferedBytes += chunk.length;
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
  release(bytes: number): void {
    this.#bufferedBytes -= bytes;
  }

  #tooLarge(): GatewayError {
    return new GatewayError('request_too_large', { message: `The request body is larger than ${this.#maxBodyBytes} bytes.` });
  }
}
