"""Lighter's faces: REST under /api/v1, transactions, and the WebSocket at /stream."""
