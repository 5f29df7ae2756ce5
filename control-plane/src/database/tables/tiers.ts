/** Tables of migration 0006_tiers. */
// biome-ignore lint/suspicious/noEmptyInterface: filled in with its migration.
export interface TierTables {}
