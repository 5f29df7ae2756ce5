/** What a route that changes something says of it, for the trail of who changed what. */

/** Part of a route's contract. */
export interface TrailDeclaration {
  /** What is changed: the kind of object, which is the name of its table where it has one. */
  readonly kind: string;
  /** The parameter of the path that is its id. Absent where the request makes it, and where it is the account itself. */
  readonly id?: string;
  /** The parameter of the path that is the account's id; for members their own unless told. */
  readonly account?: string;
  /** Fields of the body to keep as they were sent, where no row tells of them. Never secrets. */
  readonly note?: readonly string[];
}

/** Who changes what, in one request. */
export interface Mutation extends Pick<TrailDeclaration, 'kind'> {
  readonly requestId: string;
  readonly actor: { readonly kind: 'operator' | 'member'; readonly id: string };
  /** As the connection tells it. */
  readonly address: string;
  /** `PATCH /v1/keys/:id` */
  readonly route: string;
  readonly accountId: string | undefined;
  readonly objectId: string | undefined;
  readonly note: Readonly<Record<string, unknown>> | undefined;
}

/** Keeps the trail; `trail/service` satisfies it. */
export interface TrailRecorder {
  /** Does the work so that it is in the trail if it changes anything. What the work rejects with comes through. */
  record<T>(mutation: Mutation, work: () => Promise<T>): Promise<T>;
}

/** Throws an Error for a declaration that cannot be meant. */
export function checkDeclaration(route: string, url: string, trail: TrailDeclaration): void {
  for (const parameter of [trail.id, trail.account]) {
    if (parameter !== undefined && !url.split('/').includes(`:${parameter}`))
      throw new Error(`${route} has no parameter ${parameter} for its trail`);
  }
}
