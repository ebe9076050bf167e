"""A bundle inside the user's own application: FastAPI, Flask or Django; answers are byte for byte our server's."""
