# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a host a router, a data host or an application host: files and enabled units, before it boots."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

from labkit.command import run
from labkit.plan import FRONTED, HOSTS, PORTS, SERVICES, VERSIONS, Lab

SERVICE_CODE = Path(__file__).resolve().parent.parent / "service"
DATABASES = sorted(PORTS)

# Restart=no: a colour that a fault test kills stays down, so that what brings it back is the
# collection's doing and not systemd's. 30 s to stop: ten times the slowest request.
# Files: at systemd's own limit of 1,024, a burst of connections makes the service do nothing but log.
UNIT = """\
[Unit]
Description={service} {colour} (lab)
After=network.target

[Service]
Type=exec
User=www-data
WorkingDirectory=/opt/{service}-{colour}
EnvironmentFile=/etc/{service}/common.env
EnvironmentFile=/etc/{service}/{colour}.env
EnvironmentFile=-/etc/{service}/{colour}.faults.env
ExecStart=/usr/bin/python3 service.py
TimeoutStopSec=30
LimitNOFILE=65536
Restart=no

[Install]
WantedBy=multi-user.target
"""

# Passwords reach psql by its environment: a command line is readable by all.
DATABASE_UNIT = """\
[Unit]
Description=Roles and databases of the lab
After=postgresql.service
Requires=postgresql.service

[Service]
Type=oneshot
RemainAfterExit=yes
User=postgres
EnvironmentFile=/etc/lab/database.env
ExecStartPre=/bin/sh -c 'until pg_isready --quiet; do sleep 0.05; done'
ExecStart=/usr/bin/psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file /etc/lab/database.sql

[Install]
WantedBy=multi-user.target
"""

DATABASE_SQL = """\
\\getenv password {variable}
SELECT 'CREATE ROLE {name} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec
ALTER ROLE {name} PASSWORD :'password';
SELECT 'CREATE DATABASE {name} OWNER {name}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec
\\connect {name}
SET ROLE {name};
SET client_min_messages = warning;
CREATE TABLE IF NOT EXISTS items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    colour text NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
);
INSERT INTO items (name, colour)
    SELECT 'item ' || n, 'seed' FROM generate_series(1, 100) AS n WHERE NOT EXISTS (SELECT FROM items);
RESET ROLE;
"""

# In front of the databases, for whoever starts it. In transaction mode, where PAUSE ends while clients stay connected.
PGBOUNCER = """\
[databases]
{databases}
[pgbouncer]
logfile = /var/log/postgresql/pgbouncer.log
pidfile = /var/run/postgresql/pgbouncer.pid
listen_addr = *
listen_port = 6432
unix_socket_dir = /var/run/postgresql
auth_type = plain
auth_file = /etc/pgbouncer/userlist.txt
admin_users = lab
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
max_db_connections = 50
ignore_startup_parameters = extra_float_digits
"""

RABBITMQ = """\
listeners.tcp.1 = 0.0.0.0:5672
management.tcp.ip = 0.0.0.0
management.tcp.port = 15672
default_user = lab
default_pass = {password}
"""


def create_keys(lab: Lab) -> None:
    """One client key, one key per host, the list of known hosts, the stores' passwords."""
    _keygen(lab.state / "id_ed25519", f"lab {lab.name}")
    known = []
    for host in HOSTS:
        key = lab.state / f"{host}.host_key"
        _keygen(key, host)
        known.append(f"{lab.address(host)} {key.with_suffix('.host_key.pub').read_text()}")
    (lab.state / "known_hosts").write_text("".join(known))
    lab.ssh_config.write_text(lab.ssh_config_text())
    passwords = {name: secrets.token_urlsafe(24) for name in (*DATABASES, "redis", "admin", "lab")}
    _write(lab.state / "secrets.json", json.dumps(passwords), 0o600)


def _keygen(path: Path, comment: str) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def furnish(lab: Lab, host: str, root: Path) -> None:
    """Write the host's configuration into its root and enable its units."""
    _write(root / "etc/hostname", f"{host}\n")
    _write(root / "etc/hosts", lab.etc_hosts())
    _write(root / "etc/machine-id", f"{lab.machine_id(host)}\n", 0o444)
    _write(root / "etc/ssh/ssh_host_ed25519_key", (lab.state / f"{host}.host_key").read_text(), 0o600)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    _write(root / "root/.ssh/authorized_keys", (lab.state / "id_ed25519.pub").read_text(), 0o600)
    if host == "router":
        units = _router(root)
    elif host == "data":
        units = _data(lab, root)
    else:
        units = [unit for service in SERVICES[host] for unit in _application(lab, service, root)]
        if host == "solo":
            units.append("nftables.service")
    run("chroot", str(root), "systemctl", "enable", "--quiet", *units)


def _router(root: Path) -> list[str]:
    # HAProxy and nginx keep Debian's configuration, which serves nothing: what they route is the
    # collection's to decide. The runtime socket is /run/haproxy/admin.sock, level admin.
    jobs = [
        {
            "job_name": f"{service}-{colour}",
            "static_configs": [{"targets": [f"{host}:{port}" for host, names in SERVICES.items() if service in names]}],
        }
        for service in DATABASES
        for colour, port in PORTS[service].items()
    ]
    jobs.append({"job_name": "node", "static_configs": [{"targets": ["localhost:9100"]}]})
    document = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["/etc/prometheus/rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["localhost:9093"]}]}]},
        "scrape_configs": jobs,
    }
    # JSON is YAML: no library needed.
    _write(root / "etc/prometheus/prometheus.yml", json.dumps(document, indent=2) + "\n")
    # It tells nobody: what it was sent is seen in its API. And it has no peers to look for.
    silent = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    _write(root / "etc/prometheus/alertmanager.yml", json.dumps(silent, indent=2) + "\n")
    _write(root / "etc/default/prometheus-alertmanager", 'ARGS="--cluster.listen-address="\n')
    return [
        "haproxy.service",
        "nginx.service",
        "prometheus.service",
        "prometheus-alertmanager.service",
        "prometheus-node-exporter.service",
    ]


def _data(lab: Lab, root: Path) -> list[str]:
    passwords = _passwords(lab)
    variables = {name: f"{name.upper()}_PASSWORD" for name in DATABASES}
    environment = "".join(f"{variables[name]}={passwords[name]}\n" for name in DATABASES)
    (root / "etc/lab").mkdir()
    _write(root / "etc/lab/database.env", environment, 0o600)
    script = "".join(DATABASE_SQL.format(name=name, variable=variables[name]) for name in DATABASES)
    _write(root / "etc/lab/database.sql", script)
    _write(root / "etc/systemd/system/lab-database.service", DATABASE_UNIT)
    address = lab.address("data")
    _write(
        root / "etc/postgresql/15/main/conf.d/lab.conf",
        f"listen_addresses = 'localhost,{address}'\nmax_connections = 200\n",
    )
    with open(root / "etc/postgresql/15/main/pg_hba.conf", "a") as file:
        file.write(f"host all all {lab.subnet} scram-sha-256\n")
    with open(root / "etc/redis/redis.conf", "a") as file:  # 0640 root:redis
        file.write(f"bind 127.0.0.1 {address}\nrequirepass {passwords['redis']}\n")
    # Not enabled: the tests that need one of these start it, so that nobody else waits for it.
    users = "".join(f'"{name}" "{passwords[name]}"\n' for name in ("lab", *DATABASES))
    databases = "".join(f"{name} = host=127.0.0.1 port=5432\n" for name in DATABASES)
    for name, text in {"pgbouncer.ini": PGBOUNCER.format(databases=databases), "userlist.txt": users}.items():
        with open(root / "etc/pgbouncer" / name, "w") as file:  # 0640 postgres
            file.write(text)
    _write(root / "etc/rabbitmq/rabbitmq.conf", RABBITMQ.format(password=passwords["lab"]), 0o640)
    owner = (root / "etc/rabbitmq").stat()
    os.chown(root / "etc/rabbitmq/rabbitmq.conf", owner.st_uid, owner.st_gid)
    _write(root / "etc/rabbitmq/enabled_plugins", "[rabbitmq_management].\n")
    return ["postgresql.service", "redis-server.service", "lab-database.service"]


def _application(lab: Lab, service: str, root: Path) -> list[str]:
    passwords = _passwords(lab)
    configuration = root / "etc" / service
    configuration.mkdir()
    _write(
        configuration / "common.env",
        f"DSN=postgresql://{service}:{passwords[service]}@data:5432/{service}\n"
        f"REDIS_URL=redis://:{passwords['redis']}@data:6379/0\n"
        f"REDIS_PREFIX={service}:\n" + (f"ADMIN_TOKEN={passwords['admin']}\n" if service == FRONTED else ""),
        0o600,
    )
    for colour, port in PORTS[service].items():
        text = f"COLOUR={colour}\nVERSION={VERSIONS[colour]}\nPORT={port}\n"
        if service == FRONTED and colour == "blue":
            text += f"UPSTREAM=http://127.0.0.1:{PORTS[service]['green']}\nFALLBACK_TO_V1=true\n"
        _write(configuration / f"{colour}.env", text)
        shutil.copytree(
            SERVICE_CODE,
            root / f"opt/{service}-{colour}",
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
        unit = UNIT.format(service=service, colour=colour)
        _write(root / f"etc/systemd/system/{service}-{colour}.service", unit)
    return [f"{service}-blue.service"]


def _passwords(lab: Lab) -> dict[str, str]:
    passwords: dict[str, str] = json.loads((lab.state / "secrets.json").read_text())
    return passwords


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a new file which never had wider permissions than `mode`."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
