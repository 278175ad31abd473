"""Tensor operators: the WKV recurrence and the loss over scored positions.

This is the only room that knows kernels. Everything here works on plain tensors and knows neither
music nor models.
"""
