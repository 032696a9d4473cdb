/** Who fires an event. */
export interface Emitter {
  readonly host: string;
  /** Such as `gateway`, `instance` or the name of a component. */
  readonly kind: string;
  readonly id: string;
}

/** Whom an event is for: this process, one named node, or all nodes. */
export type Destination = { readonly scope: 'local' } | { readonly scope: 'node'; readonly node: string } | { readonly scope: 'global' };

/** An event on its way: what it says is bytes already, and how they are read stands beside them. */
export interface CarriedEvent {
  readonly id: string;
  /** `root.type.category…severity.detail` */
  readonly routing: string;
  readonly emitter: Emitter;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Durable ones wait for a node that is away; transient ones are dropped and counted. */
  readonly delivery: 'durable' | 'transient';
  /** Of the value, such as `application/msgpack`. */
  readonly contentType: string;
  readonly value: Uint8Array;
  readonly correlationId?: string;
  readonly causationId?: string;
  readonly traceparent?: string;
}

/** Which events are wanted; `*` stands for one word, `#` for any number of them. */
export interface EventPattern {
  readonly routing: string;
  /** `host.kind.id` @default '#' */
  readonly emitter?: string;
}

/** Carries events between processes and knows nothing of what they say. */
export interface EventTransport extends AsyncDisposable {
  /**
   * Resolves when the event is safe (durable) or handed over or dropped (transient).
   * @throws SpoolError OVERLOADED when too many wait already, UNAVAILABLE once closed
   */
  send(event: CarriedEvent, to: Destination): Promise<void>;
  /** Delivers in order for each sender and routing, one at a time; what `deliver` throws is told to the log and holds nothing up. */
  subscribe(pattern: EventPattern, deliver: (event: CarriedEvent) => void | Promise<void>): Promise<{ close(): Promise<void> }>;
  close(): Promise<void>;
}
