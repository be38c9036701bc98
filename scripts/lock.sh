#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Writes requirements.lock from requirements.in. A venv of its own, so that the tool is not in the lock.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .build
python3.11 -m venv .build/lock
.build/lock/bin/python -m pip install --quiet 'pip-tools>=7.5,<8'
CUSTOM_COMPILE_COMMAND='make lock' .build/lock/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file=requirements.lock requirements.in
