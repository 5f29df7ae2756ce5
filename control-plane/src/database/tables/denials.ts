/** Tables of migration 0010_denials. */

export interface DenialTables {
  denial: {
    db_epoch: string;
    kind: 'account' | 'member' | 'api_key';
    entity_id: string;
    status: 'revoked' | 'disabled';
    node_id: string;
    told_version: bigint;
    taken_at: Date;
  };
}
