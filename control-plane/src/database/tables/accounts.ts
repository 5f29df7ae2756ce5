/** Tables of migration 0002_accounts. */
// biome-ignore lint/suspicious/noEmptyInterface: filled in with its migration.
export interface AccountTables {}
