"""The project's URLs."""

from django.urls import include, path

urlpatterns = [path("", include("predictions.urls"))]
