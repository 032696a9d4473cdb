import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { record } from '@spool/schemas';
import { bundle, type Bundle } from '../bundle/bundle.js';
import { service, type Service } from '../service/service.js';

const commands = { Issue: record('vouchers.Issue', { code: 'string' }) };
const events = { Issued: record('vouchers.Issued', { code: 'string' }) };

/** A service whose outside world is a file: a line when a call begins, and one when it ends. */
export const vouchers = (file: string, tag: string): Service<'Vouchers', typeof commands, typeof events> =>
  service('Vouchers', {
    commands,
    events,
    handle: {
      Issue: async ({ code }, { idempotencyKey, lockId }) => {
        appendFileSync(file, `begin ${idempotencyKey} ${lockId ?? '-'} ${tag}\n`);
        await sleep(20);
        appendFileSync(file, `end ${idempotencyKey} ${lockId ?? '-'} ${tag}\n`);
        return { type: 'Issued', data: { code } };
      },
    },
  });
export const issuing = (file: string, tag: string): Bundle =>
  bundle({ id: 'vouchers', version: '1.0.0', components: [vouchers(file, tag)] });
