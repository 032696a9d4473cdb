import { open } from 'lmdb';

/** Reads every row of the LMDB environment in the folder given, in a process of its own: on a damaged page LMDB may end it. */
const root = open({ path: process.argv[2]!, readOnly: true, maxDbs: 64 });
let rows = 0;
for (const name of root.getKeys()) for (const row of root.openDB({ name: String(name) }).getRange()) if (row.value !== undefined) rows += 1;
process.stdout.write(`${rows}\n`);
