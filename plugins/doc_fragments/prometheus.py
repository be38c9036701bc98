# -*- coding: utf-8 -*-
# Copyright: (c) 2026, bluegreen.cutover contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # How a Prometheus is reached; CONNECTION_ARGUMENTS in module_utils/_gate.py is its code.
    DOCUMENTATION = r"""
options:
  url:
    description:
      - Address of Prometheus, or of what speaks its API (Thanos, Mimir, VictoriaMetrics), as the host that runs the
        module reaches it. A path in front of C(/api/v1) may be part of it.
      - A redirect is refused, for it would send the credentials elsewhere. No proxy is used.
    type: str
    required: true
  token:
    description: A bearer token. Excludes O(username).
    type: str
  token_file:
    description: A file with a bearer token, on the host that runs the module. It goes before O(token).
    type: path
  username:
    description: User of basic authentication.
    type: str
  password:
    description: Password of basic authentication.
    type: str
  password_file:
    description: A file with that password, on the host that runs the module. It goes before O(password).
    type: path
  ca_path:
    description: File with the certificates to trust, instead of the system's.
    type: path
  client_cert:
    description: File with the certificate that we show.
    type: path
  client_key:
    description: File with its key; not needed when O(client_cert) holds both.
    type: path
  timeout:
    description: Seconds that one request may take. It is tried twice.
    type: float
    default: 4.0
"""
