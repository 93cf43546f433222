"""The project's tests: a package, so that no other `tests` on the path hides them."""
