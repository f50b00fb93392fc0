"""Owns quotes. Turns a size, books and the caller's state into a proven plan.

Asks market_data for books, and portfolio for the caller's accounts, once that serves them. Asked by everyone for
quotes, and by execution for the plan of an order.
"""
