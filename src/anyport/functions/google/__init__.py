"""What Cloud Run functions hand to a function, and what it sends on to Storage and Pub/Sub."""
