"""What is true of orders and legs: pure rules, without a clock."""
