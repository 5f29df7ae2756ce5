/** The local world's secrets: made once, kept in its folder, readable by their owner only. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

export interface Secrets {
  readonly databasePassword: string;
  readonly adminToken: string;
  readonly jwtSecret: string;
  readonly keyPepper: string;
  readonly sealingKey: string;
  readonly joinToken: string;
}

const hex = (bytes: number): string => randomBytes(bytes).toString('hex');

/** A form for each: what a process would refuse is found here, where the file can be named. */
const FORMS: Readonly<Record<keyof Secrets, RegExp>> = {
  databasePassword: /^[0-9a-f]{16,}$/,
  adminToken: /^[!-~]{16,}$/,
  jwtSecret: /^([0-9a-f]{2}){32,}$/,
  keyPepper: /^[0-9a-f]{64}$/,
  sealingKey: /^[0-9a-f]{64}$/,
  joinToken: /^[!-~]{16,}$/,
};

/** New ones, each in its form. */
export function randomSecrets(): Secrets {
  return {
    databasePassword: hex(16),
    adminToken: `adm_${hex(24)}`,
    jwtSecret: hex(32),
    keyPepper: hex(32),
    sealingKey: hex(32),
    joinToken: `join_${hex(24)}`,
  };
}

/** Makes the file when there is none. Throws an Error with one clear line when it cannot be used. */
export function loadSecrets(file: string): Secrets {
  if (!existsSync(file)) {
    const secrets = randomSecrets();
    writeSecretFile(file, secrets);
    return secrets;
  }
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw damaged(file, error instanceof SyntaxError ? 'it is not JSON' : error instanceof Error ? error.message : String(error));
  }
  const bad = badField(value);
  if (bad !== undefined) throw damaged(file, `${bad} is missing or not what it was`);
  // Every field was looked at by its form.
  return value as Secrets;
}

/** JSON that its owner alone can read; readers see the old content or the new, never a part. */
export function writeSecretFile(file: string, content: object): void {
  writeFileSync(`${file}.new`, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

function badField(value: unknown): string | undefined {
  const fields: Readonly<Record<string, unknown>> = typeof value === 'object' && value !== null ? { ...value } : {};
  return Object.entries(FORMS).find(([name, form]) => {
    const field = fields[name];
    return typeof field !== 'string' || !form.test(field);
  })?.[0];
}

function damaged(file: string, reason: string): Error {
  return new Error(
    `${file} is damaged: ${reason}. Put back a copy of it, or delete its folder to start afresh; without it the keys and credentials in the database cannot be used.`,
  );
}
