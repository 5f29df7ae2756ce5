/** As whom PostgreSQL runs: as whoever starts it, but never as root, which it refuses; then as the system's user `postgres`. */
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { dirname, parse, resolve } from 'node:path';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

const NAME = 'postgres';
const MAY_ENTER_OWNER = 0o100;
const MAY_ENTER_GROUP = 0o010;
const MAY_ENTER_OTHERS = 0o001;

/** Undefined: our own. Makes the user where root has none. Throws an Error with one clear line when that cannot be done. */
export function postgresAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const known = lookUp();
  if (known !== undefined) return known;
  try {
    execFileSync('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', NAME], { stdio: 'pipe' });
  } catch (error) {
    throw new Error(
      `PostgreSQL does not run as root, and no user ${NAME} could be made for it (${error instanceof Error ? error.message.split('\n')[0] : String(error)}). Start as another user, or set DATABASE_URL.`,
      { cause: error },
    );
  }
  const made = lookUp();
  if (made === undefined) throw new Error(`PostgreSQL does not run as root, and the user ${NAME} could not be made for it`);
  return made;
}

function lookUp(): Account | undefined {
  try {
    const id = (flag: string): number => Number(execFileSync('id', [flag, NAME], { encoding: 'utf8', stdio: 'pipe' }));
    return { uid: id('-u'), gid: id('-g') };
  } catch {
    return undefined;
  }
}

/** Throws an Error that names the first folder on the way to `path` that the account cannot enter. */
export function requireWay(account: Account | undefined, path: string): void {
  if (account === undefined) return;
  const root = parse(resolve(path)).root;
  const way: string[] = [];
  for (let folder = resolve(path); folder !== root; folder = dirname(folder)) way.unshift(folder);
  for (const folder of way) {
    const stat = statSync(folder);
    const bit = stat.uid === account.uid ? MAY_ENTER_OWNER : stat.gid === account.gid ? MAY_ENTER_GROUP : MAY_ENTER_OTHERS;
    if ((stat.mode & bit) === 0) {
      throw new Error(
        `As root, PostgreSQL runs as the user ${NAME}, who may not enter ${folder}. Start as another user, run "chmod o+x ${folder}", move to an open folder, or set DATABASE_URL.`,
      );
    }
  }
}
