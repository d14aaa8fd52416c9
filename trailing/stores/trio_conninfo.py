"""Connection strings: reading them so that what is secret in them stays so."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.abc import ConnParam
from psycopg.conninfo import conninfo_to_dict

_SECRET = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")


def read_conninfo(conninfo: str, others: Mapping[str, ConnParam] | None = None) -> dict[str, Any]:
    """The parameters of a connection string.

    Args:
        others: parameters that count instead of the string's.

    Raises:
        psycopg.ProgrammingError: it can't be read, or a part of the password would be read as something else, because
            ``/`` or ``@`` stand in it as they are. It repeats nothing of the string.
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
        raise psycopg.ProgrammingError("the connection string can't be read; it is not repeated here") from None
    if not re.fullmatch(r"[\d,]*", str(params.get("port", ""))):
        raise psycopg.ProgrammingError("the connection string's port is not a number; it is not repeated here")
    return params


def hide_secrets(text: str, params: Mapping[str, Any]) -> str:
    """A text without the passwords that stand in parameters or in the environment, wherever it repeats them."""
    for secret in {str(params.get(name) or "") for name in _SECRET} | {os.environ.get("PGPASSWORD", "")}:
        if secret:
            text = text.replace(secret, "***")
    return text
