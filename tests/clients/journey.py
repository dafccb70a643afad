"""What every Python client does here: lists, makes a tool, is told of it, calls it, deletes it, is told again. What it
saw is printed as one line of JSON, which the test compares."""

import json

import anyio

DEADLINE_SECONDS = 10
TOOL = {
    "name": "journey.shout",
    "description": "Makes a text loud.",
    "code": "return { upper: args.text.toUpperCase() };",
}


class Changes:
    """The notifications that came, each of which is waited for once."""

    def __init__(self):
        self._told = anyio.Event()

    def tell(self):
        self._told.set()

    async def came(self):
        with anyio.move_on_after(DEADLINE_SECONDS):
            await self._told.wait()
        came = self._told.is_set()
        self._told = anyio.Event()
        return came


async def journey(version, names, call, changes):
    """`names()` and `call(name, arguments)` are what differs between clients; `call` answers the structured content."""
    name = TOOL["name"]
    saw = {"version": version, "listedBefore": name in await names()}
    created = await call("dynamic.tool.create", {"tool": TOOL})
    saw["created"] = created["tool"]["revision"]
    saw["toldOfCreation"] = await changes.came()
    saw["listed"] = name in await names()
    called = await call(name, {"args": {"text": "hello"}})
    saw["called"] = {key: called[key] for key in ("ok", "result", "outcome", "revision")}
    deleted = await call("dynamic.tool.delete", {"name": name})
    saw["deleted"] = deleted["ok"]
    saw["toldOfDeletion"] = await changes.came()
    saw["listedAfter"] = name in await names()
    print(json.dumps(saw), flush=True)
