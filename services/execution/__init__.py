"""Owns orders, legs and fills, the queue that processes them, and every private venue connection.

Not built yet: the contract is in proto/perpmesh/execution/v1.
"""
