import { offset, type Offset } from '@spool/streams';
import type { Seen } from './tail.js';

/** Of what was read last, for those who come a little late. Bounded by records and by bytes of the log. */
const maxRecords = 2000;
const maxBytes = 4 * 1024 * 1024;

/** The records that were read last, in the order in which they were read, and from where on they are all there. */
export class Recent {
  /** The number of the first that is still there. */
  first = 0;
  private readonly records: Seen[] = [];
  private bytes = 0;
  private readonly from = new Map<string, Offset>();

  /** Reading begins here: nothing before it is to be found. */
  begin(partition: string, at: Offset): void {
    this.from.set(partition, at);
  }
  end(partition: string): void {
    this.from.delete(partition);
  }
  add(record: Seen): void {
    this.records.push(record);
    this.bytes += record.bytes;
    while (this.records.length - this.gone > maxRecords || this.bytes > maxBytes) {
      const { partition, offset: at, bytes } = this.records[this.gone]!;
      this.gone += 1;
      this.first += 1;
      this.bytes -= bytes;
      if ((this.from.get(partition) ?? at + 1n) <= at) this.from.set(partition, offset(at + 1n));
    }
    // Moving the array for each record would cost more than the rest.
    if (this.gone >= maxRecords) {
      this.records.splice(0, this.gone);
      this.gone = 0;
    }
  }
  private gone = 0;

  /** By its number; undefined behind the last. */
  at(number: number): Seen | undefined {
    return this.records[number - this.first + this.gone];
  }
  /** Whether all from these positions on is here. */
  covers(positions: ReadonlyMap<string, Offset>): boolean {
    for (const [partition, at] of positions) {
      const from = this.from.get(partition);
      if (from === undefined || at < from) return false;
    }
    return true;
  }
}
