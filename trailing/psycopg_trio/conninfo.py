"""Read connection strings without repeating their secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.abc import ConnParam
from psycopg.conninfo import conninfo_to_dict

_SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")


def read_conninfo(conninfo: str, others: Mapping[str, ConnParam] | None = None) -> dict[str, Any]:
    """Return the parameters of a connection string.

    Args:
        conninfo: a connection string or URL, as libpq takes them.
        others: parameters that replace those of the string.

    Raises:
        psycopg.ProgrammingError: the string can't be parsed; or ``/`` or ``@`` stands unescaped in its password, so that
            libpq would take a part of the password for something else. The error repeats nothing of the string.
    """
    scheme, is_url, rest = conninfo.partition("://")
    server, _, behind = rest.partition("/")
    if is_url and re.fullmatch(r"\w+", scheme) and (server.count("@") > 1 or "@" in behind.partition("?")[0]):
        raise psycopg.ProgrammingError(
            "the connection URL has an '@' too many; in a user's name and password, write / as %2F and @ as %40"
        )
    try:
        params = conninfo_to_dict(conninfo, **(others or {}))
    except psycopg.ProgrammingError:
        raise psycopg.ProgrammingError("the connection string can't be parsed; it is not repeated here") from None
    if not re.fullmatch(r"[\d,]*", str(params.get("port", ""))):
        raise psycopg.ProgrammingError("the connection string's port is not a number; it is not repeated here")
    return params


def hide_secrets(text: str, params: Mapping[str, Any]) -> str:
    """Return a text with ``***`` in place of the passwords of the parameters and the environment."""
    for secret in {str(params.get(name) or "") for name in _SECRETS} | {os.environ.get("PGPASSWORD", "")}:
        if secret:
            text = text.replace(secret, "***")
    return text


def describe_server(params: Mapping[str, Any]) -> str:
    """Return the host, port and database of connection parameters, without secrets: ``"db.example:5432/test"``."""
    host, port, database = (str(params.get(name) or "") for name in ("host", "port", "dbname"))
    return hide_secrets(f"{host}{':' if port else ''}{port}/{database}", params)
