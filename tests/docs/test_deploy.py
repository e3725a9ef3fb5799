"""Compose file, image and Prometheus configuration fit the code. No engine runs here, so nothing is built: it is all read."""

import itertools
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from engine.cli import VERBS, load, main

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.kafka.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
OURS = ("topics", "worker", "projector", "console", "readers", "deliver", "gateway")
#: They read the projector's file.
OF_A_FILE = ("console", "readers")
LOOPBACK_PORT = re.compile(r"127\.0\.0\.1:\d{1,5}:\d{1,5}")


def compose() -> dict[str, Any]:
    """The compose file, anchors resolved."""
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return parsed


def compose_schema() -> dict[str, Any]:
    """The part of the Compose Specification's schema that the file uses; any other key is an error."""
    parsed: dict[str, Any] = json.loads((Path(__file__).parent / "compose.schema.json").read_text(encoding="utf-8"))
    return parsed


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) of a Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", dockerfile)
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def command_findings(words: list[str]) -> list[str]:
    """What is wrong with a command line of ours: unknown verb, unknown option, option without value, missing option."""
    if words[0] not in VERBS:
        return [f"no verb {words[0]}"]
    command, rest = load(words[0], VERBS[words[0]]), words[1:]
    while isinstance(command, click.Group) and not (command.invoke_without_command and rest[0].startswith("--")):
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return [f"{command.name} has no {rest[0]}"]
        command, rest = found, rest[1:]
    flags = {flag: param for param in command.params if isinstance(param, click.Option) for flag in param.opts}
    given = [word for word in rest if word.startswith("--")]
    findings = [f"{command.name} has no {flag}" for flag in given if flag not in flags]
    for flag, word in itertools.pairwise([*rest, "--"]):
        if flag in flags and not flags[flag].is_flag and word.startswith("--"):
            findings.append(f"{flag} has no value")
    needed = [param for param in set(flags.values()) if param.required and not set(param.opts) & set(given)]
    return findings + [f"{command.name} needs {param.opts[0]}" for param in needed]


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """(source, path inside) of a service's volumes."""
    parts = [str(volume).split(":") for volume in service.get("volumes", [])]
    return [(part[0], part[1]) for part in parts]


def test_the_compose_file_has_only_keys_that_compose_knows() -> None:
    """Every key and value has the form of the Compose Specification."""
    jsonschema.validate(compose(), compose_schema())


@pytest.mark.parametrize(
    "change",
    [
        {"services": {"kafka": {"image": "x", "port": ["127.0.0.1:1:1"]}}},
        {"services": {"kafka": {"image": "x", "ports": ["9092:9092:9092:1"]}}},
        {"services": {"kafka": {"image": "x", "depends_on": {"a": {"condition": "healthy"}}}}},
        {"services": {}, "service": {}},
    ],
)
def test_a_wrong_compose_file_is_found(change: dict[str, Any]) -> None:
    """Unknown keys, malformed ports and unknown conditions do not pass."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(change, compose_schema())


@pytest.mark.parametrize("service", OURS)
def test_every_command_of_ours_is_a_verb_with_options_it_has(service: str) -> None:
    """What a container runs is what `stammgast` understands, with all that it requires."""
    assert command_findings(compose()["services"][service]["command"]) == []


@pytest.mark.parametrize(
    "words",
    [
        ["walker", "--bootstrap", "kafka:1"],
        ["topics", "destroy"],
        ["topics", "create", "--bootstrap"],
        ["topics", "create", "--bootstrap", "kafka:1", "--colour", "red"],
        ["topics", "create"],
    ],
)
def test_a_wrong_command_is_found(words: list[str]) -> None:
    """Unknown verbs and options, missing values and missing options do not pass."""
    assert command_findings(words)


def test_nothing_is_published_beyond_this_machine() -> None:
    """Every published port is bound to 127.0.0.1."""
    # when
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]

    # then
    assert ports
    assert [port for port in ports if not LOOPBACK_PORT.fullmatch(port)] == []


def test_services_wait_for_services_that_exist_and_can_be_waited_for() -> None:
    """`service_healthy` names a service with a health check, `service_completed_successfully` one that ends."""
    # given
    services = compose()["services"]

    # then
    for name, service in services.items():
        wanted = service.get("depends_on", {})
        conditions = wanted if isinstance(wanted, dict) else {other: {} for other in wanted}
        for other, how in conditions.items():
            assert other in services, f"{name} waits for {other}"
            if how.get("condition") == "service_healthy":
                assert "healthcheck" in services[other]
            if how.get("condition") == "service_completed_successfully":
                assert services[other]["restart"] == "no"


def test_everybody_talks_to_an_address_that_kafka_advertises() -> None:
    """Inside, --bootstrap is the inner listener; outside, the published port is the one that Kafka tells clients."""
    # given
    services = compose()["services"]
    advertised = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    listeners = services["kafka"]["environment"]["KAFKA_LISTENERS"]
    inner, outer = re.findall(r"INSIDE://([\w.:]+)", advertised)[0], re.findall(r"HOST://([\w.:]+)", advertised)[0]

    # then
    for name in set(OURS) - set(OF_A_FILE):
        words = services[name]["command"]
        assert words[words.index("--bootstrap") + 1] == inner
    assert f"INSIDE://:{inner.split(':')[1]}" in listeners
    assert services["kafka"]["ports"] == [f"127.0.0.1:{outer.split(':')[1]}:{outer.split(':')[1]}"]
    assert inner.split(":")[0] in services
    assert f"localhost:{inner.split(':')[1]}" in services["kafka"]["healthcheck"]["test"]


def test_files_that_are_mounted_exist_and_named_volumes_are_declared() -> None:
    """A bind mount names something in the repository; a volume stands under `volumes`."""
    # given
    parsed = compose()

    # then
    for name, service in parsed["services"].items():
        for source, inside in mounts(service):
            there = (ROOT / source).exists() if source.startswith(".") else source in parsed["volumes"]
            assert there, f"{name}: {source}"
            assert inside.startswith("/")
    assert parsed["x-role"]["build"]["dockerfile"] == str(DOCKERFILE.relative_to(ROOT))


def test_paths_that_commands_name_are_mounted() -> None:
    """The programme's folder and the folder of the DuckDB file are mounts; the image lets its user write to the latter."""
    # given
    services = compose()["services"]
    worker, projector = services["worker"]["command"], services["projector"]["command"]

    # when
    programme = worker[worker.index("--programme") + 1]
    folder = str(Path(projector[projector.index("--db") + 1]).parent)

    # then
    assert programme in [inside for _, inside in mounts(services["worker"])]
    assert folder in [inside for _, inside in mounts(services["projector"])]
    assert f"--owner 10001 --group 10001 --mode 0750 {folder}" in DOCKERFILE.read_text(encoding="utf-8")


def test_the_gateway_is_there_when_it_is_asked_for(tmp_path: Path) -> None:
    """Its key file lies on a volume, the command that makes a key makes one, and its own port is the one that is published."""
    # given
    service, text = compose()["services"]["gateway"], COMPOSE.read_text(encoding="utf-8")
    words = service["command"]
    (making,) = [found.split() for found in re.findall(r"run --rm --no-deps gateway (gateway .+)", text)]

    # then
    assert service["profiles"] == ["gateway"]
    keys = words[words.index("--keys") + 1]
    assert keys == making[making.index("--keys") + 1]
    made = CliRunner().invoke(main, [str(tmp_path / "keys.yaml") if word == keys else word for word in making])
    assert (made.exit_code, (tmp_path / "keys.yaml").exists()) == (0, True), made.output
    assert str(Path(keys).parent) in [inside for _, inside in mounts(service)]
    port = words[words.index("--port") + 1]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert words[words.index("--host") + 1] == "0.0.0.0"  # noqa: S104  inside the compose network
    assert f"127.0.0.1:{words[words.index('--metrics-port') + 1]}/readyz" in service["healthcheck"]["test"][-1]


def after(words: list[str], flag: str) -> str:
    """The value of an option on a command line."""
    return words[words.index(flag) + 1]


@pytest.mark.parametrize(("name", "flag"), [("console", "--console-port"), ("readers", "--readers-port")])
def test_readers_of_the_file_ask_the_projectors_file(name: str, flag: str) -> None:
    """The same file on the same volume, copies beside it, and the port that is published is the one that they listen on."""
    services = compose()["services"]
    service, projector = services[name], services["projector"]
    words = service["command"]
    assert after(words, "--db") == after(projector["command"], "--db")
    assert service["volumes"] == projector["volumes"]
    assert after(words, "--datadir") in [inside for _, inside in mounts(service)]
    assert service["ports"] == [f"127.0.0.1:{after(words, flag)}:{after(words, flag)}"]
    assert service["depends_on"] == {"projector": {"condition": "service_healthy"}}


def test_the_reader_that_the_comment_adds_is_one_that_the_server_knows(tmp_path: Path) -> None:
    """The command makes the file that the service reads, and it is mounted."""
    service, text = compose()["services"]["readers"], COMPOSE.read_text(encoding="utf-8")
    (making,) = [found.split() for found in re.findall(r"run --rm --no-deps readers (readers add .+)", text)]
    book = after(service["command"], "--readers")
    assert after(making, "--readers") == book
    assert str(Path(book).parent) in [inside for _, inside in mounts(service)]
    made = CliRunner().invoke(main, [str(tmp_path / "readers.yaml") if word == book else word for word in making])
    assert (made.exit_code, (tmp_path / "readers.yaml").exists()) == (0, True), made.output


def test_notices_go_out_by_the_file_that_is_mounted(tmp_path: Path) -> None:
    """Given the secret that the comment makes, `deliver check` finds nothing wrong with the configuration."""
    service, text = compose()["services"]["deliver"], COMPOSE.read_text(encoding="utf-8")
    (making,) = re.findall(r"(\(printf whsec_; .+\)) > (deploy/deliver/\S+)", text)
    ((folder, inside),) = mounts(service)
    assert after(service["command"], "--config") == f"{inside}/deliver.yaml"
    shutil.copy(ROOT / folder / "deliver.yaml", tmp_path)
    secret = subprocess.run(["sh", "-c", making[0]], capture_output=True, text=True, check=True).stdout
    (tmp_path / Path(making[1]).name).write_text(secret)
    checked = CliRunner().invoke(main, ["deliver", "check", "--config", str(tmp_path / "deliver.yaml")])
    assert checked.exit_code == 0, checked.output


def scraped() -> dict[str, tuple[str, bool]]:
    """Of every service that Prometheus asks: its port, and whether it may be absent."""
    found: dict[str, tuple[str, bool]] = {}
    for job in yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))["scrape_configs"]:
        places = [(target, False) for block in job.get("static_configs", []) for target in block["targets"]]
        for block in job.get("dns_sd_configs", []):
            places += [(f"{name}:{block['port']}", True) for name in block["names"]]
        for place, absent in places:
            name, port = place.split(":")
            assert job["job_name"] == f"stammgast-{name}"
            found[name] = port, absent
    return found


def test_prometheus_scrapes_the_ports_that_the_roles_open() -> None:
    """Every role that tells about itself is asked at the port of its --metrics-port, as its health check does; what is started
    with a profile alone may be absent."""
    # given
    services = compose()["services"]

    # when
    asked = scraped()

    # then
    assert set(asked) == set(OURS) - {"topics"}
    for name, (port, absent) in asked.items():
        words = services[name]["command"]
        assert after(words, "--metrics-port") == port
        assert after(words, "--metrics-host") == "0.0.0.0"  # noqa: S104  inside the compose network
        assert f"127.0.0.1:{port}/readyz" in services[name]["healthcheck"]["test"][-1]
        assert absent == ("profiles" in services[name])


def test_promtool_accepts_the_configuration() -> None:
    """`promtool check config` has nothing to say against deploy/prometheus/prometheus.yml."""
    # given
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")

    # when
    checked = subprocess.run(
        [promtool, "check", "config", str(PROMETHEUS)], capture_output=True, text=True, check=False
    )

    # then
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_image_is_made_of_what_is_there() -> None:
    """Every COPY names files of the repository that the build context lets in, and all packages are copied."""
    # given
    lines = instructions(DOCKERFILE.read_text(encoding="utf-8"))
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    let_in = set(re.findall(r"^!(\S+)$", ignore, flags=re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    # when
    copied = [name for word, rest in lines if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]

    # then
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert set(copied) == let_in
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(copied)


def test_the_image_runs_as_nobody_special_with_a_supported_python() -> None:
    """The last USER is a number that is not 0, the entry point our command, the base a Python that pyproject allows."""
    # given
    lines = instructions(DOCKERFILE.read_text(encoding="utf-8"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]

    # when
    user = [rest for word, rest in lines if word == "USER"][-1]
    entry = json.loads([rest for word, rest in lines if word == "ENTRYPOINT"][-1])
    bases = {rest.split()[0] for word, rest in lines if word == "FROM"}

    # then
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert entry == ["stammgast"]
    assert set(entry) <= set(scripts)
    assert bases == {"python:3.11-slim"}


def test_the_image_installs_from_the_lock_and_keeps_no_developer_tools() -> None:
    """Hashes are required, and every tool of the extras is taken out again."""
    # given
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text(encoding="utf-8"))
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    tools = {re.split(r"[<>=]", dependency)[0] for dependency in extra["dev"] + extra["compile"]}

    # then
    assert "--require-hashes --requirement requirements.lock" in text
    removed = set(re.findall(r"uninstall --quiet --yes ([\w\- ]+?) &&", text)[0].split())
    assert removed == tools


def test_the_documents_say_that_the_image_was_not_built_here() -> None:
    """Whoever reads the compose file or README.md is told what was not tried."""
    # then
    assert "Not built or run" in COMPOSE.read_text(encoding="utf-8")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert re.search(r"(not|never) (been )?(built|run)", readme), "README.md does not say that the image was not built"
