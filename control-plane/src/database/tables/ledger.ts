/** Tables of migration 0004_ledger. */
// biome-ignore lint/suspicious/noEmptyInterface: filled in with its migration.
export interface LedgerTables {}
