"""What the room knows of markets, and the rules by which it changes: pure, without a loop, a clock or a wire."""
