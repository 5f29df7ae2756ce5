/**
 * Room for fetched media: what a small request points at may be large, and is held until its provider has answered. An account has a share
 * of it, so that nobody's slow servers keep the others from theirs.
 */
import { GatewayError } from '@meridian/domain/error';

export interface MediaRoomLimits {
  /** Requests whose media are being fetched. */
  readonly maxFetching: number;
  readonly maxFetchingPerAccount: number;
  /** Of media that are held, as they were fetched. */
  readonly maxHeldBytes: number;
  readonly maxHeldBytesPerAccount: number;
  /** What a request may fetch at most, which is taken while it does. */
  readonly maxRequestBytes: number;
}

const MIB = 1024 * 1024;
export const MEDIA_ROOM_LIMITS: Omit<MediaRoomLimits, 'maxRequestBytes'> = {
  maxFetching: 32,
  maxFetchingPerAccount: 4,
  maxHeldBytes: 512 * MIB,
  maxHeldBytesPerAccount: 128 * MIB,
};

interface Taken {
  fetching: number;
  bytes: number;
}

/** A request's place. */
export interface MediaPlace {
  /** All is there: so many bytes are held from now on. */
  fetched(bytes: number): void;
  /** The request has ended. Idempotent. */
  release(): void;
}

export class MediaRoom {
  readonly #limits: MediaRoomLimits;
  readonly #all: Taken = { fetching: 0, bytes: 0 };
  readonly #accounts = new Map<string, Taken>();

  constructor(limits: MediaRoomLimits) {
    this.#limits = limits;
  }

  get heldBytes(): number {
    return this.#all.bytes;
  }

  /** Throws GatewayError 503 `overloaded` where there is no room, in all or for the account. */
  enter(accountId: string): MediaPlace {
    const { maxFetching, maxFetchingPerAccount, maxHeldBytes, maxHeldBytesPerAccount, maxRequestBytes } = this.#limits;
    const account = this.#accounts.get(accountId) ?? { fetching: 0, bytes: 0 };
    if (
      this.#all.fetching >= maxFetching ||
      account.fetching >= maxFetchingPerAccount ||
      this.#all.bytes + maxRequestBytes > maxHeldBytes ||
      account.bytes + maxRequestBytes > maxHeldBytesPerAccount
    ) {
      throw new GatewayError('overloaded', {
        message: 'Too many media are being fetched at the moment. Send them inline, in base64, or ask again.',
        retryAfterSeconds: 1,
      });
    }
    this.#accounts.set(accountId, account);
    let fetching = 1;
    let bytes = maxRequestBytes;
    const change = (nowFetching: number, nowBytes: number): void => {
      for (const taken of [this.#all, account]) {
        taken.fetching += nowFetching - fetching;
        taken.bytes += nowBytes - bytes;
      }
      fetching = nowFetching;
      bytes = nowBytes;
      if (account.fetching === 0 && account.bytes === 0) this.#accounts.delete(accountId);
    };
    for (const taken of [this.#all, account]) {
      taken.fetching += fetching;
      taken.bytes += bytes;
    }
    let over = false;
    return {
      fetched: (held) => {
        if (!over) change(0, held);
      },
      release: () => {
        if (over) return;
        over = true;
        change(0, 0);
      },
    };
  }
}
