"""What the cheapest split is and how it is proven: pure, exact, without a clock."""
