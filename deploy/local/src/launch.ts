/** How each process of a world is started: which file, which settings. The local world and the tests start the same processes. */
import { type LaunchOptions, ManagedProcess } from './process.ts';
import type { Secrets } from './secrets.ts';

export interface Common {
  readonly secrets: Secrets;
  /** Folder for logs; no logs are kept without one. */
  readonly logFolder?: string;
  readonly logLevel?: string;
  readonly regionUrls?: string;
  /** Ends starts that are under way. */
  readonly abort?: AbortSignal;
  readonly onSpawn?: (pid: number, entry: string) => void;
}

export function launchPostgres(
  common: Common,
  options: { readonly folder: string; readonly port: number; readonly fsync: boolean },
): Promise<ManagedProcess> {
  return ManagedProcess.launch({
    name: 'postgres',
    entry: 'deploy/local/src/postgres-main.ts',
    env: {
      MERIDIAN_POSTGRES_FOLDER: options.folder,
      MERIDIAN_POSTGRES_PORT: String(options.port),
      MERIDIAN_POSTGRES_PASSWORD: common.secrets.databasePassword,
      MERIDIAN_POSTGRES_FSYNC: options.fsync ? 'on' : 'off',
    },
    ...runOf(common, 'postgres'),
  });
}

export interface ControlPlaneOptions {
  readonly databaseUrl: string;
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly healthPort: number;
  readonly env?: Readonly<Record<string, string>>;
}

export function launchControlPlane(common: Common, options: ControlPlaneOptions): Promise<ManagedProcess> {
  const { secrets } = common;
  return ManagedProcess.launch({
    name: 'control-plane',
    entry: 'control-plane/src/main.ts',
    env: {
      DATABASE_URL: options.databaseUrl,
      MERIDIAN_HTTP_PORT: String(options.httpPort),
      MERIDIAN_GRPC_PORT: String(options.grpcPort),
      MERIDIAN_HEALTH_PORT: String(options.healthPort),
      MERIDIAN_ADMIN_TOKEN: secrets.adminToken,
      MERIDIAN_JWT_SECRET: secrets.jwtSecret,
      MERIDIAN_KEY_PEPPER: secrets.keyPepper,
      MERIDIAN_SEALING_KEY: secrets.sealingKey,
      MERIDIAN_JOIN_TOKEN: secrets.joinToken,
      MERIDIAN_LOG_LEVEL: common.logLevel ?? 'info',
      ...(common.regionUrls === undefined ? {} : { MERIDIAN_REGION_URLS: common.regionUrls }),
      ...options.env,
    },
    ...runOf(common, 'control-plane'),
  });
}

export interface NodeOptions {
  readonly nodeId: string;
  readonly region: string;
  readonly folder: string;
  readonly port: number;
  readonly healthPort: number;
  /** host:port */
  readonly controlGrpcAddress: string;
  readonly controlUrl: string;
  readonly env?: Readonly<Record<string, string>>;
}

export function launchNode(common: Common, options: NodeOptions): Promise<ManagedProcess> {
  const { secrets } = common;
  return ManagedProcess.launch({
    name: options.nodeId,
    entry: 'data-plane/src/main.ts',
    env: {
      MERIDIAN_NODE_ID: options.nodeId,
      MERIDIAN_REGION: options.region,
      MERIDIAN_DATA_FOLDER: options.folder,
      MERIDIAN_PORT: String(options.port),
      MERIDIAN_HEALTH_PORT: String(options.healthPort),
      MERIDIAN_CONTROL_GRPC: options.controlGrpcAddress,
      MERIDIAN_CONTROL_URL: options.controlUrl,
      MERIDIAN_JOIN_TOKEN: secrets.joinToken,
      MERIDIAN_KEY_PEPPER: secrets.keyPepper,
      MERIDIAN_SEALING_KEY: secrets.sealingKey,
      MERIDIAN_LOG_LEVEL: common.logLevel ?? 'info',
      ...(common.regionUrls === undefined ? {} : { MERIDIAN_REGION_URLS: common.regionUrls }),
      ...options.env,
    },
    ...runOf(common, options.nodeId),
  });
}

export function launchUpstream(
  common: Common,
  options: { readonly port: number; readonly journalFile: string; readonly args?: readonly string[] },
): Promise<ManagedProcess> {
  return ManagedProcess.launch({
    name: 'upstream',
    entry: 'test/upstream/src/main.ts',
    args: ['--port', String(options.port), '--journal', options.journalFile, ...(options.args ?? [])],
    env: {},
    ...runOf(common, 'upstream'),
  });
}

function runOf(common: Common, name: string): Pick<LaunchOptions, 'logFile' | 'abort' | 'onSpawn'> {
  return {
    ...(common.logFolder === undefined ? {} : { logFile: `${common.logFolder}/${name}.log` }),
    ...(common.abort === undefined ? {} : { abort: common.abort }),
    ...(common.onSpawn === undefined ? {} : { onSpawn: common.onSpawn }),
  };
}
