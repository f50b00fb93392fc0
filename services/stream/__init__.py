"""The WebSocket door: topics of market data as JSON frames on `GET /v1/ws`, and the web page beside it.

Owns nothing: all it holds can be rebuilt from market_data in a moment. It asks market_data alone, through its Watch
streams (docs/decisions/0003-websocket-door-follows-market-data.md); the edge and its clients ask it. What travels is
`perpmesh.stream.v1`. A topic is followed upstream once, however many sockets want it, and only while one does.
"""
