"""Floor 0. What is true of markets, orders and positions: pure values and rules, the standard library only."""
