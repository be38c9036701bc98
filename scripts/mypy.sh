#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# plugins/ is checked under the names that Ansible gives it: the package under collections/, not the folder.
# The rest is scripts: a folder that is started is the root of its own imports.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly top=$PWD

"$top/.venv/bin/mypy" --package ansible_collections.bluegreen.cutover.plugins
for root in scripts bench lab lab/service; do
    # lab/service is what runs on the lab's hosts, a root of its own.
    # bench imports the load generator of lab, and the API server of the tests.
    [ ! -d $root ] || (cd $root && MYPYPATH=.:$top/lab:$top/tests/kubernetes "$top/.venv/bin/mypy" --config-file "$top/pyproject.toml" --exclude '^service/' .)
done
