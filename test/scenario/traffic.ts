/** Mixed traffic through the official SDK: whole and streamed, with tools and embeddings, left by their clients, and failing upstream. */
import OpenAI from 'openai';
import { seededRandom } from '../random.ts';
import { REGIONS, type World } from '../world/world.ts';

/** What the client saw of one request. */
export interface Sent {
  /** Also in the provider's journal, as the client's marker. */
  readonly ref: string;
  readonly operation: 'chat' | 'embeddings';
  readonly how: string;
  /** `complete`: the whole answer arrived · `left`: the client closed · `error`: an error arrived, whole or as an event. */
  end: 'complete' | 'left' | 'error';
  error: string | undefined;
  /** From `usage.cost_usd` where the answer had one. */
  costUsd: number | undefined;
  requestId: string | null;
}

export interface TrafficOptions {
  readonly count: number;
  readonly concurrency: number;
  readonly seed: number;
  /** Called before each request; lets a test break things in the middle. */
  readonly onRequest?: (index: number) => void;
  /** Requests that fail upstream by intention, and such that the client leaves. */
  readonly faults?: boolean;
}

const PLAIN_MODELS = [
  'gpt-5.4-mini',
  'gpt-4.1-mini',
  'gpt-4o-mini',
  'anthropic/claude-haiku-4.5',
  'deepseek/deepseek-chat',
  'openai/gpt-4.1-nano',
];
const UPSTREAM_FAULTS = [
  'status=500',
  'status=429',
  'status=503',
  'status=400',
  'reset',
  'cut_after=3',
  'malformed',
  'not_json',
  'error_event_after=2',
  'empty',
  'reset_after=2',
];
const TOOL = {
  type: 'function',
  function: {
    name: 'lookup',
    description: 'Look something up',
    parameters: { type: 'object', properties: { term: { type: 'string' } }, required: ['term'] },
  },
} as const;

/** Sends all of it and returns what the clients saw, in the order of sending. */
export async function sendTraffic(world: World, options: TrafficOptions): Promise<Sent[]> {
  const random = seededRandom(options.seed);
  const clients = REGIONS.map(
    (region) => new OpenAI({ baseURL: `${world.url(region)}/v1`, apiKey: world.apiKey, maxRetries: 0, timeout: 60_000 }),
  );
  const jobs = Array.from({ length: options.count }, (_, index) => {
    const client = clients[index % clients.length];
    if (client === undefined) throw new Error('no client');
    const model = PLAIN_MODELS[Math.floor(random() * PLAIN_MODELS.length)] ?? 'gpt-4o-mini';
    return {
      index,
      client,
      model,
      dice: random(),
      size: 5 + Math.floor(random() * 40),
      fault: UPSTREAM_FAULTS[Math.floor(random() * UPSTREAM_FAULTS.length)] ?? 'status=500',
    };
  });
  const sent: Sent[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (;;) {
      const job = jobs[next++];
      if (job === undefined) return;
      options.onRequest?.(job.index);
      sent[job.index] = await sendOne(job, options);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, worker));
  return sent;
}

interface Job {
  readonly index: number;
  readonly client: OpenAI;
  readonly model: string;
  readonly dice: number;
  readonly size: number;
  readonly fault: string;
}

async function sendOne(job: Job, options: TrafficOptions): Promise<Sent> {
  const ref = `r${options.seed}-${job.index}`;
  const faults = options.faults !== false;
  const { dice, size } = job;
  const knobs = (more = ''): string => `[[ref ${ref}]] [[sim tokens=${size};pace_ms=2${more === '' ? '' : `;${more}`}]]`;
  const ask = (more?: string) => ({
    model: job.model,
    messages: [{ role: 'user' as const, content: `Tell me something. ${knobs(more)}` }],
  });
  if (dice < 0.05) {
    return attempt(ref, 'embeddings', 'embedding', async (sent) => {
      const { data, response } = await job.client.embeddings
        .create({ model: 'text-embedding-3-small', input: [`text [[ref ${ref}]]`, 'more'] })
        .withResponse();
      note(sent, response, data.usage);
    });
  }
  if (dice < 0.12) {
    return attempt(ref, 'chat', 'tools', async (sent) => {
      const { data, response } = await job.client.chat.completions
        .create({ ...ask(), tools: [TOOL], tool_choice: 'required' })
        .withResponse();
      note(sent, response, data.usage);
    });
  }
  if (faults && dice < 0.22) {
    const stream = job.index % 2 === 0;
    return attempt(ref, 'chat', `${job.fault} ${stream ? 'streamed' : 'whole'}`, async (sent) => {
      if (stream) await readStream(sent, job.client, { ...ask(job.fault), stream: true });
      else {
        const { data, response } = await job.client.chat.completions.create(ask(job.fault)).withResponse();
        note(sent, response, data.usage);
      }
    });
  }
  if (faults && dice < 0.23) {
    return attempt(ref, 'chat', 'without usage', async (sent) => {
      const { data, response } = await job.client.chat.completions.create(ask('no_usage')).withResponse();
      note(sent, response, data.usage);
    });
  }
  // Longer than an abandoned stream is read on for: it is cut, and what was generated is counted.
  if (faults && job.index % 250 === 7) {
    return attempt(ref, 'chat', 'long stream that the client leaves', (sent) =>
      readStream(
        sent,
        job.client,
        {
          model: 'gpt-4.1-mini',
          messages: [{ role: 'user', content: `Tell me everything. [[ref ${ref}]] [[sim tokens=300;pace_ms=50]]` }],
          stream: true,
        },
        3,
      ),
    );
  }
  if (faults && dice < 0.32)
    return attempt(ref, 'chat', 'stream that the client leaves', (sent) =>
      readStream(sent, job.client, { ...ask(), stream: true }, 1 + (job.index % 6)),
    );
  if (faults && dice < 0.36) {
    return attempt(ref, 'chat', 'whole answer that the client leaves', async (sent) => {
      const controller = new AbortController();
      const answer = job.client.chat.completions.create(ask('delay_ms=60'), { signal: controller.signal });
      setTimeout(() => controller.abort(), 5 + (job.index % 40));
      const { data, response } = await answer.withResponse();
      note(sent, response, data.usage);
    });
  }
  if (dice < 0.66)
    return attempt(ref, 'chat', 'stream', (sent) =>
      readStream(sent, job.client, { ...ask(), stream: true, ...(job.index % 3 === 0 ? { stream_options: { include_usage: true } } : {}) }),
    );
  return attempt(ref, 'chat', 'whole', async (sent) => {
    const { data, response } = await job.client.chat.completions.create(ask()).withResponse();
    note(sent, response, data.usage);
  });
}

async function attempt(ref: string, operation: Sent['operation'], how: string, run: (sent: Sent) => Promise<void>): Promise<Sent> {
  const sent: Sent = { ref, operation, how, end: 'complete', error: undefined, costUsd: undefined, requestId: null };
  try {
    await run(sent);
  } catch (error) {
    sent.end = error instanceof OpenAI.APIUserAbortError ? 'left' : 'error';
    sent.error = error instanceof Error ? error.message : String(error);
    if (error instanceof OpenAI.APIError) sent.requestId = error.headers?.get('x-request-id') ?? sent.requestId;
  }
  return sent;
}

async function readStream(
  sent: Sent,
  client: OpenAI,
  body: OpenAI.ChatCompletionCreateParamsStreaming,
  leaveAfter = Number.POSITIVE_INFINITY,
): Promise<void> {
  const { data, response } = await client.chat.completions.create(body).withResponse();
  note(sent, response, undefined);
  let chunks = 0;
  for await (const chunk of data) {
    if (chunk.usage) note(sent, response, chunk.usage);
    if (++chunks >= leaveAfter) {
      sent.end = 'left';
      data.controller.abort();
      return;
    }
  }
}

function note(sent: Sent, response: Response, usage: unknown): void {
  sent.requestId = response.headers.get('x-request-id');
  const cost = (usage as { cost_usd?: number } | undefined)?.cost_usd;
  if (cost !== undefined) sent.costUsd = cost;
}
