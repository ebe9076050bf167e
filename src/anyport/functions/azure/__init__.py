"""What Azure Functions hands to a function of the Python v2 programming model, and what its output bindings take."""
