# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How it is done without this collection, on the same hosts: a restart, a swapped symlink, a changed configuration."""

from __future__ import annotations

import time
from dataclasses import dataclass

from figures import Switch
from hosts import ssh, write


@dataclass(frozen=True)
class Baseline:
    """A way to switch: the host and port that clients use, and the shell commands that give them ``{new}``."""

    name: str
    host: str
    port: int
    commands: str

    def switch(self, old: str, new: str) -> Switch:
        """Do it, with nothing between the clock and the first command."""
        told = ssh(self.host, f"date +%s.%N; set -e; {self.commands.format(old=old, new=new)}; date +%s.%N")
        began, ended = (float(line) for line in told.split())
        return Switch(at=began, old=old, command_ms=round((ended - began) * 1000, 1))

    def there_and_back(self, times: int, hold: float) -> list[Switch]:
        """``times`` switches, ``hold`` seconds apart, the first one to green."""
        switches = []
        for number in range(times):
            old, new = ("blue", "green") if number % 2 == 0 else ("green", "blue")
            switches.append(self.switch(old, new))
            time.sleep(hold)
        return switches


RESTART = Baseline(
    "systemctl stop; start",
    "solo",
    8001,
    "systemctl stop nextgeneration-{old}; systemctl start nextgeneration-{new}",
)
SYMLINK = Baseline(
    "nginx symlink and reload",
    "router",
    8090,
    "ln -sfn {new}.conf /etc/nginx/bench/active.conf; nginx -t -q; nginx -s reload",
)
RELOAD = Baseline(
    "HAProxy reload",
    "router",
    8091,
    "cp /etc/haproxy/bench/{new}.cfg /etc/haproxy/bench/active.cfg; systemctl reload bench-haproxy",
)
BASELINES = (RESTART, SYMLINK, RELOAD)

_NGINX_COLOUR = "upstream bench {{ server app1:{port}; server app2:{port}; keepalive 64; }}\n"
_NGINX_SERVER = """\
include /etc/nginx/bench/active.conf;
server {
    listen 8090;
    access_log off;
    location / {
        proxy_pass http://bench;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
}
"""
_HAPROXY = """\
global
    maxconn 4000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend bench
    bind :8091
    default_backend bench
backend bench
    server app1 app1:{port}
    server app2 app2:{port}
"""
_HAPROXY_UNIT = """\
[Service]
Type=notify
ExecStart=/usr/sbin/haproxy -Ws -f /etc/haproxy/bench/active.cfg -p /run/bench-haproxy.pid
ExecReload=/usr/sbin/haproxy -c -q -f /etc/haproxy/bench/active.cfg
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
"""
_PORTS = {"blue": 8001, "green": 8002}


def prepare() -> None:
    """Put what the baselines need beside what the collection has set up, all of it at blue."""
    # Both colours on one port, as it is where a new version takes the place of the old one.
    write("solo", "/etc/nextgeneration/green.faults.env", "PORT=8001\n")
    ssh("solo", "systemctl stop nextgeneration-green; systemctl start nextgeneration-blue")
    for colour, port in _PORTS.items():
        write("router", f"/etc/nginx/bench/{colour}.conf", _NGINX_COLOUR.format(port=port))
        write("router", f"/etc/haproxy/bench/{colour}.cfg", _HAPROXY.format(port=port))
    ssh("router", "ln -sfn blue.conf /etc/nginx/bench/active.conf")
    ssh("router", "cp /etc/haproxy/bench/blue.cfg /etc/haproxy/bench/active.cfg")
    write("router", "/etc/nginx/conf.d/bench.conf", _NGINX_SERVER)
    write("router", "/etc/systemd/system/bench-haproxy.service", _HAPROXY_UNIT)
    ssh("router", "systemctl daemon-reload; systemctl restart nginx bench-haproxy")
