import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RECORDINGS_FOLDER, recordedChats } from './recordings.ts';

const present = existsSync(RECORDINGS_FOLDER);
if (!present) console.log(`no recordings in ${RECORDINGS_FOLDER}: they are not counted`);

describe('the recorded exchanges', () => {
  it('are those of the chat wire, once for a name of many steps or forms', () => {
    const folder = mkdtempSync(join(tmpdir(), 'meridian-recordings-'));
    try {
      const rows = [
        'streaming\tfile\tapi',
        'sse\ta/chat/two-steps.1.sse\tchat',
        'no\ta/chat/two-steps.2.json\tchat',
        'chunks\tb/chat/both.chunks.txt\tchat',
        'no\tb/chat/both.json\tchat',
        'no\tc/messages/other-wire.json\tmessages',
        'ndjson\td/chat/other-form.jsonl\tchat',
        'no\te/chat/no good name.json\tchat',
      ];
      writeFileSync(join(folder, 'INDEX.tsv'), `${rows.join('\n')}\n`);
      expect(recordedChats(folder)).toEqual(['both', 'two-steps']);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('are none without their folder', () => {
    expect(recordedChats(join(tmpdir(), 'meridian-there-is-no-such-folder'))).toEqual([]);
  });

  it.skipIf(!present)('are found where the simulated providers look for them', () => {
    expect(recordedChats(RECORDINGS_FOLDER)).toContain('ev-chat-streaming');
  });
});
