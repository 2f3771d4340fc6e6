"""The servers themselves, as Debian packages them; Kafka comes as jars from Maven Central."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.backends.server import CannotStart, Server, free_port, listens

KAFKA_VERSION = "4.1.2"
USER = PASSWORD = "orderwright"
"""Both for servers that only this machine reaches."""


class Postgres(Server):
    """PostgreSQL with the durability that it has by default."""

    needs = "postgresql (Debian: apt install postgresql)"
    account = "postgres"
    stop_signal = signal.SIGINT

    def available(self) -> bool:
        return self._bin() is not None

    def prepare(self) -> None:
        binaries, data = self._bin(), self.folder / "data"
        self.run(f"{binaries}/initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")

    def clear_up(self) -> None:
        # PostgreSQL takes a dead process that nobody has reaped yet for a living one, and keeps away from its lock.
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> Sequence[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            # Its lock would be one more thing that a killed server leaves behind.
            "unix_socket_directories": "",
            "max_connections": 400,
            # With less, whoever asks for a page first has to write another one away.
            "shared_buffers": "1GB",
            # With 1 GB, the default, checkpoints follow one another without a pause at 150 orders a second, and after
            # each of them the first change of a page writes the whole page to the WAL.
            "max_wal_size": "4GB",
            # A WAL file that is not there yet is written full of zeros first, and commits wait for it.
            "min_wal_size": "2GB",
            # The default is for disks that move an arm. With it, a table of two thousand rows is read to find ten, and
            # the plan is kept while the table grows.
            "random_page_cost": "1.1",
            # Everything is found by its key. The default of 100 takes half a second of a processor every minute for the
            # tables of one service, while they are young, and everybody waits longer meanwhile.
            "default_statistics_target": 10,
        }
        chosen = [f"--{name}={value}" for name, value in options.items()]
        return [f"{self._bin()}/postgres", "-D", str(self.folder / "data"), *chosen]

    def answers(self) -> bool:
        ready = self.run(f"{self._bin()}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), check=False)
        return ready.returncode == 0

    def urls(self) -> Mapping[str, str]:
        return {"ORDERWRIGHT_TEST_POSTGRES_URL": f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"}

    @staticmethod
    def _bin() -> Path | None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
        if found:
            return found[-1].parent
        elsewhere = shutil.which("postgres")
        return Path(elsewhere).parent if elsewhere else None


class PgBouncer(Server):
    """PgBouncer in transaction mode before that PostgreSQL, whose port it is told."""

    needs = "pgbouncer (Debian: apt install pgbouncer) and PostgreSQL"
    account = "postgres"
    stop_signal = signal.SIGINT

    def available(self) -> bool:
        return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") is not None and self._upstream() != 0

    def prepare(self) -> None:
        (self.folder / "users.txt").write_text(f'"{USER}" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={self._upstream()}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self.folder}/users.txt\nadmin_users = {USER}\n"
            "pool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = 10\n"
        )

    def command(self) -> Sequence[str]:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        return [str(program), str(self.folder / "pgbouncer.ini")]

    def answers(self) -> bool:
        return listens(self.port)

    def urls(self) -> Mapping[str, str]:
        return {"ORDERWRIGHT_TEST_PGBOUNCER_URL": f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"}

    def _upstream(self) -> int:
        return int(self.environment.get("POSTGRES_PORT", "0"))


class Redis(Server):
    """Redis with an append-only file that is flushed at every write, as an installation that keeps events has it."""

    needs = "redis-server (Debian: apt install redis-server)"

    def available(self) -> bool:
        return shutil.which("redis-server") is not None

    def prepare(self) -> None:
        (self.folder / "redis.conf").write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nappendonly yes\nappendfsync always\nsave ''\n"
            # From the default of 64 MB on, a file that has doubled is written anew: every half a minute at 150 orders a
            # second, and for two seconds each time everybody waits longer.
            "auto-aof-rewrite-min-size 1gb\n"
        )

    def command(self) -> Sequence[str]:
        return ["redis-server", str(self.folder / "redis.conf")]

    def answers(self) -> bool:
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), "ping"], capture_output=True, text=True, timeout=5, check=False
        )
        return done.stdout.strip() == "PONG"

    def urls(self) -> Mapping[str, str]:
        return {"ORDERWRIGHT_TEST_REDIS_URL": f"redis://127.0.0.1:{self.port}/0"}


class RabbitMq(Server):
    """A node of its own with an Erlang port mapper of its own."""

    needs = "rabbitmq-server (Debian: apt install rabbitmq-server)"
    programs = Path("/usr/lib/rabbitmq/bin")

    def available(self) -> bool:
        return (self.programs / "rabbitmq-server").exists()

    def prepare(self) -> None:
        for name in ("log", "mnesia", "generated"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "distribution-port").write_text(str(free_port()))
        (self.folder / "mapper-port").write_text(str(free_port()))
        (self.folder / "rabbitmq.conf").write_text(
            "loopback_users = none\nvm_memory_high_watermark.relative = 0.2\ndisk_free_limit.absolute = 50MB\n"
            f"default_user = {USER}\ndefault_pass = {PASSWORD}\n"
        )

    def command(self) -> Sequence[str]:
        self._set_environment()
        return [str(self.programs / "rabbitmq-server")]

    def answers(self) -> bool:
        # The port opens before the node lets clients work; its own tool knows, but takes a second to start.
        try:
            return listens(self.port) and self._control("await_startup", "--timeout", "30").returncode == 0
        except subprocess.TimeoutExpired:
            # On a machine that is busy with other things the tool itself takes long.
            return False

    def stop(self, *, kill: bool = False) -> None:
        super().stop(kill=kill)
        mapper = self.folder / "mapper-port"
        if mapper.exists() and shutil.which("epmd"):
            self._set_environment()
            self.run("epmd", "-port", mapper.read_text(), "-kill", check=False)

    def urls(self) -> Mapping[str, str]:
        return {"ORDERWRIGHT_TEST_RABBITMQ_URL": f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/"}

    def _control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self._set_environment()
        node = self.environment["RABBITMQ_NODENAME"]
        return self.run(str(self.programs / "rabbitmqctl"), "-q", "-n", node, *arguments, check=False)

    def _set_environment(self) -> None:
        home = next(iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))), None)
        if home is None:
            raise CannotStart("/usr/lib/rabbitmq/lib holds no rabbitmq_server")
        self.environment |= {
            "HOME": str(self.folder),
            "RABBITMQ_BASE": str(self.folder),
            "RABBITMQ_HOME": str(home),
            "RABBITMQ_NODENAME": f"orderwright{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": (self.folder / "distribution-port").read_text(),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "erlang-pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "ERL_EPMD_PORT": (self.folder / "mapper-port").read_text(),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }


class Kafka(Server):
    """One broker that is its own controller (KRaft)."""

    needs = "a Java runtime (17 or newer) and Maven, which brings Kafka's jars"

    def available(self) -> bool:
        return shutil.which("java") is not None and (shutil.which("mvn") is not None or self._has_jars())

    def prepare(self) -> None:
        if not self._has_jars():
            self._fetch_jars()
        controller = free_port()
        listeners = f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}"
        (self.folder / "server.properties").write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            f"controller.quorum.voters=1@127.0.0.1:{controller}\nlisteners={listeners}\n"
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}\ncontroller.listener.names=CONTROLLER\n"
            f"log.dirs={self.folder}/data\nnum.partitions=4\noffsets.topic.num.partitions=4\n"
            "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n"
            "share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n"
            "auto.create.topics.enable=false\n"
        )
        (self.folder / "log4j2.yaml").write_text(
            "Configuration:\n  Appenders:\n    Console: {name: C, PatternLayout: {pattern: '%d %p %m (%c)%n'}}\n"
            "  Loggers:\n    Root: {level: WARN, AppenderRef: {ref: C}}\n"
        )
        properties = str(self.folder / "server.properties")
        self.run(*self._java("kafka.tools.StorageTool"), "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", properties)

    def command(self) -> Sequence[str]:
        return [*self._java("kafka.Kafka"), str(self.folder / "server.properties")]

    def answers(self) -> bool:
        return listens(self.port)

    def urls(self) -> Mapping[str, str]:
        return {"ORDERWRIGHT_TEST_KAFKA_URL": f"kafka://127.0.0.1:{self.port}"}

    def tool(self, name: str, *arguments: str) -> list[str]:
        """The command line of one of Kafka's own tools, such as its console consumer."""
        return [*self._java(name), *arguments]

    def _java(self, main: str) -> list[str]:
        log = f"-Dlog4j2.configurationFile={self.folder}/log4j2.yaml"
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", log, "-cp", f"{self._jars}/*", main]

    @property
    def _jars(self) -> Path:
        return self.folder.parent / f"kafka-{KAFKA_VERSION}"

    def _has_jars(self) -> bool:
        return (self._jars / "complete").exists()

    def _fetch_jars(self) -> None:
        project = Path(__file__).parent / "kafka.pom.xml"
        self.run(
            *("mvn", "-q", "-B", "-f", str(project), f"-Dkafka.version={KAFKA_VERSION}"),
            *("dependency:copy-dependencies", f"-DoutputDirectory={self._jars}", "-DincludeScope=runtime"),
            timeout_s=600,
        )
        (self._jars / "complete").touch()
