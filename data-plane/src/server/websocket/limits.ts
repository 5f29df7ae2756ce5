/** What one WebSocket, and all of a node's together, may take. */
import { MAX_BODY_BYTES } from '../body.ts';

/** A message is a request body with an envelope. */
export const MAX_MESSAGE_BYTES = MAX_BODY_BYTES;
/** Of all connections of a node: messages that arrive, wait or are served, and the requests made of them. */
export const MAX_NODE_MESSAGE_BYTES = 512 * 1024 * 1024;
/** Of all connections of a key, so that no key takes the room of all. */
export const MAX_KEY_MESSAGE_BYTES = 160 * 1024 * 1024;
/** Of a connection: the largest message, the request made of it, and another that comes meanwhile. */
export const MAX_CONNECTION_MESSAGE_BYTES = 3 * MAX_MESSAGE_BYTES;
/** When there is no room for more, connections on which less than this has come are left alone. */
export const SMALL_MESSAGE_BYTES = 64 * 1024;
/** From the first byte of a message to its last, as far as the connection is read: what has come is held until then. */
export const MAX_ARRIVAL_MS = 2 * 60 * 1000;
/** Larger input for a turn that runs is refused without being sent back with the refusal. */
export const MAX_STEER_BYTES = SMALL_MESSAGE_BYTES;

export const MAX_CONNECTIONS = 4_096;
/** An agent has one connection for each conversation that runs. */
export const MAX_CONNECTIONS_PER_KEY = 64;

/** As the vendor of the protocol has them. */
export const MAX_RUNNING_TURNS = 16;
export const MAX_STREAM_IDS = 32;
export const LIFETIME_MS = 60 * 60 * 1000;
/** How long a turn that runs may outlast the end of its connection. */
export const MAX_OVERTIME_MS = 10 * 60 * 1000;
/** Of one connection. */
export const MAX_WAITING_TURNS = 64;
export const MAX_WAITING_BYTES = MAX_BODY_BYTES;

/** What a connection remembers of its conversations. */
export const MAX_STATE_BYTES = 4 * 1024 * 1024;
/** Of all connections of a node. */
export const MAX_NODE_STATE_BYTES = 512 * 1024 * 1024;

/** Keeps the way open through whatever stands between. */
export const PING_EVERY_MS = 30_000;
/**
 * A peer from which nothing has come for so long, not even an answer to a ping, is gone. Clients that read only while they wait for an
 * answer send none while they run their tools, so this is generous.
 */
export const SILENT_MS = 5 * 60 * 1000;
/** A client that takes none of the bytes that wait for it is disconnected after this. */
export const STALL_MS = 60_000;
/** And one that takes some of them, but not the last of those that wait, after this. */
export const MAX_UNREAD_MS = 10 * 60 * 1000;
/** How long a client has to answer a closing handshake. */
export const CLOSE_WITHIN_MS = 5_000;
