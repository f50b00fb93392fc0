"""The vault: venue accounts, and the only keys that can trade for them; it signs what may be signed and nothing else.

It asks the venues alone: what is listed, what a wallet has authorized there, which nonce comes next. Users call it
through the edge; execution, and nobody else, calls its signer on a listener of its own.
"""
