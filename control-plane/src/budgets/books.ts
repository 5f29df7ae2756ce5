/**
 * Budgets and leases for features that change them within a transaction of their own: lock (`escrowOf`, or budgets and then
 * leases), ask the rules of `escrow.ts`, write back.
 */
export { closeLeases } from './leases-close.ts';
export {
  budgetsOfLeases,
  escrowOf,
  insertBudget,
  lockBudgets,
  lockCapsById,
  lockLeases,
  putSpool,
  type Spool,
  writeBack,
} from './store.ts';
