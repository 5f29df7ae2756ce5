import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: [
      'proto/*/src/**/*.test.ts',
      'control-plane/src/**/*.test.ts',
      'data-plane/src/**/*.test.ts',
      'deploy/**/*.test.ts',
      'test/**/*.test.ts',
    ],
    // One embedded PostgreSQL a run; tests clone databases from it.
    globalSetup: ['test/world/orphans.ts', 'control-plane/src/database/testing-server.ts'],
    // A file that leaves a handle open fails.
    setupFiles: ['test/world/leaks.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
