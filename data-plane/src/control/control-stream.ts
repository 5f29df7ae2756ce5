/** A stream of frames to the control plane and back, over a channel of its own. */
import type { DescService } from '@bufbuild/protobuf';
import { type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';
import { type ChannelSettings, channelOptions } from '@meridian/wire/grpc-options';
import { makeClient, type ServiceCalls, type ServiceClient } from '@meridian/wire/grpc-service';
import { type After, afterTimeout } from './after.ts';

export interface ControlStreamOptions<Service extends DescService, Request, Response> {
  readonly service: Service;
  /** host:port */
  readonly address: string;
  readonly joinToken: string;
  readonly channel?: ChannelSettings;
  readonly call: (calls: ServiceCalls<Service>, metadata: Metadata) => ClientDuplexStream<Request, Response>;
  readonly received: (response: Response) => void;
  /** The call has failed or was ended, or what was watched for did not come. Whoever hears it ends the stream. */
  readonly broken: (error: Error) => void;
  /** Timers of the process when absent. */
  readonly after?: After;
}

/** Opened by its making. Tells nothing any more once it is ended here. */
export class ControlStream<Service extends DescService, Request, Response> {
  readonly stream: ClientDuplexStream<Request, Response>;
  readonly #client: ServiceClient<Service>;
  readonly #broken: (error: Error) => void;
  readonly #after: After;
  #cancelWatchdog: () => void = () => undefined;
  #ended = false;

  constructor(options: ControlStreamOptions<Service, Request, Response>) {
    const { service, address, joinToken, channel, call, received, broken, after } = options;
    this.#after = after ?? afterTimeout;
    this.#broken = (error) => {
      if (!this.#ended) broken(error);
    };
    this.#client = makeClient(service, address, credentials.createInsecure(), channelOptions(channel));
    this.stream = call(this.#client.calls, joinMetadata(joinToken));
    this.stream.on('data', (response: Response) => {
      if (!this.#ended) received(response);
    });
    this.stream.on('error', this.#broken);
    this.stream.on('end', () => this.#broken(new Error('the control plane ended the stream')));
  }

  /** Further calls over the same connection, and so to the same replica. */
  get calls(): ServiceCalls<Service> {
    return this.#client.calls;
  }

  /** Unless `unwatch` or another `watch` comes within the delay, the stream is broken. */
  watch(delayMs: number, message: string): void {
    this.unwatch();
    this.#cancelWatchdog = this.#after(delayMs, () => this.#broken(new Error(message)));
  }

  unwatch(): void {
    this.#cancelWatchdog();
    this.#cancelWatchdog = () => undefined;
  }

  /** Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.unwatch();
    // grpc-js reports the cancellation as an error, which nobody waits for any more.
    this.stream.cancel();
    this.#client.channel.close();
  }
}

/** What tells the control plane that a call comes from one of its nodes. */
export function joinMetadata(joinToken: string): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${joinToken}`);
  return metadata;
}
