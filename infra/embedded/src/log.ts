/** Takes one line for people, without a time and without a line break. */
export type Log = (line: string) => void;
