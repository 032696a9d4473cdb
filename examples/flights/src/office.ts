import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { VoucherOffice } from './vouchers.js';

const codeOf = (key: string): string => createHash('sha256').update(key).digest('hex').slice(0, 8).toUpperCase();

/** A partner who keeps no books: the same key gets the same code. */
export const officeInMemory: VoucherOffice = { issue: (key) => Promise.resolve({ code: codeOf(key) }) };

/** The partner of the demo: a file with a line for each voucher that it has issued. */
export function officeInFile(path: string): VoucherOffice {
  mkdirSync(dirname(path), { recursive: true });
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
  const issued = new Set(lines.map((line) => (JSON.parse(line) as { key: string }).key));
  return {
    issue(key, voucher) {
      const code = codeOf(key);
      if (!issued.has(key)) appendFileSync(path, `${JSON.stringify({ key, code, ...voucher })}\n`);
      issued.add(key);
      return Promise.resolve({ code });
    },
  };
}
