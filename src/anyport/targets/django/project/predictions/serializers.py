"""One row of the model, for views of your own: it refuses exactly what the model's route refuses."""

from anyport.integrations.django import row_serializer
from predictions.model import model

RowSerializer = row_serializer(model.signature)
