/**
 * Takes secrets out of text that people will read: log lines and problem documents. It is the second line of defence; the first is
 * not to put them there. Known: credentials in URLs, bearer and basic headers, JSON web tokens, Spool's API keys, and values that are
 * named like a secret, in JSON, in JSON inside JSON, or as `name=value`.
 */
export function scrub(text: string): string {
  if (!suspicious.test(text)) return text;
  let clean = text;
  for (const [pattern, replacement] of rules) clean = clean.replace(pattern, replacement);
  return clean;
}

/** Most lines hold nothing of the kind: one look spares them nine. */
const suspicious = /:\/\/|bearer|basic |eyJ|spool_|authorization|cookie|pass|secret|key|token/i;

const secretNames =
  '(?:proxy-)?authorization|x-api-key|(?:set-)?cookie|[\\w.-]{0,40}(?:password|passwd|passphrase|secret|api[-_]?key|private[-_]?key|(?:access|id|refresh|auth)[-_]?token)';

/** Repetitions that a hostile text could make start anywhere are bounded: without that, each takes time by the square of its length. */
const rules: readonly (readonly [RegExp, string])[] = [
  [/([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/"'\\]*@/gi, '$1***@'],
  [/\b(Bearer)\s+[\w.~+/=-]+/gi, '$1 ***'],
  [/\b(Basic)\s+[\w+/=-]{8,}/g, '$1 ***'],
  [/\beyJ[\w-]{8,2000}\.[\w-]+(?:\.[\w-]*)?/g, '***'],
  [/\b(spool_[a-z0-9]{1,40}_)[\w-]{20,}/g, '$1***'],
  [new RegExp(`("(?:${secretNames})":)"(?:[^"\\\\]|\\\\.)*"`, 'gi'), '$1"***"'],
  [new RegExp(`(\\\\"(?:${secretNames})\\\\":)\\\\".{0,2000}?\\\\"`, 'gi'), '$1\\"***\\"'],
  [/\b((?:authorization|cookie)\s{0,9}[=:]\s{0,9})[^"\\\r\n]+/gi, '$1***'],
  [new RegExp(`\\b((?:${secretNames})\\s{0,9}[=:]\\s{0,9}['"]?)[^\\s"'\\\\&,;{}[\\]]+`, 'gi'), '$1***'],
];

/** The keys whose values pino replaces whatever they hold; `scrub` sees to those that are deeper. */
export const secretPaths: readonly string[] = [
  'authorization',
  'proxy-authorization',
  'x-api-key',
  'cookie',
  'set-cookie',
  'password',
  'secret',
]
  .map((name) => `["${name}"]`)
  .flatMap((key) => [key, `*${key}`, `*.headers${key}`, `*.*${key}`]);
