import { assertPrograms } from './demo.js';

describe('assertPrograms', () => {
  it('names what is missing, and how to get it', async () => {
    await expect(assertPrograms('sh', 'spool-kcat', 'spool-jq')).rejects.toThrow(
      'spool-kcat, spool-jq missing: apt-get install spool-kcat spool-jq (.ci/run does it)',
    );
    await expect(assertPrograms('sh')).resolves.toBeUndefined();
  });
});
