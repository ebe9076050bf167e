"""Models inside databases: how fast, how large and how exact."""
