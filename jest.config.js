/** Tests run as compiled by `tsc -b`: one compiler, no transform, and what is tested is what runs. */
const folders = [
  'schemas',
  'streams',
  'sdk',
  'services',
  'infra/embedded',
  'infra/deployment',
  'examples/flights',
  'examples/bank',
  'examples/python',
  'bench',
];
const project = (kind, extra = {}) => ({
  displayName: kind,
  testEnvironment: 'node',
  transform: {},
  roots: folders.map((folder) => `<rootDir>/${folder}/dist`),
  testMatch: [`**/*.${kind}.test.js`],
  ...extra,
});
/** One real broker for all integration tests; each test has its own topics and groups. */
const broker = {
  globalSetup: '<rootDir>/infra/embedded/dist/testing/global-setup.js',
  globalTeardown: '<rootDir>/infra/embedded/dist/testing/global-teardown.js',
};
export default {
  testTimeout: 30_000,
  maxWorkers: 2,
  projects: [project('unit'), project('int', broker), project('e2e')],
};
