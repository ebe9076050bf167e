"""The model. The first question loads it, in the process that answers."""

from django.conf import settings

from anyport.integrations.django import Mounted

model = Mounted(settings.MODEL_BUNDLE, threads=settings.MODEL_THREADS)
