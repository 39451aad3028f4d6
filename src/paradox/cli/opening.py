"""Opening: the folder, the server or the cluster that a command names."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from paradox.cli.arguments import UsageInvalid, folder_of
from paradox.errors import CollectionMissing, Missing, StoreUnreadable

if TYPE_CHECKING:
    from paradox import Collection, Database


def existing_folder(arguments: Namespace) -> str:
    """Return the folder if it holds a database. Raises StoreUnreadable, Missing."""
    from paradox.node.catalogue import IDENTITY

    folder = folder_of(arguments)
    path = Path(folder).expanduser()
    if path.is_file():
        raise StoreUnreadable(f"{folder} is a file; expected the folder of a database", hint="give its folder: --data DIR")
    if not (path / IDENTITY).exists():
        hint = "`paradox create NAME --encoder text` makes one here; --data DIR names another"
        raise Missing(f"there is no database in {folder}", hint=hint)
    return folder


def open_to_read(arguments: Namespace) -> Database:
    """Open the folder beside whoever writes to it, or the server. Raises Missing rather than create one."""
    import paradox

    if arguments.url is not None:
        return open_server(arguments, read_only=True)
    return paradox.connect(existing_folder(arguments), read_only=True)


def open_to_write(arguments: Namespace, *, new: bool = False) -> Database:
    """Open the folder as its only writer, or the server. Only with `new` is a missing folder made. Raises Missing, StoreLocked."""
    import paradox

    if arguments.url is not None:
        return open_server(arguments, read_only=False)
    return paradox.connect(folder_of(arguments) if new else existing_folder(arguments))


def open_server(arguments: Namespace, *, read_only: bool) -> Database:
    """Connect to the server or the cluster that was named, to a server with the key of the environment.

    Raises UsageInvalid, GatewayUnreachable, AuthDenied, LogUnavailable, NodesUnreachable.
    """
    import paradox
    from paradox.node.config import keys_of

    if arguments.data:
        raise UsageInvalid("both --data and --url were given", hint="a database is in a folder, or behind a server: give one")
    key = None if arguments.url.lower().startswith("nats:") else next(iter(keys_of()), None)
    return paradox.connect(arguments.url, key=key, read_only=read_only)


def pick(database: Database, name: str) -> Collection:
    """Return a collection that must exist. Raises CollectionMissing that says how to create it."""
    try:
        return database[name]
    except CollectionMissing as error:
        also = f"`paradox create {name} --encoder text` creates it"
        raise CollectionMissing(error.message, hint=f"{error.hint}; {also}" if error.hint else also) from None
