"""Reading prompts and sampling tokens, many candidates at once."""
