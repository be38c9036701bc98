#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# molecule.sh [SCENARIO...]   tests the scenarios, all of them if none is named
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH ANSIBLE_COLLECTIONS_PATH=$PWD/collections
[ -t 1 ] || export NO_COLOR=1

[ $# -gt 0 ] || set -- $(cd molecule && ls -d ./*/molecule.yml | cut -d/ -f2)
status=0
for scenario; do
    # What molecule remembers of a run that was killed (hosts are made, are prepared) is not true of the next one.
    export MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.build/molecule/$scenario
    rm -rf "$MOLECULE_EPHEMERAL_DIRECTORY"
    # A scenario that fails does not keep the others from telling how they are.
    molecule test --no-command-borders --scenario-name "$scenario" || status=1
    # Molecule exits 0 when verify found nothing to run.
    [ -e ".build/results/molecule/$scenario.xml" ] || status=1
done
exit $status
