/** What the program has of its process. */
export interface ProgramContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** How wide the terminal is on which a person looks at what goes to `err`; undefined: there is none. */
  readonly columns: number | undefined;
  /** Fires when the process is told to stop. */
  readonly signal: AbortSignal;
}
