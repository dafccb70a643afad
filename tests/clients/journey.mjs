// What every client does here: lists, makes a tool, is told of it, calls it, deletes it, is told again. What it saw is
// printed as one line of JSON, which the test compares.

const DEADLINE_MS = 10_000;

/** The notifications that came, each of which is waited for once. */
export class Changes {
  #told = 0;
  #waiting = null;

  tell() {
    this.#told += 1;
    this.#waiting?.();
  }

  /** Whether one came within the deadline; those that had come before count. */
  async came() {
    if (this.#told === 0) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, DEADLINE_MS);
        this.#waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#waiting = null;
    const came = this.#told > 0;
    this.#told = 0;
    return came;
  }
}

/**
 * @param client what differs between clients: `version`, `names()`, `call(name, args)`, `close()`
 * @param changes told by the client's own handler
 */
export async function journey(client, changes) {
  const tool = { name: 'journey.shout', description: 'Makes a text loud.', code: 'return { upper: args.text.toUpperCase() };' };
  const saw = { version: client.version, listedBefore: (await client.names()).includes(tool.name) };
  const created = await client.call('dynamic.tool.create', { tool });
  saw.created = created.structuredContent.tool.revision;
  saw.toldOfCreation = await changes.came();
  saw.listed = (await client.names()).includes(tool.name);
  const called = await client.call(tool.name, { args: { text: 'hello' } });
  const { ok, result, outcome, revision } = called.structuredContent;
  saw.called = { ok, result, outcome, revision };
  const deleted = await client.call('dynamic.tool.delete', { name: tool.name });
  saw.deleted = deleted.structuredContent.ok;
  saw.toldOfDeletion = await changes.came();
  saw.listedAfter = (await client.names()).includes(tool.name);
  await client.close();
  console.log(JSON.stringify(saw));
}
