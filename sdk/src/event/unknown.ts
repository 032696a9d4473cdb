/** What a component does with events that it cannot know. */
export interface UnknownEvents {
  /**
   * What becomes of an event of a type that its source does not declare: `skip` passes it over, `park` puts it among the dead letters, with what follows of
   * its aggregate, `fail` keeps the partition (of an observer: the aggregate) where it is, says so in the status, and tries again until code comes that
   * knows it. An event of a declared type whose bytes cannot be read is parked, and with `fail` it is not passed either. @default 'skip'
   */
  readonly unknown?: 'skip' | 'park' | 'fail';
}
