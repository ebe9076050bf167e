"""The FastAPI application: the model's routes, and room for yours."""

from fastapi import FastAPI

from anyport.integrations.fastapi import Mounted, router
from app.settings import from_environment

settings = from_environment()
model = Mounted(settings.bundle, threads=settings.threads)
app = FastAPI(title=model.name, version=model.version)
# its lifespan loads the model before the first request and lets it go after the last
app.include_router(router(model, prefix=settings.prefix))
