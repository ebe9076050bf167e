"""What AWS Lambda hands to a function, and what it wants back."""
