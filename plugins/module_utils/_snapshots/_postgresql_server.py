# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server as the engine reaches it: by psycopg2, and by the server's own tools."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ansible_collections.bluegreen.cutover.plugins.module_utils._command import environment, run
from ansible_collections.bluegreen.cutover.plugins.module_utils._core.errors import SnapshotError

try:
    import psycopg2
    from psycopg2.errors import LockNotAvailable, UndefinedTable
except ImportError:
    HAS_PSYCOPG2 = False
    DriverError: type[Exception] = OSError
    CHANGED: tuple[type[Exception], ...] = ()
else:
    HAS_PSYCOPG2 = True
    DriverError = psycopg2.Error
    #: A table is not what it was a moment ago, or somebody is about to change it.
    CHANGED = (LockNotAvailable, UndefinedTable)

#: Seconds that something may be silent for whoever waits.
SILENCE = 5.0
CONNECT_SECONDS = 10
#: For a tool that only tells its version, in seconds.
QUICK = 30.0
#: In a tool's arguments: the folder that it gets.
FOLDER = "{folder}"
#: Seconds that a tool gets to end by itself when it is told to.
GRACE = 10.0

#: Bytes of what a tool said that are looked at.
SAID = 64 << 10
_STATEMENT = re.compile(r"(?i)\b(command|query|statement) was: ")
_LOGGED = r"\S+ \S+ \S+ \[\d+\] (ERROR|FATAL|PANIC|HINT): "

#: Where Debian, RHEL, SUSE and Alpine keep the tools of one major version.
_FOLDERS = (
    "/usr/lib/postgresql/{major}/bin",
    "/usr/pgsql-{major}/bin",
    "/usr/lib/postgresql{major}/bin",
    "/usr/libexec/postgresql{major}",
)
#: What ends a session of ours, or changes how a value is written. Those that a server does not have are left out.
_SETTINGS = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "lock_timeout": "30s",
    # Who is killed leaves no query behind that nobody waits for.
    "client_connection_check_interval": "1s",
    "client_min_messages": "error",
    # A policy that hides rows is an error, not a smaller table.
    "row_security": "off",
    # While writers are held off, this may be on for everybody; it holds back neither us nor them for certain.
    "default_transaction_read_only": "off",
    "search_path": "",
    "extra_float_digits": "3",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    # How many processes work for us is decided here, not by the server.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


@dataclass(frozen=True)
class Server:
    """A server, and as whom it is reached.

    ``host`` is a name, an address or the folder of a socket; None is libpq's own default. ``account`` is the account of
    this host that connections and tools are made with, None for the one that runs this.
    """

    host: str | None
    port: int
    user: str
    password: str | None = field(default=None, repr=False)
    ssl_mode: str | None = None
    ca_cert: str | None = None
    account: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether it is certainly on this host."""
        return self.host is None or self.host.startswith("/")

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.host or 'the local socket'}, port {self.port}"


def account_of(host: str | None, user: str, password: str | None) -> str | None:
    """The account to reach the server with when we are root.

    Over a socket and without a password a server looks at who connects, and lets nobody in as somebody else.
    """
    over_socket = host is None or host.startswith("/")
    if os.geteuid() != 0 or password is not None or not over_socket:
        return None
    try:
        return None if pwd.getpwnam(user).pw_uid == 0 else user
    except KeyError:
        return None


@contextmanager
def _as_account(account: str | None) -> Iterator[None]:
    if account is None:
        yield
        return
    os.seteuid(pwd.getpwnam(account).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what psycopg2 raises into a SnapshotError that says what was being done."""
    try:
        yield
    except DriverError as error:
        # The rest of what a server says has the text of statements, and rows.
        its = getattr(error, "diag", None)
        told = [its.message_primary, its.message_hint] if its is not None and its.message_primary else [str(error)]
        text = " ".join(". ".join(filter(None, told)).split()) or type(error).__name__
        raise SnapshotError(f"{doing} failed: {text.rstrip('.')}.") from error


def connect(server: Server, database: str) -> Any:
    """A psycopg2 connection in autocommit, with settings under which a value is always written in the same way."""
    doing = f"Connecting to the database {database!r} of {server.name} as {server.user!r}"
    with explained(doing):
        with _as_account(server.account):
            connection = psycopg2.connect(
                dbname=database,
                host=server.host,
                port=server.port,
                user=server.user,
                password=server.password,
                sslmode=server.ssl_mode,
                sslrootcert=server.ca_cert,
                connect_timeout=CONNECT_SECONDS,
                application_name="bluegreen.cutover",
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
            )
        connection.autocommit = True
        connection.set_client_encoding("UTF8")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config(s.name, wanted.value, false) FROM pg_catalog.pg_settings AS s "
                "JOIN pg_catalog.json_each_text(%s) AS wanted ON wanted.key = s.name",
                [json.dumps(_SETTINGS)],
            )
    return connection


def rows(connection: Any, query: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """All rows of a query; only for what has few."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def execute(connection: Any, command: str) -> None:
    """Run a command; a percent sign in it is a percent sign."""
    with connection.cursor() as cursor:
        cursor.execute(command)


def major_of(version: str) -> int:
    """The major version in what a tool or a server says of itself. Raises SnapshotError."""
    found = re.search(r"\b(\d+)(?:\.\d+|devel|beta\d+|rc\d+)", version)
    if found is None:
        raise SnapshotError(f"No version can be read from {version!r}.")
    return int(found.group(1))


def version_of(said: str) -> str:
    """The version in a tool's answer to ``--version``: ``pg_dump (PostgreSQL) 15.8 (Debian …)`` is 15.8."""
    found = re.search(r"\d+(?:\.\d+)*(?:devel|beta\d+|rc\d+)?", said)
    return found.group(0) if found else said


class Tools:
    """The tools of one major version of the server.

    Neither older ones (they refuse the server) nor newer ones: what those write, the server's own cannot read.
    """

    def __init__(self, major: int, folder: str | None = None) -> None:
        self.major = major
        path = os.environ.get("PATH", "").split(os.pathsep)
        self._folders = [folder] if folder else [*(one.format(major=major) for one in _FOLDERS), *path]
        self._found: dict[str, tuple[str, str]] = {}

    def path(self, tool: str) -> str:
        """Where the tool is. Raises SnapshotError when there is none of this version."""
        return self._find(tool)[0]

    def version(self, tool: str) -> str:
        """The tool's whole version."""
        return self._find(tool)[1]

    def _find(self, tool: str) -> tuple[str, str]:
        if tool in self._found:
            return self._found[tool]
        others = []
        for path in (Path(folder, tool) for folder in self._folders if folder):
            if not os.access(path, os.X_OK):
                continue
            version = version_of(run([str(path), "--version"], QUICK)[1])
            if version and major_of(f"{version}.0") == self.major:
                self._found[tool] = str(path), version
                return self._found[tool]
            others.append(f"{path} is {version or 'of no known version'}")
        raise SnapshotError(
            f"The server is PostgreSQL {self.major}, and there is no {tool} of that version on this host"
            f"{' (' + '; '.join(others) + ')' if others else ''}. Older tools refuse the server, and it cannot read "
            f"what newer ones write. Install the package postgresql-client-{self.major} (on RHEL: "
            f"postgresql{self.major}), or name the folder of its tools in the option tools."
        )


def conninfo(database: str, **more: str) -> str:
    """What a tool takes as ``--dbname``: a name alone may be taken for something else. No secret belongs in it."""
    parameters = {"dbname": database, **more}
    escaped = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in parameters.items()}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items())


def passfile(password: str) -> str:
    """The line of a PGPASSFILE that gives ``password`` to whatever asks."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n"


class Tool:
    """A tool that runs, and ends when we do, with all that it has started.

    Its password is in a file that has no name, so that nothing is left of it. ``FOLDER`` in its arguments stands for
    ``folder``, which it gets open: an account other than ours needs no access to the folders above.
    """

    def __init__(
        self,
        argv: Sequence[str],
        server: Server,
        folder: Path | None = None,
        output: IO[bytes] | None = None,
        *,
        nice: int = 0,
        told_to_end: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = Path(argv[0]).name
        self.command = shlex.join(part.replace(FOLDER, str(folder)) for part in argv)
        self._told_to_end = told_to_end
        # Not a pipe: nobody reads while it works.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        command = ["setpriv", f"--pdeathsig={told_to_end.name[3:]}"]
        variables = {**environment(), **_variables(server)}
        if server.account:
            account = pwd.getpwnam(server.account)
            command += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
            variables |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
        if nice:
            command = ["nice", "-n", str(nice), *command]
        with ExitStack() as stack:
            passed = []
            if server.password is not None:
                passed.append(stack.enter_context(_secret(passfile(server.password))).fileno())
                variables["PGPASSFILE"] = f"/proc/self/fd/{passed[-1]}"
            if folder is not None:
                passed.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
                stack.callback(os.close, passed[-1])
                argv = [part.replace(FOLDER, f"/proc/self/fd/{passed[-1]}") for part in argv]
            try:
                self._process = subprocess.Popen(
                    [*command, *argv],
                    cwd="/",
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=output or subprocess.DEVNULL,
                    stderr=self._said,
                    pass_fds=passed,
                    umask=0o077,
                    start_new_session=True,
                )
            except OSError as error:
                self._said.close()
                raise SnapshotError(f"{self.name} cannot be started: {error}.") from error

    def __enter__(self) -> Tool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()
        self._said.close()

    def end(self) -> None:
        """Have it end now, if it runs."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(self._told_to_end)
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            # Its own group: start_new_session made it.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def ended(self, seconds: float) -> bool:
        """Wait for its end for at most ``seconds``; raise SnapshotError when it did not end well."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if status:
            ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
            raise SnapshotError(
                f"{self.name} {ended}: {self.said() or 'it said nothing of its own'}", {"command": self.command}
            )
        return True

    def said(self) -> str:
        """The end of what it said to standard error, as far as it is the tool's own.

        What a server adds in further lines has rows, and the text of statements with their passwords.
        """
        size = os.fstat(self._said.fileno()).st_size
        # Not seek and read: the tool writes where this file stands.
        text = os.pread(self._said.fileno(), SAID, max(0, size - SAID)).decode(errors="replace")
        own = re.compile(rf"(\S*/)?({re.escape(self.name)}|setpriv|nice): |{_LOGGED}")
        lines = [line for line in text.split("\n") if own.match(line) and not _STATEMENT.search(line)]
        return "\n".join(lines)[-4000:].strip()

    def wait(self, look: Callable[[], None]) -> None:
        """Wait until it has ended well, with a ``look`` every few seconds."""
        while not self.ended(SILENCE):
            look()


def _secret(text: str) -> IO[bytes]:
    """A file of mode 0600 with this text, which has no name and ends with its last user."""
    file = open(os.memfd_create("pgpass"), "w+b", buffering=0)  # noqa: SIM115 - whoever asked for it closes it
    os.fchmod(file.fileno(), 0o600)
    file.write(text.encode())
    return file


def _variables(server: Server) -> dict[str, str]:
    wanted = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGSSLMODE": server.ssl_mode,
        "PGSSLROOTCERT": server.ca_cert,
        "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
        "PGAPPNAME": "bluegreen.cutover",
        "PGOPTIONS": "-c default_transaction_read_only=off",
    }
    return {name: value for name, value in wanted.items() if value is not None}


@contextmanager
def lent(folder: Path, account: str | None) -> Iterator[None]:
    """Give a folder and its files to the account that a tool runs with, and take back what is there afterwards."""
    if account is None:
        yield
        return
    found = pwd.getpwnam(account)
    _give(folder, found.pw_uid, found.pw_gid)
    try:
        yield
    finally:
        _give(folder, os.geteuid(), os.getegid())


def _give(folder: Path, user: int, group: int) -> None:
    # By what is open, not by name: its new owner may put a link there.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, user, group)
        for name in os.listdir(descriptor):
            os.chown(name, user, group, dir_fd=descriptor, follow_symlinks=False)
    finally:
        os.close(descriptor)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder that may be changing."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    return total


def since(start: float) -> str:
    """For messages: how long ago a moment of the monotonic clock was."""
    return f"{time.monotonic() - start:.0f} s"
