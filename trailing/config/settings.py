"""Read `trailing.toml`, the configuration of a whole bot. It holds no credentials."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from trailing.config.plans import read_plan
from trailing.config.sections import Section
from trailing.config.toml_files import TomlFile
from trailing.core.model import Percent
from trailing.core.plan import TrailPlan
from trailing.errors import UsageError, suggest
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.opening import check_venue_settings, find_venue
from trailing.exchanges.ccxt.venues import REFUSED, VENUES
from trailing.exchanges.port import escaped
from trailing.protection.waves.entry_limits import EntryLimits
from trailing.stores.urls import check_store_url, has_password
from trailing.web.addresses import BIND, parse_bind

if TYPE_CHECKING:
    from trailing.alerts import AlertRules, AlertTargets

PAPER: Final = "paper"

_SECTIONS: Final = ("venue", "store", "plan", "entry_limits", "alerts", "web")
_NEEDED: Final = ("venue", "store", "plan")
_PAPER_FIELDS: Final = ("name", "account", "latency")
_VENUE_FIELDS: Final = (
    *("name", "account", "testnet", "allow_unverified", "margin_mode", "credentials_file", "credentials_table"),
)
_KEYS: Final = frozenset(
    {
        *("credentials", "api_key", "apikey", "secret", "api_secret", "secret_key", "private_key"),
        *("password", "passphrase", "pgpassword", "token", "bot_token", "trailing_api_key", "trailing_secret"),
        "trailing_password",
    }
)
_ADDRESSES: Final = frozenset({"channels", "heartbeat", "webhook", "urls", "trailing_alerts", "trailing_heartbeat"})


class VenueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The section `venue`: the account, and where its keys are.

    Args:
        name: ``"paper"``, or a venue of `open_ccxt`.
        account, testnet, allow_unverified, margin_mode: as for `open_ccxt`.
        latency: seconds of a request to the paper exchange.
        credentials_file: a private file with the keys; None: they are in the environment.
        credentials_table: the table of that file; None: the top level.
    """

    name: str
    account: str = "default"
    testnet: bool = False
    allow_unverified: bool = False
    margin_mode: Literal["cross", "isolated"] | None = None
    latency: float = 0.0
    credentials_file: Path | None = None
    credentials_table: str | None = None

    def credentials(self) -> Credentials | None:
        """Read the keys from the private file or from the environment. The paper exchange has none.

        Raises:
            UsageError: the keys are missing, or other users can read the file. The message shows no key.
        """
        if self.name == PAPER:
            return None
        if self.credentials_file is None:
            return Credentials.from_environment()
        return Credentials.from_file(self.credentials_file, self.credentials_table)


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The section `store`.

    Args:
        url: as for `open_store`, without a password. A relative path is relative to the working directory of the bot.
        standby: as for `open_manager`.
    """

    url: str
    standby: bool = False


@dataclass(frozen=True, kw_only=True)  # msgspec would look up `AlertRules`, which is imported only when it is used
class AlertSettings:
    """The section `alerts`: when an alert fires, and where the addresses are.

    Args:
        file: a private file with the addresses; None: they are in the environment.
        table: the table of that file; None: the top level.
        rules: when an alert fires.
    """

    file: Path | None
    table: str | None
    rules: AlertRules

    def targets(self) -> AlertTargets:
        """Read the addresses from the private file or from the environment.

        Raises:
            UsageError: an address can't be used, or other users can read the file. The message shows no address.
        """
        from trailing.alerts import AlertTargets  # noqa: PLC0415 - `import trailing` need not wait for it

        return AlertTargets.from_environment() if self.file is None else AlertTargets.from_file(self.file, self.table)


class WebSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The section `web`: the read-only page and the metrics. A file without it serves none.

    Args:
        bind: ``"HOST:PORT"``; port 0 takes a free one.
        hosts: further names of the page, as behind a proxy.
        token_file: a private file with the token; None: it is in ``TRAILING_WEB_TOKEN``, if there is one.
    """

    bind: str = BIND
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None

    def token(self) -> str | None:
        """Read the token from the private file or from the environment; None: there is none.

        Raises:
            UsageError: the token is missing, too short, or other users can read the file. The message does not show it.
        """
        from trailing.web.access import check_token  # noqa: PLC0415 - as above
        from trailing.web.tokens import find_token  # noqa: PLC0415 - as above

        token = find_token(self.token_file)
        check_token(parse_bind(self.bind)[0], token)
        return token


class BotConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a bot. `read_config` reads it.

    Args:
        venue, store, alerts: the sections of these names.
        plan: the plan of the manager.
        entry_limits: the most that the bot enters.
        web: the section of this name; None: the file has none.
    """

    venue: VenueSettings
    store: StoreSettings
    plan: TrailPlan
    entry_limits: EntryLimits
    alerts: AlertSettings
    web: WebSettings | None = None


def read_config(path: str | os.PathLike[str]) -> BotConfig:
    """Read the configuration of a bot, and check it without opening anything.

    Args:
        path: a TOML file. Paths of credentials and alerts in it are relative to its folder.

    Raises:
        UsageError: the file can't be read, has a wrong or an unknown field, or a credential. The message is one line that
            names the file, the line, the field and the value. It never shows a credential.
    """
    file = TomlFile(Path(path), "a configuration")
    _refuse_credentials(file, file.data, ())
    for name in file.data:
        if name not in _SECTIONS:
            hint = suggest(name, _SECTIONS)
            known = ", ".join(_SECTIONS)
            raise file.error(file.line([name]), f"the section {name!r} is unknown; known sections: {known}.{hint}")
    for name in _NEEDED:
        if name not in file.data:
            raise file.error(None, f"the section [{name}] is missing")
    Section(file, "plan")
    return BotConfig(
        venue=_read_venue(file),
        store=_read_store(file),
        plan=read_plan(file, "plan"),
        entry_limits=_read_entry_limits(file),
        alerts=_read_alerts(file),
        web=_read_web(file) if "web" in file.data else None,
    )


def _refuse_credentials(file: TomlFile, value: Any, names: tuple[str, ...]) -> None:
    """Refuse every field whose name says that it is a credential, without its value."""
    if isinstance(value, list):
        for each in value:
            _refuse_credentials(file, each, names)
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        plain, inside = key.lower().replace("-", "_"), (*names, key)
        shown = escaped(".".join(inside), 200)
        if plain in _KEYS:
            wants = "set TRAILING_API_KEY and TRAILING_SECRET, or name a private file with venue.credentials_file"
            raise file.error(file.line(inside), f"{shown} is a credential, and this file must hold none: {wants}")
        if plain in _ADDRESSES:
            wants = "set TRAILING_ALERTS and TRAILING_HEARTBEAT, or name a private file with alerts.file"
            raise file.error(file.line(inside), f"{shown} is a credential, and this file must hold none: {wants}")
        _refuse_credentials(file, inner, inside)


def _read_venue(file: TomlFile) -> VenueSettings:
    section = Section(file, "venue")
    name = section.text("name")
    if name is None:
        raise section.missing("name")
    if name == PAPER:
        section.check_fields(_PAPER_FIELDS, "the paper exchange")
        return VenueSettings(
            name=name, account=section.text("account") or "default", latency=section.seconds("latency", 0.0)
        )
    if name not in VENUES and name not in REFUSED:
        known = (PAPER, *VENUES)
        raise section.refuse("name", name, f"one of {', '.join(map(repr, known))}", suggest(name, known))
    section.check_fields(_VENUE_FIELDS)
    found = VenueSettings(
        name=name,
        account=section.text("account") or "default",
        testnet=section.flag("testnet"),
        allow_unverified=section.flag("allow_unverified"),
        margin_mode=section.text("margin_mode"),  # type: ignore[arg-type]  # it is checked below
        credentials_file=section.path("credentials_file"),
        credentials_table=section.text("credentials_table"),
    )
    if found.credentials_table is not None and found.credentials_file is None:
        raise section.error("credentials_table", "venue.credentials_table needs venue.credentials_file")
    try:
        row = find_venue(name, allow_unverified=found.allow_unverified)
        check_venue_settings(row, account=found.account, testnet=found.testnet, margin_mode=found.margin_mode)
    except UsageError as error:
        message = str(error).replace("allow_unverified=True", "allow_unverified = true").removeprefix("venue ")
        field = next((field for field in ("testnet", "margin_mode") if message.startswith(field)), "name")
        message = message.removeprefix(field).removeprefix("=True").removeprefix(":").strip()
        raise section.error(field, f"venue.{field} {message}") from None
    return found


def _read_store(file: TomlFile) -> StoreSettings:
    section = Section(file, "store", ("url", "standby"))
    url = section.text("url")
    if url is None:
        raise section.missing("url")
    try:
        check_store_url(url)
    except UsageError as error:
        raise section.error("url", str(error).replace("open_store", "store.url", 1)) from None
    if has_password(url):
        raise section.error(
            "url", "store.url contains a password, and this file must hold none: set PGPASSWORD, or use ~/.pgpass"
        )
    return StoreSettings(url=url, standby=section.flag("standby"))


def _read_entry_limits(file: TomlFile) -> EntryLimits:
    section = Section(file, "entry_limits", EntryLimits.__struct_fields__)
    fields = dict(section.table)
    for name in ("max_notional_per_wave", "max_leverage"):
        fields[name] = section.money(name)
    slippage = section.text("max_slippage")
    if slippage is not None:
        try:
            fields["max_slippage"] = Percent(slippage.removesuffix("%").strip())
        except UsageError:
            raise section.refuse("max_slippage", slippage, "a percentage as text, such as '0.5%'") from None
    return section.build("EntryLimits", lambda: EntryLimits(**fields))


def _read_alerts(file: TomlFile) -> AlertSettings:
    from trailing.alerts import AlertRules  # noqa: PLC0415 - as above

    rules = AlertRules.__struct_fields__
    section = Section(file, "alerts", ("file", "table", *rules))
    fields = {name: section.table[name] for name in rules if name in section.table}
    if "ignored_alarms" in fields:
        fields["ignored_alarms"] = frozenset(section.texts("ignored_alarms"))
    path, table = section.path("file"), section.text("table")
    if table is not None and path is None:
        raise section.error("table", "alerts.table needs alerts.file")
    return AlertSettings(file=path, table=table, rules=section.build("AlertRules", lambda: AlertRules(**fields)))


def _read_web(file: TomlFile) -> WebSettings:
    section = Section(file, "web", ("bind", "hosts", "token_file"))
    bind = section.text("bind") or BIND
    try:
        parse_bind(bind)
    except UsageError as error:
        raise section.error("bind", f"web.{error}") from None
    return WebSettings(bind=bind, hosts=tuple(section.texts("hosts")), token_file=section.path("token_file"))
