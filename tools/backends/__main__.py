"""`python -m tools.backends up|down|status|restart NAME`."""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tools.backends.server import CannotStart, Server, free_port, listens
from tools.backends.servers import Kafka, PgBouncer, Postgres, RabbitMq, Redis

KINDS: dict[str, type[Server]] = {
    "postgres": Postgres,
    "pgbouncer": PgBouncer,
    "redis": Redis,
    "rabbitmq": RabbitMq,
    "kafka": Kafka,
}
DEFAULT_FOLDER = Path(".backends")
COMPOSE = Path(__file__).parents[2] / "deploy" / "backends.yaml"
COMPOSE_URLS = {
    "ORDERWRIGHT_TEST_POSTGRES_URL": "postgresql://orderwright@127.0.0.1:25432/postgres",
    "ORDERWRIGHT_TEST_PGBOUNCER_URL": "postgresql://orderwright@127.0.0.1:26432/postgres",
    "ORDERWRIGHT_TEST_REDIS_URL": "redis://127.0.0.1:26379/0",
    "ORDERWRIGHT_TEST_RABBITMQ_URL": "amqp://orderwright:orderwright@127.0.0.1:25672/",
    "ORDERWRIGHT_TEST_KAFKA_URL": "kafka://127.0.0.1:29092",
}


def servers(folder: Path) -> dict[str, Server]:
    """The servers of a folder, by name, each on the port that it was given there."""
    folder = folder.resolve()
    path = folder / "ports.json"
    if not path.exists():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(json.dumps({name: free_port() for name in KINDS}))
    ports: dict[str, int] = json.loads(path.read_text())
    made = {name: kind(name, folder / name, ports[name]) for name, kind in KINDS.items()}
    if made["postgres"].available():
        made["pgbouncer"].environment["POSTGRES_PORT"] = str(ports["postgres"])
    return made


def urls_of(folder: Path = DEFAULT_FOLDER) -> dict[str, str]:
    """What clients connect to, of the servers that run there now."""
    try:
        known: dict[str, str] = json.loads((folder / "urls.json").read_text())
    except FileNotFoundError:
        return {}
    return {name: url for name, url in known.items() if listens(urlsplit(url).port or 0)}


def up(folder: Path, names: list[str], *, require: bool) -> None:
    """Start servers. CannotStart when a required one is not to be had."""
    if _has_docker() and not names:
        _compose("up", "--detach", "--wait")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "urls.json").write_text(json.dumps(COMPOSE_URLS, indent=1))
        return
    urls: dict[str, str] = {}
    for name, server in servers(folder).items():
        if names and name not in names:
            urls |= server.urls() if server.running() else {}
            continue
        if not server.available():
            if require:
                raise CannotStart(f"{name} needs {server.needs}")
            sys.stdout.write(f"{name:<11}is not here; it needs {server.needs}\n")
            continue
        server.start()
        urls |= server.urls()
        sys.stdout.write(f"{name:<11}{', '.join(server.urls().values())}\n")
    (folder / "urls.json").write_text(json.dumps(urls, indent=1))


def down(folder: Path) -> None:
    """End everything that was started, and remove its data; Kafka's jars stay."""
    if (folder / "urls.json").exists() and not (folder / "ports.json").exists():
        _compose("down", "--volumes")
    if (folder / "ports.json").exists():
        for name, server in reversed(servers(folder).items()):
            server.stop()
            shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("urls.json", "ports.json"):
        (folder / name).unlink(missing_ok=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.backends", description="Real servers for tests")
    parser.add_argument("action", choices=["up", "down", "status", "restart"])
    parser.add_argument("names", nargs="*", choices=[*KINDS, []])
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--require", action="store_true", help="fail when one is not to be had on this machine")
    chosen = parser.parse_args()
    try:
        match chosen.action:
            case "up":
                up(chosen.folder, chosen.names, require=chosen.require)
            case "down":
                down(chosen.folder)
            case "restart":
                for name in chosen.names:
                    servers(chosen.folder)[name].restart()
            case _:
                for name, server in servers(chosen.folder).items():
                    sys.stdout.write(f"{name:<11}{'runs' if server.running() else 'does not run'}\n")
    except CannotStart as error:
        sys.exit(f"backends: {error}")


def _has_docker() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


def _compose(*arguments: str) -> None:
    done = subprocess.run(["docker", "compose", "-f", str(COMPOSE), *arguments], check=False)
    if done.returncode:
        raise CannotStart(f"docker compose -f {COMPOSE} {' '.join(arguments)} failed")


if __name__ == "__main__":
    main()
