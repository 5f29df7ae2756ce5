/** What an audit finds: one check of the books, with the figures it compared. */

export interface AuditCheck {
  /** What must hold, in a few words. */
  readonly check: string;
  readonly ok: boolean;
  /** The figures, for people: amounts in nano-USD, counts. */
  readonly figures: Readonly<Record<string, bigint | number>>;
  /** Up to ten of the items that break the rule. */
  readonly examples: readonly string[];
}

export interface AuditReport {
  readonly ok: boolean;
  readonly checks: readonly AuditCheck[];
}

/** A report that was kept. */
export interface AuditRun {
  readonly id: string;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly ok: boolean;
  /** Figures are integers as text. */
  readonly checks: readonly (Omit<AuditCheck, 'figures'> & { readonly figures: Readonly<Record<string, string>> })[];
}

const MAX_EXAMPLES = 10;

/** A check that holds when nothing breaks it. */
export function checkNone(check: string, figures: AuditCheck['figures'], broken: readonly string[]): AuditCheck {
  return { check, ok: broken.length === 0, figures: { ...figures, broken: broken.length }, examples: broken.slice(0, MAX_EXAMPLES) };
}

/** Names in which two sets of amounts differ; an amount that is missing counts as zero. */
export function differences(left: ReadonlyMap<string, bigint>, right: ReadonlyMap<string, bigint>): string[] {
  const names = new Set([...left.keys(), ...right.keys()]);
  return [...names]
    .filter((name) => (left.get(name) ?? 0n) !== (right.get(name) ?? 0n))
    .sort()
    .map((name) => `${name}: ${left.get(name) ?? 0n} ≠ ${right.get(name) ?? 0n}`);
}

export function total(amounts: ReadonlyMap<string, bigint>): bigint {
  let sum = 0n;
  for (const amount of amounts.values()) sum += amount;
  return sum;
}

export function reportOf(checks: readonly AuditCheck[]): AuditReport {
  return { ok: checks.every((check) => check.ok), checks };
}

/** What leaves and what is kept of a check: JSON has no bigint. */
export function plainCheck({ check, ok, figures, examples }: AuditCheck): AuditRun['checks'][number] {
  return { check, ok, figures: Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, String(value)])), examples };
}

/** One line a check, its examples below it. */
export function formatReport(report: AuditReport): string {
  const lines = report.checks.flatMap(({ check, ok, figures, examples }) => [
    `${ok ? 'ok    ' : 'BROKEN'} ${check}: ${Object.entries(figures)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
    ...examples.map((example) => `         ${example}`),
  ]);
  return [...lines, report.ok ? 'audit: the books are in order' : 'audit: THE BOOKS ARE NOT IN ORDER'].join('\n');
}
