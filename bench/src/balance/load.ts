import { randomOf } from '../chaos/random.js';

/** What comes for one bundle, second by second, for a day or a part of one. */
export interface DayOfLoad {
  readonly seconds: number;
  /** Records a second, spread over the partitions. */
  rate(second: number): number;
  /** The part of it that goes to each partition. */
  readonly shares: Float64Array;
}

const day = 86_400;

/** A tide over the day with noise, bursts of some minutes, and batches that come all at once; keys are not spread evenly. */
export function dayOfLoad(
  seed: number,
  options: { readonly partitions: number; readonly mean: number; readonly seconds: number },
): DayOfLoad {
  const { partitions, mean, seconds } = options;
  const random = randomOf(seed);
  const phase = random();
  const steepness = 0.4 + 0.5 * random();
  const bursts = Array.from({ length: Math.ceil((seconds / day) * 12) }, () => ({
    from: random() * seconds,
    long: 60 + 900 * random(),
    times: 1 + 2 * random(),
  }));
  const batches = Array.from({ length: Math.ceil((seconds / day) * 6) }, () => ({
    at: Math.floor(random() * seconds),
    // Half a minute to three minutes of the mean, within five seconds.
    records: mean * (30 + 150 * random()),
  }));
  const rates = new Float64Array(seconds);
  let noise = 0;
  for (let second = 0; second < seconds; second++) {
    noise = 0.98 * noise + 0.02 * (random() - 0.5) * 4;
    const tide = 1 + steepness * Math.sin(2 * Math.PI * (second / day + phase));
    let rate = mean * tide * Math.max(0.1, 1 + noise);
    for (const { from, long, times } of bursts) if (second >= from && second < from + long) rate *= times;
    for (const { at, records } of batches) if (second >= at && second < at + 5) rate += records / 5;
    rates[second] = rate;
  }
  const weights = Float64Array.from({ length: partitions }, () => 0.7 + 0.6 * random());
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return { seconds, rate: (second) => rates[second]!, shares: weights.map((weight) => weight / sum) };
}
