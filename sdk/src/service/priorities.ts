/** The most urgent first, with its share of the turns while all of them wait. */
export const priorities = [
  ['high', 8],
  ['normal', 3],
  ['low', 1],
] as const;
