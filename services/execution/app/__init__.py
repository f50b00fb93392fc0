"""What execution does."""
