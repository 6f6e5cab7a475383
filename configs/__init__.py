"""Settings, prompts, policy rules and model data."""
