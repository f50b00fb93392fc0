"""The inward face of the portfolio room."""
