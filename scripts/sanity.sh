#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ansible-test sanity on a copy of what goes into the collection: it wants a real path that ends with
# ansible_collections/<namespace>/<name>. Arguments are handed on (--test validate-modules).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly tree=.build/ansible_collections/bluegreen/cutover
readonly home=$PWD/.cache/sanity

rm -rf $tree
mkdir -p $tree
# The rest (lab, bench, tests) is not shipped; `make lint` reads it. New files count before they are added.
git ls-files -z --cached --others --exclude-standard -- \
    plugins roles playbooks inventories extensions meta docs changelogs tests/sanity \
    galaxy.yml README.md CHANGELOG.md LICENSE |
    while IFS= read -r -d '' file; do
        [ ! -e "$file" ] || printf '%s\0' "$file"
    done | xargs -0 cp --parents --target-directory=$tree
# Or it would look for these files in the repository above, where they are ignored.
git init --quiet $tree

# A home of its own keeps ansible-test's virtual environments from run to run, and keeps the next lines off the user's.
# ansible-test downloads the installer of pip 24.2 from one fixed address; Python brings a pip along, without network.
mkdir -p "$home/.ansible/test/cache" "$home/.config" "$home/.pip"
[ ! -d "$HOME/.config/pip" ] || ln -sfn "$HOME/.config/pip" "$home/.config/pip"
# What it installs itself comes from the network: as patiently as scripts/setup.sh does. Its pip reads both files.
printf '[global]\nretries = 8\ntimeout = 60\n' >"$home/.pip/pip.conf"
echo 'import ensurepip; ensurepip.bootstrap()' >"$home/.ansible/test/cache/get_pip_24_2.py"

top=$PWD
cd $tree
status=0
# Left out, because there is nothing for them: PowerShell, shell scripts, __init__.py files beside plugins.
HOME=$home LC_ALL=C.UTF-8 "$top/.venv/bin/ansible-test" sanity --local --python 3.11 --color no --junit \
    --skip-test pslint --skip-test shellcheck --skip-test empty-init "$@" || status=$?
mkdir -p "$top/.build/results/sanity"
cp tests/output/junit/*.xml "$top/.build/results/sanity/"
exit $status
