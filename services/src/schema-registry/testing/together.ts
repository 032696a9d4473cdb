import { eventually, recordOf, type Api } from './api.js';

/** An entry of `GET /schemas`. */
export interface Row {
  readonly subject: string;
  readonly version: number;
  readonly id: number;
  readonly schema: string;
}

/**
 * Registers `count` different schemas through both replicas at once, each of them twice through each: in a subject of the schema's
 * group, and in one of the replica's own. Then checks ids and versions on both.
 */
export async function registerTogether(a: Api, b: Api, count: number): Promise<void> {
  await a.put('/config', { compatibility: 'NONE' });
  await eventually(async () => expect((await b.get('/config')).body).toEqual({ compatibilityLevel: 'NONE' }));
  const jobs = Array.from({ length: count }, (_, index) => index).flatMap((index) =>
    [a, b].flatMap((api, replica) =>
      [`group-${index % 20}`, `own-${replica}-${index % 10}`].map(async (subject) => ({
        index,
        id: await api.register(subject, recordOf('R', [`f${index}`])),
      })),
    ),
  );
  const registered = await Promise.all(jobs);

  // One id for each schema, whoever registered it where, and no id for two.
  const ids = Array.from({ length: count }, (_, index) => new Set(registered.filter((one) => one.index === index).map(({ id }) => id)));
  expect(ids.map(({ size }) => size)).toEqual(ids.map(() => 1));
  expect(new Set(ids.flatMap((one) => [...one])).size).toBe(count);

  // Both replicas hold the same: every schema in its three subjects, versions without a gap.
  await eventually(async () => expect((await a.get('/schemas')).body).toEqual((await b.get('/schemas')).body));
  const rows = (await a.get('/schemas')).body as readonly Row[];
  expect(rows).toHaveLength(3 * count);
  expect(new Set(rows.map(({ id, schema }) => `${id} ${schema}`)).size).toBe(count);
  for (const subject of new Set(rows.map((row) => row.subject))) {
    const versions = rows.filter((row) => row.subject === subject).map(({ version }) => version);
    expect(versions).toEqual(versions.map((_, index) => index + 1));
  }
}
