"""The files for deploying a bot can be read by the programs that they are for, and their times fit the plan."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from trailing import BotConfig, EntryLimits, Percent, TrailPlan, UsageError, read_config, stop_seconds
from trailing.alerts import AlertRules
from trailing.config.settings import AlertSettings, StoreSettings, VenueSettings, WebSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
LEAST_SECONDS = stop_seconds(TrailPlan(initial_stop=Percent(2)))


def section_fields() -> dict[str, set[str]]:
    """The fields of each section of the configuration, except the plan's."""
    alerts = {*AlertSettings.__dataclass_fields__, *AlertRules.__struct_fields__} - {"rules"}
    return {
        "venue": {*VenueSettings.__struct_fields__} - {"latency"},
        "store": {*StoreSettings.__struct_fields__},
        "entry_limits": {*EntryLimits.__struct_fields__},
        "alerts": alerts,
        "web": {*WebSettings.__struct_fields__},
    }


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the names of systemd are case-sensitive
    parser.read_string((DEPLOY / "trailing.service").read_text())
    return parser


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_the_configuration_is_read() -> None:
    config = read_config(DEPLOY / "trailing.toml")
    assert isinstance(config, BotConfig)
    assert (config.venue.testnet, len(config.plan.rules)) == (True, 2)


@pytest.mark.parametrize("section", section_fields())
def test_the_configuration_shows_every_field_of_a_section(section: str) -> None:
    body = re.split(
        r"^\[+[\w.]+\]+$", (DEPLOY / "trailing.toml").read_text().partition(f"[{section}]\n")[2], flags=re.MULTILINE
    )
    assert set(re.findall(r"^(?:# )?(\w+) = ", body[0], re.MULTILINE)) == section_fields()[section]


def test_a_configuration_with_every_optional_field_is_read(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", (DEPLOY / "trailing.toml").read_text(), flags=re.MULTILINE)
    text = text.replace('name = "bybit"', 'name = "okx"')
    (tmp_path / "trailing.toml").write_text(text)
    for name in ("keys.toml", "alerts.toml", "web-token"):
        (tmp_path / name).touch()
    config = read_config(tmp_path / "trailing.toml")
    assert config.alerts.rules == AlertRules(ignored_alarms=frozenset({"no price of its trigger source"}))


def test_systemd_gives_the_default_plan_its_time_to_end(unit: ConfigParser) -> None:
    assert LEAST_SECONDS == 35.0
    service = unit["Service"]
    assert float(service["TimeoutStopSec"]) >= LEAST_SECONDS
    assert (service["Type"], service["KillSignal"], service["Restart"]) == ("notify", "SIGTERM", "always")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(unit: ConfigParser, tmp_path: Path) -> None:
    text = (DEPLOY / "trailing.service").read_text().replace("/opt/bot/.venv/bin/python", sys.executable)
    (tmp_path / "trailing.service").write_text(text)

    def verify() -> tuple[int, str]:
        command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / "trailing.service")]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return run.returncode, "".join(line for line in run.stderr.splitlines(True) if "trailing.service" in line)

    assert verify() == (0, "")
    (tmp_path / "trailing.service").write_text(text.replace("TimeoutStopSec=60", "TimeoutStopSec=soon"))
    assert "Failed to parse time value" in verify()[1]


def test_compose_has_a_bot_its_store_and_prometheus(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"bot", "postgres", "prometheus"}
    bot, store = services["bot"], services["postgres"]
    assert float(bot["stop_grace_period"].removesuffix("s")) >= LEAST_SECONDS
    assert float(store["stop_grace_period"].removesuffix("s")) >= LEAST_SECONDS
    assert bot["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert bot["environment"]["PGPASSWORD"] == store["environment"]["POSTGRES_PASSWORD"]
    user, host, database = re.split(
        r"[@/]", read_config(DEPLOY / "trailing.toml").store.url.removeprefix("postgresql://")
    )
    assert (user, database) == (store["environment"]["POSTGRES_USER"], store["environment"]["POSTGRES_DB"])
    assert host in services


def test_what_compose_mounts_and_builds_exists(compose: dict[str, Any]) -> None:
    build = compose["services"]["bot"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).is_file()
    volumes = [volume.split(":") for service in compose["services"].values() for volume in service.get("volumes", ())]
    assert {source for source, *_ in volumes if not source.startswith(".")} == set(compose["volumes"])
    files = {source for source, *_ in volumes if source.startswith(".")}
    assert {file for file in files if not (DEPLOY / file).is_file()} == {"./web-token"}  # a secret of the operator
    assert all(volume[2:] == ["ro"] for volume in volumes if volume[0] in files)


def test_no_deploy_file_holds_a_secret(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or value.startswith("${POSTGRES_PASSWORD:?"), name
    assert compose["services"]["bot"]["env_file"] == ["bot.env"]


def test_prometheus_reads_the_bot_of_the_compose_file(compose: dict[str, Any]) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    ((target,),) = (targets["targets"] for targets in job["static_configs"])
    assert target.partition(":")[0] in compose["services"]
    mounted = {volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]}
    assert {job["authorization"]["credentials_file"], "/etc/prometheus/prometheus.yml"} < mounted
    assert {f"/etc/prometheus/{name}" for name in config["rule_files"]} < mounted


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_accepts_its_configuration() -> None:
    command = ["promtool", "check", "config", "--syntax-only", str(DEPLOY / "prometheus.yml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


def test_the_image_runs_the_bot_without_root_and_without_a_shell() -> None:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    steps = [line.split(" ", 1) for line in lines]
    assert {word for word, _ in steps} <= {"FROM", "COPY", "RUN", "ENV", "WORKDIR", "USER", "STOPSIGNAL", "CMD"}
    last = {step[0]: step[1] for step in steps}
    assert (last["USER"], last["STOPSIGNAL"]) == ("bot", "SIGTERM")
    assert json.loads(last["CMD"]) == ["python", "bot.py", "trailing.toml"]
    (extras,) = re.findall(r"/src\[([\w,]+)\]", (DEPLOY / "Dockerfile").read_text())
    assert set(extras.split(",")) <= set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
    copied = [source for word, rest in steps if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]]
    assert len(copied) > 4
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_build_sees_only_what_it_copies() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert {line[1:] for line in lines if line.startswith("!")} == {name for names in copied for name in names.split()}


def test_the_page_shows_the_errors_of_a_wrong_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "howto" / "production.md").read_text()
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    said = []
    for wrong in ("testnett = true", 'testnet = "yes"'):
        Path("trailing.toml").write_text((DEPLOY / "trailing.toml").read_text().replace("testnet = true", wrong, 1))
        with pytest.raises(UsageError) as caught:
            read_config("trailing.toml")
        said.append(f"{caught.value}\n")
    assert "".join(said) == shown


def test_the_pages_state_the_formula_of_the_time_to_end() -> None:
    for name in ("production", "alerts"):
        page = (ROOT / "docs" / "howto" / f"{name}.md").read_text()
        assert re.search(r"is at least 3 \S (?:the plan's )?`cleanup_seconds` \+ 20 s", page), name
    plans = [TrailPlan(initial_stop=Percent(2), cleanup_seconds=seconds) for seconds in (5, 60)]
    assert [stop_seconds(plan) for plan in plans] == [3 * 5 + 20, 3 * 60 + 20]


def start(folder: Path, notify: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DEPLOY / "bot.py"), "trailing.toml"],
        cwd=folder,
        env={**os.environ, "NOTIFY_SOCKET": notify},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_bot_says_that_it_is_ready_and_ends_in_order_after_sigterm(tmp_path: Path) -> None:
    (tmp_path / "trailing.toml").write_text(
        '[venue]\nname = "paper"\n[store]\nurl = "sqlite:///bot.db"\n[plan]\ninitial_stop = "2%"\n'
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        with start(tmp_path, str(tmp_path / "notify")) as process:
            try:
                while systemd.recv(4096) != b"READY=1":
                    pass
                process.send_signal(signal.SIGTERM)
                said, _ = process.communicate(timeout=LEAST_SECONDS)
            finally:
                process.kill()
        assert process.returncode == 0, said
        assert "Traceback" not in said
        systemd.settimeout(0)
        left = [systemd.recv(4096)]
        while left[-1] != b"STOPPING=1":
            left.append(systemd.recv(4096))


def test_the_bot_refuses_a_wrong_configuration_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "trailing.toml").write_text('[venue]\nname = "paper"\n[store]\nurl = "memory:"\n[plan]\nstop = "2%"\n')
    with start(tmp_path, "") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert said.startswith("trailing.toml, line ")
