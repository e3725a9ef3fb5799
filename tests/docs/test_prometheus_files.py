"""Rules, alerts and dashboards: expressions read and name metrics that exist; every alert fires and leads somewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.deliver.metrics import DeliverMetrics
from engine.gateway.metrics import GatewayMetrics
from engine.telemetry import Metrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RULE_FILES = sorted(FOLDER.glob("*.rules.yml"))
TEST_FILES = sorted(FOLDER.glob("*.test.yml"))
OURS = re.compile(r"\bstammgast[_:][a-z0-9_:]*[a-z0-9]")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool, or skip where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    return subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False)


def rules(path: Path) -> list[dict[str, Any]]:
    """The rules of a file, all groups."""
    return [rule for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def every_rule() -> list[dict[str, Any]]:
    """Every rule there is."""
    return [rule for path in RULE_FILES for rule in rules(path)]


def alerts() -> list[dict[str, Any]]:
    """Every alert there is."""
    return [rule for rule in every_rule() if "alert" in rule]


def panels(path: Path) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard that show something."""
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        if panel["type"] != "row":
            yield panel


def expressions(path: Path) -> list[str]:
    """What a dashboard asks Prometheus."""
    return [target["expr"] for panel in panels(path) for target in panel["targets"]]


def known_metrics() -> set[str]:
    """Every series that a role of ours exposes, by its declaration, and every recorded one."""
    metrics = Metrics(with_process=False)
    metrics.tell_members()
    metrics.tell_tables()
    DeliverMetrics(metrics.registry)
    GatewayMetrics(metrics.registry)
    exposed = {family.name + suffix for family in metrics.registry.collect() for suffix in SUFFIXES[family.type]}
    return exposed | {rule["record"] for rule in every_rule() if "record" in rule}


def unknown_in(texts: Iterable[str]) -> set[str]:
    """Names of ours in expressions that nobody exposes."""
    return {name for text in texts for name in OURS.findall(text)} - known_metrics()


def anchors(markdown: str) -> set[str]:
    """The anchors that the headings of a page get."""
    titles = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_every_alert_fires_for_its_cause_and_none_in_quiet_hours(path: Path) -> None:
    """`promtool test rules` passes."""
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    """No alert is without a test, and no test is about an alert that is gone."""
    # when
    text = "\n".join(path.read_text(encoding="utf-8") for path in TEST_FILES)
    fired = set(re.findall(r"labels: .*alertname=\"(\w+)\"", text))

    # then
    assert TEST_FILES
    assert fired == {alert["alert"] for alert in alerts()}


def test_every_alert_has_its_cause_caused() -> None:
    """On a running deployment, with a real Prometheus; most with STAMMGAST_TEST_FULL=1."""
    kafka = ROOT / "tests" / "kafka"
    tried = "".join((kafka / name).read_text(encoding="utf-8") for name in ("test_prometheus.py", "test_alerts.py"))
    assert [alert["alert"] for alert in alerts() if f'"{alert["alert"]}"' not in tried] == []


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do(alert: dict[str, Any]) -> None:
    """Severity, a summary and a description in words, and a runbook that is there."""
    # given
    page, _, anchor = alert["annotations"]["runbook"].partition("#")

    # then
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert len(alert["annotations"]["summary"]) >= 20
    assert len(alert["annotations"]["description"]) >= 20
    assert anchor in anchors((ROOT / page).read_text(encoding="utf-8"))


def test_rules_name_only_metrics_that_exist() -> None:
    """A metric that was renamed takes its rules along."""
    assert unknown_in(rule["expr"] for rule in every_rule()) == set()
    assert unknown_in(['rate(stammgast_coffee_total{rule="x"}[5m])']) == {"stammgast_coffee_total"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_asks_only_what_prometheus_can_answer(path: Path, tmp_path: Path) -> None:
    """Every expression parses and names metrics that exist; every panel says what it shows, and none lies on another."""
    # given
    asked = expressions(path)
    written = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": written}]}))
    taken = {
        (x, y)
        for panel in panels(path)
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }

    # when
    done = promtool("check", "rules", str(tmp_path / "rules.yml"))

    # then
    assert asked
    assert done.returncode == 0, done.stdout + done.stderr
    assert unknown_in(asked) == set()
    assert all(panel["title"] and panel["description"] for panel in panels(path))
    assert len(taken) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels(path))


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    """The panels name the data source that is provisioned, and identifiers are not shared."""
    # given
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))["datasources"][0]
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]

    # then
    assert len(boards) == 2
    assert len({board["uid"] for board in boards}) == len(boards)
    for path in DASHBOARDS:
        assert {target["datasource"]["uid"] for panel in panels(path) for target in panel["targets"]} == {source["uid"]}
