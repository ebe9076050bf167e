"""Endurance: fuzzing, generated requests against the OpenAPI document, and soaks; long here, two minutes each in CI."""
