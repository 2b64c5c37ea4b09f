/**
 * Unused time that Stripe gives back when a subscription changes: a line of a later invoice that credits a line of an earlier one. While
 * that time still runs, the credits of that line are taken back in proportion, as by a refund, and what is charged instead grants in
 * full. So credits follow money: going up, down and up again, which costs once, grants once. When the time is over (the change is
 * billed with the next period) the line is set off inside its own invoice (`lines.ts`): what expired unused is not asked for again.
 *
 *   O paid 20 ──gives 10 back to──▶ U paid 40 = 10 of O + 30 by card
 *
 * Where more goes back of O than is left of it, the 10 were not O's to give: U loses them. So a refund of all charges takes all. Pure.
 */
import type { LineFacts } from './lines.ts';

/** A paid invoice of a subscription. Amounts are minor units. */
export interface Member {
  id: string;
  paidAt: Date;
  /** What it asked for in all; negative: it gave back more than it charged. */
  asked: bigint;
  /** What was refunded, disputed or credited of it. */
  reversed: bigint;
  lines: readonly LineFacts[];
}

/** How an invoice stands among those that it gives time back of, or that give back time of it. */
export interface Standing {
  /** What was received for it: also what was given back to it. */
  paid: bigint;
  /** Of that, what was refunded, disputed or credited, or was not there to be given to it: between 0 and `paid`. */
  lost: bigint;
  /** Of `paid`, what was refunded, disputed or credited: a change of plan is none of it. */
  refunded: bigint;
  /** What was given back of it. */
  given: readonly Given[];
  /** Its lines that are taken back of the invoices they name. */
  taken: ReadonlySet<string>;
}

/** Time that was given back, of these lines; empty: Stripe does not say of which. */
export interface Given {
  lines: readonly string[];
  amount: bigint;
}

interface Gift extends Given {
  from: string;
  to: string;
  /** The line that gives it back. */
  line: string;
}

/**
 * Whether a line of an invoice that was paid at an instant gives back time of an earlier invoice that still runs. Whatever its price
 * buys: what was granted must not change because the catalog does.
 */
export function givesBack(line: LineFacts, paidAt: Date): boolean {
  return line.isProration && line.credits !== null && line.asked < 0n && line.end > paidAt;
}

/** Who gives to whom. An invoice that was not paid before granted nothing then: its line is set off in the invoice that has it. */
function giftsOf(members: readonly Member[]): Gift[] {
  const paidAt = new Map(members.map((member) => [member.id, member.paidAt]));
  return members.flatMap((member) =>
    member.lines.flatMap((line) => {
      const from = line.credits;
      const before = from === null || from === member.id ? undefined : paidAt.get(from);
      if (before === undefined || before > member.paidAt || !givesBack(line, member.paidAt)) return [];
      return [{ from: from!, to: member.id, line: line.id, lines: line.creditedLines ?? [], amount: -line.asked }];
    }),
  );
}

/** How each invoice stands. `members`: those that are bound together, or more, in any order: what is lost is laid to the same ones. */
export function standingsOf(members: readonly Member[]): Map<string, Standing> {
  const gifts = giftsOf(members.toSorted((a, b) => a.paidAt.getTime() - b.paidAt.getTime() || (a.id < b.id ? -1 : 1)));
  const standings = new Map<string, Standing>();
  const shortOf = new Map<Gift, bigint>();
  const settle = (member: Member): void => {
    if (standings.has(member.id)) return;
    const received = gifts.filter(({ to }) => to === member.id);
    const given = gifts.filter(({ from }) => from === member.id);
    const paid = atLeast0(member.asked + sum(received.map(({ amount }) => amount)));
    const most = (amount: bigint): bigint => (amount < paid ? amount : paid);
    const stands = { paid, refunded: most(member.reversed), given, taken: new Set(received.map(({ line }) => line)) };
    // Set before its givers are looked at, so that invoices which named each other would end all the same.
    standings.set(member.id, { ...stands, lost: 0n });
    for (const { from } of received) settle(members.find(({ id }) => id === from)!);
    const lost = member.reversed + sum(received.map((gift) => shortOf.get(gift) ?? 0n));
    standings.set(member.id, { ...stands, lost: most(lost) });
    let short = atLeast0(lost + sum(given.map(({ amount }) => amount)) - paid);
    for (const gift of given.toReversed()) {
      const part = short < gift.amount ? short : gift.amount;
      shortOf.set(gift, part);
      short -= part;
    }
  };
  for (const member of members) settle(member);
  return standings;
}

/**
 * For how much of what was received for an invoice its credits are taken back, between 0 and `paid`: what was lost, in proportion; and
 * of what was given back, the credits of just the lines that it gives back. Those of an add-on without credits, or with few for its
 * money, are none or few; and what else the invoice sold stays. `granted`: nano-credits by line.
 */
export function reversedOf(
  { paid, lost, given }: Standing,
  lines: readonly LineFacts[],
  granted: ReadonlyMap<string, bigint>,
): bigint {
  const all = sum([...granted.values()]);
  const share = ({ lines: named, amount }: Given): bigint => {
    const asked = sum(lines.map(({ id, asked: one }) => (named.includes(id) ? one : 0n)));
    if (asked <= 0n) return (amount * all) / paid;
    return (sum(named.map((id) => granted.get(id) ?? 0n)) * (amount < asked ? amount : asked)) / asked;
  };
  if (paid === 0n) return 0n;
  const back = all === 0n ? sum(given.map(({ amount }) => amount)) : (sum(given.map(share)) * paid + all / 2n) / all;
  return lost + back < paid ? lost + back : paid;
}

function atLeast0(amount: bigint): bigint {
  return amount > 0n ? amount : 0n;
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((all, amount) => all + amount, 0n);
}

/** Whose standing an invoice bears on: those it gives time back of, and whoever else these gave to, or they in turn. */
export function touchedBy<M extends Member>(id: string, members: readonly M[]): M[] {
  const gifts = giftsOf(members);
  const givers = gifts.flatMap(({ from, to }) => (to === id ? [from] : []));
  return reached([id, ...givers], members, (found) => gifts.flatMap(({ from, to }) => (found.has(from) ? [to] : [])));
}

/** Those whose money stands behind one: itself, and whoever gave to it. What is refunded of others does not touch it. */
export function behind<M extends Member>(id: string, members: readonly M[]): M[] {
  const gifts = giftsOf(members);
  return reached([id], members, (found) => gifts.flatMap(({ from, to }) => (found.has(to) ? [from] : [])));
}

function reached<M extends Member>(
  start: readonly string[],
  members: readonly M[],
  next: (found: ReadonlySet<string>) => readonly string[],
): M[] {
  const found = new Set(start);
  for (let before = 0; before < found.size; ) {
    before = found.size;
    for (const id of next(found)) found.add(id);
  }
  return members.filter((member) => found.has(member.id));
}
