"""The compose files hang together: with themselves, with the settings, and with what the code knows of ports."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from orderwright.cli.plan import make_plan
from orderwright.kernel.settings import PlatformSettings
from orderwright.services import PORTS
from tests.deploy.files import ASKED, BROKERS, DEPLOY, env_file, environments, known_settings, services_of
from tools.backends.__main__ import COMPOSE_URLS

COMPOSE_FILES = ("compose.yaml", "backends.yaml")
SECRETS = ("DATABASE_PASSWORD", "BROKER_PASSWORD", "ORDERWRIGHT_SERVICE_SECRET")
OLDEST = (2, 24)
"""The first Compose that knows optional files of settings."""


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_what_is_waited_for_exists_and_can_be_waited_for(name: str) -> None:
    services = services_of(name)
    waits = [
        (service, other, how["condition"])
        for service, what in services.items()
        for other, how in what.get("depends_on", {}).items()
    ]
    assert waits
    for service, other, condition in waits:
        assert other in services, f"{service} waits for {other}"
        ends = services[other].get("restart") == "no"
        assert condition == ("service_completed_successfully" if ends else "service_healthy"), (service, other)
        has_check = "build" in services[other] or "healthcheck" in services[other]
        assert ends or has_check, f"nothing tells that {other} is healthy"


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_every_image_is_ours_or_names_its_version(name: str) -> None:
    for service, what in services_of(name).items():
        image, _, tag = what["image"].rpartition(":")
        assert ("build" in what and image == "orderwright") or re.search(r"\d+\.\d+\.\d+|\d+\.\d+-", tag), service


def test_only_the_gateway_is_published_and_only_to_this_machine_unless_told_otherwise() -> None:
    published = {service: what["ports"] for service, what in services_of("compose.yaml").items() if "ports" in what}
    assert published == {"gateway": ["${GATEWAY_ADDRESS:-127.0.0.1}:${GATEWAY_PORT:-8000}:8000"]}
    for what in services_of("backends.yaml").values():
        assert all(port.startswith("127.0.0.1:") for port in what["ports"])


def test_every_service_runs_and_is_found_where_the_code_has_it() -> None:
    services = services_of("compose.yaml")
    assert {name for name, what in services.items() if what.get("command", [])[:1] == ["run"]} == set(PORTS)
    for name, port in PORTS.items():
        _, chosen = services[name]["command"]
        assert make_plan([chosen], PlatformSettings()).addresses == {name: ("127.0.0.1", port)}
        if name != "gateway":
            assert f":{port}/" in services[name]["environment"]["HEALTH_URL"]
            assert services["gateway"]["environment"][f"ORDERWRIGHT_{name.upper()}_URL"] == f"http://{name}:{port}"


def test_every_variable_of_ours_is_a_setting() -> None:
    named = {name for _, name, _ in environments(services_of("compose.yaml"))}
    named |= {name for broker in BROKERS for name in env_file(f"brokers/{broker}.env")}
    named |= set(re.findall(r"\b(ORDERWRIGHT_\w+)=", (DEPLOY / "Dockerfile").read_text()))
    ours = {name for name in named if name.startswith("ORDERWRIGHT_")}
    assert "ORDERWRIGHT_BROKER_URL" in ours
    assert ours <= known_settings()


def test_each_broker_is_a_profile_with_its_url() -> None:
    services = services_of("compose.yaml")
    assert {name: what["profiles"] for name, what in services.items() if "profiles" in what} == {
        broker: [broker] for broker in BROKERS
    }
    schemes = {"redis": "redis", "rabbitmq": "amqp", "kafka": "kafka"}
    for broker in BROKERS:
        (url,) = env_file(f"brokers/{broker}.env").values()
        assert re.fullmatch(rf"{schemes[broker]}://.*\b{broker}:\d+(/\w*)?", url), url
        for name in set(PORTS) - {"gateway"}:
            assert services[name]["depends_on"][broker] == {"condition": "service_healthy", "required": False}


def test_nothing_starts_without_its_secrets_and_none_is_written_down() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = {(found[1], found[2]) for found in ASKED.finditer(text)}
    assert {name for name, how in asked if how == ":?"} == {*SECRETS, "COMPOSE_PROFILES"}
    example = env_file(".env.example")
    assert set(example) == {name for name, _ in asked}, "deploy/.env.example names each, and nothing else"
    assert all(example[name] == "" for name in SECRETS)
    for service, name, value in environments(services_of("compose.yaml")):
        if re.search("PASS|SECRET|AUTH", name):
            assert ASKED.fullmatch(value), f"{service}: {name} is written down"


def test_servers_for_tests_are_where_tests_look_for_them() -> None:
    published = {port.split(":")[1] for what in services_of("backends.yaml").values() for port in what["ports"]}
    assert {
        re.split(r"[:/]", url.rpartition("@")[2].removeprefix("redis://").removeprefix("kafka://"))[1]
        for url in COMPOSE_URLS.values()
    } == published


@pytest.mark.parametrize("broker", BROKERS)
def test_compose_itself_takes_it(broker: str) -> None:
    config = _compose("compose.yaml", COMPOSE_PROFILES=broker, **dict.fromkeys(SECRETS, "s3cret"))
    assert config.returncode == 0, config.stderr
    services = json.loads(config.stdout)["services"]
    assert set(services) == {*PORTS, "migrate", "postgres", broker}
    assert (
        env_file(f"brokers/{broker}.env")["ORDERWRIGHT_BROKER_URL"].replace("${BROKER_PASSWORD}", "s3cret")
        == (services["order"]["environment"]["ORDERWRIGHT_BROKER_URL"])
    )
    assert services["order"]["environment"]["ORDERWRIGHT_DATABASE_URL"].startswith("postgresql://orderwright:s3cret@")


@pytest.mark.parametrize("missing", [*SECRETS, "COMPOSE_PROFILES"])
def test_compose_itself_refuses_without(missing: str) -> None:
    given = {"COMPOSE_PROFILES": "redis", **dict.fromkeys(SECRETS, "s3cret")}
    refused = _compose("compose.yaml", **{name: value for name, value in given.items() if name != missing})
    assert refused.returncode != 0
    assert missing in refused.stderr


def test_compose_itself_takes_the_servers_for_tests() -> None:
    config = _compose("backends.yaml")
    assert config.returncode == 0, config.stderr
    assert set(json.loads(config.stdout)["services"]) == set(services_of("backends.yaml"))


def _compose(name: str, **given: str) -> subprocess.CompletedProcess[str]:
    """What Compose makes of a file; it needs no engine for that. Skips where there is none, or one that is too old."""
    command = _compose_command()
    if command is None:
        pytest.skip(f"Docker Compose {OLDEST[0]}.{OLDEST[1]} or newer was not found")
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **given}
    whole = [*command, "--env-file", os.devnull, "-f", str(DEPLOY / name), "config", "--format", "json"]
    return subprocess.run(whole, env=environment, capture_output=True, text=True, check=False, timeout=60)


def _compose_command() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        told = subprocess.run(
            [*command, "version", "--short"], capture_output=True, text=True, check=False, timeout=60, cwd=Path.home()
        )
        version = re.match(r"v?(\d+)\.(\d+)", told.stdout)
        if told.returncode == 0 and version and (int(version[1]), int(version[2])) >= OLDEST:
            return command
    return None
