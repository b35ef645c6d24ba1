"""The node agent: sources in, transactions out, on one event loop."""
