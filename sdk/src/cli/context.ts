/** What the program has of its process. */
export interface ProgramContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Whether a person looks at what goes to `err`. */
  readonly isTerminal: boolean;
  /** Fires when the process is told to stop. */
  readonly signal: AbortSignal;
}
