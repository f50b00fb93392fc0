"""Owns quotes. Turns a size, books and the caller's state into a proven plan.

Not built yet: the contract is in proto/perpmesh/routing/v1.
"""
