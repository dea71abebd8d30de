"""The threads that turn rows into batches, and what they share."""
