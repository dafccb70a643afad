// @modelcontextprotocol/sdk, the TypeScript client of the eras before 2026-07-28.
// usage: node sdk.mjs http URL | node sdk.mjs stdio COMMAND

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { Changes, journey } from './journey.mjs';

const [kind, target] = process.argv.slice(2);
const transport =
  kind === 'http'
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ command: target, env: process.env, stderr: 'inherit' });

const client = new Client({ name: 'journey', version: '1.0.0' });
const changes = new Changes();
client.setNotificationHandler(ToolListChangedNotificationSchema, () => changes.tell());
// The client keeps the version that it negotiated to itself and gives it to its transport.
let version;
transport.setProtocolVersion = ((set) => (negotiated) => {
  version = negotiated;
  set?.call(transport, negotiated);
})(transport.setProtocolVersion);
await client.connect(transport);

await journey(
  {
    version,
    async names() {
      const names = [];
      let cursor;
      do {
        const page = await client.listTools({ cursor });
        names.push(...page.tools.map((tool) => tool.name));
        cursor = page.nextCursor;
      } while (cursor);
      return names;
    },
    call: (name, args) => client.callTool({ name, arguments: args }),
    async close() {
      await transport.terminateSession?.();
      await client.close();
    },
  },
  changes,
);
