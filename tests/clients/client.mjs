// @modelcontextprotocol/client, the TypeScript client of both eras.
// usage: node client.mjs http URL ERA | node client.mjs stdio COMMAND ERA, where ERA is legacy or auto

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { Changes, journey } from './journey.mjs';

const [kind, target, mode] = process.argv.slice(2);
const transport =
  kind === 'http'
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ command: target, env: process.env, stderr: 'inherit' });

const changes = new Changes();
const client = new Client(
  { name: 'journey', version: '1.0.0' },
  {
    versionNegotiation: { mode },
    listChanged: {
      tools: {
        onChanged(error) {
          if (error) throw error;
          changes.tell();
        },
      },
    },
  },
);
await client.connect(transport);

await journey(
  {
    version: client.getNegotiatedProtocolVersion(),
    async names() {
      const { tools } = await client.listTools();
      return tools.map((tool) => tool.name);
    },
    call: (name, args) => client.callTool({ name, arguments: args }),
    close: () => client.close(),
  },
  changes,
);
