#!/bin/sh
# Finds a Python 3.11 or later and lets it run tools/setup.py. PYTHON names one; else the usual names are tried.
set -eu
cd "$(dirname "$0")/.."
found=
for name in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14 python}; do
  command -v "$name" >/dev/null 2>&1 || continue
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    exec "$name" tools/setup.py "$@"
  fi
  found="$found $("$name" --version 2>&1 | head -n 1) ($name)"
done
echo "Perpmesh needs Python 3.11 or later and found${found:- none}: install one, or name it, as in \`make up PYTHON=/usr/bin/python3.11\`." >&2
exit 1
