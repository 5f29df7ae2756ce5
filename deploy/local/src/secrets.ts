/** The local world's secrets: made once, kept in its folder, readable by their owner only. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

export interface Secrets {
  readonly databasePassword: string;
  readonly adminToken: string;
  readonly jwtSecret: string;
  readonly keyPepper: string;
  readonly sealingKey: string;
  readonly joinToken: string;
}

export function loadSecrets(file: string): Secrets {
  if (!existsSync(file)) {
    const hex = (bytes: number): string => randomBytes(bytes).toString('hex');
    const secrets: Secrets = {
      databasePassword: hex(16),
      adminToken: `adm_${hex(24)}`,
      jwtSecret: hex(32),
      keyPepper: hex(32),
      sealingKey: hex(32),
      joinToken: `join_${hex(24)}`,
    };
    writeFileSync(file, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
    return secrets;
  }
  // The file is our own; a field that is missing shows as a setting that a process refuses by name.
  return JSON.parse(readFileSync(file, 'utf8')) as Secrets;
}
