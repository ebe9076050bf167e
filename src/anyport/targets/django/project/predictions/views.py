"""The view of POST predict; subclass it for permissions or throttles of its own."""

from anyport.integrations.django import predict_view
from predictions.model import model

PredictView = predict_view(model)
