/** Products and prices, in several currencies. */
import type Stripe from 'stripe';
import type { Call, Sim } from './core.ts';
import { missing, StripeFault } from './fault.ts';
import { type Form, flag, hash, metadata, needed, text, texts, whole } from './params.ts';

type Product = Stripe.Product;
/** As it is on the wire: the library makes decimals out of strings. */
export type Price = Omit<Stripe.Price, 'unit_amount_decimal' | 'currency_options' | 'product'> & {
  product: string;
  unit_amount_decimal: string | null;
};
type CurrencyOptions = Record<string, { unit_amount: number; tax_behavior: string }>;

/** Makes a product and its event. */
export function createProduct(sim: Sim, fields: { name: string } & Partial<Product>): Product {
  const product: Product = {
    id: sim.id('prod').slice(0, 19),
    object: 'product',
    active: true,
    created: sim.now(),
    default_price: null,
    description: null,
    images: [],
    livemode: sim.livemode,
    marketing_features: [],
    metadata: {},
    package_dimensions: null,
    shippable: null,
    statement_descriptor: null,
    tax_code: null,
    tax_details: null,
    type: 'service',
    unit_label: null,
    updated: sim.now(),
    url: null,
    ...fields,
  };
  sim.put(product);
  sim.emit('product.created', product);
  return product;
}

export interface PriceRequest {
  currency: string;
  /** Minor units. */
  unit_amount: number;
  product: string;
  recurring?: { interval: 'day' | 'week' | 'month' | 'year'; interval_count?: number } | null;
  lookup_key?: string | null;
  nickname?: string | null;
  metadata?: Record<string, string>;
  currency_options?: CurrencyOptions;
  tax_behavior?: 'exclusive' | 'inclusive' | 'unspecified';
  active?: boolean;
}

/** Makes a price and its event. */
export function createPrice(sim: Sim, request: PriceRequest): Price {
  const recurring = request.recurring ?? null;
  const price: Price = {
    id: sim.id('price'),
    object: 'price',
    active: request.active ?? true,
    billing_scheme: 'per_unit',
    created: sim.now(),
    currency: request.currency,
    custom_unit_amount: null,
    livemode: sim.livemode,
    lookup_key: request.lookup_key ?? null,
    metadata: request.metadata ?? {},
    nickname: request.nickname ?? null,
    product: request.product,
    recurring: recurring && {
      interval: recurring.interval,
      interval_count: recurring.interval_count ?? 1,
      meter: null,
      trial_period_days: null,
      usage_type: 'licensed',
    },
    tax_behavior: request.tax_behavior ?? 'unspecified',
    tiers_mode: null,
    transform_quantity: null,
    type: recurring === null ? 'one_time' : 'recurring',
    unit_amount: request.unit_amount,
    unit_amount_decimal: String(request.unit_amount),
  };
  sim.put(price);
  const own = { unit_amount: request.unit_amount, tax_behavior: price.tax_behavior ?? 'unspecified' };
  sim.side<CurrencyOptions>('currency options').set(price.id, { [price.currency]: own, ...request.currency_options });
  sim.emit('price.created', price);
  return price;
}

/** What one unit costs in this currency, in minor units. Fault when the price has no such currency. */
export function unitAmount(sim: Sim, price: Price, currency: string): number {
  const amount = sim.side<CurrencyOptions>('currency options').get(price.id)?.[currency]?.unit_amount;
  if (amount !== undefined) return amount;
  const message = `The price specified only supports \`${price.currency}\`. This doesn't match the expected currency: \`${currency}\`.`;
  throw new StripeFault(message, { param: 'currency' });
}

/** A price as parameters tell it: `product` or `product_data`, `unit_amount`, `recurring`. Shared with `price_data`. */
export function priceRequest(sim: Sim, form: Form, param = ''): PriceRequest {
  const named = text(form, 'product');
  const data = hash(form, 'product_data');
  if (named === undefined && data === undefined) throw missing(`${param}product`);
  const product =
    named === undefined
      ? createProduct(sim, { name: needed(data ?? {}, 'name'), metadata: metadata(data ?? {}) })
      : sim.get<Product>('product', named, `${param}product`);
  const decimal = text(form, 'unit_amount_decimal');
  const unit = whole(form, 'unit_amount') ?? (decimal === undefined ? undefined : Number(decimal));
  if (unit === undefined) throw missing(`${param}unit_amount`);
  const recurring = hash(form, 'recurring');
  return {
    currency: needed(form, 'currency').toLowerCase(),
    unit_amount: unit,
    product: product.id,
    lookup_key: text(form, 'lookup_key') ?? null,
    nickname: text(form, 'nickname') ?? null,
    metadata: metadata(form),
    tax_behavior: (text(form, 'tax_behavior') as 'exclusive' | undefined) ?? 'unspecified',
    recurring: recurring === undefined ? null : intervalOf(recurring),
    currency_options: optionsOf(hash(form, 'currency_options') ?? {}),
  };
}

function intervalOf(form: Form): NonNullable<PriceRequest['recurring']> {
  const interval = needed(form, 'interval');
  if (!['day', 'week', 'month', 'year'].includes(interval)) {
    throw new StripeFault('Invalid recurring[interval]: must be one of day, month, week, or year', {
      param: 'recurring[interval]',
    });
  }
  return { interval: interval as 'month', interval_count: whole(form, 'interval_count') ?? 1 };
}

function optionsOf(form: Form): CurrencyOptions {
  const options: CurrencyOptions = {};
  for (const currency of Object.keys(form)) {
    const unit_amount = whole(hash(form, currency) ?? {}, 'unit_amount');
    if (unit_amount === undefined) throw missing(`currency_options[${currency}][unit_amount]`);
    options[currency] = { unit_amount, tax_behavior: 'unspecified' };
  }
  return options;
}

function updatePrice(call: Call): Price {
  const { form, sim } = call;
  const price = sim.get<Price>('price', call.params.id ?? '');
  const key = text(form, 'lookup_key');
  const previous = sim.change(price, {
    active: flag(form, 'active') ?? price.active,
    metadata: metadata(form, price.metadata),
    nickname: text(form, 'nickname') ?? price.nickname,
    ...(key === undefined ? {} : { lookup_key: key === '' ? null : key }),
  });
  if (Object.keys(previous).length > 0) sim.emit('price.updated', price, previous);
  return price;
}

function updateProduct(call: Call): Product {
  const { form, sim } = call;
  const product = sim.get<Product>('product', call.params.id ?? '');
  const previous = sim.change(product, {
    active: flag(form, 'active') ?? product.active,
    default_price: text(form, 'default_price') ?? product.default_price ?? null,
    description: text(form, 'description') ?? product.description,
    metadata: metadata(form, product.metadata),
    name: text(form, 'name') ?? product.name,
    updated: sim.now(),
  });
  sim.emit('product.updated', product, previous);
  return product;
}

function listPrices(call: Call): unknown {
  const { query, sim } = call;
  const product = text(query, 'product');
  const active = flag(query, 'active');
  const type = text(query, 'type');
  const keys = texts(query, 'lookup_keys');
  return sim.list<Price>(
    call,
    'price',
    (one) =>
      (product === undefined || one.product === product) &&
      (active === undefined || one.active === active) &&
      (type === undefined || one.type === type) &&
      (keys === undefined || keys.includes(one.lookup_key ?? '')),
  );
}

export function catalogueRoutes(sim: Sim): void {
  sim.link('price', 'product', 'product');
  sim.link('product', 'default_price', 'price');
  sim.part('price', 'currency_options', (price) => {
    const options = sim.side<CurrencyOptions>('currency options').get(String(price.id)) ?? {};
    const full = ([currency, option]: [string, CurrencyOptions[string]]) => [
      currency,
      { custom_unit_amount: null, ...option, unit_amount_decimal: String(option.unit_amount) },
    ];
    return Object.fromEntries(Object.entries(options).map(full));
  });
  sim.route('POST', '/v1/products', (call) => {
    const { form } = call;
    const description = text(form, 'description');
    const id = text(form, 'id');
    return createProduct(sim, {
      name: needed(form, 'name'),
      metadata: metadata(form),
      active: flag(form, 'active') ?? true,
      ...(id === undefined ? {} : { id }),
      ...(description === undefined ? {} : { description }),
    });
  });
  sim.route('GET', '/v1/products', (call) => {
    const active = flag(call.query, 'active');
    return sim.list<Product>(call, 'product', (one) => active === undefined || one.active === active);
  });
  sim.route('GET', '/v1/products/:id', (call) => sim.get('product', call.params.id ?? ''));
  sim.route('POST', '/v1/products/:id', updateProduct);
  sim.route('POST', '/v1/prices', (call) =>
    createPrice(sim, { ...priceRequest(sim, call.form), active: flag(call.form, 'active') ?? true }),
  );
  sim.route('GET', '/v1/prices', listPrices);
  sim.route('GET', '/v1/prices/:id', (call) => sim.get('price', call.params.id ?? ''));
  sim.route('POST', '/v1/prices/:id', updatePrice);
}
