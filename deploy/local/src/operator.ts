/** A small client of the operator and account API, as the local world and the tests use it. */

const ANSWER_WITHIN_MS = 30_000;

export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(`${status} ${code}: ${message}`);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
  }
}

export type Json = Readonly<Record<string, unknown>>;

export class ApiClient {
  readonly #origin: string;
  readonly #token: string;

  constructor(origin: string, token: string) {
    this.#origin = origin;
    this.#token = token;
  }

  get(path: string): Promise<Json> {
    return this.#call('GET', path);
  }

  post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Json> {
    return this.#call('POST', path, body, headers);
  }

  put(path: string, body: unknown): Promise<Json> {
    return this.#call('PUT', path, body);
  }

  patch(path: string, body: unknown): Promise<Json> {
    return this.#call('PATCH', path, body);
  }

  delete(path: string): Promise<Json> {
    return this.#call('DELETE', path);
  }

  async #call(method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Json> {
    const response = await fetch(this.#origin + path, {
      method,
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const value = text === '' ? {} : (JSON.parse(text) as Json & { error?: { code?: string; message?: string } });
    if (!response.ok) throw new ApiError(response.status, value.error?.code ?? 'unknown', value.error?.message ?? text.slice(0, 500));
    return value;
  }
}

/** A field that must be a text; throws when the answer has none. */
export function textField(answer: Json, name: string): string {
  const value = answer[name];
  if (typeof value !== 'string') throw new Error(`the answer has no ${name}: ${JSON.stringify(answer).slice(0, 300)}`);
  return value;
}

/** The rows of a list answer. */
export function listField(answer: Json): readonly Json[] {
  const { data } = answer;
  if (!Array.isArray(data)) throw new Error('the answer is not a list');
  return data;
}
