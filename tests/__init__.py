"""The tests; a package, so that helpers such as `tests.tiny` are never shadowed by another distribution's `tests`."""
