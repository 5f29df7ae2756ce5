/** The settings that both ends of every connection between the planes share. */
import type { ChannelOptions, ServerOptions } from '@grpc/grpc-js';

/** No message of the contract is larger; a larger one is refused by either side. */
export const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;

/** What a client that downloads snapshots announces: with 64 KiB a round trip of 170 ms would allow 385 KB/s. */
export const SNAPSHOT_FLOW_CONTROL_WINDOW_BYTES = 8 * 1024 * 1024;

const KEEPALIVE_TIME_MS = 5_000;
const KEEPALIVE_TIMEOUT_MS = 3_000;

const SHARED_OPTIONS = {
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.keepalive_time_ms': KEEPALIVE_TIME_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc.keepalive_permit_without_calls': 1,
} as const;

/** Options of the control plane's gRPC server. */
export const SERVER_OPTIONS: ServerOptions = SHARED_OPTIONS;

export interface ChannelSettings {
  /** HTTP/2 receive window (bytes); the protocol's 64 KiB when absent. */
  readonly flowControlWindowBytes?: number;
}

/** Options of one of a node's channels. Each channel is a connection of its own, so that bulk never stands before a revocation. */
export function channelOptions(settings: ChannelSettings = {}): ChannelOptions {
  return {
    ...SHARED_OPTIONS,
    // grpc-js would buffer a stream's messages for a retry and report them as written; our acknowledgements are the only truth.
    'grpc.enable_retries': 0,
    // Channels to one address share a connection otherwise.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 5_000,
    'grpc.dns_min_time_between_resolutions_ms': 5_000,
    ...(settings.flowControlWindowBytes === undefined ? {} : { 'grpc-node.flow_control_window': settings.flowControlWindowBytes }),
  };
}
