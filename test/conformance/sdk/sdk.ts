/** What every client library is asked to do in the suites, so that one table of cases serves them all. */
import type { DialectName } from '@meridian/domain/dialect';

/** A tool whose arguments are texts, all of them required. */
export interface ToolTerms {
  readonly name: string;
  readonly description: string;
  readonly parameters: readonly string[];
}

export interface Terms {
  readonly model: string;
  /** The library's own streaming call is used for each turn. */
  readonly stream: boolean;
  readonly tools?: readonly ToolTerms[];
  /** Thinks a little, and shows what the next turn needs of it. */
  readonly thinks?: boolean;
  /** `any` is the older JSON mode; else an object of these texts, all of them required. */
  readonly json?: 'any' | readonly string[];
  readonly maxOutputTokens?: number;
}

/** A text, or an image by its URL (`data:` or `https:`). */
export type Part = { readonly text: string } | { readonly image: string };

export interface Call {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

export interface Turn {
  readonly text: string;
  readonly calls: readonly Call[];
  /** In the words of the library. */
  readonly finish: string;
  /** As the library tells them; undefined where it tells none. */
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  /** Of the answer; empty where the library does not tell it. */
  readonly model: string;
}

/** Several turns; what was said before goes along, in the objects in which the library gave it. */
export interface Conversation {
  say(parts: readonly Part[]): Promise<Turn>;
  /** Answers the calls of the last turn, in their order. */
  answerCalls(results: readonly string[]): Promise<Turn>;
  /** Begins a stream and leaves it when its first text has come. */
  leave(text: string): Promise<void>;
}

/** A client of one dialect with a base URL and a key. Its methods reject with the library's own errors. */
export interface Client {
  converse(terms: Terms): Conversation;
  /** Ids of the models in the list. */
  models(): Promise<readonly string[]>;
  countTokens?(model: string, text: string): Promise<number>;
  embed?(model: string, texts: readonly string[]): Promise<readonly (readonly number[])[]>;
}

export interface Sdk {
  readonly name: string;
  readonly dialect: DialectName;
  /** `url` is the node's, without a path. */
  connect(url: string, apiKey: string): Client;
}

/** An error as its library raises it. */
export interface Raised {
  /** The name of its class. */
  readonly name: string;
  readonly status: number | undefined;
  readonly message: string;
}

/** An error that was raised in another process. */
export class RemoteError extends Error {
  readonly raised: Raised;

  constructor(raised: Raised) {
    super(`${raised.name} (${raised.status ?? 'no status'}): ${raised.message}`);
    this.raised = raised;
  }
}

/** Fails where nothing is raised. */
export async function raisedBy(call: () => Promise<unknown>): Promise<Raised> {
  let value: unknown;
  try {
    value = await call();
  } catch (error) {
    if (error instanceof RemoteError) return error.raised;
    if (!(error instanceof Error)) throw error;
    const { status } = error as { status?: unknown };
    return { name: error.constructor.name, status: typeof status === 'number' ? status : undefined, message: error.message };
  }
  throw new Error(`nothing was raised: ${JSON.stringify(value)?.slice(0, 500)}`);
}

/** All that comes. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The JSON schema of an object of texts. */
export function objectSchema(names: readonly string[]): {
  type: 'object';
  properties: Record<string, { type: 'string' }>;
  required: string[];
  additionalProperties: false;
} {
  const properties = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  return { type: 'object', properties, required: [...names], additionalProperties: false };
}

/** A data URL's type and base64 text; undefined for another URL. */
export function dataOf(url: string): { readonly mediaType: string; readonly base64: string } | undefined {
  const [, mediaType, base64] = /^data:([^;,]+);base64,(.*)$/s.exec(url) ?? [];
  return mediaType === undefined || base64 === undefined ? undefined : { mediaType, base64 };
}
