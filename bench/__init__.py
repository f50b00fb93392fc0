"""Each speed claim as a command that prints its figure beside a peer's or a limit's, measured in the same run."""
