"""The `perpmesh` command: the mesh in a terminal, or as lines of JSON for another program.

Exit codes: 0 done, 1 failed with one sentence on stderr, 2 wrong usage, 130 stopped with Ctrl-C. gRPC and rich are
imported when a command needs them, so that `perpmesh --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (without the program's name; by default the process's own) and return the exit code."""
    from perpmesh_client.cli.arguments import parse

    arguments = parse(argv)
    if arguments.command == "record":
        from perpmesh_client.cli.record import record

        return record(arguments.rest)
    from perpmesh_client.cli.runner import run

    return run(arguments)
