"""Graphs: encoder, candidates, proof, tree tables."""
