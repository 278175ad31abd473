"""What a request gives the model to read: a prompt or a hole, and the score that is returned."""
