"""The SQL compiler: a proven graph becomes scalar expressions, and these become each engine's own text."""
