import { open } from 'lmdb';

/** Reads every row of the LMDB environment in the folder given, in a process of its own: on a damaged page LMDB may end it. */
const root = open({ path: process.argv[2]!, readOnly: true, maxDbs: 64 });
// All names first: to open a database ends the transaction that a range still reads with.
const names = [...root.getKeys()].map(String);
const databases = names.map((name) => root.openDB({ name }));
let rows = 0;
for (const database of databases) for (const row of database.getRange()) if (row.value !== undefined) rows += 1;
process.stdout.write(`${rows}\n`);
