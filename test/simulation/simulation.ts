/**
 * One run: one control plane and some nodes over a simulated network, disks and database, from a seed. First a phase in
 * which things go wrong, then everything heals, and all that was spent, held and written has to come to rest.
 */
import type { SettlementAlarm } from '@meridian/control-plane/usage/settlement';
import type { Cap } from '@meridian/domain/budget';
import type { ListPrice } from '@meridian/domain/price';
import { Books, type EventRow } from './books.ts';
import { audit, checkLeases, checkPicture, checkRested, LimitWatch } from './checks.ts';
import { ControlPlane } from './control-plane.ts';
import { Dice } from './dice.ts';
import { PageCachedDisk } from './disk.ts';
import { change, strike } from './faults.ts';
import { Killed, Life } from './life.ts';
import { Network } from './network.ts';
import { type Machine, Node } from './node.ts';
import { OnceStore } from './once.ts';
import { Timeline } from './timeline.ts';
import { Traffic, type TrafficCounts } from './traffic.ts';
import { Truth } from './truth.ts';
import { Violation } from './violation.ts';
import { drawLimit, drawSettings, firstBodies, MODEL_ID, priceOf, type Scenario, type Settings, TIER_IDS } from './world-settings.ts';

export interface RunResult {
  readonly seed: number;
  readonly scenario: Scenario;
  /** Over everything that happened, in order. */
  readonly hash: string;
  readonly events: number;
  readonly virtualMs: number;
  readonly counts: TrafficCounts;
  readonly refusalsJudged: number;
  /** Requests that found their idempotency key used. */
  readonly repeats: number;
}

/** A run that broke an invariant, or an assertion of the code that was run. */
export class RunFailure extends Error {
  readonly seed: number;
  readonly invariant: string;
  readonly step: number;
  readonly lastLines: readonly string[];

  constructor(seed: number, cause: unknown, step: number, lastLines: readonly string[]) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'RunFailure';
    this.seed = seed;
    this.invariant = cause instanceof Violation ? cause.invariant : 'nothing throws';
    this.step = step;
    this.lastLines = lastLines;
  }
}

const DAY_MS = 24 * 3600 * 1000;
const BOOT_MS = 3_000;
const HEALING_MS = 14_000;
const LAST_TRAFFIC_MS = 2_000;
/** Nodes that were denied are remembered for a minute, and given what comes back: until then, what is recalled is lent again. */
const REMEMBERED_MS = 75_000;
const RECALL_MS = 10_000;

interface Place {
  readonly machine: Machine;
  node: Node | undefined;
  /** It is never started again. */
  lost: boolean;
  starting: boolean;
  /** A process died on it whose last syncs had failed: what it had written and not made durable may be gone. */
  droppedPages: boolean;
  /** By incarnation: up to where its records were durable when a process that had them died. */
  readonly durableSeqs: Map<bigint, number>;
  /** Keys that its picture has ever refused. */
  readonly revoked: Set<string>;
}

export class Simulation {
  readonly seed: number;
  readonly dice: Dice;
  readonly timeline: Timeline;
  readonly settings: Settings;
  readonly #network: Network;
  readonly #books: Books;
  readonly #truth = new Truth();
  readonly #limits = new LimitWatch();
  readonly #once: OnceStore;
  readonly #traffic: Traffic;
  readonly #places: Place[] = [];
  readonly #prices = new Map<string, ListPrice>();
  #control: ControlPlane | undefined;
  #healed = false;
  readonly #gaps = new Set<string>();
  /** Keys that were changed, and stand as active, since the database was restored. */
  readonly #allowedAgain = new Set<string>();
  #restored = false;
  #silenceClosed = false;
  #lives = 0;
  #versions = 1;
  #failure: unknown;
  #awayUntilMs = 0;
  #checked = 0;

  constructor(seed: number, print?: (line: string) => void) {
    this.seed = seed;
    const dice = new Dice(seed);
    this.settings = drawSettings(dice.fork());
    this.dice = dice.fork();
    this.timeline = new Timeline(this.settings.startMs, print);
    this.#network = new Network(this.timeline, dice.fork());
    this.#books = new Books(dice.fork(), {
      committed: (what, ids) => {
        this.timeline.note(`commits: ${what}`);
        this.#limits.committed(this.#books, what, ids);
      },
      counted: (event) => this.#counted(event),
      gap: (nodeId, incarnation, firstSeq, lastSeq) => this.#gap(nodeId, incarnation, firstSeq, lastSeq),
      alarm: (alarm) => this.#settlementAlarm(alarm),
    });
    this.#books.priceAt = (modelId, version) => this.#prices.get(`${modelId}/${version}`);
    this.#once = new OnceStore(this.timeline, dice.fork());
    this.#traffic = new Traffic({
      once: this.#once,
      timeline: this.timeline,
      dice: dice.fork(),
      truth: this.#truth,
      spoolIdOf: (node) => node.spool?.spoolId ?? '',
      revokedAt: (machine) => this.#placeOf(machine).revoked,
      judgesRefusals: () => !this.#restored,
    });
  }

  /** Throws RunFailure. */
  async run(): Promise<RunResult> {
    const { startMs, activeMs, scenario } = this.settings;
    try {
      this.#found();
      await this.#until(startMs + BOOT_MS);
      this.#planTraffic(startMs + BOOT_MS + activeMs);
      this.#planFaults(startMs + BOOT_MS + activeMs);
      if (scenario === 'restore')
        this.timeline.after(this.dice.between(5_000, activeMs - 2_000), 'the database is restored', () => this.#restore());
      await this.#until(startMs + BOOT_MS + activeMs);
      if (scenario === 'outage') await this.#outage();
      if (scenario === 'lost_node') this.#lose();
      await this.#heal();
      if (scenario === 'lost_node') await this.#waitADay();
      await this.#rest();
    } catch (error) {
      throw new RunFailure(this.seed, error, this.timeline.steps, this.timeline.lastLines);
    }
    return {
      seed: this.seed,
      scenario,
      hash: this.timeline.hash,
      events: this.timeline.steps,
      virtualMs: this.timeline.nowMs - startMs,
      counts: this.#traffic.counts,
      refusalsJudged: this.#truth.refusalsJudged,
      repeats: this.#once.repeats,
    };
  }

  async #until(untilMs: number): Promise<void> {
    await this.timeline.runUntil(untilMs, () => this.#check());
    this.#check();
  }

  /** Behind each event. */
  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    // One node at a time: a lease that is wrong stays wrong.
    const place = this.#places[this.#checked++ % this.#places.length];
    if (place?.node?.life.alive === true) {
      // A disk that has lost records does not tell what was used of a lease whose grant is among them.
      const forgets = this.#restored || place.droppedPages;
      checkLeases(this.#books, place.node, (leaseId) => this.#truth.reservedOn(leaseId), forgets);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
  }

  #found(): void {
    const { accounts, caps, price, startMs, nodeCount } = this.settings;
    const books = this.#books;
    books.found(startMs, this.dice.hex(32));
    this.#prices.set(`${MODEL_ID}/1`, price);
    const { customer, catalog } = firstBodies(this.settings);
    books.publish(startMs, 'catalog', catalog);
    books.publish(startMs, 'customer', customer);
    for (const { account, creditNano } of accounts) books.topUp(startMs, account.id, creditNano);
    for (const { limit, ...cap } of caps) books.setCap(startMs, cap, limit);
    this.#startControl();
    for (let index = 0; index < nodeCount; index++) {
      const name = `node${index}`;
      const machine: Machine = {
        name,
        region: this.dice.pick(['us', 'eu', 'sg']),
        disk: new PageCachedDisk(this.dice.fork()),
        diskFaults: { failingSyncs: 0, failingWrites: 0 },
        lock: { holder: undefined },
        wire: this.#network.wire(name, this.dice.between(1, 60)),
        clockOffsetMs: this.dice.between(-200, 200),
        picture: undefined,
      };
      this.#places.push({
        machine,
        node: undefined,
        lost: false,
        starting: false,
        droppedPages: false,
        durableSeqs: new Map(),
        revoked: new Set(),
      });
    }
    for (const place of this.#places) this.#startNode(place, this.dice.between(0, 1_000));
  }

  // Processes

  #startControl(): void {
    if (this.timeline.nowMs < this.#awayUntilMs) {
      // It was about to come back when the long outage began.
      this.timeline.at(this.#awayUntilMs, 'the control plane starts', () => this.#startControl());
      return;
    }
    const life = new Life(`control${this.#lives++}`, this.timeline, (dead) => {
      this.#control = undefined;
      this.#network.processDied(dead, false);
      const pauseMs = this.#healed ? 100 : this.dice.between(200, 4_000);
      const backMs = Math.max(this.timeline.nowMs + pauseMs, this.#awayUntilMs);
      this.timeline.at(backMs, 'the control plane starts', () => this.#startControl());
    });
    this.#control = new ControlPlane({
      ...{ life, timeline: this.timeline, dice: this.dice.fork(), books: this.#books },
      observer: {
        exhausted: (spoolId, questionId, budget, left) =>
          this.#truth.denied(spoolId, questionId, budget, left, this.#books, this.timeline.nowMs),
      },
    });
  }

  #startNode(place: Place, delayMs: number): void {
    if (place.starting || place.lost) return;
    place.starting = true;
    this.timeline.after(delayMs, `${place.machine.name} starts`, () => {
      place.starting = false;
      if (place.node?.life.alive === true || place.lost) return;
      const life = new Life(`${place.machine.name}.${this.#lives++}`, this.timeline, (dead) => this.#nodeDied(place, dead, false));
      const node = new Node({
        ...{ machine: place.machine, life, timeline: this.timeline, dice: this.dice.fork(), network: this.#network },
        control: () => this.#control,
        awayUntilMs: () => this.#awayUntilMs,
        observer: {
          opened: () => undefined,
          durable: (each, seq) => this.#durable(each, seq),
          applied: (each) => this.#applied(place, each),
          alarm: (each, message, fields) => this.#spoolAlarm(each, message, fields),
          asked: (each, questionId, budget) => this.#truth.asked(each.spool?.spoolId ?? '', questionId, budget),
        },
        incarnation: BigInt(`0x${this.dice.hex(16)}`),
      });
      place.node = node;
      life.run(() => node.start());
    });
  }

  #nodeDied(place: Place, life: Life, powerCut: boolean): void {
    this.#network.processDied(life, powerCut);
    place.droppedPages ||= place.machine.disk.hasDropped;
    const spool = place.node?.spool;
    if (spool !== undefined) place.durableSeqs.set(spool.incarnation, spool.durableSeq);
    this.#truth.processDied(place.machine.name, powerCut || place.machine.disk.hasDropped);
    if (place.machine.disk.hasDropped) this.#truth.pagesDropped(place.machine.name);
    place.machine.disk.processDied();
    place.node = undefined;
    this.#startNode(place, this.#healed ? 200 : this.dice.between(200, 6_000));
  }

  // What nodes tell

  #durable(node: Node, seq: number): void {
    for (const request of this.#truth.requests.values()) {
      if (request.machine === node.machine.name && request.written && !request.over && request.boundSeq <= seq) request.durable = true;
    }
  }

  #applied(place: Place, node: Node): void {
    for (const { keys } of this.settings.accounts) {
      for (const { key } of keys) {
        const held = node.picture.keyByHash(key.hash);
        if (held !== undefined && held.status !== 'active' && !this.#allowedAgain.has(key.id)) place.revoked.add(key.id);
      }
    }
    checkPicture(this.#books, node, false);
  }

  #spoolAlarm(node: Node, message: string, fields: Readonly<Record<string, unknown>>): void {
    this.timeline.note(`${node.life.name} alarm: ${message}`);
    if (message === 'the control plane has less than it acknowledged' && !this.#restored) {
      this.#fail(new Violation('what is acknowledged is committed', `${node.life.name} was told more`));
    }
    const { err } = fields;
    if (message === 'a waiter of the spool threw' && !(err instanceof Killed)) this.#fail(err);
  }

  /** Retention yields to a full disk: what was acknowledged may be gone when a restored database wants it again. */
  #gap(machine: string, incarnation: bigint, firstSeq: number, lastSeq: number): void {
    const { node, droppedPages, durableSeqs } = this.#placeOf(machine);
    const durableSeq = node?.spool?.incarnation === incarnation ? node.spool.durableSeq : (durableSeqs.get(incarnation) ?? 0);
    // A power cut may take what was never durable, and leave what was written behind it.
    if (droppedPages || firstSeq > durableSeq) return;
    if (!this.#restored) {
      this.#fail(new Violation('nothing is deleted before it is acknowledged', `records ${firstSeq} to ${lastSeq} of ${machine}`));
    }
    this.#gaps.add(machine);
  }

  #counted(event: EventRow): void {
    this.#truth.counted(event);
  }

  #settlementAlarm(alarm: SettlementAlarm): void {
    const text = JSON.stringify(alarm, (_, value) => (typeof value === 'bigint' ? String(value) : value));
    this.timeline.note(`settlement: ${text}`);
    if (this.#restored || this.#silenceClosed) return;
    if (
      alarm.kind === 'lease_used_differs' &&
      alarm.nodeUsed > alarm.used &&
      alarm.nodeUsed - alarm.used <= this.#truth.lostOn(alarm.leaseId)
    )
      return;
    // A folder that lost what it had uploaded goes on under another id, and sends all that it has again.
    if (this.#places.some((place) => place.droppedPages)) return;
    this.#fail(new Violation('nothing is reported that sound counters do not report', text));
  }

  // Traffic

  #planTraffic(untilMs: number): void {
    const next = (): void => {
      this.timeline.after(Math.ceil(this.dice.exponential(1000 / this.settings.requestsPerSecond)), 'a client asks', () => {
        if (this.timeline.nowMs >= untilMs) return;
        this.#ask();
        next();
      });
    };
    next();
  }

  #ask(): void {
    const up = this.#places.filter((place) => place.node?.serves === true);
    if (up.length === 0) return;
    // Few keys are busy on few nodes, as behind a load balancer with affinity, but not only there.
    const account = this.dice.pick(this.settings.accounts);
    const { presented } = this.dice.pick(account.keys);
    const node = this.dice.pick(this.dice.chance(0.6) ? up.slice(0, 2) : up).node;
    if (node === undefined) return;
    node.life.run(() => this.#traffic.ask(node, presented));
  }

  // Faults

  #planFaults(untilMs: number): void {
    const plan = (perSecond: number, label: string, run: () => void): void => {
      if (perSecond === 0) return;
      this.timeline.after(Math.ceil(this.dice.exponential(1000 / perSecond)), label, () => {
        if (this.timeline.nowMs >= untilMs) return;
        run();
        plan(perSecond, label, run);
      });
    };
    plan(this.settings.faultsPerSecond, 'a fault', () => strike(this));
    plan(0.5, 'a change', () => change(this));
  }

  #somePlace(): Place {
    return this.dice.pick(this.#places);
  }

  #placeOf(machine: string): Place {
    const place = this.#places.find((each) => each.machine.name === machine);
    if (place === undefined) throw new Error(`there is no machine ${machine}`);
    return place;
  }

  /** At once, or at a coming effect. */
  killNode(afterEffects: number): void {
    const { node } = this.#somePlace();
    if (afterEffects === 0) node?.life.kill();
    else node?.life.dieAfter(afterEffects);
  }

  cutPower(): void {
    const place = this.#somePlace();
    const { node } = place;
    if (node === undefined || !node.life.alive) return;
    // The disk first: what the process had not synced is at stake.
    place.machine.disk.powerCut();
    this.#truth.processDied(place.machine.name, true);
    this.#network.processDied(node.life, true);
    node.life.kill();
  }

  killControl(afterEffects: number): void {
    if (afterEffects === 0) this.#control?.life.kill();
    else this.#control?.life.dieAfter(afterEffects);
  }

  partition(): void {
    const { wire } = this.#somePlace().machine;
    this.#network.block(wire, this.dice.pick([['up'], ['down'], ['up', 'down']] as const));
    this.timeline.after(this.dice.between(200, 12_000), `${wire.name} is reached again`, () => this.#network.unblock(wire));
  }

  breakStreams(): void {
    this.#network.breakStreams(this.#somePlace().machine.wire, 'a fault');
  }

  slowWire(): void {
    const { wire } = this.#somePlace().machine;
    const usualMs = wire.delayMs;
    wire.delayMs = this.dice.between(100, 700);
    this.timeline.after(this.dice.between(1_000, 8_000), `${wire.name} is as fast as before`, () => {
      wire.delayMs = Math.min(usualMs, 60);
    });
  }

  failSyncs(): void {
    this.#somePlace().machine.diskFaults.failingSyncs = this.dice.between(1, 3);
  }

  failWrites(): void {
    this.#somePlace().machine.diskFaults.failingWrites = this.dice.between(1, 3);
  }

  fillDisk(): void {
    const { disk } = this.#somePlace().machine;
    disk.roomBytes = this.dice.between(0, 4_000);
    disk.usedShare = this.dice.chance(0.5) ? 0.95 : 0.3;
    this.timeline.after(this.dice.between(500, 6_000), 'a disk has room again', () => {
      disk.roomBytes = Number.POSITIVE_INFINITY;
      disk.usedShare = 0.3;
    });
  }

  stepClock(): void {
    const { machine } = this.#somePlace();
    machine.clockOffsetMs = this.dice.between(-150_000, 150_000);
  }

  /** Asks a node to stop: it gives back what is free, and ends a little later. */
  stopNode(): void {
    const { node } = this.#somePlace();
    if (node === undefined) return;
    node.life.run(() => {
      node.desk?.returnAll(node.nowMs());
      node.life.after(this.dice.between(100, 3_000), 'ends', () => node.life.kill());
    });
  }

  emptyStore(): void {
    this.#once.empty();
  }

  loseStore(): void {
    this.#once.goAway();
  }

  // Changes

  changeCap(): void {
    const { caps } = this.settings;
    if (caps.length === 0) return;
    const cap: Cap = this.dice.pick(caps);
    const { limit: _, ...rest } = cap;
    const limit = this.dice.chance(0.15) ? undefined : drawLimit(this.dice, cap.unit);
    const changed = this.#books.setCap(this.timeline.nowMs, rest, limit);
    this.#control?.life.run(() => this.#control?.limitsChanged(changed));
    this.#control?.published();
  }

  changeCredit(): void {
    const { account } = this.dice.pick(this.settings.accounts);
    const amountNano = BigInt(this.dice.between(-800, 3_000)) * 1_000_000n;
    const raised = this.#books.topUp(this.timeline.nowMs, account.id, amountNano);
    this.#control?.life.run(() => this.#control?.limitsChanged({ raised: amountNano > 0n ? raised : [], lowered: [] }));
  }

  changePrice(): void {
    const version = ++this.#versions;
    const price = priceOf(version, Math.floor(this.timeline.nowMs) + this.dice.between(-1_000, 5_000), this.dice);
    this.#prices.set(`${MODEL_ID}/${version}`, price);
    const row = this.#books.entities.get(`price_book/${MODEL_ID}`)?.body;
    const versions = row?.kind === 'price_book' ? row.value.versions : [];
    this.#books.publish(this.timeline.nowMs, 'catalog', [
      { kind: 'price_book', value: { modelId: MODEL_ID, versions: [...versions, price] } },
    ]);
    this.#control?.published();
  }

  changeTier(): void {
    const { account } = this.dice.pick(this.settings.accounts);
    const value = {
      ...{ accountId: account.id, tierId: this.dice.pick(TIER_IDS), spend30dNano: 0n },
      windowToMs: Math.floor(this.timeline.nowMs),
    };
    // The first is published with the account, what is reckoned anew among many.
    this.#books.publish(this.timeline.nowMs, this.dice.chance(0.2) ? 'customer' : 'bulk', [{ kind: 'tier_assignment', value }]);
    this.#control?.published();
  }

  renameKey(): void {
    this.#changeKey('customer', (value) => ({ ...value, name: `name ${this.dice.hex(4)}` }));
  }

  /** On SECURITY, right behind a change on CUSTOMER: whichever comes first, the revocation holds. */
  revokeKey(): void {
    const { keys } = this.dice.pick(this.settings.accounts);
    const { key } = this.dice.pick(keys);
    this.#changeKey('customer', (value) => ({ ...value, name: `name ${this.dice.hex(4)}` }), key.id);
    this.#changeKey('security', (value) => ({ ...value, status: 'revoked' }), key.id);
  }

  #changeKey(
    lane: 'customer' | 'security',
    to: (key: Settings['accounts'][number]['keys'][number]['key']) => Settings['accounts'][number]['keys'][number]['key'],
    id = this.dice.pick(this.dice.pick(this.settings.accounts).keys).key.id,
  ): void {
    const row = this.#books.entities.get(`api_key/${id}`)?.body;
    if (row?.kind !== 'api_key') return;
    // A restored database may have forgotten a revocation. Nodes hold to it until the key changes again.
    if (this.#restored && to(row.value).status === 'active') {
      this.#allowedAgain.add(id);
      for (const place of this.#places) place.revoked.delete(id);
    }
    this.#books.publish(this.timeline.nowMs, lane, [{ kind: 'api_key', value: to(row.value) }]);
    this.#control?.published();
  }

  // Scenarios

  /** The last commits are lost; an operator says so before the control plane is up again. */
  #restore(): void {
    this.#restored = true;
    const lostSinceMs = this.timeline.nowMs - this.dice.between(0, 4_000);
    this.#control?.life.kill();
    const lost = this.#books.database.loseSince(lostSinceMs);
    this.timeline.note(`${lost} commits are lost`);
    this.#limits.restored();
    this.#truth.recount(this.#books);
    this.#books.declareRestored(this.timeline.nowMs, this.dice.hex(32));
  }

  /** A day without the control plane: nodes serve now and then, restart, and cross midnight. */
  async #outage(): Promise<void> {
    const { timeline } = this;
    this.#awayUntilMs = timeline.nowMs + DAY_MS;
    this.#control?.life.kill();
    for (let index = 0; index < 150; index++) {
      timeline.at(timeline.nowMs + this.dice.between(0, DAY_MS), 'a client asks', () => this.#ask());
    }
    for (let index = 0; index < 3; index++) {
      timeline.at(timeline.nowMs + this.dice.between(0, DAY_MS), 'a node is killed', () => this.killNode(0));
    }
    await this.#until(this.#awayUntilMs);
  }

  #lose(): void {
    const place = this.#somePlace();
    place.lost = true;
    this.timeline.note(`${place.machine.name} is lost`);
    place.node?.life.kill();
  }

  /** The control plane counts a day of silence. */
  async #waitADay(): Promise<void> {
    await this.#idle(DAY_MS + 60_000, () => {
      this.#silenceClosed = true;
      this.#control?.countSilence();
    });
  }

  /** Time goes by in which nothing is wrong: heartbeats would only say so. */
  async #idle(idleMs: number, atItsEnd: () => void): Promise<void> {
    const control = this.#control;
    if (control === undefined) throw new Violation('the control plane is up again', 'it is not');
    control.pause();
    for (const { node } of this.#places) if (node !== undefined) node.silenceAllowed = true;
    await this.#until(this.timeline.nowMs + idleMs);
    for (const { node } of this.#places) if (node !== undefined) node.silenceAllowed = false;
    control.life.run(atItsEnd);
    control.resume();
    await this.#until(this.timeline.nowMs + 3_000);
  }

  /** Faults end; whoever is down comes back; clients go on for a while. */
  async #heal(): Promise<void> {
    this.#healed = true;
    for (const place of this.#places) {
      const { machine } = place;
      machine.diskFaults.failingSyncs = 0;
      machine.diskFaults.failingWrites = 0;
      machine.disk.roomBytes = Number.POSITIVE_INFINITY;
      machine.disk.usedShare = 0.3;
      machine.clockOffsetMs = Math.max(-200, Math.min(200, machine.clockOffsetMs));
      machine.wire.delayMs = Math.min(machine.wire.delayMs, 60);
      this.#network.unblock(machine.wire);
      place.node?.life.dieAfter(Number.POSITIVE_INFINITY);
      if (place.node === undefined) this.#startNode(place, 300);
    }
    this.#control?.life.dieAfter(Number.POSITIVE_INFINITY);
    this.timeline.note('faults are over');
    await this.#until(this.timeline.nowMs + HEALING_MS);
    this.#planTraffic(this.timeline.nowMs + LAST_TRAFFIC_MS);
    await this.#until(this.timeline.nowMs + LAST_TRAFFIC_MS + 1_000);
    await this.#idle(REMEMBERED_MS, () => undefined);
  }

  /** Nothing is under way any more, and nothing is left over. */
  async #rest(): Promise<void> {
    const books = this.#books;
    for (const { node, lost } of this.#places) {
      if (lost) continue;
      if (node === undefined) throw new Violation('every node is up again', 'one is not');
      checkRested(books, node);
    }
    if (books.frozen) throw new Violation('grants thaw when all have replayed', books.dbEpoch);
    audit(books);
    const lost = (machine: string) => this.#placeOf(machine).lost;
    // A node that has lost a grant and not what was used of it may use it twice: what is too much is charged to nobody.
    const mayBeWrittenOff = this.#silenceClosed || this.#places.some((place) => place.droppedPages);
    this.#truth.compare(books, this.#once, (machine) => lost(machine) || this.#gaps.has(machine), mayBeWrittenOff);
    for (const [id] of books.budgets.entries()) this.#control?.life.run(() => this.#control?.recall(id));
    await this.#idle(RECALL_MS, () => undefined);
    const gone = new Set(
      [...books.spools.values()].filter((spool) => lost(spool.nodeId) || this.#gaps.has(spool.nodeId)).map((spool) => spool.spoolId),
    );
    for (const lease of books.leases.values()) {
      const rest = lease.granted - lease.returned - lease.used - lease.writtenOff;
      if (rest > this.#truth.lostOn(lease.id) && !lease.closed && !gone.has(lease.spoolId)) {
        throw new Violation('nothing is held once all is recalled', `${lease.id} of ${lease.spoolId} on ${lease.budgetId} holds ${rest}`);
      }
      if (lease.writtenOff !== 0 && !mayBeWrittenOff && books.spools.get(lease.spoolId)?.retired !== true) {
        throw new Violation('nothing is written off that need not be', `${lease.id}: ${lease.writtenOff}`);
      }
    }
    audit(books);
    for (const { node, lost: isLost } of this.#places) if (!isLost && node !== undefined) checkRested(books, node);
  }
}
