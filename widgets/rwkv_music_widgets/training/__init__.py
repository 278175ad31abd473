"""Training panel and its charts."""
