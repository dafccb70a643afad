"""The Python package mcp 2.x, a client of both eras.

usage: python mcp2.py http URL MODE | python mcp2.py stdio COMMAND MODE, where MODE is legacy or auto
"""

import os
import sys
from contextlib import AsyncExitStack

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.subscriptions import ToolsListChanged
from mcp_types import ToolListChangedNotification

from journey import Changes, journey


async def main():
    kind, target, mode = sys.argv[1:]
    server = target if kind == "http" else StdioServerParameters(command=target, env=dict(os.environ))
    changes = Changes()

    async def on_message(message):
        # In the newest era the subscription tells, and this handler hears the same once more.
        if isinstance(message, ToolListChangedNotification) and mode == "legacy":
            changes.tell()

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(server, mode=mode, message_handler=on_message))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if client.protocol_version >= "2026-07-28":
            # Entered when the server has acknowledged it.
            subscription = await stack.enter_async_context(client.listen(tools_list_changed=True))

            async def listen():
                async for event in subscription:
                    if isinstance(event, ToolsListChanged):
                        changes.tell()

            tasks.start_soon(listen)

        async def names():
            found, cursor = [], None
            while True:
                page = await client.list_tools(cursor=cursor)
                found += [tool.name for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    return found

        async def call(name, arguments):
            return (await client.call_tool(name, arguments)).structured_content

        await journey(client.protocol_version, names, call, changes)
        tasks.cancel_scope.cancel()


anyio.run(main)
