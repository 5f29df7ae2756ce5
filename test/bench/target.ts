/** What is measured: something that listens and forwards to the upstream, pinned to the core of proxies. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../ports.ts';
import { startGateway } from './gateway.ts';

export interface Running {
  readonly origin: string;
  readonly apiKey: string;
  /** What the client speaks; chat when absent. */
  readonly speaks?: 'anthropic-messages';
  /** The process that forwards; absent where nothing does. */
  readonly pid?: number;
  close(): Promise<void>;
}

export interface Skipped {
  readonly skipped: string;
}

export interface Target {
  readonly name: string;
  /** Starts it before the upstream's origin; or says why it cannot be measured here. */
  start(upstreamOrigin: string): Promise<Running | Skipped>;
}

/** Proxies run on one core, the generator and the upstream on another. */
export const PROXY_CORE = 0;
export const LOAD_CORE = 1;
export const pinned = availableParallelism() > 1 && spawnSync('taskset', ['--version']).status === 0;

const READY_WITHIN_MS = 20_000;

/** Starts a TypeScript file of this folder as a process on a core and waits for its `{type: 'ready'}`. */
export async function startNode(
  file: string,
  args: readonly string[],
  core: number,
): Promise<{ readonly child: ChildProcess; readonly origin: string }> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const command = pinned ? ['taskset', '-c', String(core), process.execPath, path, ...args] : [process.execPath, path, ...args];
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [message] = (await Promise.race([
    once(child, 'message', { signal: AbortSignal.timeout(READY_WITHIN_MS) }),
    ended(child, file),
  ])) as [{ origin: string }]; // our own file's first message
  return { child, origin: message.origin };
}

async function ended(child: ChildProcess, name: string): Promise<never> {
  const [code] = (await once(child, 'exit')) as [number | null]; // the event's own shape
  throw new Error(`${name} ended with ${code} before it was ready`);
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}

export const direct: Target = {
  name: 'direct',
  start: (upstreamOrigin) => Promise.resolve({ origin: upstreamOrigin, apiKey: 'bench', close: () => Promise.resolve() }),
};

export const bareProxy: Target = {
  name: 'bare-proxy',
  async start(upstreamOrigin) {
    const { child, origin } = await startNode('./bare-proxy.ts', [upstreamOrigin], PROXY_CORE);
    return { origin, apiKey: 'bench', ...pidOf(child), close: () => stop(child) };
  },
};

export const nginx: Target = {
  name: 'nginx',
  async start(upstreamOrigin) {
    if (spawnSync('nginx', ['-v']).status !== 0) return { skipped: 'nginx is not installed' };
    const folder = await mkdtemp(join(tmpdir(), 'meridian-bench-nginx-'));
    const [port = 0] = await freePorts(1);
    await writeFile(join(folder, 'nginx.conf'), nginxConfig(new URL(upstreamOrigin).host, port));
    const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'];
    const command = pinned ? ['taskset', '-c', String(PROXY_CORE), 'nginx', ...args] : ['nginx', ...args];
    const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'ignore', 'inherit'] });
    await Promise.race([listening(port), ended(child, 'nginx')]);
    return {
      origin: `http://127.0.0.1:${port}`,
      apiKey: 'bench',
      ...pidOf(child),
      close: async () => {
        await stop(child);
        await rm(folder, { recursive: true });
      },
    };
  },
};

/** A node of this project, with everything on. */
export const gateway: Target = {
  name: 'gateway',
  async start(upstreamOrigin) {
    const { url, apiKey, pid, close } = await startGateway(upstreamOrigin);
    pin(pid, PROXY_CORE);
    return { origin: url, apiKey, pid, close };
  },
};

/** The same, asked by clients of another dialect than its provider's: every request and answer is translated. */
export const translated: Target = {
  name: 'translated',
  start: async (upstreamOrigin) => ({ ...(await gateway.start(upstreamOrigin)), speaks: 'anthropic-messages' }),
};

function pidOf(child: ChildProcess): { pid?: number } {
  return child.pid === undefined ? {} : { pid: child.pid };
}

/** Clock ticks a second of /proc, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Processor time that a process has used, all its threads (seconds); undefined where /proc does not tell. */
export function cpuSeconds(pid: number): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return undefined;
  }
}

/** Moves a running process, all its threads, to a core. */
export function pin(pid: number, core: number): void {
  if (pinned) spawnSync('taskset', ['-a', '-c', '-p', String(core), String(pid)]);
}

function nginxConfig(upstreamHost: string, port: number): string {
  return `
daemon off;
master_process off;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 100000000;
  tcp_nodelay on;
  upstream provider { server ${upstreamHost}; keepalive 256; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
`;
}

/** Resolves when something takes connections on the port. */
async function listening(port: number): Promise<void> {
  const untilMs = Date.now() + READY_WITHIN_MS;
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port });
    try {
      await once(socket, 'connect');
      socket.destroy();
      return;
    } catch (error) {
      if (Date.now() > untilMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
