/** A contender in a process of its own, with its callers, so that heaps do not mix. Messages in: steps to take; out: what was taken. */
import { measure, type Step } from '../../steps.js';
import { overload, type OverloadStep } from '../overload.js';
import type { Contender, ContenderConfig, ContenderName } from './contender.js';
import { startEmmett } from './emmett.js';
import { startFloor } from './floor.js';
import { startCallers, startSpool } from './spool.js';

const start: Readonly<Record<ContenderName | 'callers', (config: ContenderConfig) => Promise<Contender>>> = {
  floor: (config) => startFloor(config),
  'flush-50ms': (config) => startFloor(config, 50),
  'commit-100ms': (config) => startFloor(config, 100),
  spool: (config) => startSpool(config),
  callers: startCallers,
  silent: (config) => startSpool(config, 'none'),
  emmett: startEmmett,
};

const [name = 'floor', config = '{}'] = process.argv.slice(2);
const contender = await start[name as keyof typeof start](JSON.parse(config) as ContenderConfig);
let calls = 0;
const call: Contender['call'] = (timeoutMs) => {
  calls += 1;
  return contender.call(timeoutMs);
};
const take = (step: Step | OverloadStep) => (step.kind === 'overload' ? overload(call, step) : measure(() => call(), step));
const cpuUs = (): number => process.cpuUsage().user + process.cpuUsage().system;
process.on('message', (step: Step | OverloadStep | 'close') => {
  const before = { calls, cpuUs: cpuUs() };
  const done =
    step === 'close'
      ? contender.close().then(() => process.disconnect())
      : take(step).then(
          (taken) =>
            void process.send?.({
              taken,
              peakRssMb: process.resourceUsage().maxRSS / 1024,
              cpuUs: (cpuUs() - before.cpuUs) / (calls - before.calls),
            }),
        );
  done.catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
});
process.once('disconnect', () => process.exit(0));
process.send?.('ready');
