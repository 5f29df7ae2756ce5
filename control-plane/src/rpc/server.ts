/** The gRPC server of the control plane: Sync, FetchSnapshot, Leases and Report. */
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { LeaseService } from '@meridian/wire/gen/lease_pb';
import { SyncService } from '@meridian/wire/gen/sync_pb';
import { UsageService } from '@meridian/wire/gen/usage_pb';
import { SERVER_OPTIONS } from '@meridian/wire/grpc-options';
import { implementEncoded } from '@meridian/wire/grpc-service';
import type { LeaseHub } from './lease-service.ts';
import type { SnapshotDownloads } from './snapshot-download.ts';
import type { SyncHub } from './sync-service.ts';
import type { UsageReports } from './usage-service.ts';

export interface RpcDeps {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly sync: SyncHub;
  readonly downloads: SnapshotDownloads;
  readonly leases: LeaseHub;
  readonly reports: UsageReports;
}

export interface RpcServer {
  /** host:port */
  readonly address: string;
  /** Sends the nodes away and waits for their calls to end; after `withinMs` they are cut. */
  close(withinMs: number): Promise<void>;
}

/** Listens. Rejects with one clear line when the host is not loopback (there is no TLS yet) or the port is taken. */
export async function startRpc({ host, port, sync, downloads, leases, reports }: RpcDeps): Promise<RpcServer> {
  if (!isLoopback(host)) throw new Error(`gRPC without TLS listens on a loopback address only, not on ${host}`);
  // What grpc-js would print it also hands to us, and we say it in our own words.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server(SERVER_OPTIONS);
  implementEncoded(server, SyncService, { sync: (call) => sync.handle(call), fetchSnapshot: (call) => downloads.handle(call) });
  implementEncoded(server, LeaseService, { leases: (call) => leases.handle(call) });
  implementEncoded(server, UsageService, { report: (call) => reports.handle(call) });
  const authority = host.includes(':') ? `[${host}]` : host;
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`${authority}:${port}`, ServerCredentials.createInsecure(), (error, number) => {
      if (error === null) resolve(number);
      else reject(new Error(`gRPC cannot listen on ${authority}:${port}: ${reasonOf(error)}`, { cause: error }));
    }),
  );
  return {
    address: `${authority}:${bound}`,
    async close(withinMs) {
      sync.drain();
      leases.drain();
      reports.drain();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => server.forceShutdown(), withinMs);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
  };
}

function reasonOf(error: Error): string {
  return error.message.includes('EADDRINUSE') ? 'the port is taken' : error.message;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
