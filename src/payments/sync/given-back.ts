/**
 * Unused time that Stripe gives back when a subscription changes: a line of a later invoice that credits a line of an earlier one. While
 * that time still runs, the earlier invoice's credits are taken back in proportion, as by a refund, and what is charged instead grants
 * in full. So credits follow money: going up, down and up again, which costs once, grants once. When the time is over (the change is
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
  /** Of that, what went back: between 0 and `paid`. */
  reversed: bigint;
  /** Of that, what was refunded, disputed or credited: a change of plan is none of it. */
  refunded: bigint;
  /** Its lines that are taken back of the invoices they name. */
  taken: ReadonlySet<string>;
}

interface Gift {
  from: string;
  to: string;
  line: string;
  amount: bigint;
}

/**
 * Whether a line of an invoice that was paid at an instant gives back time of an earlier invoice that still runs. Whatever its price
 * buys: what was granted must not change because the catalog does.
 */
export function givesBack(line: LineFacts, paidAt: Date): boolean {
  return line.isProration && line.credits !== null && line.asked < 0n && line.end > paidAt;
}

/** Who gives to whom. An invoice that was not paid before granted nothing then: its line is set off in the invoice that has it. */
export function giftsOf(members: readonly Member[]): Gift[] {
  const paidAt = new Map(members.map((member) => [member.id, member.paidAt]));
  return members.flatMap((member) =>
    member.lines.flatMap((line) => {
      const from = line.credits;
      const before = from === null || from === member.id ? undefined : paidAt.get(from);
      if (before === undefined || before > member.paidAt || !givesBack(line, member.paidAt)) return [];
      return [{ from: from!, to: member.id, line: line.id, amount: -line.asked }];
    }),
  );
}

/** How each invoice stands. `members`: those that are bound together, or more. */
export function standingsOf(members: readonly Member[]): Map<string, Standing> {
  const gifts = giftsOf(members);
  const standings = new Map<string, Standing>();
  const shortOf = new Map<Gift, bigint>();
  const settle = (member: Member): void => {
    if (standings.has(member.id)) return;
    const received = gifts.filter(({ to }) => to === member.id);
    const given = gifts.filter(({ from }) => from === member.id);
    // What is given back of an add-on pays as what is given back of credits does: it was money before.
    const barren = sum(member.lines.map(({ asked, isBarren }) => (isBarren && asked < 0n ? -asked : 0n)));
    const paid = atLeast0(member.asked + barren + sum(received.map(({ amount }) => amount)));
    const refunded = member.reversed < paid ? member.reversed : paid;
    // Set before its givers are looked at, so that invoices which named each other would end all the same.
    standings.set(member.id, { paid, reversed: 0n, refunded, taken: new Set(received.map(({ line }) => line)) });
    for (const { from } of received) settle(members.find(({ id }) => id === from)!);
    const back =
      member.reversed + sum(given.map(({ amount }) => amount)) + sum(received.map((gift) => shortOf.get(gift) ?? 0n));
    // What is given back of credits is a share of their money, and not of what else the invoice was for.
    const fertile = sum(member.lines.map(({ asked, isBarren }) => (isBarren || asked < 0n ? 0n : asked)));
    const more =
      fertile > 0n && fertile < paid ? sum(given.map(({ amount }) => (amount * paid) / fertile - amount)) : 0n;
    standings.set(member.id, { ...standings.get(member.id)!, reversed: back + more < paid ? back + more : paid });
    let short = atLeast0(back - paid);
    for (const gift of given.toReversed()) {
      const part = short < gift.amount ? short : gift.amount;
      shortOf.set(gift, part);
      short -= part;
    }
  };
  for (const member of members) settle(member);
  return standings;
}

function atLeast0(amount: bigint): bigint {
  return amount > 0n ? amount : 0n;
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((all, amount) => all + amount, 0n);
}

/** The invoices that are bound to one by what they give each other, itself among them. */
export function boundTo<M extends Member>(id: string, members: readonly M[]): M[] {
  const gifts = giftsOf(members);
  return within(id, members, (bound) => gifts.filter(({ from, to }) => bound.has(from) || bound.has(to)));
}

/** Those whose money stands behind one: itself, and whoever gave to it. What is refunded of others does not touch it. */
export function behind<M extends Member>(id: string, members: readonly M[]): M[] {
  const gifts = giftsOf(members);
  return within(id, members, (found) => gifts.filter(({ to }) => found.has(to)));
}

function within<M extends Member>(id: string, members: readonly M[], reached: (found: Set<string>) => Gift[]): M[] {
  const found = new Set([id]);
  for (let before = 0; before < found.size; ) {
    before = found.size;
    for (const { from, to } of reached(found)) found.add(from).add(to);
  }
  return members.filter((member) => found.has(member.id));
}
