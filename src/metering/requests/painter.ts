/**
 * Who pays what for pictures that a tool draws. Another model draws them: they cost what that model's entry in the catalog says,
 * where the account may use it and a route knows it by the name in the request, which is sent as it is. Else the price that the answering model
 * itself has for `output_image` stands, whichever model draws; without that the tool is refused.
 */
import type { Price, PriceTable } from '../../catalog/price.ts';
import type { Model } from '../../catalog/types.ts';
import type { Unit, Usage } from '../../catalog/units.ts';
import type { Asks } from './asks.ts';

const OF_PICTURES = ['output_image', 'input_image', 'cached_input_image', 'image'] as const;

/** The model at a price that has the pictures of its painter in it. `find`: a model that the account may use, at its price. */
export function withPainter(model: Model, { painter }: Asks, find: (name: string) => Model | null): Model {
  if (painter === undefined) return model;
  const own = find(painter.model);
  if (own === null || !own.routes.some((route) => route.model === painter.model)) return model;
  const pictures = picturesOf(own.price);
  return pictures === null ? model : madeOnce(model, own, pictures);
}

/** The same price serves many requests: what is made of it is kept by who it is made of. */
const MADE = new WeakMap<Model, WeakMap<Model, Model>>();

function madeOnce(model: Model, painter: Model, pictures: PriceTable): Model {
  const made = MADE.get(model) ?? new WeakMap<Model, Model>();
  MADE.set(model, made);
  let painted = made.get(painter);
  if (painted === undefined) {
    const { units, tiers, serviceTiers } = model.price;
    const price: Price = {
      units: { ...without(units), ...pictures },
      tiers: tiers.map((tier) => ({ ...tier, units: without(tier.units) })),
      serviceTiers,
      images: painter.price.images,
    };
    painted = { ...model, price, painter: { model: painter.name, priceVersion: painter.priceVersion } };
    made.set(painter, painted);
  }
  return painted;
}

function without(units: PriceTable): PriceTable {
  return Object.fromEntries(Object.entries(units).filter(([unit]) => !OF_PICTURES.includes(unit as never)));
}

/** What pictures cost at a model that draws: by their tokens, or each; `null`: it has no price for them. */
function picturesOf({ units, images }: Price): PriceTable | null {
  const each = units.image !== undefined || images !== null;
  const drawn = units.output_image ?? (each ? 0n : units.output);
  if (drawn === undefined) return null;
  const read = units.input_image ?? units.input ?? 0n;
  const cached = units.cached_input_image ?? read;
  const pictures: PriceTable = { output_image: drawn, input_image: read, cached_input_image: cached };
  if (units.image !== undefined) pictures.image = units.image;
  return pictures;
}

/** Pictures by the names that answers count them under. */
const DRAWN: readonly Unit[] = ['image', 'tool:image_generation'];

/**
 * Usage with the tokens of pictures that an answer has and does not count, where a price is by tokens: each as it was asked for. `null`:
 * nothing is missing.
 */
export function withDrawn(usage: Usage, { painter }: Asks, price: Price): Usage | null {
  if (painter === undefined || usage.output_image !== undefined) return null;
  if (price.images !== null || price.units.image !== undefined) return null;
  const pictures = Math.max(...DRAWN.map((unit) => usage[unit] ?? 0));
  return pictures === 0 ? null : { ...usage, output_image: pictures * painter.likelyTokens };
}
