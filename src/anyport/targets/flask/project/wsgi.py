"""What gunicorn and `flask run` look for."""

from app import create_app

app = create_app()
