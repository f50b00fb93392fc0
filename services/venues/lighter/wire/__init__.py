"""Lighter's protocol, as pure functions between bytes and values.

`numbers` turns texts into exact integers and says what is wrong with a message, `frames` decodes what a public socket
says, `payloads` the answers of REST about markets, `account` those about accounts, `transactions` hashes and writes
what is signed, `encode` makes transactions of the house's actions, `answers` reads what came of them, `refusals` knows
the venue's codes. Nothing here knows of sockets, time or retries.
Source: Lighter's API pages of 2026, and frames captured in 2025 and 2026 where the two disagree.
"""
