"""What the vendor says of functions: how large a body may be, and what the events are called that a model answers."""

MOST = 32 * 1024 * 1024
"""Bytes of a request and of a response at most (https://cloud.google.com/functions/quotas, 2026-11)."""
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
FINALIZED = "google.cloud.storage.object.v1.finalized"
"""https://cloud.google.com/eventarc/docs/cloudevents-json"""
