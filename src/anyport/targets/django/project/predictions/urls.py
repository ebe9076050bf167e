"""predict, signature, livez and readyz."""

from anyport.integrations.django import urls
from predictions.model import model
from predictions.views import PredictView

urlpatterns = urls(model, view=PredictView)
