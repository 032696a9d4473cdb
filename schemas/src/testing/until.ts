/**
 * Looks every few milliseconds whether it is so. What a test waits for has no time of its own: the bound is there that a test which fails ends, and says where.
 * @param withinMs below the time that a test has. @default 20000
 * @throws Error when it does not come true, with the condition in its message
 */
export async function until(condition: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
