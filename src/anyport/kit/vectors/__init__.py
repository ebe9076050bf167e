"""A table of vectors beside the rows that a model embeds: what it is called, how it is filled, how it is asked."""
