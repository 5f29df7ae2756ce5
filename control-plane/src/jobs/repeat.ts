/** Work that runs again and again, one run at a time, and stops cleanly. */

export interface RepeatOptions {
  readonly name: string;
  /** One run; gives the pause until the next (ms). */
  run(): Promise<number>;
  /** Pause after a run that failed (ms). */
  readonly retryMs: number;
  readonly onError: (name: string, error: unknown) => void;
}

export interface Job {
  readonly name: string;
  /** Runs at once, or once more right after the run that is under way. */
  wake(): void;
  /** No run begins any more; resolves when the one under way has ended. */
  stop(): Promise<void>;
}

/** Starts with a run. */
export function repeat({ name, run, retryMs, onError }: RepeatOptions): Job {
  let stopped = false;
  let woken = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;

  const begin = (): void => {
    timer = undefined;
    running = once().finally(() => {
      running = undefined;
    });
  };
  const once = async (): Promise<void> => {
    woken = false;
    let pauseMs: number;
    try {
      pauseMs = await run();
    } catch (error) {
      onError(name, error);
      pauseMs = retryMs;
    }
    if (!stopped) timer = setTimeout(begin, woken ? 0 : pauseMs);
  };

  begin();
  return {
    name,
    wake() {
      woken = true;
      if (timer === undefined || stopped) return;
      clearTimeout(timer);
      timer = setTimeout(begin, 0);
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}
