"""A model that is a script: it plays the demo behind litellm's hook for providers of one's own."""
