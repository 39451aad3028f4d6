"""Configuration: what the environment and the configuration file say. The only reader of them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from paradox.errors import InvalidRequest
from paradox.model.schema import check_name

KEY = "PARADOX_KEY"


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `paradox serve --config FILE` reads: one process of a cluster.

    role: "node" holds points and answers gateways, "gateway" answers over HTTP. log: addresses of the log servers. log_monitors: where
    these tell how they are, so that a node can refuse servers that do not sync; none = they are trusted to. log_replicas: how many of them
    keep each log. name: of a node. zone: where it is, of places that fail one by one: copies go to different ones. store: the folder,
    shared by all nodes, where they keep segments. stop_with_stdin: end when standard input does.
    """

    role: Literal["node", "gateway"]
    log: tuple[str, ...]
    log_monitors: tuple[str, ...] = ()
    log_replicas: int = 3
    name: str = ""
    zone: str = ""
    store: str = ""
    host: str = "127.0.0.1"
    port: int = 6500
    stop_with_stdin: bool = False


def keys_of(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the keys that PARADOX_KEY names, with commas between: a server asks for one of them, a client sends the first.

    Raises InvalidRequest for one that no header can carry.
    """
    keys = tuple(key.strip() for key in environment.get(KEY, "").split(",") if key.strip())
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise InvalidRequest(f"{KEY} holds signs that no key has", hint="keys are of printable ASCII signs, without line breaks")
    return keys


def read_config(file: str) -> ServerConfig:
    """Return what a configuration file says. Raises InvalidRequest, NameInvalid."""
    try:
        config = msgspec.convert(tomllib.loads(Path(file).read_text(encoding="utf-8")), ServerConfig)
    except OSError as error:
        raise InvalidRequest(
            f"{file} cannot be read: {(error.strerror or 'no such file').lower()}", hint="name the file after --config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        what = str(error).replace("Object", "it", 1).replace("`$.", "`").replace(" - at `$`", "")
        raise InvalidRequest(
            f"{file} is no configuration of a server: {what}", hint="see docs/operate/cluster.md for what it may hold"
        ) from None
    if not config.log:
        raise InvalidRequest(f"{file} names no log server", hint="such as log = ['nats://localhost:4222']")
    if config.role == "node":
        check_name(config.name, of="a node")
        if "." in config.name:
            raise InvalidRequest(f"{config.name!r} cannot be a node's name", hint="leave the dots out")
        if not config.store:
            raise InvalidRequest(
                f"{file} names no store for node {config.name!r}", hint="such as store = '/mnt/paradox', shared by all nodes"
            )
    return config


def written_config(config: ServerConfig) -> str:
    """Return a configuration as TOML."""
    shown = msgspec.to_builtins(config)
    return "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in shown.items())
