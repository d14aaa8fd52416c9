"""The alert rules of the docs are right, and a real Prometheus reads the metrics."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from browser import started

from trailing.web.catalogue import METRICS, table

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "prometheus"
RULES = (FOLDER / "trailing.rules.yml").read_text()

PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
NOT_INSTALLED = "Prometheus is not installed: apt install prometheus"

FIRES = """
rule_files: [{rules}]
evaluation_interval: 5s
tests:
  - interval: 5s
    input_series:
      - series: trailing_unprotected_longest_seconds
        values: 0 5 10 15 20 25 30 35 40 0
    alert_rule_test:
      - {{eval_time: 30s, alertname: TrailingPositionUnprotected, exp_alerts: []}}
      - eval_time: 35s
        alertname: TrailingPositionUnprotected
        exp_alerts:
          - exp_labels: {{severity: critical}}
            exp_annotations:
              summary: A position has had no live stop for more than 30 s.
              description: 35s without a stop. The page of the bot says which position, and why.
      - {{eval_time: 45s, alertname: TrailingPositionUnprotected, exp_alerts: []}}
  - interval: 5s
    input_series:
      - series: trailing_stream_connected
        values: 1 0x7 1x10
    alert_rule_test:
      - {{eval_time: 30s, alertname: TrailingStreamLost, exp_alerts: []}}
      - eval_time: 40s
        alertname: TrailingStreamLost
        exp_alerts:
          - exp_labels: {{severity: warning}}
            exp_annotations:
              summary: The exchange's stream has been lost for 30 s.
              description: No price arrives, so that no stop is moved. The bot connects again by itself.
      - {{eval_time: 60s, alertname: TrailingStreamLost, exp_alerts: []}}
"""


def test_the_rules_name_only_metrics_and_labels_of_the_catalogue() -> None:
    expressions = re.findall(r"^ +expr: (.*)$", RULES, re.MULTILINE)
    assert len(expressions) == len(re.findall(r"- alert: ", RULES)) >= 9
    for expression in expressions:
        names = re.findall(r"trailing_\w+", expression)
        assert names or expression.startswith("up{")
        for name in names:
            assert name in METRICS, expression
            for label in re.findall(rf"{name}{{(\w+)", expression):
                assert label in METRICS[name].labels, expression


def test_every_rule_says_what_happened_and_how_bad_it_is() -> None:
    for rule in RULES.split("- alert: ")[1:]:
        assert re.search(r"labels: \{severity: (critical|warning)\}", rule), rule
        assert "summary: " in rule
        assert "description: " in rule


def test_the_table_of_the_docs_comes_from_the_catalogue() -> None:
    page = (DOCS / "reference" / "metrics.md").read_text()
    assert "{include} ../_build/generated/metrics.md" in page
    assert "metric_rows.write" in (DOCS / "conf.py").read_text()
    assert len(table().splitlines()) == len(METRICS) + 2


@pytest.mark.skipif(PROMTOOL is None, reason=NOT_INSTALLED)
def test_promtool_accepts_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    for words in (("check", "rules", "trailing.rules.yml"), ("check", "config", "prometheus.yml")):
        done = subprocess.run([PROMTOOL, *words], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    cases = tmp_path / "cases.yml"
    cases.write_text(FIRES.format(rules=FOLDER / "trailing.rules.yml"))
    done = subprocess.run([PROMTOOL, "test", "rules", str(cases)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason=NOT_INSTALLED)
def test_a_real_prometheus_reads_the_metrics_of_a_bot(tmp_path: Path) -> None:
    assert PROMETHEUS is not None
    with started() as bot:
        bot.tell("protect", symbols=["BTC/USDT:USDT", "ETH/USDT:USDT"])
        config = (FOLDER / "prometheus.yml").read_text().replace("5s", "1s").replace("8787", str(bot.port))
        (tmp_path / "prometheus.yml").write_text(config)
        shutil.copy(FOLDER / "trailing.rules.yml", tmp_path)
        port = free_port()
        command = [
            PROMETHEUS,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                assert value(port, 'sum(trailing_positions{state="waiting"})') == 2
                assert value(port, "trailing_lease_held") == 1
                assert value(port, "trailing_time_to_protect_seconds_count") == 2
                assert value(port, 'trailing_request_seconds_count{operation="place_stop"}') == 2
                assert value(port, "scrape_samples_scraped") > 100
            finally:
                server.kill()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def value(port: int, query: str) -> float:
    """The value of a query, once Prometheus has one."""
    give_up_at = time.monotonic() + 30
    url = f"http://127.0.0.1:{port}/api/v1/query?query={query.replace('{', '%7B').replace('}', '%7D').replace(chr(34), '%22')}"
    while time.monotonic() < give_up_at:
        try:
            with urlopen(url, timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
            if result:
                return float(result[0]["value"][1])
        except OSError:
            pass  # it is still starting
        time.sleep(0.2)
    raise AssertionError(f"Prometheus has no value of {query}")
