"""Owns orders, legs and fills, the work that processes them, and every private venue connection.

Asks the vault for signatures, routing for plans. Asked by callers for their orders; what
happens goes to the log, which portfolio reads.
"""
