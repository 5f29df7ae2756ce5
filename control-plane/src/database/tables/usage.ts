/** Tables of migration 0005_usage. */
// biome-ignore lint/suspicious/noEmptyInterface: filled in with its migration.
export interface UsageTables {}
