"""Hyperliquid's public face: POST /info and the WebSocket at /ws."""
