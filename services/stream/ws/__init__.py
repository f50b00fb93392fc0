"""The door's HTTP port: the WebSocket, its health, and the web page's files."""
