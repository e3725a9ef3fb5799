"""A real Prometheus watches a real worker and projector on a real Kafka: silent while all is well, loud for each cause."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from engine.broker import free_port
from engine.stream.clients import Cluster, send_values
from tests.docs.test_prometheus_files import DASHBOARDS, OURS, RULE_FILES, every_rule, expressions
from tests.kafka.deployment import Deployment, purchases, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
PARTITIONS = 2
#: Alerts wait for minutes, so that nobody is woken up by a hiccup; here every cause stays until it was seen.
SOON = "1s"


class Prometheus:
    """A Prometheus of a test's own, with our rules, on a loopback port; a context manager."""

    def __init__(self, folder: Path, targets: dict[str, int], shorter: Mapping[str, str] | None = None) -> None:
        """Watch the ports of these jobs. In ``shorter``: what stands in the rules for what lasts too long for a test."""
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed (Debian package prometheus)")
        self._folder, self._program, self._port = folder, program, free_port()
        for path in RULE_FILES:
            text = re.sub(r"(?m)^( +)(for|interval): \w+$", rf"\1\2: {SOON}", path.read_text(encoding="utf-8"))
            for long, short in (shorter or {}).items():
                text = text.replace(long, short)
            (folder / path.name).write_text(text, encoding="utf-8")
        jobs = [
            {"job_name": f"stammgast-{role}", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for role, port in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [path.name for path in RULE_FILES],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as said:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--storage.tsdb.retention.time=1h",
                ],
                stdout=said,
                stderr=said,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; None while it does not answer."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()[-800:]
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return None

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """The result of a query, now."""
        data = await asyncio.to_thread(self.get, "query", query=query)
        return [] if data is None else data["result"]

    async def value(self, query: str) -> float | None:
        """The one value of a query; None without any."""
        found = await self.ask(query)
        return float(found[0]["value"][1]) if found else None

    async def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {one["metric"]["alertname"] for one in await self.ask('ALERTS{alertstate="firing"}')}

    async def fires(self, alert: str) -> None:
        """Wait until an alert fires."""

        async def now() -> bool:
            return alert in await self.firing()

        await until(f"{alert} fires", now)


@pytest.fixture
def shop(cluster: Cluster, prefix: str) -> Iterator[Deployment]:
    """A deployment of two partitions."""
    with Deployment(cluster, prefix, partitions=PARTITIONS) as shop:
        yield shop


async def test_alerts_fire_for_their_causes_and_are_silent_before(shop: Deployment, tmp_path: Path) -> None:
    """Given a deployment at work, nothing fires; a record in `facts` that is no fact, a burst of events that nobody can read and
    a killed worker are each told by their alert."""
    worker = shop.start()
    await shop.ready(worker)
    projector = shop.project(tmp_path / "t.duckdb")
    await until("the projector is ready", lambda: asyncio.to_thread(lambda: projector.ask("/readyz")[0] == 200))
    targets = {"worker": worker.port, "projector": projector.port}
    with Prometheus(tmp_path, targets) as prometheus:
        await quiet_spell(shop, prometheus)
        await every_metric_is_there(prometheus)

        # when somebody writes to `facts` past intake
        async with shop.cluster.producer() as producer:
            await send_values(producer, shop.topic("facts"), 0, [(b"k", b"not a fact", None, ())])
        await prometheus.fires("StammgastFactQuarantined")

        # and a till sends nonsense
        await shop.publish([b"nonsense"] * 200)
        await prometheus.fires("StammgastRejectsBurst")

        # and the worker is killed
        worker.kill()
        await prometheus.fires("StammgastProcessDown")
        await prometheus.fires("StammgastPartitionsWithoutWorker")
        fired = await prometheus.firing()

    assert fired == {
        "StammgastFactQuarantined",
        "StammgastRejectsBurst",
        "StammgastProcessDown",
        "StammgastPartitionsWithoutWorker",
    }


async def quiet_spell(shop: Deployment, prometheus: Prometheus) -> None:
    """Work without trouble: targets are up, recorded series appear and say what the logs say, and no alert is even pending."""
    count = 0

    async def recorded() -> bool:
        nonlocal count
        await shop.publish(purchases(50, name=f"q{count}-"))
        count += 50
        return (await prometheus.value("stammgast:facts:rate5m") or 0) > 0

    await until("facts are recorded", recorded)
    await shop.decided(count)

    decisions = len(await shop.decisions())

    async def told() -> bool:
        return await prometheus.value("sum(stammgast_decisions_total)") == decisions

    async def none_waits() -> bool:
        return await prometheus.value("stammgast:undecided_facts:sum") == 0

    async def checked() -> bool:
        return bool(await prometheus.value("stammgast_tables_checked_timestamp_seconds"))

    await until("every decision is counted", told)
    await until("the tables were checked", checked)
    await until("no lag is left", none_waits)
    assert await prometheus.value('sum(up{job=~"stammgast-.*"})') == 2
    assert await prometheus.value("stammgast:partitions_open:sum") == PARTITIONS
    assert await prometheus.value("sum(stammgast_audited_members_total)") is not None
    assert await prometheus.ask("count_over_time(ALERTS[10m])") == []


async def every_metric_is_there(prometheus: Prometheus) -> None:
    """What rules and dashboards ask for stands in a real scrape."""
    asked = [text for path in DASHBOARDS for text in expressions(path)] + [rule["expr"] for rule in every_rule()]
    # Of the roles that run here; those of the others are held by tests/kafka/test_alerts.py.
    elsewhere = ("stammgast_deliver_", "stammgast_gateway_")
    wanted = {name for text in asked for name in OURS.findall(text) if not name.startswith(elsewhere)}
    # Recorded once there is an hour of history.
    later = {name for name in wanted if name.endswith(":usual1h")}

    async def all_there() -> bool:
        names = set(await asyncio.to_thread(prometheus.get, "label/__name__/values"))
        return wanted - later <= names

    await until("every metric of rules and dashboards is scraped", all_there)
    for path in DASHBOARDS:
        for text in expressions(path):
            assert await asyncio.to_thread(prometheus.get, "query", query=text) is not None, text
