/** Tables of migration 0003_catalog. */
// biome-ignore lint/suspicious/noEmptyInterface: filled in with its migration.
export interface CatalogTables {}
