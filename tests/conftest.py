"""What holds for every test."""

from __future__ import annotations

import os

# Tests start PostgreSQL and others by fork and exec, with gRPC's threads about. Its fork handlers wake in the
# child before the exec, and kill it now and then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
