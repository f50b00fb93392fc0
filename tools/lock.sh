#!/bin/sh
# Writes the locks: exact versions with hashes, and no addresses, so that any index serves them.
# The server's versions follow the developers', so that what is tested is what runs.
set -eu
cd "$(dirname "$0")/.."
uv=$1
compile() {
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}
compile --extra server --extra dev -o requirements/dev.txt pyproject.toml
compile --extra server -c requirements/dev.txt -o requirements/server.txt pyproject.toml
compile -o requirements/judges.txt requirements/judges.in
