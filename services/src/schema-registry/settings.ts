/** What holds for a subject: its own setting, else the one of the whole registry, else the default. */
import { compatibilityLevels, type Compatibility } from '@spool/schemas';
import type { ConfigValue } from './store/records.js';
import type { RegistryState } from './store/state.js';

export const defaultLevel: Compatibility = 'BACKWARD';

/** In any case of letters. */
export const levelNamed = (name: string): Compatibility | undefined => compatibilityLevels.find((level) => level === name.toUpperCase());

export function levelInScope(state: RegistryState, subject: string): Compatibility {
  const own = state.config(subject)?.compatibilityLevel ?? state.config(null)?.compatibilityLevel;
  return (own === undefined ? undefined : levelNamed(own)) ?? defaultLevel;
}

export const normalizeInScope = (state: RegistryState, subject: string): boolean =>
  state.config(subject)?.normalize ?? state.config(null)?.normalize ?? false;

/** The settings as the API shows them; `fallback` fills a level that is not set. */
export function shownConfig(config: ConfigValue | undefined, fallback?: string): object {
  const compatibilityLevel = config?.compatibilityLevel ?? fallback;
  return { ...(compatibilityLevel && { compatibilityLevel }), ...(config?.normalize !== undefined && { normalize: config.normalize }) };
}
