"""The Python package mcp 1.x, a client of the eras before 2026-07-28.

usage: python mcp1.py http URL | python mcp1.py stdio COMMAND
"""

import os
import sys

import anyio
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from journey import Changes, journey


async def main():
    kind, target = sys.argv[1:]
    if kind == "http":
        transport = streamable_http_client(target)
    else:
        transport = stdio_client(StdioServerParameters(command=target, env=dict(os.environ)))
    changes = Changes()

    async def on_message(message):
        if isinstance(message, types.ServerNotification):
            if isinstance(message.root, types.ToolListChangedNotification):
                changes.tell()

    async with transport as streams, ClientSession(*streams[:2], message_handler=on_message) as session:
        initialized = await session.initialize()

        async def names():
            found, cursor = [], None
            while True:
                page = await session.list_tools(cursor=cursor)
                found += [tool.name for tool in page.tools]
                cursor = page.nextCursor
                if cursor is None:
                    return found

        async def call(name, arguments):
            return (await session.call_tool(name, arguments)).structuredContent

        await journey(initialized.protocolVersion, names, call, changes)


anyio.run(main)
