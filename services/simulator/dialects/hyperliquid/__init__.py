"""Hyperliquid's faces: POST /info and /exchange, and the WebSocket at /ws."""
