/** The only place that knows which kinds of provider there are. A new provider is one adapter and one line here. */
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../observe/log.ts';
import { createDemoProvider } from './demo.ts';
import { createOpenAiProvider } from './openai.ts';
import type { Provider, ProviderConfig } from './types.ts';

export interface RegistryDeps {
  log: Logger;
  clock: Clock;
}

/**
 * The providers that are on, by name. One whose kind needs a key and has none is off: left out, and said once in the
 * log. Throws on an unknown kind or a missing base URL.
 */
export function createProviders(configs: readonly ProviderConfig[], deps: RegistryDeps): Map<string, Provider> {
  const providers = new Map<string, Provider>();
  for (const config of configs) {
    const provider = createProvider(config, deps.clock);
    if (provider === null) deps.log.info({ provider: config.name }, 'provider is off: its api_key is not set');
    else providers.set(config.name, provider);
  }
  return providers;
}

function createProvider(config: ProviderConfig, clock: Clock): Provider | null {
  switch (config.kind) {
    case 'openai':
      return config.apiKey ? createOpenAiProvider(config, config.apiKey) : null;
    case 'demo':
      return createDemoProvider(config.name, clock);
    default:
      throw new Error(`providers.${config.name}.kind: there is no kind of provider named "${config.kind}"`);
  }
}
