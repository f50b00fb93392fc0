"""Lighter's public protocol, as pure functions from bytes to values.

`numbers` turns texts into exact integers and says what is wrong with a message, `frames` decodes what a socket says,
`payloads` decodes the answers of REST. Nothing here knows of sockets, time or retries.
Source: Lighter's API pages of 2026, and frames captured in 2025 and 2026 where the two disagree.
"""
