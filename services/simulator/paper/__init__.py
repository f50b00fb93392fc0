"""Paper trading on live prices: both exchanges trade against what the real venues publish, with invented money alone.

`listing` asks each venue what it lists, `tape` holds what it publishes until the next block or batch, `line` is one
socket to it, and `source` holds them together. Only public addresses are read; nothing of a user's leaves the process.
"""
