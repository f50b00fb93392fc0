"""Lighter's public face: REST under /api/v1 and the WebSocket at /stream."""
