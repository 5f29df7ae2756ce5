/** Tables of migration 0008_lease_clock. */

export interface LeaseClockTables {
  /** One row. */
  lease_clock: {
    id: boolean;
    ticked_at: Date;
  };
}
