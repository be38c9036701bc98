#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a snapshot of ours promises, by the server's tools alone, on its host and as its account:
#   plain_postgresql.sh apart|together DATABASE FOLDER    a dump and digests of one moment, roles, checksums, on the disk
#   plain_postgresql.sh restore DATABASE FOLDER           the dump into the new DATABASE, and its digests
set -euo pipefail
readonly what=$1 database=$2 folder=$3
readonly tables=(documents events pgbench_accounts pgbench_branches pgbench_history pgbench_tellers)
export PATH=/usr/lib/postgresql/15/bin:$PATH

digests() { # what to say first
    {
        echo "BEGIN ISOLATION LEVEL REPEATABLE READ; $1"
        for table in "${tables[@]}"; do
            echo "SELECT '$table', count(*), sum(hashtextextended(x::text, 0)) FROM $table AS x;"
        done
        echo "SELECT 'large objects', count(*), sum(hashtextextended(x::text, 0)) FROM pg_largeobject AS x;"
    } | psql -XqtA -v ON_ERROR_STOP=1 "$database" >"$folder/digests"
}

if [ "$what" = restore ]; then
    createdb "$database"
    pg_restore --jobs=2 --exit-on-error --dbname="$database" "$folder/dump"
    digests ''
    exit
fi

rm -rf "$folder" && mkdir -m 0700 "$folder"
coproc session { psql -XqtA "$database"; }
echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot();' >&"${session[1]}"
read -r view <&"${session[0]}"
pg_dumpall --globals-only >"$folder/globals.sql"
if [ "$what" = together ]; then
    digests "SET TRANSACTION SNAPSHOT '$view';" &
fi
pg_dump --format=directory --jobs=2 --compress=1 --snapshot="$view" --file="$folder/dump" "$database"
if [ "$what" = together ]; then
    wait $!
else
    digests "SET TRANSACTION SNAPSHOT '$view';"
fi
cd "$folder"
sha256sum digests globals.sql dump/* >SHA256SUMS
sync SHA256SUMS digests globals.sql dump/* dump .
