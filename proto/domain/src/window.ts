/** The windows that caps are counted in. All borders are UTC; a window is named by its first millisecond. */

export type WindowKind = 'utc_day' | 'utc_month' | 'prepaid';

const DAY_MS = 24 * 3600 * 1000;

/** First millisecond of the window that holds the moment; the one prepaid window begins at 0. */
export function windowStartMs(kind: WindowKind, atMs: number): number {
  switch (kind) {
    case 'utc_day':
      return Math.floor(atMs / DAY_MS) * DAY_MS;
    case 'utc_month': {
      const at = new Date(atMs);
      return Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1);
    }
    case 'prepaid':
      return 0;
    default:
      return kind satisfies never;
  }
}

/** First millisecond after the window, which is where the next one begins; undefined for prepaid, which has no end. */
export function nextWindowStartMs(kind: WindowKind, startMs: number): number | undefined {
  switch (kind) {
    case 'utc_day':
      return startMs + DAY_MS;
    case 'utc_month': {
      const at = new Date(startMs);
      return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1);
    }
    case 'prepaid':
      return undefined;
    default:
      return kind satisfies never;
  }
}

/** Whether the number is the first millisecond of a window of that kind. */
export function isWindowStart(kind: WindowKind, startMs: number): boolean {
  return windowStartMs(kind, startMs) === startMs;
}
