"""`python -m perpmesh_client.cli` is `perpmesh`."""

from __future__ import annotations

import sys

from perpmesh_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
