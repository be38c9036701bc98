#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The unit tests, and the coverage that they alone must reach. Arguments go to pytest (-k drain).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin

$bin/python -m pytest tests/unit --cov --cov-report= --junit-xml=.build/results/unit.xml "$@"
# A part of the tests says nothing about coverage.
[ $# -eq 0 ] || exit 0
$bin/coverage report --skip-covered
echo "of these, the decisions (plugins/module_utils/_core) have to be covered to 95 %, all to 85 %:"
$bin/coverage report --format=total --fail-under=95 --include='plugins/module_utils/_core/*'
$bin/coverage report --format=total --fail-under=85
