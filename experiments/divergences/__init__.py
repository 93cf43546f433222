"""Question 2: divergences estimated by critics."""
