/** Tables of migration 0001_config. */
// biome-ignore lint/suspicious/noEmptyInterface: filled in with its migration.
export interface ConfigTables {}
