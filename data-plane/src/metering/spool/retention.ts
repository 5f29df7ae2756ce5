/** Deletes what the control plane has and what has been kept long enough for a replay. */
import type { SpoolDisk } from './disk.ts';
import type { IncarnationFiles } from './folder.ts';
import type { SpoolAlarm } from './survey.ts';

/**
 * Deletes acknowledged segments that were sealed before `sealedBeforeMs`, strictly from the oldest on, so that nothing is
 * ever younger than what proves it recovered, and only where a later segment is durable: its checkpoint takes over what
 * they say of leases and open requests. Takes them out of `files`; returns the incarnations that are gone.
 */
export function deleteAcked(
  files: IncarnationFiles[],
  acked: ReadonlyMap<bigint, number>,
  sealedBeforeMs: number,
  disk: SpoolDisk,
  alarm: SpoolAlarm,
): bigint[] {
  const gone: bigint[] = [];
  for (let oldest = files[0]; oldest !== undefined; oldest = files[0]) {
    const segment = oldest.segments[0];
    // A segment is sealed when the next one begins; the very last is still being written.
    const next = oldest.segments[1] ?? files[1]?.segments[0];
    if (segment === undefined || next === undefined) return gone;
    if (segment.lastSeq > (acked.get(oldest.incarnation) ?? 0) || next.header.createdMs > sealedBeforeMs) return gone;
    if (!files.some(({ segments }) => segments.some((later) => later !== segment && later.durable))) return gone;
    try {
      disk.unlink(segment.path);
      oldest.segments.shift();
      if (oldest.segments.length > 0) continue;
      // Files that were set aside keep their folder.
      if (disk.list(oldest.folder).length === 0) disk.removeFolder(oldest.folder);
    } catch (error) {
      alarm('an old spool segment could not be deleted', { file: segment.path, err: error });
      return gone;
    }
    gone.push(oldest.incarnation);
    files.shift();
  }
  return gone;
}
