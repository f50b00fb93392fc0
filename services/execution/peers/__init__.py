"""The vault, routing and the venues behind execution's ports."""
