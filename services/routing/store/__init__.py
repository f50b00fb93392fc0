"""Where quotes are kept."""
