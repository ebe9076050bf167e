"""The app that answers with the model."""
