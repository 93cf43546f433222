"""The experiments of the three questions, a wing each, and the machinery that they share: see README.md."""
