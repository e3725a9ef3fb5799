"""The Kubernetes manifests have the form of its API and fit the code. No cluster runs here, so they are read, not applied."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from engine.settings import SETTINGS
from tests.docs.test_deploy import command_findings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMAS = json.loads((Path(__file__).parent / "kubernetes.schema.json").read_text(encoding="utf-8"))["kinds"]
Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    """Every object of every file."""
    return [one for path in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text("utf-8"))]


def named(manifest: Manifest) -> str:
    """Kind and name."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def validate(manifest: Manifest) -> None:
    """Errors: jsonschema.ValidationError, KeyError for a kind that is not in the schema."""
    jsonschema.validate(manifest, SCHEMAS[f"{manifest['apiVersion']}/{manifest['kind']}"])


def pods() -> list[tuple[str, Manifest]]:
    """(owner, pod specification) of everything that runs pods."""
    found = []
    for one in manifests():
        template = one.get("spec", {}).get("template")
        if template:
            found.append((named(one), template["spec"]))
    return found


@pytest.mark.parametrize("manifest", manifests(), ids=named)
def test_a_manifest_has_the_form_of_the_api(manifest: Manifest) -> None:
    """Every key and value is one that Kubernetes knows."""
    validate(manifest)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda one: one["spec"].update(replica=2),
        lambda one: one["spec"].update(replicas="two"),
        lambda one: one["spec"]["template"]["spec"]["containers"][0].update(resource={}),
        lambda one: one["spec"].pop("selector"),
    ],
)
def test_a_wrong_manifest_is_found(break_it: Callable[[Manifest], Any]) -> None:
    """Unknown keys, wrong types and missing parts do not pass."""
    # given
    worker = copy.deepcopy(next(one for one in manifests() if named(one) == "StatefulSet/worker"))

    # when
    break_it(worker)

    # then
    with pytest.raises(jsonschema.ValidationError):
        validate(worker)


@pytest.mark.parametrize(("owner", "pod"), pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_container_runs_a_command_of_ours(owner: str, pod: Manifest) -> None:
    """Verb and options exist; what a command requires comes as an argument or from the shared settings."""
    # given
    shared = next(one for one in manifests() if named(one) == "ConfigMap/stammgast")["data"]
    known = {setting.env: setting.flag for setting in SETTINGS}

    # then
    for container in pod["containers"]:
        words = [part for word in container["args"] for part in word.split("=", 1)]
        if "envFrom" in container:
            words += ["--bootstrap", shared["STAMMGAST_BOOTSTRAP"]]
        assert command_findings(words) == [], owner
        assert {variable["name"] for variable in container["env"]} <= set(known)
    assert set(shared) <= set(known)


@pytest.mark.parametrize(("owner", "pod"), pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_pod_may_do_nothing_that_it_does_not_need(owner: str, pod: Manifest) -> None:
    """Not root, no writable root, no capabilities, no token; memory is bounded; secrets are files."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}
        assert "cpu" not in container["resources"]["limits"]
        looked_up = [variable["valueFrom"] for variable in container["env"] if "valueFrom" in variable]
        assert all(set(one) == {"fieldRef"} for one in looked_up), "a secret is a file, never a variable"
        assert not any("PASSWORD" in variable["name"] for variable in container["env"]), owner


def test_a_worker_keeps_its_name_in_the_group_for_as_long_as_a_pod_takes_to_come_back() -> None:
    """Static membership by the pod's name, and a session that is longer than it may take to stop."""
    (worker,) = [pod for owner, pod in pods() if owner == "StatefulSet/worker"]
    env = {variable["name"]: variable for variable in worker["containers"][0]["env"]}
    assert env["STAMMGAST_INSTANCE_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert float(env["STAMMGAST_SESSION_SECONDS"]["value"]) > worker["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(("owner", "pod"), pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_mounted_is_there_and_what_is_named_is_mounted(owner: str, pod: Manifest) -> None:
    """Every mount has its volume, every path of an argument or a setting lies in a mount."""
    # given
    shared = next(one for one in manifests() if named(one) == "ConfigMap/stammgast")["data"]
    owner_object = next(one for one in manifests() if named(one) == owner)
    claimed = {one["metadata"]["name"] for one in owner_object["spec"].get("volumeClaimTemplates", ())}
    there = {volume["name"] for volume in pod["volumes"]} | claimed
    used = set()

    # then
    for container in pod["containers"]:
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        used |= set(mounts)
        words = [*container["args"], *(shared.values() if "envFrom" in container else ())]
        paths = [found for word in words for found in re.findall(r"(?:^|=)(/[\w./-]+)", word)]
        for path in paths:
            assert any(path == mount or path.startswith(mount + "/") for mount in mounts.values()), path
    assert used == there


def test_probes_ask_the_port_that_the_role_opens() -> None:
    """/readyz, which is about progress, decides who gets work; /healthz, who is killed; services name the same ports."""
    for owner, pod in pods():
        opened: set[str] = set()
        for container in pod["containers"]:
            if "readinessProbe" not in container:
                assert owner == "Job/topics"
                continue
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            (metrics,) = [name for name in ports if name.endswith("metrics")]
            assert f"--metrics-port={ports[metrics]}" in container["args"]
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": metrics}
            assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": metrics}
            assert not opened & set(ports)
            opened |= set(ports)
        if opened:
            service = next(one for one in manifests() if named(one) == f"Service/{owner.partition('/')[2]}")
            assert {port["targetPort"] for port in service["spec"]["ports"]} == opened


def test_network_rules_name_ports_that_a_pod_opens() -> None:
    """Who may come in comes in by a port that is there; every port is one that somebody may come in by."""
    opened = {port["name"] for _, pod in pods() for one in pod["containers"] for port in one.get("ports", ())}
    rules = [one["spec"] for one in manifests() if one["kind"] == "NetworkPolicy"]
    let_in = {port["port"] for rule in rules for way in rule.get("ingress", ()) for port in way["ports"]}
    assert let_in == opened


def test_selectors_find_pods() -> None:
    """Services, budgets and network rules select labels that some pod bears."""
    # given
    templates = [
        one["spec"]["template"]["metadata"]["labels"] for one in manifests() if "template" in one.get("spec", {})
    ]

    # then
    for one in manifests():
        spec = one.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= labels.items() for labels in templates), named(one)


def test_readme_says_that_it_was_not_applied() -> None:
    """Whoever reads it is told what was not tried."""
    assert "not applied to a cluster" in (FOLDER / "README.md").read_text(encoding="utf-8")
